from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import cast

import dagster as dg
import pytest

from assets.resources.collections import Collection
from assets.resources.photos import Photos
from orchestration import schedules
from orchestration.instance import register
from orchestration.schedules import health_after_the_night, nightly, nightly_moderation, weekly


def context_of(home: Path, instance: dg.DagsterInstance, night: datetime):
    """The context of an evaluation; it opens an instance of its own, and has to close it."""
    return dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=night,
        resources={"photos": Photos(home=str(home))},
    )


def test_every_collection_is_asked_for_once_a_night_with_its_settings(home, instance):
    register(instance, Collection("birds", "/birds", {"mosaic": {"tile": 20}}))
    register(instance, Collection("cats", "/cats"))
    night = datetime(2026, 11, 23, 3)
    with context_of(home, instance, night) as context:
        requests = {request.partition_key: request for request in nightly(context)}
    assert {name: request.run_key for name, request in requests.items()} == {
        "birds": "birds:2026-11-23",
        "cats": "cats:2026-11-23",
    }
    assert requests["birds"].run_config == {"ops": {"mosaic": {"config": {"tile": 20}}}}
    assert requests["cats"].run_config == {"ops": {}}


def test_maps_are_compared_weekly_with_maps_made_anew(home, instance):
    for name in ("birds", "cats"):
        register(instance, Collection(name, f"/{name}"))
    mapped = dg.AssetMaterialization("grid_assignment", partition="birds")
    instance.report_runless_asset_event(mapped)
    with context_of(home, instance, datetime(2026, 11, 29, 8)) as context:
        (request,) = cast(Iterator[dg.RunRequest], weekly(context))
    assert (request.partition_key, request.run_key) == ("birds", "birds:2026-11-29")


def test_collections_that_were_scored_before_are_scored_again_at_night(home, instance):
    settings = {"nsfw_scores": {"class_name": "sfw"}, "mosaic": {"tile": 20}}
    register(instance, Collection("birds", "/birds", settings))
    register(instance, Collection("cats", "/cats"))
    scored = dg.AssetMaterialization("nsfw_scores", partition="birds")
    instance.report_runless_asset_event(scored)
    with context_of(home, instance, datetime(2026, 11, 23, 4)) as context:
        (request,) = cast(Iterator[dg.RunRequest], nightly_moderation(context))
    assert (request.partition_key, request.run_key) == ("birds", "birds:2026-11-23")
    assert request.run_config == {"ops": {"nsfw_scores": {"config": {"class_name": "sfw"}}}}


@pytest.mark.parametrize("schedule", [nightly, nightly_moderation])
@pytest.mark.parametrize("fault", ["no collection", "damaged"])
def test_a_collection_that_is_broken_keeps_no_other_from_its_night(home, instance, schedule, fault):
    for name in ("birds", "broken"):
        register(instance, Collection(name, f"/{name}"))
        scored = dg.AssetMaterialization("nsfw_scores", partition=name)
        instance.report_runless_asset_event(scored)
    file = home / "collections" / "broken.json"
    (home / "collections-backup" / "broken.json").unlink()
    if fault == "damaged":
        file.write_text("{")
    else:
        file.unlink()
    with context_of(home, instance, datetime(2026, 11, 23, 3)) as context:
        requests = list(cast(Iterator[dg.RunRequest], schedule(context)))
    assert [request.partition_key for request in requests] == ["birds"]
    # One that hangs ends before the next night.
    assert 0 < int(requests[0].tags["dagster/max_runtime"]) < 24 * 3600


@pytest.mark.parametrize("schedule", [nightly, nightly_moderation, weekly])
def test_a_schedule_is_off_until_it_is_switched_on(schedule):
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED


def test_health_is_asked_for_only_where_there_are_nights(instance, monkeypatch):
    assert health_after_the_night.default_status == dg.DefaultScheduleStatus.RUNNING
    with dg.build_schedule_context(instance=instance) as context:
        assert isinstance(health_after_the_night(context), dg.SkipReason)
        monkeypatch.setattr(schedules, "schedules_that_are_on", lambda instance: ["nightly"])
        assert isinstance(health_after_the_night(context), dg.RunRequest)
