"""Dagster's instance below the home, and its collections."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from filelock import FileLock

from assets.methods.common.errors import UserError
from assets.resources.collections import PARTITIONS_NAME, Collection, CollectionRegistry
from assets.resources.home import home_folder
from orchestration.databases import damaged, faults, prepare_databases

# The scarce thing that every map needs for a while: the GPU where there is one, or processors.
POOL = "gpu"


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
    home = prepare_home()
    prepare_databases(
        home, PARTITIONS_NAME, lambda: [one.name for one in CollectionRegistry(home).all()]
    )
    with _damage_told(home), dg.DagsterInstance.get() as instance:
        # The queue reads which pools there are before it makes those that are new: without this the
        # first runs of a home would all begin at once.
        storage = instance.event_log_storage
        if storage.supports_global_concurrency_limits and POOL not in (
            storage.get_concurrency_keys()
        ):
            storage.initialize_concurrency_limit_to_default(POOL)
        yield instance


@contextmanager
def _damage_told(home: Path) -> Iterator[None]:
    """Say which of Dagster's databases is damaged, where SQLite refuses to work with one."""
    from sqlalchemy.exc import DatabaseError

    try:
        yield
    except DatabaseError as error:
        for database, fault in faults(home):
            raise UserError(damaged(database, fault)) from error
        raise


def register(instance: dg.DagsterInstance, collection: Collection) -> None:
    """Remember a collection and make it a partition of the per-photo assets."""
    CollectionRegistry(home_folder()).add(collection)
    instance.add_dynamic_partitions(PARTITIONS_NAME, [collection.name])


def forget(instance: dg.DagsterInstance, name: str) -> None:
    """Undo ``register``; what was computed of the collection stays in the caches."""
    # In this order, a repeat after a kill still finds it.
    instance.delete_dynamic_partition(PARTITIONS_NAME, name)
    CollectionRegistry(home_folder()).remove(name)


def collection_lock(name: str, timeout: float = -1) -> FileLock:
    """Return the lock that a process holds while it works on a collection.

    ``timeout`` is in seconds; below 0 there is none.
    """
    lock = home_folder() / "locks" / f"{name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(lock, timeout)


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
