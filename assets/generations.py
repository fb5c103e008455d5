"""Which of the stored values of an asset counts, and what the end of a run makes of its values.

Each value has a folder of its own, a generation, in the folder ``ASSET/PARTITION``. Files beside it
point to generations:

- ``current``: the last good value, or one that a person has accepted. It is what is read.
- ``waiting``: the value of a run that made all it was asked for, but a check failed at ERROR. It
  waits for a person to accept it, or for the checks to pass.
- ``started``: the newest value of a run that is at work, or has broken off. Only this run, and runs
  that go on from where it failed, read it.

As long as there is no current value the one that waits is read, and else the one that was started.
"""

import json
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from assets.methods.common.files import write_whole

CURRENT, WAITING, STARTED = "current", "waiting", "started"
# Of a generation: {"run_id", "written_at"}, where a run wrote it.
ORIGIN = "origin.json"
# The folder of an asset without partitions.
UNPARTITIONED = "all"
PARTITION_TAG = "dagster/partition"
# Of the failure of a step: the check that failed, as ASSET/CHECK.
FAILED_CHECK = "tessera/failed_check"
# Of an observation of an asset: whether its value is accepted although a check has failed.
ACCEPTED = "accepted"
_GENERATION = re.compile("[0-9a-f]{32}")
_STEPS_PLANNED = {
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
}
_OUTCOMES = {
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
}


@dataclass(frozen=True)
class Waiting:
    """A value that is not accepted: its generation, and the checks that failed (ASSET/CHECK)."""

    generation: str
    checks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Origin:
    """The run that wrote a value, and when, in seconds since 1970; older homes do not say it."""

    run_id: str = ""
    written_at: float = 0.0


def current_in(folder: Path) -> str | None:
    """Return the generation that is current; None if none is, or the pointer is damaged."""
    return _existing(folder, _text(folder / CURRENT))


def started_in(folder: Path) -> str | None:
    """Return the generation of a run that is at work, or has broken off."""
    return _existing(folder, _text(folder / STARTED))


def waiting_in(folder: Path) -> Waiting | None:
    """Return the value that waits to be accepted; None if none does."""
    try:
        stored = json.loads(_text(folder / WAITING))
        waiting = Waiting(str(stored["generation"]), tuple(map(str, stored["checks"])))
    except (ValueError, KeyError, TypeError):
        return None
    return waiting if _existing(folder, waiting.generation) else None


def pointers_in(folder: Path) -> set[str]:
    """Return all generations that some pointer of a folder names."""
    waiting = waiting_in(folder)
    named = (current_in(folder), waiting and waiting.generation, started_in(folder))
    return {generation for generation in named if generation}


def read_in(folder: Path) -> str | None:
    """Return the generation that counts for readers; None if there is no value."""
    waiting = waiting_in(folder)
    return current_in(folder) or (waiting and waiting.generation) or started_in(folder)


def checked_in(folder: Path) -> str | None:
    """Return the generation that a check looks at: a bad one that waits is not to be forgotten."""
    waiting = waiting_in(folder)
    return (waiting and waiting.generation) or current_in(folder) or started_in(folder)


def make_current(folder: Path, generation: str) -> None:
    """Make a generation the current one; nothing waits any longer."""
    write_whole(folder / CURRENT, generation.encode())
    for pointer in (WAITING, STARTED):
        (folder / pointer).unlink(missing_ok=True)


def make_started(folder: Path, generation: str) -> None:
    """Note the newest value of a run that is at work."""
    write_whole(folder / STARTED, generation.encode())


def let_wait(folder: Path, generation: str, checks: Iterable[str]) -> None:
    """Let a generation wait until it is accepted, or until ``checks`` pass."""
    waiting = {"generation": generation, "checks": sorted(checks)}
    write_whole(folder / WAITING, json.dumps(waiting, indent=2).encode())
    (folder / STARTED).unlink(missing_ok=True)


def note_origin(generation: Path, run_id: str) -> None:
    """Write down which run wrote a value, and when."""
    origin = {"run_id": run_id, "written_at": time.time()}
    write_whole(generation / ORIGIN, json.dumps(origin).encode())


def origin_of(generation: Path) -> Origin:
    """Return the origin of a value."""
    try:
        stored = json.loads(_text(generation / ORIGIN))
        return Origin(str(stored["run_id"]), float(stored["written_at"]))
    except (ValueError, KeyError, TypeError):
        return Origin()


def waiting_of(base: Path, partition: str) -> dict[Path, Waiting]:
    """Return what waits of a partition, by folder, and what was made with it without a partition.

    ``base`` holds the folders of the assets.
    """
    found = {folder: waiting_in(folder) for folder in base.glob(f"*/{partition}")}
    waits = {folder: one for folder, one in found.items() if one}
    runs = {origin_of(folder / one.generation).run_id for folder, one in waits.items()} - {""}
    for folder in base.glob(f"*/{UNPARTITIONED}"):
        waiting = waiting_in(folder)
        if waiting and origin_of(folder / waiting.generation).run_id in runs:
            waits[folder] = waiting
    return waits


def from_runs(base: Path, run_ids: set[str], partition: str | None) -> dict[Path, str]:
    """Return the generations of runs that failed, by the folder in which they started or wait."""
    found = {}
    for name in filter(None, (partition, UNPARTITIONED)):
        for folder in base.glob(f"*/{name}"):
            waiting = waiting_in(folder)
            for generation in (started_in(folder), waiting and waiting.generation):
                if generation and origin_of(folder / generation).run_id in run_ids:
                    found[folder] = generation
    return found


def settle_run(
    base: Path, instance: dg.DagsterInstance, run: dg.DagsterRun, written: Mapping[Path, str]
) -> set[str] | None:
    """Decide about the values that a run has ``written``, by folder, now that it ends.

    They become current if every step has succeeded. If nothing but checks has failed they wait;
    else they stay as started. The same goes for the values of the runs that it goes on from. A run
    that writes nothing and in which all checks pass that have failed before ends the waiting.
    Returns the checks that failed; None if anything else has, or was not reached.
    """
    outcome = _Outcome(instance, run)
    values = {**from_runs(base, ancestors_of(run), outcome.partition), **written}
    if not values:
        _end_waiting(base, outcome.passed)
    for folder, generation in values.items() if outcome.failed is not None else ():
        if outcome.failed:
            let_wait(folder, generation, outcome.failed)
            mark(instance, folder, is_accepted=False, checks=outcome.failed)
        else:
            make_current(folder, generation)
    return outcome.failed


def _end_waiting(base: Path, passed: Mapping[str, set[str]]) -> None:
    """Make current what waits for nothing but checks that have passed now, by partition."""
    for partition in passed:
        known = passed[partition] | passed.get(UNPARTITIONED, set())
        for folder, waiting in waiting_of(base, partition).items():
            if waiting.checks and known.issuperset(waiting.checks):
                make_current(folder, waiting.generation)


def mark(
    instance: dg.DagsterInstance, folder: Path, is_accepted: bool, checks: Iterable[str]
) -> None:
    """Show in Dagster's UI, beside a value, whether it is accepted although ``checks`` failed."""
    partition = None if folder.name == UNPARTITIONED else folder.name
    observation = dg.AssetObservation(
        folder.parent.name,
        partition=partition,
        metadata={ACCEPTED: is_accepted, "failed_checks": ", ".join(sorted(checks))},
    )
    instance.report_runless_asset_event(observation)


def ancestors_of(run: dg.DagsterRun) -> set[str]:
    """Return the runs from which a run goes on."""
    return {one for one in (run.parent_run_id, run.root_run_id) if one and one != run.run_id}


class _Outcome:
    """What the steps of a run have come to, by its log.

    ``failed`` has the checks that failed if nothing else has, and is None if a step broke off or
    was never reached. ``passed`` has the checks that passed, by partition.
    """

    def __init__(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
        entries = instance.all_logs(run.run_id, of_type=_STEPS_PLANNED | _OUTCOMES)
        events = [entry.dagster_event for entry in entries if entry.dagster_event]
        self.partition = run.tags.get(PARTITION_TAG)
        self.passed: dict[str, set[str]] = {}
        for event in events:
            if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                self._note(event.asset_check_evaluation_data)
        planned = {event.step_key for event in events if event.event_type in _STEPS_PLANNED}
        done = {event.step_key for event in events if event.is_step_success}
        failed = {event.step_key: failed_check(event) for event in events if event.is_step_failure}
        checks = {step: check for step, check in failed.items() if check}
        is_whole = len(checks) == len(failed) and planned <= done | checks.keys()
        self.failed = set(checks.values()) if is_whole else None

    def _note(self, evaluation: dg.AssetCheckEvaluation) -> None:
        if evaluation.passed:
            partition = evaluation.partition or self.partition or UNPARTITIONED
            check = check_path(evaluation.asset_key, evaluation.check_name)
            self.passed.setdefault(partition, set()).add(check)


def check_path(asset: dg.AssetKey, check: str) -> str:
    """Return the name of a check among those of all assets."""
    return f"{asset.to_user_string()}/{check}"


def failed_check(event: dg.DagsterEvent) -> str | None:
    """Return the check (ASSET/CHECK) by which a step failed; None if it failed otherwise."""
    told = event.step_failure_data.user_failure_data
    note: Any = told.metadata.get(FAILED_CHECK) if told is not None else None
    return None if note is None else str(note.value)


def is_generation(name: str) -> bool:
    """Whether this is the name of the folder of a value."""
    return _GENERATION.fullmatch(name) is not None


def _text(pointer: Path) -> str:
    with suppress(OSError):
        return pointer.read_text(errors="replace")
    return ""


def _existing(folder: Path, name: str) -> str | None:
    return name if is_generation(name) and (folder / name).is_dir() else None
