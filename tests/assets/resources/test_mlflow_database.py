import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from alembic import command
from alembic.config import Config

from assets.resources import mlflow_database
from assets.resources.mlflow_database import fault_of_database, set_database_aside
from assets.resources.outages import TrackingError
from assets.resources.tracking import Tracking


def _runs(home: Path) -> list[str]:
    tracking = Tracking(home=str(home))
    return [run.info.run_name for run in tracking.client.search_runs([tracking.experiment_id])]


def _unheard(message: str) -> None:
    raise AssertionError(message)


def _track(home: Path, name: str = "explain") -> str:
    with Tracking(home=str(home)).lone_run(name, _unheard) as run:
        run.file("note.txt", name.encode())
    return run.run_id


def _execute(home: Path, *statements: str) -> None:
    with closing(sqlite3.connect(home / "mlflow.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def _half_make(home: Path) -> None:
    """What a process leaves that is killed between two steps of MLflow's."""
    _execute(home, "UPDATE alembic_version SET version_num = '90e64c465722'", "DROP TABLE secrets")


def _downgrade(home: Path) -> None:
    """Bring the database to the schema of the MLflow before."""
    migrations = Path(mlflow.__file__).parent / "store" / "db_migrations"
    config = Config(migrations / "alembic.ini")
    config.set_main_option("script_location", str(migrations))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{home / 'mlflow.db'}")
    command.downgrade(config, "-1")


def test_a_half_made_database_is_set_aside_and_made_anew(home, caplog):
    _half_make(home)
    _track(home)
    assert _runs(home) == ["explain"]
    assert (home / "mlflow.db.corrupt").exists()
    assert "was half made by a process that was killed" in caplog.text


def test_a_database_that_was_killed_at_its_first_table_is_made_anew(home, made_at_once):
    (home / "mlflow.db").unlink()
    (home / "mlflow-database.json").unlink()
    with closing(sqlite3.connect(home / "mlflow.db")) as connection:
        connection.execute("CREATE TABLE experiments (experiment_id INTEGER)")
    _track(home)
    assert _runs(home) == ["explain"]


def test_a_process_that_is_killed_while_it_makes_the_database_leaves_none(
    home, monkeypatch, made_at_once
):
    class Killed(BaseException):
        pass

    def kill(*paths: Path) -> None:
        raise Killed

    (home / "mlflow.db").unlink()
    # The folder would go with the exception, but not with the process.
    (home / ".mlflow-left").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", kill)
        with pytest.raises(Killed):
            _ = Tracking(home=str(home)).client
    assert not (home / "mlflow.db").exists()
    _track(home)
    assert _runs(home) == ["explain"]
    assert [file.name for file in home.glob(".*")] == []


def test_what_an_older_database_left_is_not_applied_to_the_new_one(home, made_at_once):
    (home / "mlflow.db").write_bytes(b"")
    (home / "mlflow.db-wal").write_bytes(b"left")
    _track(home)
    assert _runs(home) == ["explain"]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda file: file.write_bytes(b"no database" * 1000), "file is not a database"),
        (lambda file: file.write_bytes(b"no"), "file is not a database"),
        (lambda file: file.write_bytes(file.read_bytes()[: 9 * 4096]), "malformed"),
        (lambda file: _execute(file.parent, "DROP TABLE tags"), "tables are missing"),
    ],
)
def test_a_damaged_database_costs_neither_result_nor_time(home, damage, why):
    damage(home / "mlflow.db")
    heard, begun = [], time.monotonic()
    for _ in range(2):
        with Tracking(home=str(home)).lone_run("explain", heard.append) as run:
            run.metrics({"score": 1.0})
            run.file("note.txt", b"cells")
    assert why in run.unreachable
    assert "`tessera doctor --repair`" in run.unreachable
    assert len(heard) == 2
    # MLflow itself waits for two minutes.
    assert time.monotonic() - begun < 10
    with (
        pytest.raises(TrackingError, match=why),
        Tracking(home=str(home), strict=True).lone_run("explain", heard.append),
    ):
        raise AssertionError("the body has been run")


def test_a_second_damaged_database_does_not_replace_the_first(home):
    for text in (b"first", b"second"):
        (home / "mlflow.db").write_bytes(text)
        set_database_aside(home)
    assert (home / "mlflow.db.corrupt").read_bytes() == b"first"
    assert (home / "mlflow.db.corrupt-2").read_bytes() == b"second"


def test_a_page_that_was_overwritten_is_found(home):
    assert fault_of_database(home) is None
    with (home / "mlflow.db").open("r+b") as file:
        file.seek(4096 * 20)
        file.write(b"\xff" * 4096 * 20)
    assert fault_of_database(home)


def test_a_database_that_is_locked_is_waited_for_once(home, monkeypatch):
    monkeypatch.setattr(mlflow_database, "LONGEST_LOCKED", 0.2)
    _track(home)
    heard, begun = [], time.monotonic()
    with closing(sqlite3.connect(home / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        for _ in range(3):
            with Tracking(home=str(home)).lone_run("explain", heard.append) as run:
                run.metrics({"score": 1.0})
    assert run.unreachable.endswith("mlflow.db is locked by another program")
    assert time.monotonic() - begun < 5


def test_an_older_database_is_upgraded_after_a_backup(home, caplog):
    run_id = _track(home, "before")
    _downgrade(home)
    _track(home, "after")
    assert sorted(_runs(home)) == ["after", "before"]
    (backup,) = (home / "backups").glob("mlflow-*.db")
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("SELECT run_uuid FROM runs").fetchall() == [(run_id,)]
        assert connection.execute("SELECT * FROM alembic_version").fetchall() == [("75868b020152",)]
    assert f"a backup is {backup}" in caplog.text


def test_a_database_of_a_newer_mlflow_is_left_alone(home):
    _track(home)
    _execute(home, "UPDATE alembic_version SET version_num = 'fffffffffff1'")
    before = (home / "mlflow.db").read_bytes()
    heard = []
    with Tracking(home=str(home)).lone_run("explain", heard.append) as run:
        pass
    assert "was made by a newer MLflow" in run.unreachable
    assert (home / "mlflow.db").read_bytes() == before


@pytest.mark.parametrize("name", ["plain", "a b%20c#d Ünïcode '"])
def test_a_home_that_is_moved_has_its_files_with_it(home, name, caplog, tmp_path):
    run_id = _track(home)
    new = tmp_path / name
    home.rename(new)
    tracking = Tracking(home=str(new))
    assert tracking.client.get_run(run_id).info.artifact_uri.startswith(new.as_uri())
    there = Path(tracking.client.download_artifacts(run_id, "note.txt", str(tmp_path)))
    assert there.read_bytes() == b"explain"
    later = _track(new, "later")
    assert list(new.glob(f"mlflow-artifacts/{later}/**/note.txt"))
    assert not home.exists()
    assert f"was moved or copied from {home}" in caplog.text
    with closing(sqlite3.connect(new / "backups" / "mlflow-before-the-home-moved.db")) as backup:
        (address,) = backup.execute("SELECT artifact_uri FROM runs").fetchone()
    assert address.startswith(home.as_uri())


def test_a_copy_never_writes_into_the_original(home, tmp_path):
    run_id = _track(home)
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    before = _contents(home)
    later = _track(copy, "later")
    with Tracking(home=str(copy)).in_experiment("study").lone_run("study", _unheard) as study:
        study.file("note.txt", b"study")
    assert _contents(home) == before
    for run in (run_id, later, study.run_id):
        assert list(copy.glob(f"mlflow-artifacts/{run}/**/note.txt"))
    # Each goes on by itself.
    _track(home, "original")
    assert sorted(_runs(home)) == ["explain", "original"]
    assert sorted(_runs(copy)) == ["explain", "later"]


def test_another_name_of_the_same_home_changes_nothing(home, tmp_path, caplog):
    run_id = _track(home)
    link = tmp_path / "link"
    link.symlink_to(home)
    _track(link, "linked")
    assert not caplog.records
    tracking = Tracking(home=str(home))
    assert tracking.client.get_run(run_id).info.artifact_uri.startswith(home.as_uri())


def _contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
