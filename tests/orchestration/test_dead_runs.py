import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any

import dagster as dg
import pytest

from assets.methods.common.processes import this_process
from orchestration import dead_runs
from orchestration.dead_runs import (
    PROCESS_TAG,
    fail_dead_runs,
    kill_processes_of_ended_runs,
    process_of,
)
from support.jobs import nothing

RUN_ID = "7f0c0000-0000-4000-8000-000000000000"


def _started_run(instance: dg.DagsterInstance, process: str) -> dg.DagsterRun:
    run = instance.create_run_for_job(nothing, run_id=RUN_ID, tags={PROCESS_TAG: process})
    instance.handle_new_event(
        dg.EventLogEntry(
            error_info=None,
            level="debug",
            user_message="",
            run_id=run.run_id,
            timestamp=0.0,
            dagster_event=dg.DagsterEvent("PIPELINE_START", nothing.name),
        )
    )
    return run


def _ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.process
@pytest.mark.parametrize(
    ("process", "is_dead"),
    [
        (lambda: f"{socket.gethostname()}:{_ended_process()}", True),
        (lambda: this_process("") + RUN_ID, False),
        (lambda: f"{socket.gethostname()}:{os.getpid()}", False),
        (lambda: f"{socket.gethostname()}:{os.getpid()}:12.50", True),
        (lambda: f"another-host:{_ended_process()}", False),
        (lambda: f"{socket.gethostname()}:{_ended_process()}:12.50:another-run", False),
        (lambda: "", False),
    ],
    ids=[
        "dead",
        "alive",
        "alive, older tag",
        "number given again",
        "elsewhere",
        "taken over",
        "no",
    ],
)
def test_only_runs_of_dead_processes_are_failed(instance, process, is_dead):
    run = _started_run(instance, process())
    failed = fail_dead_runs(instance)
    status = dg.DagsterRunStatus.FAILURE if is_dead else dg.DagsterRunStatus.STARTED
    assert instance.get_run_by_id(run.run_id).status == status
    assert bool(failed) == is_dead


@pytest.mark.process
def test_a_run_whose_process_ended_before_it_began_is_failed(instance):
    process = f"{socket.gethostname()}:{_ended_process()}"
    dead = instance.create_run_for_job(nothing, tags={PROCESS_TAG: process})
    waiting = instance.create_run_for_job(nothing)
    assert [run.run_id for run in fail_dead_runs(instance)] == [dead.run_id]
    status = instance.get_run_by_id(waiting.run_id).status
    assert status is dg.DagsterRunStatus.NOT_STARTED


@pytest.mark.process
def test_a_process_that_nobody_has_waited_for_is_dead_all_the_same(instance):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run = _started_run(instance, f"{socket.gethostname()}:{process.pid}")
    assert process_of(instance, run).is_alive()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert [dead.run_id for dead in fail_dead_runs(instance)] == [run.run_id]
    process.communicate()


@pytest.mark.process
def test_a_copied_home_leaves_the_processes_of_the_original_alone(instance, tmp_path, monkeypatch):
    process = subprocess.Popen(
        [sys.executable, "-c", "print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TESSERA_HOME": str(tmp_path)},
    )
    process.stdout.readline()
    run = _launched_run(instance, process.pid)
    assert [dead.run_id for dead in fail_dead_runs(instance)] == [run.run_id]
    monkeypatch.setattr(dead_runs, "_SECONDS_TO_END", -1.0)
    assert kill_processes_of_ended_runs(instance) == []
    assert process.poll() is None
    process.communicate(b"\n")


def _launched_run(instance: dg.DagsterInstance, pid: int, place: str = "socket"):
    """A run as a code server leaves it: the launcher's tag, and an event with the process."""
    tags = {".dagster/grpc_info": json.dumps({"host": "localhost", place: "x"})}
    run = instance.create_run_for_job(nothing, tags=tags)
    # The event of a run in this process has the same shape.
    with_number = nothing.execute_in_process(instance=instance).run_id
    entries = instance.all_logs(with_number, of_type=dg.DagsterEventType.ENGINE_EVENT)
    entry = next(one for one in entries if "pid" in one.dagster_event.engine_event_data.metadata)
    data = entry.dagster_event.engine_event_data
    metadata: Any = data.metadata
    metadata["pid"] = dg.MetadataValue.text(str(pid))
    kind = dg.DagsterEventType.ENGINE_EVENT.value
    instance.report_dagster_event(
        dg.DagsterEvent(kind, nothing.name, event_specific_data=data), run.run_id
    )
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", nothing.name), run.run_id)
    return instance.get_run_by_id(run.run_id)


@pytest.mark.process
@pytest.mark.parametrize("place", ["socket", "port"])
def test_a_launched_run_whose_process_has_ended_is_failed_on_its_own_machine(instance, place):
    dead = _launched_run(instance, _ended_process(), place)
    alive = _launched_run(instance, os.getpid(), place)
    failed = [run.run_id for run in fail_dead_runs(instance)]
    assert failed == ([dead.run_id] if place == "socket" else [])
    assert instance.get_run_by_id(alive.run_id).status is dg.DagsterRunStatus.STARTED


@pytest.mark.process
def test_a_process_that_outlives_its_run_is_killed_after_a_while(instance, monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run = _launched_run(instance, process.pid)
    assert kill_processes_of_ended_runs(instance) == []
    instance.report_run_canceled(run)
    assert kill_processes_of_ended_runs(instance) == []
    monkeypatch.setattr(dead_runs, "_SECONDS_TO_END", -1.0)
    assert kill_processes_of_ended_runs(instance) == [process.pid]
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    assert kill_processes_of_ended_runs(instance) == []
