import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import cast
from unittest.mock import patch

import dagster as dg
import pytest

from assets.methods.common.errors import UserError
from assets.methods.photos.source import list_source, listing_digest
from assets.resources.collections import Collection, CollectionRegistry
from assets.resources.photos import Photos
from assets.resources.tracking import Tracking
from orchestration import map_requests, sensors, source_looks
from orchestration.instance import register
from orchestration.map_requests import (
    FIRST_PAUSE_SECONDS,
    LISTING_METADATA,
    LISTING_TAG,
    MOST_TRIES,
)
from orchestration.run_queue import KEEP_SETTINGS_TAG, PARTITION_TAG
from orchestration.sensors import (
    dead_runs,
    finish_canceled_runs,
    finish_failed_runs,
    kept_settings,
    new_images,
    notices,
)
from orchestration.source_looks import SourceLooks
from support.jobs import nothing


class Look:
    """Evaluates the sensor as its daemon does, and keeps the requests and the warnings."""

    def __init__(self, home: Path, instance: dg.DagsterInstance) -> None:
        self.photos = Photos(home=str(home))
        self.instance = instance
        self.cursor: str | None = None
        self.requests: dict[str | None, dg.RunRequest] = {}

    def __call__(self) -> list[str | None]:
        """Return the collections of which a map is requested."""
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor) as context:
            result = cast(dg.SensorResult, new_images(context, photos=self.photos))
        # Dagster never asks for a run key twice, so a key would hide a listing that comes back.
        assert all(request.run_key is None for request in result.run_requests or [])
        self.requests = {one.partition_key: one for one in result.run_requests or []}
        self.cursor = result.cursor
        return sorted(self.requests, key=str)

    def run(self, name: str, status: str = "SUCCESS", tags: dict[str, str] | None = None) -> None:
        """Let a run of a collection, by default the one just requested, end so."""
        tags = {**(self.requests[name].tags if tags is None else tags), PARTITION_TAG: name}
        run = self.instance.create_run_for_job(nothing, tags=tags)
        if status == "SUCCESS":
            self.map(name)
        event = dg.DagsterEventType[f"RUN_{status}"]
        self.instance.report_dagster_event(dg.DagsterEvent(event.value, nothing.name), run.run_id)

    def map(self, name: str) -> None:
        """Store that a collection was mapped as it is now."""
        collection = self.photos.collection(name)
        listing = list_source(collection.source, follow_links=collection.follow_links)
        metadata = {LISTING_METADATA: listing_digest(listing)}
        for asset in ("raw_images", "mosaic"):
            self.instance.report_runless_asset_event(
                dg.AssetMaterialization(asset, partition=name, metadata=metadata)
            )


@pytest.fixture
def look(home, instance):
    return Look(home, instance)


def test_a_new_photo_starts_a_run_of_its_collection_alone(instance, look, photo_folder):
    folder = photo_folder(2)
    register(instance, Collection("still", str(photo_folder(1, "still"))))
    register(instance, Collection("growing", str(folder)))
    assert look() == ["growing", "still"]
    look.run("growing")
    look.run("still")
    assert look() == []
    (folder / "photo_000.png").rename(folder / "renamed.png")
    assert look() == ["growing"]
    look.run("growing")
    assert look() == []
    # And back: the listing that was seen before is a change again.
    (folder / "renamed.png").rename(folder / "photo_000.png")
    assert look() == ["growing"]


def test_what_somebody_has_mapped_already_starts_nothing(instance, look, photo_folder):
    register(instance, Collection("mapped", str(photo_folder(2))))
    look.map("mapped")
    assert look() == []


def test_a_catalogue_without_its_mosaic_is_no_map(instance, look, photo_folder):
    register(instance, Collection("half", str(photo_folder(2))))
    look.map("half")
    time.sleep(0.01)
    listing = listing_digest(list_source(look.photos.collection("half").source))
    instance.report_runless_asset_event(
        dg.AssetMaterialization("raw_images", "", {LISTING_METADATA: listing}, partition="half")
    )
    assert look() == ["half"]


def test_a_digest_of_the_version_before_counts_as_mapped(instance, look, photo_folder):
    folder = photo_folder(2)
    register(instance, Collection("old", str(folder)))
    look.cursor = json.dumps({"old": digest_of(folder)})
    assert look() == []


def test_a_run_at_work_is_waited_for(instance, look, photo_folder):
    register(instance, Collection("busy", str(photo_folder(2))))
    assert look() == ["busy"]
    tags = {**look.requests["busy"].tags, PARTITION_TAG: "busy"}
    run = instance.create_run_for_job(nothing, tags=tags, status=dg.DagsterRunStatus.STARTED)
    assert look() == []
    instance.report_run_failed(run)
    with patch_time(hours=1):
        assert look() == ["busy"]


def test_a_run_that_fails_is_asked_for_again_with_longer_pauses_and_not_for_ever(
    instance, look, photo_folder
):
    folder = photo_folder(2)
    register(instance, Collection("failing", str(folder)))
    register(instance, Collection("fine", str(photo_folder(1, "fine"))))
    assert look() == ["failing", "fine"]
    look.run("fine")
    pause = FIRST_PAUSE_SECONDS
    for n_failed in range(1, MOST_TRIES):
        look.run("failing", "FAILURE", {LISTING_TAG: digest_of(folder)})
        with patch_time(seconds=pause - 10):
            assert look() == [], n_failed
        with patch_time(seconds=pause + 10):
            assert look() == ["failing"], n_failed
        pause *= 2
    look.run("failing", "FAILURE", {LISTING_TAG: digest_of(folder)})
    with patch_time(hours=100):
        assert look() == []
    # Another listing is another task.
    (folder / "photo_000.png").rename(folder / "renamed.png")
    assert look() == ["failing"]


def test_a_run_that_somebody_cancelled_is_not_asked_for_again(instance, look, photo_folder):
    folder = photo_folder(2)
    register(instance, Collection("cancelled", str(folder)))
    assert look() == ["cancelled"]
    look.run("cancelled", "CANCELED")
    with patch_time(hours=10):
        assert look() == []
    (folder / "photo_000.png").rename(folder / "renamed.png")
    assert look() == ["cancelled"]


def test_a_photo_behind_a_link_counts_where_links_are_followed(instance, look, photo_folder):
    folder = photo_folder(1)
    (folder / "more").symlink_to(photo_folder(1, "elsewhere"))
    register(instance, Collection("following", str(folder), follow_links=True))
    register(instance, Collection("staying", str(folder)))
    for name in look():
        look.run(name)
    look()
    (folder.parent / "elsewhere" / "photo_000.png").rename(folder / "more" / "renamed.png")
    assert look() == ["following"]


@pytest.mark.parametrize("fault", ["gone", "damaged", "no collection"])
def test_what_is_broken_keeps_no_other_from_its_run(home, instance, look, photo_folder, fault):
    register(instance, Collection("broken", "/not/there"))
    register(instance, Collection("here", str(photo_folder(1))))
    if fault != "gone":
        (home / "collections-backup" / "broken.json").unlink()
    if fault == "damaged":
        (home / "collections" / "broken.json").write_text('{"name": "bro')
    if fault == "no collection":
        (home / "collections" / "broken.json").unlink()
    assert look() == ["here"]
    look.run("here")
    look()
    assert set(json.loads(look.cursor)) == {"here"}


def test_a_source_that_hangs_keeps_no_other_from_its_run(instance, look, photo_folder, monkeypatch):
    folder = photo_folder(1)
    register(instance, Collection("hanging", str(photo_folder(2, "hanging"))))
    register(instance, Collection("here", str(folder)))
    goes_on, n_begun = threading.Event(), []

    def hang(source, *arguments):
        if "hanging" in source:
            n_begun.append(source)
            goes_on.wait(30)
        return list_source(source, *arguments)

    monkeypatch.setattr(source_looks, "list_source", hang)
    monkeypatch.setattr(sensors, "_LOOKS", SourceLooks(one_seconds=0.05))
    assert look() == ["here"]
    look.run("here")
    assert look() == []
    goes_on.set()
    # What it found while nobody waited is the answer of a later evaluation.
    deadline = time.monotonic() + 20
    while not look():
        assert time.monotonic() < deadline
    assert set(look.requests) == {"hanging"}
    assert len(n_begun) == 1


def test_a_source_that_comes_back_unchanged_starts_nothing(instance, look, photo_folder):
    folder = photo_folder(1)
    register(instance, Collection("here", str(folder)))
    look()
    look.run("here")
    look()
    away = folder.rename(folder.with_name("away"))
    assert look() == []
    away.rename(folder)
    assert look() == []


def test_a_manifest_of_a_private_address_is_looked_at_where_it_is_allowed(
    instance, look, monkeypatch
):
    settings = {"raw_images": {"allow_private_addresses": True}}
    register(instance, Collection("inside", "http://10.0.0.1/photos.csv", settings))
    allowed = []

    def listed(source, limits, follow_links):
        allowed.append(limits.allow_private_addresses)
        raise UserError("out of reach")

    monkeypatch.setattr(source_looks, "list_source", listed)
    assert look() == []
    assert allowed == [True]


@pytest.mark.parametrize(
    ("tags", "kept"), [({KEEP_SETTINGS_TAG: "true"}, {"tile": 30}), ({}, {"tile": 20})]
)
def test_settings_of_the_launchpad_are_kept_if_they_are_marked(home, instance, tags, kept):
    settings = {"mosaic": {"tile": 20}, "tsne_2d": {"seed": 1}}
    register(instance, Collection("birds", "/birds", settings))
    run_config = {"ops": {"mosaic": {"config": {"tile": 30}}}}
    evaluate_success(instance, home, {PARTITION_TAG: "birds", **tags}, run_config)
    known = CollectionRegistry(home).get("birds")
    assert known.settings == {"mosaic": kept, "tsne_2d": {"seed": 1}}


def test_settings_of_a_collection_that_is_gone_are_no_fault(home, instance):
    tags = {PARTITION_TAG: "gone", KEEP_SETTINGS_TAG: "true"}
    evaluate_success(instance, home, tags, {"ops": {"mosaic": {"config": {"tile": 30}}}})


def evaluate_success(instance, home, tags, run_config):
    run = instance.create_run_for_job(mosaic_alone, tags=tags, run_config=run_config)
    context = dg.build_run_status_sensor_context(
        sensor_name=kept_settings.name,
        dagster_instance=instance,
        dagster_run=run,
        dagster_event=dg.DagsterEvent("PIPELINE_SUCCESS", mosaic_alone.name),
    )
    kept_settings(context, photos=Photos(home=str(home)))


@dg.op(config_schema={"tile": int})
def mosaic():
    pass


@dg.job
def mosaic_alone():
    mosaic()


def digest_of(folder: Path) -> str:
    return listing_digest(list_source(str(folder)))


@contextmanager
def patch_time(**later: float) -> Iterator[None]:
    """Let it be later for the sensor."""
    moment = time.time() + timedelta(**later).total_seconds()
    with patch.object(map_requests, "time") as clock:
        clock.time.return_value = moment
        yield


def test_a_run_that_fails_or_is_cancelled_is_finished_in_mlflow_without_being_asked():
    # Homes know by these names which sensors are switched on.
    names = {"settle_failed_runs": finish_failed_runs, "settle_canceled_runs": finish_canceled_runs}
    for name, sensor in names.items():
        assert sensor.name == name
        assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


@pytest.mark.parametrize(
    ("sensor", "status"), [(finish_failed_runs, "FAILURE"), (finish_canceled_runs, "CANCELED")]
)
def test_finishing_passes_on_what_dagster_says(instance, sensor, status):
    finished = []

    class Recorder(Tracking):
        def finish_runs(self, dagster_run_id: str, status: dg.DagsterRunStatus) -> None:
            finished.append((dagster_run_id, status))

    run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus[status])
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor.name,
        dagster_instance=instance,
        dagster_run=run,
        dagster_event=dg.DagsterEvent("PIPELINE_FAILURE", nothing.name),
    )
    sensor(context, tracking=Recorder(home="/nowhere"))
    assert finished == [(run.run_id, dg.DagsterRunStatus[status])]


def test_the_sensor_is_off_until_it_is_switched_on():
    assert new_images.default_status == dg.DefaultSensorStatus.STOPPED


def test_dead_runs_are_looked_for_every_few_seconds_without_being_asked(instance, monkeypatch):
    assert dead_runs.default_status == dg.DefaultSensorStatus.RUNNING
    assert dead_runs.minimum_interval_seconds == 15
    run = instance.create_run_for_job(nothing)
    monkeypatch.setattr(sensors, "fail_dead_runs", lambda instance: [run])
    monkeypatch.setattr(sensors, "kill_processes_of_ended_runs", lambda instance: [1, 2])
    with dg.build_sensor_context(instance=instance) as context:
        told = dead_runs(context)
    assert told.skip_message == "1 runs had died, 2 processes had outlived theirs."


def test_notices_go_round_every_half_minute_without_being_asked(home, instance, monkeypatch):
    assert notices.default_status == dg.DefaultSensorStatus.RUNNING
    assert notices.minimum_interval_seconds == 30
    monkeypatch.setattr(sensors, "_SECONDS_FOR_NOTICES", 30)
    with dg.build_sensor_context(instance=instance) as context:
        told = notices(context)
    assert told.skip_message == "0 causes are open; nobody is set to be told."
    assert (home / "notices" / "state.json").exists()


def test_a_receiver_that_is_down_is_named_in_the_log(home, instance, monkeypatch, caplog):
    run = instance.create_run_for_job(nothing)
    instance.report_run_failed(run)
    monkeypatch.setenv("TESSERA_NOTICE_WEBHOOK", "http://127.0.0.1:9/secret")
    monkeypatch.setattr(sensors, "_SECONDS_FOR_NOTICES", 30)
    with dg.build_sensor_context(instance=instance) as context:
        notices(context)
    assert "Notices are waiting for the receiver webhook: it cannot be reached" in caplog.text
    assert "secret" not in caplog.text
