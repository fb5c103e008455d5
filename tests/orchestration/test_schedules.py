from datetime import datetime

import dagster as dg

from assets.resources.collections import Collection
from orchestration.instance import register
from orchestration.schedules import nightly


def test_every_collection_is_asked_for_once_a_night(instance):
    register(instance, Collection("birds", "/birds"))
    register(instance, Collection("cats", "/cats"))
    night = datetime(2026, 11, 23, 3)
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=night)
    requests = list(nightly(context))
    assert [(request.partition_key, request.run_key) for request in requests] == [
        ("birds", "birds:2026-11-23"),
        ("cats", "cats:2026-11-23"),
    ]


def test_the_schedule_is_off_until_it_is_switched_on():
    assert nightly.default_status == dg.DefaultScheduleStatus.STOPPED
