import os
import socket
import subprocess
import sys

import dagster as dg
import pytest

from assets.resources.collections import PARTITIONS_NAME, Collection
from orchestration.instance import PROCESS_TAG, bury_dead_runs, prepare_home, register, this_process


def test_the_home_is_dagsters_home_and_holds_the_projects_settings(home):
    assert os.environ["DAGSTER_HOME"] == str(home)
    assert (home / "dagster.yaml").read_text().startswith("# Dagster's instance.")


def test_settings_that_somebody_put_into_the_home_stay(home):
    (home / "dagster.yaml").unlink()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    prepare_home()
    assert (home / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"


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


@pytest.mark.parametrize(
    ("process", "status"),
    [
        (lambda: f"{socket.gethostname()}:{_ended_process()}", dg.DagsterRunStatus.FAILURE),
        (this_process, dg.DagsterRunStatus.STARTED),
        (lambda: f"another-host:{_ended_process()}", dg.DagsterRunStatus.STARTED),
        (lambda: "", dg.DagsterRunStatus.STARTED),
    ],
    ids=["dead", "alive", "elsewhere", "not ours"],
)
def test_only_runs_of_dead_processes_are_buried(instance, process, status):
    run = _started_run(instance, process())
    buried = bury_dead_runs(instance)
    assert instance.get_run_by_id(run.run_id).status == status
    assert bool(buried) == (status == dg.DagsterRunStatus.FAILURE)
