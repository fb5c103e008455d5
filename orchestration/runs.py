"""Carrying a job out in this process, on the same instance as the UI."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from assets.checks.collection_checks import is_failure
from assets.generations import failed_check
from assets.methods.common.errors import UserError
from assets.methods.common.files import remove_unfinished
from assets.methods.common.processes import this_process
from assets.resources.collections import Collection
from assets.resources.outages import TrackingError
from assets.resources.tracking import Tracking
from assets.steps import NOT_TRACKED, TRACKING
from orchestration.dead_runs import (
    PROCESS_GONE,
    PROCESS_TAG,
    UNFINISHED,
    fail_dead_runs,
)
from orchestration.jobs import ASSETS_OF, CHECKS
from orchestration.run_queue import PARTITION_TAG, with_origins

# By name: of an exception in a run, Dagster keeps no more.
INTERRUPTS = {"KeyboardInterrupt", "DagsterExecutionInterruptedError"}


class RunError(Exception):
    """A run ended in something other than a user's mistake; the message names it in a line."""


class ProcessGoneError(RunError):
    """A run was ended from outside, as when its process is killed; another may do the same."""


class CheckError(RunError):
    """A run made what it was asked for, but an asset check failed at ERROR."""


@dataclass(frozen=True)
class FinishedRun:
    """What a run left behind: seconds by step, and the evaluations of its checks.

    ``not_tracked`` says why MLflow lacks some of it; None if it has all.
    """

    run_id: str
    seconds: dict[str, float]
    checks: Sequence[dg.AssetCheckEvaluation]
    not_tracked: str | None = None

    @property
    def failed_checks(self) -> list[dg.AssetCheckEvaluation]:
        """The checks that failed at ERROR, blocking or not."""
        return [check for check in self.checks if is_failure(check)]


def carry_out(
    definitions: dg.Definitions,
    tracking: Tracking,
    instance: dg.DagsterInstance,
    job: str,
    collection: Collection,
    debug: bool = False,
) -> FinishedRun:
    """Run ``job`` for ``collection``, with its settings.

    A run in which nothing has failed but checks is returned, too. Raises UserError with the
    sentence of the asset that refused, or when a run of the queue is at work on the collection,
    KeyboardInterrupt when the run was interrupted, RunError for anything else.
    """
    check_is_free(tracking, instance, collection.name)
    arguments = {
        "partition_key": collection.name,
        "run_config": {**collection.run_config(ASSETS_OF[job]), **console(debug)},
    }
    resolved = definitions.resolve_job_def(job)
    return _execute(tracking, instance, resolved, arguments, {}, debug)


def evaluate_stored(
    definitions: dg.Definitions,
    tracking: Tracking,
    instance: dg.DagsterInstance,
    name: str,
    keys: set[dg.AssetCheckKey],
    debug: bool = False,
) -> FinishedRun:
    """Evaluate checks on what is stored of the collection called ``name``; nothing is computed.

    Raises what ``carry_out`` raises.
    """
    check_is_free(tracking, instance, name)
    # Dagster takes no partition key for a job that has checks alone.
    job = definitions.resolve_job_def(CHECKS).get_subset(asset_check_selection=keys)
    arguments = {"run_config": console(debug)}
    return _execute(tracking, instance, job, arguments, {PARTITION_TAG: name}, debug)


def check_is_free(tracking: Tracking, instance: dg.DagsterInstance, name: str) -> None:
    """Raise UserError when a run is at work on a collection; one that has died is reported."""
    dead = fail_dead_runs(instance)
    for run in dead:
        finish_run(tracking, run.run_id, dg.DagsterRunStatus.FAILURE)
    if dead:
        remove_unfinished(Path(tracking.home))
    check_not_at_work(instance, name)


def _execute(
    tracking: Tracking,
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    arguments: dict[str, Any],
    tags: dict[str, str],
    debug: bool,
) -> FinishedRun:
    run_id = str(uuid.uuid4())
    with with_origins(instance):
        result = job.execute_in_process(
            instance=instance,
            tags={**tags, PROCESS_TAG: this_process(run_id)},
            run_id=run_id,
            raise_on_error=debug,
            **arguments,
        )
    if not result.success:
        failure = failure_of(result.all_events)
        status = dg.DagsterRunStatus.FAILURE
        if isinstance(failure, KeyboardInterrupt):
            # Dagster calls it a failure unless its UI has asked for the interrupt.
            instance.report_run_canceled(result.dagster_run, "Interrupted at the terminal.")
            status = dg.DagsterRunStatus.CANCELED
        finish_run(tracking, result.run_id, status)
        if not isinstance(failure, CheckError):
            raise failure
    return _finished(result.run_id, result.all_events)


def finished_run(instance: dg.DagsterInstance, run_id: str) -> FinishedRun:
    """Return what an earlier run left behind, by its log."""
    entries = instance.all_logs(run_id)
    return _finished(run_id, [entry.dagster_event for entry in entries if entry.dagster_event])


def check_not_at_work(instance: dg.DagsterInstance, name: str) -> None:
    """Raise UserError if a run is at work on a collection."""
    same = dg.RunsFilter(tags={PARTITION_TAG: name}, statuses=UNFINISHED)
    if instance.get_runs_count(same):
        raise UserError(at_work(name))


def at_work(name: str) -> str:
    """Return why a collection cannot be worked on now."""
    return f"Another tessera is at work on {name}: wait for it to end."


def console(debug: bool = False) -> dict[str, Any]:
    """Return the part of a run's configuration that says what it writes to its standard error."""
    # The bars have the terminal to themselves; the run's log in the UI has every line.
    level = "INFO" if debug else "CRITICAL"
    return {"loggers": {"console": {"config": {"log_level": level}}}}


def finish_run(tracking: Tracking, run_id: str, status: dg.DagsterRunStatus) -> None:
    """Report to MLflow how a run ended. That it is down is an error only if tracking is strict."""
    # The run itself has already reported that it could not be tracked.
    try:
        tracking.finish_runs(run_id, status)
    except TrackingError:
        if tracking.strict:
            raise


def failure_of(events: Iterable[dg.DagsterEvent]) -> BaseException:
    """Return why a run failed, from its events.

    UserError with the sentence of the asset that refused, KeyboardInterrupt if the run was
    interrupted, ProcessGoneError if it was ended from outside, CheckError if nothing but checks has
    failed, else RunError.
    """
    failed_checks: list[str] = []
    for event in events:
        if event.is_run_failure:
            # Reported from outside, it has a message and no error, and no asset has failed before.
            error = event.event_specific_data and event.job_failure_data.error
            if error is None and not failed_checks:
                return ProcessGoneError(_message_from_outside(event))
            if error is not None and _was_interrupted(error):
                return KeyboardInterrupt()
        if not event.is_step_failure:
            continue
        data = event.step_failure_data
        if failed_check(event) is not None and data.user_failure_data is not None:
            failed_checks.append(str(data.user_failure_data.description))
            continue
        if data.user_failure_data is not None:
            return UserError(data.user_failure_data.description)
        if data.error is not None:
            if _was_interrupted(data.error):
                return KeyboardInterrupt()
            cause = data.error.cause or data.error
            line = cause.message.strip().split("\n")[0]
            return RunError(f"{event.step_key} failed: {line}")
    if failed_checks:
        return CheckError("; ".join(failed_checks))
    return RunError("The run failed before its first asset.")


def _message_from_outside(event: dg.DagsterEvent) -> str:
    message = event.message or PROCESS_GONE
    # What Dagster writes where nobody gave a reason, as a code server whose child died.
    return PROCESS_GONE if "from outside the execution context" in message else message


def _finished(run_id: str, events: Sequence[dg.DagsterEvent]) -> FinishedRun:
    seconds = {
        str(event.step_key): round(event.step_success_data.duration_ms / 1000, 2)
        for event in events
        if event.is_step_success
    }
    evaluated = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    checks = [
        event.asset_check_evaluation_data for event in events if event.event_type is evaluated
    ]
    return FinishedRun(run_id, seconds, checks, _not_tracked(events))


def _not_tracked(events: Iterable[dg.DagsterEvent]) -> str | None:
    for event in events:
        if event.is_step_materialization:
            note = event.step_materialization_data.materialization.metadata.get(TRACKING)
            if note is not None:
                return str(note.value).removeprefix(NOT_TRACKED)
    return None


def _was_interrupted(error: Any) -> bool:
    while error is not None:
        if error.cls_name in INTERRUPTS:
            return True
        error = error.cause
    return False
