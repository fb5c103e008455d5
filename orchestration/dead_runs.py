"""Runs whose process is gone, and processes whose run is over.

Dagster's launcher for processes has no check of their health: a code server reports its own dead
children, but nobody does when it was killed with them, and nobody looks after the runs of command
lines. The sensor `dead_runs` does, every few seconds.
"""

import json
import os
import signal
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.methods.common.processes import RunProcess, named_process

# Of a run that a command line carries out itself.
PROCESS_TAG = "tessera/process"
PROCESS_GONE = "The process that carried out this run is gone."
UNFINISHED = [
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.CANCELING,
]
FINISHED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]

# A process ends by itself a moment after its run.
_SECONDS_TO_END = 10.0
_SECONDS_TO_LOOK_BACK = 300.0
# The launcher's note of where the code server is that started a run.
_LAUNCHED_TAG = ".dagster/grpc_info"


def fail_dead_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Report as failed the runs whose process on this machine has ended.

    Without it such a run would seem to go on for ever, and the next one would wait for its place in
    the pool.
    """
    dead = dead_runs_of(instance)
    for run in dead:
        fail_run(instance, run)
    return dead


def dead_runs_of(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Return the runs that have not ended, and whose process on this machine has."""
    # A command line may be killed after it has created its run, and before it has started it.
    statuses = [*UNFINISHED, dg.DagsterRunStatus.NOT_STARTED]
    unfinished = instance.get_runs(dg.RunsFilter(statuses=statuses))
    return [run for run in unfinished if _is_dead(instance, run)]


def fail_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Report as failed a run whose process is gone, and free its pool slots."""
    instance.report_run_failed(run, PROCESS_GONE)
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def kill_processes_of_ended_runs(instance: dg.DagsterInstance) -> list[int]:
    """Kill the processes of runs that have been over for a while; return their numbers.

    A run that was cancelled while its code server was gone is over for Dagster, but not for its
    process.
    """
    now = datetime.now(UTC)
    recent = dg.RunsFilter(
        statuses=FINISHED, updated_after=now - timedelta(seconds=_SECONDS_TO_LOOK_BACK)
    )
    killed = []
    for record in instance.get_run_records(recent):
        if record.end_time is None or now.timestamp() - record.end_time < _SECONDS_TO_END:
            continue
        process = _launched_process(instance, record.dagster_run)
        if process is not None and process.is_alive() and _is_of_this_home(instance, process):
            with suppress(ProcessLookupError):
                os.kill(process.number, signal.SIGKILL)
                killed.append(process.number)
    return killed


def process_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> RunProcess | None:
    """Return the process of this machine that carries a run out, or has; None if none is known."""
    return _process_of_command_line(run) or _launched_process(instance, run)


def _is_dead(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    process = process_of(instance, run)
    if process is None:
        return False
    return not process.is_alive() or not _is_of_this_home(instance, process)


def _is_of_this_home(instance: dg.DagsterInstance, process: RunProcess) -> bool:
    """Whether a process works for this home, and not for one that this is a copy of."""
    home = process.home()
    try:
        return home is None or os.path.samefile(home, instance.root_directory)
    except OSError:
        return False


def _process_of_command_line(run: dg.DagsterRun) -> RunProcess | None:
    return named_process(run.tags.get(PROCESS_TAG, ""), run.run_id)


def _launched_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> RunProcess | None:
    """Return the process that a code server of this machine has started for a run, if it has."""
    # Only on one machine can a code server be reached by a socket.
    if "socket" not in json.loads(run.tags.get(_LAUNCHED_TAG) or "{}"):
        return None
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        number = event.engine_event_data.metadata.get("pid") if event else None
        if number is not None:
            return RunProcess(int(str(number.value)), entry.timestamp)
    return None
