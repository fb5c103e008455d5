import os
import subprocess
import sys
import time

import dagster as dg
import pytest
from filelock import FileLock

from orchestration.api.visualizations import run_worker
from orchestration.api.visualizations.map_runs import CANCELLED, WAITING, MapRequest, MapRuns
from orchestration.api.visualizations.run_worker import TAKEN, worker_command, worker_lock
from orchestration.instance import PROCESS_TAG, this_process


@pytest.fixture
def main(monkeypatch):
    """The worker in this process, which keeps its priority."""
    monkeypatch.setattr(run_worker.os, "nice", lambda increment: None)
    monkeypatch.setattr(run_worker, "_LOCK_SECONDS", 0.1)
    return run_worker.main


@pytest.fixture
def run_id(instance):
    run_id = dg.DagsterRun("photo_map").run_id
    return MapRuns(instance).create(run_id, MapRequest("birds", "digest", 12, {})).run_id


def test_a_second_worker_leaves_the_run_to_the_first(main, home, instance, run_id):
    lock = worker_lock(home, run_id)
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        assert main(run_id, "{}") == TAKEN
    assert instance.get_run_by_id(run_id).status is WAITING
    assert instance.get_run_by_id(run_id).tags[PROCESS_TAG] == ""


def test_a_run_that_is_cancelled_is_not_begun(main, instance, run_id):
    MapRuns(instance).mark(run_id, CANCELLED)
    assert main(run_id, "{}") == 0
    assert instance.get_run_by_id(run_id).status is WAITING
    assert instance.get_run_by_id(run_id).tags[PROCESS_TAG] == this_process()


def test_a_run_that_has_ended_or_gone_is_not_begun_again(main, instance, run_id):
    instance.report_run_canceled(instance.get_run_by_id(run_id))
    assert main(run_id, "{}") == 0
    assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.CANCELED
    instance.delete_run(run_id)
    assert main(run_id, "{}") == 0


@pytest.mark.process
def test_a_worker_is_seen_before_it_has_imported_anything_slow(home, run_id):
    lock = worker_lock(home, run_id)
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        begun = time.monotonic()
        ran = subprocess.run(worker_command(run_id, "{}"), capture_output=True, timeout=60)
        seconds = time.monotonic() - begun
    assert ran.returncode == TAKEN
    assert ran.stderr == b""
    modules = (
        "import sys, orchestration.api.visualizations.run_worker; print('dagster' in sys.modules)"
    )
    seen = subprocess.run([sys.executable, "-c", modules], capture_output=True, env=os.environ)
    assert seen.stdout.strip() == b"False"
    assert seconds < 30
