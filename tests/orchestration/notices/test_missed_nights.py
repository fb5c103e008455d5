from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from orchestration.notices.missed_nights import last_time, left_out, missed_nights
from orchestration.run_queue import NIGHTS
from orchestration.schedules import nightly, nightly_moderation

# As Dagster 1.13 writes them.
STATE = """{
    "__class__": "InstigatorState",
    "job_specific_data": {
        "__class__": "ScheduleInstigatorData",
        "cron_schedule": "0 3 * * *",
        "start_timestamp": "BEGAN"
    },
    "job_type": {"__enum__": "InstigatorType.SCHEDULE"},
    "origin": {
        "__class__": "ExternalJobOrigin",
        "external_repository_origin": {
            "__class__": "ExternalRepositoryOrigin",
            "repository_location_origin": {
                "__class__": "GrpcServerRepositoryLocationOrigin",
                "host": "localhost",
                "location_name": "tessera",
                "port": null,
                "socket": "/code-server.sock"
            },
            "repository_name": "__repository__"
        },
        "job_name": "nightly"
    },
    "status": {"__enum__": "InstigatorStatus.RUNNING"}
}"""
TICK = """{
    "__class__": "JobTickData",
    "job_origin_id": "ORIGIN",
    "job_name": "nightly",
    "job_type": {"__enum__": "InstigatorType.SCHEDULE"},
    "status": {"__enum__": "JobTickStatus.SUCCESS"},
    "timestamp": "DUE",
    "run_ids": [],
    "run_keys": [],
    "selector_id": "SELECTOR"
}"""
QUEUED, STARTED = dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@dataclass
class Schedules:
    """What Dagster has stored of schedules, their ticks, and the runs of these."""

    states: list[Any] = field(default_factory=list)
    ticks: list[Any] = field(default_factory=list)
    statuses: dict[str, dg.DagsterRunStatus] = field(default_factory=dict)
    schedule_storage: str = "there is one"

    def switch_on(self, began: str, name: str = "nightly", origin: str = "o", on: bool = True):
        data = SimpleNamespace(cron_schedule="0 3 * * *", start_timestamp=at(began))
        self.states.append(
            SimpleNamespace(
                instigator_type=SimpleNamespace(value="SCHEDULE"),
                instigator_name=name,
                instigator_origin_id=origin,
                selector_id=f"{origin}-selector",
                instigator_data=data,
                is_running=on,
            )
        )

    def tick(
        self,
        moment: str,
        is_failure: bool = False,
        origin: str = "o",
        status: str = "SUCCESS",
        **runs,
    ):
        self.ticks.insert(
            0,
            SimpleNamespace(
                origin=origin,
                timestamp=at(moment),
                is_failure=is_failure,
                status=SimpleNamespace(value=status),
                run_ids=list(runs),
            ),
        )
        self.statuses |= runs

    def all_instigator_state(self):
        return self.states

    def get_ticks(self, origin_id, selector_id, after):
        assert selector_id == f"{origin_id}-selector"
        return [one for one in self.ticks if one.origin == origin_id and one.timestamp > after]

    def get_runs(self, filters):
        assert filters.run_ids
        return [SimpleNamespace(status=self.statuses[one]) for one in filters.run_ids]


@pytest.fixture
def schedules():
    return Schedules()


def missed(schedules, now, hours=1.0):
    return [cause.what for cause in missed_nights(schedules, at(now), hours)]


def test_a_night_that_started_is_none(schedules):
    schedules.switch_on("2026-11-20")
    schedules.tick("2026-11-28 03:00", run_1=STARTED, run_2=QUEUED)
    assert missed(schedules, "2026-11-28 05:00") == []
    # It found no collection.
    schedules.ticks.clear()
    schedules.tick("2026-11-28 03:00")
    assert missed(schedules, "2026-11-28 05:00") == []


def test_a_night_without_a_daemon_is_missed_until_one_starts(schedules):
    schedules.switch_on("2026-11-20")
    schedules.tick("2026-11-27 03:00")
    assert missed(schedules, "2026-11-28 02:59") == []
    assert missed(schedules, "2026-11-28 03:59") == []
    assert missed(schedules, "2026-11-28 04:01") == [
        "The schedule nightly, due at 2026-11-28 03:00 UTC, has not started: no daemon was there "
        "for it."
    ]
    (cause,) = missed_nights(schedules, at("2026-11-28 09:00"), 1.0)
    (later,) = missed_nights(schedules, at("2026-11-30 09:00"), 1.0)
    assert cause.key == later.key == "missed_night::nightly"
    # Dagster makes up for it, with the time of the night.
    schedules.tick("2026-11-28 03:00")
    assert missed(schedules, "2026-11-28 09:00") == []


def test_a_night_whose_evaluation_failed_is_missed(schedules):
    schedules.switch_on("2026-11-20")
    schedules.tick("2026-11-28 03:00", is_failure=True)
    assert "its evaluation failed" in missed(schedules, "2026-11-28 05:00")[0]


def test_a_night_whose_daemon_was_killed_while_it_began_is_missed(schedules):
    schedules.switch_on("2026-11-20")
    schedules.tick("2026-11-28 03:00", status="STARTED")
    assert "its evaluation has not ended" in missed(schedules, "2026-11-28 05:00")[0]
    # The next daemon goes on with it.
    schedules.ticks.clear()
    schedules.tick("2026-11-28 03:00", run_1=STARTED)
    assert missed(schedules, "2026-11-28 05:00") == []
    # That of a later time begins.
    schedules.tick("2026-11-29 03:00", status="STARTED")
    assert missed(schedules, "2026-11-29 03:01") == []


def test_a_night_whose_runs_all_wait_is_missed(schedules):
    schedules.switch_on("2026-11-20")
    schedules.tick("2026-11-28 03:00", run_1=QUEUED, run_2=QUEUED)
    assert "its 2 runs are waiting in the queue" in missed(schedules, "2026-11-28 05:00")[0]
    schedules.statuses["run_1"] = dg.DagsterRunStatus.FAILURE
    assert missed(schedules, "2026-11-28 05:00") == []


def test_a_schedule_that_is_off_or_was_on_too_late_misses_nothing(schedules):
    schedules.switch_on("2026-11-20", on=False)
    assert missed(schedules, "2026-11-28 05:00") == []
    schedules.switch_on("2026-11-28 03:01")
    assert missed(schedules, "2026-11-28 05:00") == []
    assert len(missed(schedules, "2026-11-29 05:00")) == 1


def test_one_of_two_places_that_a_home_was_served_from_is_enough(schedules):
    schedules.switch_on("2026-11-20", origin="before")
    schedules.switch_on("2026-11-20")
    schedules.tick("2026-11-28 03:00")
    assert missed(schedules, "2026-11-28 05:00") == []


def test_the_schedules_of_the_night_are_daily():
    assert {nightly.name, nightly_moderation.name} == set(NIGHTS)
    for schedule in (nightly, nightly_moderation):
        due = last_time(str(schedule.cron_schedule), at("2026-11-28 12:00"))
        assert at("2026-11-28 00:00") < due < at("2026-11-28 12:00")


def test_the_last_time_of_a_daily_schedule():
    assert last_time("30 3 * * *", at("2026-11-28 03:30")) == at("2026-11-28 03:30")
    assert last_time("30 3 * * *", at("2026-11-28 03:29")) == at("2026-11-27 03:30")
    with pytest.raises(ValueError, match="not once a day"):
        last_time("0 3 * * 1", 0.0)


def test_a_collection_that_cannot_be_read_is_left_out_of_nights():
    (cause,) = left_out(["birds", "cats"], ["cats"], 5.0)
    assert cause.key == "missed_night:birds:"
    assert cause.what == (
        "The collection birds is left out of all nights: its file is missing or damaged."
    )


def test_states_and_ticks_are_read_as_dagster_stores_them(tmp_path, monkeypatch, new_home):
    new_home(tmp_path / "whole", monkeypatch)
    began, due = at("2026-11-20"), at("2026-11-28 03:00")
    with dg.DagsterInstance.get() as instance:
        state = dg.deserialize_value(STATE.replace('"BEGAN"', str(began)))
        instance.add_instigator_state(state)
        (missed_one,) = missed_nights(instance, at("2026-11-28 05:00"), 1.0)
        assert (missed_one.subject, missed_one.since) == ("nightly", due)
        tick = TICK.replace("ORIGIN", state.instigator_origin_id)
        tick = tick.replace("SELECTOR", state.selector_id).replace('"DUE"', str(due))
        instance.create_tick(dg.deserialize_value(tick.replace("SUCCESS", "STARTED")))
        (begun,) = missed_nights(instance, at("2026-11-28 05:00"), 1.0)
        assert begun.what.endswith("its evaluation has not ended.")
        instance.create_tick(dg.deserialize_value(tick))
        assert list(missed_nights(instance, at("2026-11-28 05:00"), 1.0)) == []
        assert list(missed_nights(instance, at("2026-11-29 05:00"), 1.0)) != []
