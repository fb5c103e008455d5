import sqlite3
from contextlib import closing

import dagster as dg
import pytest

from assets.methods.common.files import written_whole
from assets.methods.common.processes import this_process
from assets.resources.collections import PARTITIONS_NAME, Collection, CollectionRegistry
from assets.resources.mlflow_database import fault_of_database
from assets.resources.tracking import DAGSTER_RUN, Tracking
from orchestration.dead_runs import PROCESS_TAG
from orchestration.doctor import damaged_databases, findings
from orchestration.instance import register
from support.jobs import nothing


@pytest.fixture
def look(home, instance):
    tracking = Tracking(home=str(home))
    return lambda: list(findings(home, instance, tracking))


def test_nothing_is_wrong_with_a_home_at_rest(home, instance, look):
    register(instance, Collection("birds", "/birds"))
    assert look() == []
    assert list(damaged_databases(home)) == []


def test_partitions_and_collections_are_brought_together(home, instance, look):
    register(instance, Collection("gone", "/gone"))
    CollectionRegistry(home).remove("gone")
    CollectionRegistry(home).add(Collection("unknown", "/unknown"))
    one, other = look()
    assert one.what == "The partition gone has no collection that can be read."
    assert other.what == "The collection unknown is no partition in Dagster."
    one.repair()
    other.repair()
    assert instance.get_dynamic_partitions(PARTITIONS_NAME) == ["unknown"]
    assert look() == []


def test_a_run_whose_process_is_gone_is_reported_as_failed(instance, look):
    tag = this_process("").rpartition(":")[0].split(":")
    tag[1] = "999999999"
    run = instance.create_run_for_job(
        nothing, tags={PROCESS_TAG: ":".join(tag)}, status=dg.DagsterRunStatus.STARTED
    )
    (found,) = look()
    assert run.run_id in found.what
    found.repair()
    assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.FAILURE
    assert look() == []


def test_a_run_of_mlflow_ends_as_its_run_of_dagster_did(home, instance, look):
    tracking = Tracking(home=str(home))
    run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.SUCCESS)
    tags = {DAGSTER_RUN: run.run_id, "dagster.asset": ""}
    tracked = tracking.client.create_run(tracking.experiment_id, tags=tags)
    (found,) = look()
    assert found.advice == "It becomes FINISHED."
    found.repair()
    assert tracking.client.get_run(tracked.info.run_id).info.status == "FINISHED"
    assert look() == []


def test_a_damaged_database_of_mlflow_is_set_aside_and_made_anew(home, look, made_at_once):
    (home / "mlflow.db").write_bytes(b"no database")
    (found,) = look()
    assert "mlflow.db is damaged (file is not a database)" in found.what
    found.repair()
    assert (home / "mlflow.db.corrupt").read_bytes() == b"no database"
    assert fault_of_database(home) is None
    assert look() == []


def test_a_database_of_a_newer_mlflow_is_for_a_person_to_mend(home, look):
    with closing(sqlite3.connect(home / "mlflow.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'fffffffffff1'")
        connection.execute("INSERT INTO registered_models (name, workspace) VALUES ('n', 'w')")
        connection.commit()
    (found,) = look()
    assert found.repair is None
    assert "newer MLflow" in found.what


def test_a_file_that_is_being_written_is_no_finding(home, look):
    with written_whole(home / "file.txt"):
        assert look() == []
