"""What goes with a collection that is removed."""

from functools import partial
from pathlib import Path

import dagster as dg

from assets.methods.common.errors import UserError
from assets.resources.collections import INPUTS_SOURCE, Collection, CollectionRegistry
from assets.resources.mlflow_runs import families_of
from assets.resources.photos import FOLDERS_OF_COLLECTIONS
from assets.resources.recent_use import RecentUse
from assets.resources.tracking import Tracking
from orchestration.housekeeping.caches import unused_caches
from orchestration.housekeeping.dagster_history import runs_of_collection
from orchestration.housekeeping.plan import KEEP, tracked_runs
from orchestration.housekeeping.removals import Item, Removal, removal_of_places
from orchestration.housekeeping.stored_values import half_removed_folders
from orchestration.instance import forget


def plan_collection_removal(
    home: Path,
    instance: dg.DagsterInstance,
    tracking: Tracking,
    collection: Collection,
    purge: bool,
    with_mlflow: bool,
) -> list[Removal]:
    """Return what goes with a collection; its entry goes last, so that a repeat finds the rest.

    Args:
        home: where all of it is.
        instance: of Dagster.
        tracking: of MLflow.
        collection: to be removed.
        purge: also the caches that no other collection uses.
        with_mlflow: also its runs in MLflow, but not those that registered models came from.

    Raises:
        UserError: it holds photos that were posted to the HTTP service.
        TrackingError: MLflow is to be asked and cannot be.
    """
    name = collection.name
    if collection.source == INPUTS_SOURCE:
        raise UserError(
            f"{name} holds photos that were posted to the HTTP service, which has to remove them: "
            "send DELETE /v2/inputs, and revoke its keys with `tessera key revoke`."
        )
    found = [half_removed_folders(home)]
    if purge:
        # While its catalogue and its marks say what it used.
        found += unused_caches(home, KEEP, of=name)
    if with_mlflow:
        found.append(tracked_runs(tracking, families_of(tracking, name)))
    found.append(runs_of_collection(home, instance, name))
    found.append(_folders(home, name))
    found.append(_files(home, collection))
    found.append(Removal("collection", (Item(name),), partial(forget, instance, name)))
    return [one for one in found if one.items]


def _folders(home: Path, name: str) -> Removal:
    """Return the values of a collection, and other folders that are its own."""
    places = sorted((home / "outputs").glob(f"*/{name}"))
    places += [home / folder / name for folder in FOLDERS_OF_COLLECTIONS]
    places += [RecentUse(home).folder_of(name)]
    return removal_of_places("folder", home, [place for place in places if place.is_dir()])


def _files(home: Path, collection: Collection) -> Removal:
    """Return the list of photos that was made for the collection, if no other has the same."""
    source = Path(collection.source)
    others = CollectionRegistry(home).all()
    is_shared = any(
        one.source == collection.source for one in others if one.name != collection.name
    )
    is_ours = source.parent == home / "files" and source.exists() and not is_shared
    return removal_of_places("list of photos", home, [source] if is_ours else [])
