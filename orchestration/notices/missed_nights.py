"""Nights that did not start: schedules that are on, and whose last time passed without a run."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from orchestration.notices.cause import Cause, Kind, in_words
from orchestration.run_queue import NIGHTS

_NOT_BEGUN = {
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
}
# Dagster's own class for the status of a tick is private.
_AT_WORK = "STARTED"
# Dagster makes up for missed times, and writes a moment's fraction into none of them.
_SECONDS_AROUND = 1.0


def missed_nights(instance: dg.DagsterInstance, now: float, hours: float) -> Iterator[Cause]:
    """Yield the schedules of the night whose last time is ``hours`` ago, and that did not start.

    One that is off is none of them, nor is one that was switched on after that time.
    """
    states = schedules_that_are_on(instance)
    for name in NIGHTS:
        faults = []
        for state in states:
            if state.instigator_name == name:
                due = last_time(str(state.instigator_data.cron_schedule), now - hours * 3600)
                began = state.instigator_data.start_timestamp
                is_due = began is None or began <= due
                faults.append(_fault(instance, state, due) if is_due else None)
        # A home that was served in two ways has two states of one schedule.
        if faults and None not in faults:
            yield Cause(
                Kind.MISSED_NIGHT,
                None,
                name,
                due,
                f"The schedule {name}, due at {in_words(due)}, has not started: {faults[0]}.",
            )


def left_out(names: Collection[str], readable: Collection[str], now: float) -> Iterator[Cause]:
    """Yield the collections that the schedules leave out, because nothing says what they are."""
    for name in sorted(set(names) - set(readable)):
        yield Cause(
            Kind.MISSED_NIGHT,
            name,
            "",
            now,
            f"The collection {name} is left out of all nights: its file is missing or damaged.",
        )


def schedules_that_are_on(instance: dg.DagsterInstance) -> list[Any]:
    """Return the states of the schedules of the night that are switched on."""
    if instance.schedule_storage is None:
        return []
    return [
        state
        for state in instance.all_instigator_state()
        if state.instigator_type.value == "SCHEDULE"
        and state.instigator_name in NIGHTS
        and state.is_running
    ]


def last_time(cron: str, now: float) -> float:
    """Return the last time of a daily schedule, ``M H * * *`` in UTC, in seconds since 1970."""
    minute, hour, *days = cron.split()
    if days != ["*"] * 3:
        raise ValueError(f"{cron} is not once a day")
    moment = datetime.fromtimestamp(now, UTC)
    due = moment.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
    return (due if due <= moment else due - timedelta(days=1)).timestamp()


def _fault(instance: dg.DagsterInstance, state: Any, due: float) -> str | None:
    """Return why a night has not started; None if it has."""
    ticks = instance.get_ticks(
        state.instigator_origin_id, state.selector_id, after=due - _SECONDS_AROUND
    )
    if not ticks:
        return "no daemon was there for it"
    # Not one at work, or whose daemon was killed: that of a later time may just have begun.
    ended = [tick for tick in ticks if tick.status.value != _AT_WORK]
    if not ended:
        return "its evaluation has not ended"
    # The newest, which may be that of a later time.
    tick = ended[0]
    if tick.is_failure:
        return "its evaluation failed"
    runs = (
        list(instance.get_runs(dg.RunsFilter(run_ids=list(tick.run_ids)))) if tick.run_ids else []
    )
    if runs and all(run.status in _NOT_BEGUN for run in runs):
        return f"its {len(runs):,} runs are waiting in the queue"
    return None
