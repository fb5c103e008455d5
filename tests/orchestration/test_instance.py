import os
import socket
import subprocess
import sys

import dagster as dg
import pytest
from filelock import Timeout

from assets.resources.collections import PARTITIONS_NAME, Collection
from orchestration.instance import (
    PROCESS_TAG,
    collection_lock,
    fail_dead_runs,
    fail_orphaned_runs,
    prepare_home,
    process_number,
    register,
    this_process,
)


def test_the_home_is_dagsters_home_and_holds_the_projects_settings(home):
    assert os.environ["DAGSTER_HOME"] == str(home)
    assert (home / "dagster.yaml").read_text().startswith("# Dagster's instance.")


def test_settings_that_somebody_put_into_the_home_stay(home):
    (home / "dagster.yaml").unlink()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    prepare_home()
    assert (home / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"


def test_the_link_to_the_settings_follows_the_checkout(home, tmp_path):
    (home / "dagster.yaml").unlink()
    (home / "dagster.yaml").symlink_to(tmp_path / "an-older-checkout")
    prepare_home()
    assert (home / "dagster.yaml").read_text().startswith("# Dagster's instance.")
    assert [path.name for path in home.glob("*dagster.yaml*")] == ["dagster.yaml"]


def test_a_collection_becomes_a_partition(instance):
    register(instance, Collection("photos", "/photos"))
    assert instance.get_dynamic_partitions(PARTITIONS_NAME) == ["photos"]


def _started_run(instance: dg.DagsterInstance, process: str) -> dg.DagsterRun:
    run = instance.create_run_for_job(_job, tags={PROCESS_TAG: process})
    instance.handle_new_event(
        dg.EventLogEntry(
            error_info=None,
            level="debug",
            user_message="",
            run_id=run.run_id,
            timestamp=0.0,
            dagster_event=dg.DagsterEvent("PIPELINE_START", _job.name),
        )
    )
    return run


@dg.op
def _nothing():
    pass


@dg.job
def _job():
    _nothing()


def _ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.process
@pytest.mark.parametrize(
    ("process", "status"),
    [
        (lambda: f"{socket.gethostname()}:{_ended_process()}", dg.DagsterRunStatus.FAILURE),
        (this_process, dg.DagsterRunStatus.STARTED),
        (lambda: f"{socket.gethostname()}:{os.getpid()}", dg.DagsterRunStatus.STARTED),
        (lambda: f"{socket.gethostname()}:{os.getpid()}:12.50", dg.DagsterRunStatus.FAILURE),
        (lambda: f"another-host:{_ended_process()}", dg.DagsterRunStatus.STARTED),
        (lambda: "", dg.DagsterRunStatus.STARTED),
    ],
    ids=["dead", "alive", "alive, older tag", "number given again", "elsewhere", "not ours"],
)
def test_only_runs_of_dead_processes_are_buried(instance, process, status):
    run = _started_run(instance, process())
    buried = fail_dead_runs(instance)
    assert instance.get_run_by_id(run.run_id).status == status
    assert bool(buried) == (status == dg.DagsterRunStatus.FAILURE)


@pytest.mark.process
def test_a_process_that_nobody_has_waited_for_is_dead_all_the_same(instance):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    tag = f"{socket.gethostname()}:{process.pid}"
    assert process_number(tag) == process.pid
    run = _started_run(instance, tag)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert [dead.run_id for dead in fail_dead_runs(instance)] == [run.run_id]
    assert process_number(tag) is None
    process.communicate()


def test_the_number_of_a_process_is_known_on_its_own_machine_alone():
    assert process_number(this_process()) == os.getpid()
    assert process_number("another-host:1") is None
    assert process_number("") is None


def test_a_run_without_a_process_ends_with_the_daemon_that_started_it(instance):
    orphan, ours = _started_run(instance, ""), _started_run(instance, this_process())
    fail_orphaned_runs(instance)
    assert instance.get_run_by_id(orphan.run_id).status == dg.DagsterRunStatus.FAILURE
    assert instance.get_run_by_id(ours.run_id).status == dg.DagsterRunStatus.STARTED


def test_one_at_a_time_has_a_collection(home):
    with collection_lock("photos"), collection_lock("others", timeout=0), pytest.raises(Timeout):
        collection_lock("photos", timeout=0).acquire()
    with collection_lock("photos", timeout=0):
        pass
