"""Dagster's instance below the home, its collections, and its runs whose process is gone."""

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil
from filelock import FileLock

from assets.resources.collections import PARTITIONS_NAME, Collection, CollectionRegistry
from assets.resources.home import home_folder

PROCESS_TAG = "tessera/process"
PROCESS_GONE = "The process that carried out this run is gone."
# Two processes with one number differ by more; a correction of the clock differs by less.
SAME_START_SECONDS = 10.0
UNFINISHED = [
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.CANCELING,
]


def prepare_home() -> Path:
    """Make the home, and point Dagster and every child process at it; returns its path."""
    home = home_folder()
    home.mkdir(parents=True, exist_ok=True)
    os.environ["TESSERA_HOME"] = os.environ["DAGSTER_HOME"] = str(home)
    settings = home / "dagster.yaml"
    # A file that somebody put there stays; a link of ours follows the checkout.
    if settings.is_symlink() or not settings.exists():
        _link(settings, project_file("dagster.yaml"))
    return home


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """Open the instance that the UI shows."""
    prepare_home()
    with dg.DagsterInstance.get() as instance:
        yield instance


def register(instance: dg.DagsterInstance, collection: Collection) -> None:
    """Remember a collection and make it a partition of the per-photo assets."""
    CollectionRegistry(home_folder()).add(collection)
    instance.add_dynamic_partitions(PARTITIONS_NAME, [collection.name])


def forget(instance: dg.DagsterInstance, name: str) -> None:
    """Undo ``register``; what was computed of the collection stays in the caches."""
    instance.delete_dynamic_partition(PARTITIONS_NAME, name)
    CollectionRegistry(home_folder()).remove(name)


def collection_lock(name: str, timeout: float = -1) -> FileLock:
    """Return the lock that a process holds while it works on a collection.

    ``timeout`` is in seconds; below 0 there is none.
    """
    lock = home_folder() / "locks" / f"{name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(lock, timeout)


def this_process() -> str:
    """Return the name of this process, for the tag by which a dead process is recognised.

    It has the time of the start in it, because numbers of processes are used again.
    """
    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.2f}"


def process_number(process: str) -> int | None:
    """Return the number of a living process of this machine by its tag; None if it has ended.

    None also for a process of another machine.
    """
    host, number, begun = _parts(process)
    return number if host == socket.gethostname() and _lives(number, begun) else None


def fail_dead_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Report as failed the runs of command lines that were killed, and free their pool slots.

    Without it such a run would stay in the state running, and the next run would wait for its place
    in the pool.
    """
    dead = [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        if _is_dead(run.tags.get(PROCESS_TAG, ""))
    ]
    for run in dead:
        fail_run(instance, run)
    return dead


def fail_run(instance: dg.DagsterInstance, run: dg.DagsterRun, stderr_tail: str = "") -> None:
    """Report as failed a run whose process is gone, and free its pool slots."""
    message = f"{PROCESS_GONE} Its last output: {stderr_tail}" if stderr_tail else PROCESS_GONE
    instance.report_run_failed(run, message)
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def fail_orphaned_runs(instance: dg.DagsterInstance) -> None:
    """Report as failed the runs that an earlier `tessera dev` started and took with it.

    Call it only while no `tessera dev` is running. Without it such runs would keep their place in
    the pool, and queued runs would wait for them for ever.
    """
    fail_dead_runs(instance)
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        if not run.tags.get(PROCESS_TAG):
            instance.report_run_failed(run, "It ended with the `tessera dev` that started it.")


def _link(place: Path, target: Path) -> None:
    """Make a link, in one step where there is an older one, which others may be reading."""
    if place.is_symlink() and place.readlink() == target:
        return
    beside = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    beside.symlink_to(target)
    beside.replace(place)


def project_file(name: str) -> Path:
    """Find dagster.yaml or workspace.yaml: atop a checkout, or inside the installed package."""
    package = Path(__file__).parent
    installed = package / name
    return installed if installed.exists() else package.parent / name


def _is_dead(process: str) -> bool:
    host, number, begun = _parts(process)
    return host == socket.gethostname() and not _lives(number, begun)


def _parts(process: str) -> tuple[str, int, float | None]:
    """Take a tag apart: host, number, and when it began, which older tags do not say."""
    host, number, begun, *_ = [*process.split(":"), "", "", ""]
    return host, int(number or 0), float(begun) if begun else None


def _lives(number: int, begun: float | None) -> bool:
    try:
        process = psutil.Process(number)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return begun is None or abs(process.create_time() - begun) < SAME_START_SECONDS
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        # Somebody else's process, but one that lives.
        return True
