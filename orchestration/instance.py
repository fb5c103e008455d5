"""Dagster's instance below the home, and the order it is kept in."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from assets.resources.collections import PARTITIONS_NAME, Collection, CollectionRegistry
from assets.resources.home import home_folder

PROCESS_TAG = "tessera/process"
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
    # A file that somebody put there is theirs; our link follows the checkout.
    if settings.is_symlink() or not settings.exists():
        settings.unlink(missing_ok=True)
        settings.symlink_to(project_file("dagster.yaml"))
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


def this_process() -> str:
    """Return what names this process, for the tag by which a dead one is recognised."""
    return f"{socket.gethostname()}:{os.getpid()}"


def bury_dead_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Report as failed the runs of command lines that were killed, and free their pool slots.

    Without it such a run would be called running for ever, and the next one would wait for its
    place in the pool.
    """
    dead = [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        if _is_dead(run.tags.get(PROCESS_TAG, ""))
    ]
    for run in dead:
        instance.report_run_failed(run, "The process that carried out this run is gone.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return dead


def bury_orphaned_runs(instance: dg.DagsterInstance) -> None:
    """Report as failed the runs that an earlier `tessera dev` started and took with it.

    To be called while none is serving. Otherwise they would keep their place in the pool, and
    everything that is queued would wait for them.
    """
    bury_dead_runs(instance)
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        if PROCESS_TAG not in run.tags:
            instance.report_run_failed(run, "It ended with the `tessera dev` that started it.")


def _is_dead(process: str) -> bool:
    host, _, number = process.rpartition(":")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        # Somebody else's process, but one that lives.
        pass
    return False


def project_file(name: str) -> Path:
    """Find dagster.yaml or workspace.yaml: atop a checkout, or inside the installed package."""
    package = Path(__file__).parent
    installed = package / name
    return installed if installed.exists() else package.parent / name
