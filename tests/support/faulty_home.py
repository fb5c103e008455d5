"""A home of collections whose stored values have planted faults, and the ways to check them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from assets.generations import UNPARTITIONED
from assets.io_managers import FolderIOManager
from assets.resources.collections import Collection
from assets.resources.models import Models
from assets.resources.partitions import COLLECTIONS
from assets.resources.photos import Photos
from assets.resources.registry import CHAMPION
from orchestration.definitions import build_definitions, build_resources, definitions
from orchestration.instance import open_instance, register
from orchestration.notices.round import go_round
from orchestration.notices.settings import NoticeSettings
from orchestration.source_looks import SourceLooks
from support.notice_receivers import WebReceiver, free_port
from support.stored_values import (
    IDS,
    champion_file,
    faulty_values,
    photo,
    sound_values,
    store,
)

CHECKS = list(definitions.asset_checks or [])
# The collection (None for the model, which all share), and the check.
Told = tuple[str, str | None, str]


@dataclass(frozen=True)
class FaultyHome:
    """A home, what its assets are to hold, and a receiver that is told of what fails."""

    home: Path
    files: FolderIOManager
    instance: dg.DagsterInstance
    sound: dict[str, Any]
    faulty: dict[str, Any]
    receiver: WebReceiver

    def add(self, name: str, values: Mapping[str, Any]) -> None:
        """Store the values of a new collection."""
        register(self.instance, Collection(name, f"/photos/{name}"))
        self.store(name, values)

    def store(self, name: str, values: Mapping[str, Any]) -> None:
        """Store the values of a collection as a run leaves them."""
        for asset, value in values.items():
            store(self.files, asset, name, value)

    def add_sound(self, name: str, *assets: str) -> str:
        """Store sound values of a few assets as a new collection; return its name."""
        self.add(name, {asset: self.sound[asset] for asset in assets})
        return name

    def store_model(self) -> None:
        """Store the sound value of the model."""
        store(self.files, "nsfw_model", UNPARTITIONED, self.sound["nsfw_model"])

    def told(self) -> list[Told]:
        """Look at what is wrong; return event, collection and check of what the receiver is told.

        Nothing of one look is left in memory for the next, as after a restart.
        """
        n_before = len(self.receiver.taken)
        settings = NoticeSettings(webhooks=(self.receiver.address,), look_minutes=0)
        go_round(self.instance, self.home, settings, SourceLooks())
        bodies = [post.body for post in self.receiver.taken[n_before:]]
        assert {body["kind"] for body in bodies} <= {"failed_check"}
        return sorted((body["event"], body["collection"], body["subject"]) for body in bodies)

    def run(self, name: str, values: Mapping[str, Any]) -> dg.ExecuteInProcessResult:
        """Materialise values as those of a collection, with all their checks."""
        checks = [check for check in CHECKS if check.check_key.asset_key.path[-1] in values]
        return dg.materialize(
            [*_stubs(values), *checks],
            instance=self.instance,
            resources=build_resources(),
            partition_key=name,
            raise_on_error=False,
        )

    def press_button(self, keys: set[dg.AssetCheckKey]) -> dg.ExecuteInProcessResult:
        """Do what the UI does: run checks alone, with neither a partition nor a configuration."""
        job = build_definitions(build_resources()).resolve_implicit_global_asset_job_def()
        subset = job.get_subset(asset_check_selection=keys)
        return subset.execute_in_process(instance=self.instance, raise_on_error=False)

    def evaluated(self, result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], Any]:
        """Return the evaluations of a run by collection and check."""
        of_type = dg.DagsterEventType.ASSET_CHECK_EVALUATION
        events = [one.dagster_event for one in self.instance.all_logs(result.run_id, of_type)]
        data = [event.asset_check_evaluation_data for event in events if event]
        return {(str(one.partition), one.check_name): one for one in data}


@contextmanager
def faulty_home(home: Path, champion_folder: Path) -> Iterator[FaultyHome]:
    """Make a home, to which the environment points, with photos and a champion, and serve it."""
    resources = build_resources()
    champion = champion_file(champion_folder)
    models: Models = resources["models"]
    models.registry.register(champion, CHAMPION)
    for image_id in IDS:
        Photos(home=str(home)).store.keep_working_copy(image_id, photo(image_id))
    with open_instance() as instance, WebReceiver(free_port()).up() as receiver:
        values = sound_values(champion)
        made = FaultyHome(
            home, resources["io_manager"], instance, values, faulty_values(values), receiver
        )
        made.store_model()
        yield made


def of_collection(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a collection: those of all assets but the model."""
    return {asset: value for asset, value in values.items() if asset != "nsfw_model"}


def _stubs(values: Mapping[str, Any]) -> Sequence[dg.AssetsDefinition]:
    """Return assets that hold ``values``, in place of those that compute them."""

    def stub(name: str, value: Any) -> dg.AssetsDefinition:
        partitions = None if name == "nsfw_model" else COLLECTIONS

        def compute() -> Any:
            return value

        return dg.asset(
            name=name, partitions_def=partitions, deps=["raw_images"] * (name != "raw_images")
        )(compute)

    return [stub(name, value) for name, value in values.items()]
