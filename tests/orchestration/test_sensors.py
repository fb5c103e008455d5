import json

import dagster as dg
import pytest

from assets.resources.collections import Collection
from assets.resources.photos import Photos
from assets.resources.tracking import Tracking
from orchestration import sensors
from orchestration.instance import register
from orchestration.sensors import (
    dead_runs,
    finish_canceled_runs,
    finish_failed_runs,
    new_images,
)
from support.jobs import nothing


@pytest.fixture
def look(home, instance):
    """Returns a function that evaluates the sensor with a cursor: requested names, new cursor."""

    def evaluate(cursor: str | None) -> tuple[list[str | None], str | None]:
        context = dg.build_sensor_context(instance=instance, cursor=cursor)
        result = new_images(context, photos=Photos(home=str(home)))
        # Dagster never asks for a run key twice, so a key would hide a listing that comes back.
        assert all(request.run_key is None for request in result.run_requests)
        return [request.partition_key for request in result.run_requests], result.cursor

    return evaluate


def test_a_new_photo_starts_a_run_of_its_collection_alone(instance, look, photo_folder):
    folder = photo_folder(2)
    register(instance, Collection("still", str(photo_folder(1, "still"))))
    register(instance, Collection("growing", str(folder)))
    requested, cursor = look(None)
    assert sorted(requested) == ["growing", "still"]
    requested, cursor = look(cursor)
    assert requested == []
    (folder / "photo_000.png").rename(folder / "renamed.png")
    requested, cursor = look(cursor)
    assert requested == ["growing"]
    # And back: the listing that was seen before is a change again.
    (folder / "renamed.png").rename(folder / "photo_000.png")
    requested, _ = look(cursor)
    assert requested == ["growing"]


def test_a_photo_behind_a_link_counts_where_links_are_followed(instance, look, photo_folder):
    folder = photo_folder(1)
    (folder / "more").symlink_to(photo_folder(1, "elsewhere"))
    register(instance, Collection("following", str(folder), follow_links=True))
    register(instance, Collection("staying", str(folder)))
    _, cursor = look(None)
    (folder.parent / "elsewhere" / "photo_000.png").rename(folder / "more" / "renamed.png")
    requested, _ = look(cursor)
    assert requested == ["following"]


def test_a_source_out_of_reach_keeps_no_other_from_its_run(instance, look, photo_folder):
    folder = photo_folder(1)
    register(instance, Collection("away", "/not/there"))
    register(instance, Collection("here", str(folder)))
    requested, cursor = look(None)
    assert requested == ["here"]
    assert set(json.loads(cursor)) == {"here"}


def test_a_source_that_comes_back_unchanged_starts_nothing(instance, look, photo_folder):
    folder = photo_folder(1)
    register(instance, Collection("here", str(folder)))
    _, cursor = look(None)
    away = folder.rename(folder.with_name("away"))
    requested, cursor = look(cursor)
    assert requested == []
    away.rename(folder)
    requested, _ = look(cursor)
    assert requested == []


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
    told = dead_runs(dg.build_sensor_context(instance=instance))
    assert told.skip_message == "1 runs had died, 2 processes had outlived theirs."
