import sqlite3
from contextlib import closing

import dagster as dg
import pytest

from assets.methods.common.errors import UserError
from assets.resources.collections import PARTITIONS_NAME, Collection
from orchestration import databases
from orchestration.databases import DATABASES, MARK, faults, prepare_databases, set_damaged_aside
from orchestration.instance import open_instance, register


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with whole databases, in which nothing is stored."""
    folder = tmp_path_factory.mktemp("made") / "home"
    prepare(folder)
    return folder


@pytest.fixture
def fresh(made, tmp_path):
    """A home as a first command leaves it, before its first run."""
    for name in (*DATABASES, MARK):
        place = tmp_path / "home" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((made / name).read_bytes())
    return tmp_path / "home"


def prepare(home, partitions=()):
    prepare_databases(home, PARTITIONS_NAME, lambda: list(partitions))


def cut_short(database, n_tables):
    """Leave a database as a process does that is killed while it makes the tables."""
    with closing(sqlite3.connect(database)) as connection:
        names = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for name in names[n_tables:]:
            connection.execute(f"DROP TABLE {name}")
        connection.commit()


@pytest.mark.parametrize("name", DATABASES)
@pytest.mark.parametrize("n_tables", [0, 1, 3])
def test_a_half_made_database_is_set_aside_and_made_anew(fresh, name, n_tables):
    (fresh / MARK).unlink()
    cut_short(fresh / name, n_tables)
    prepare(fresh, ["birds"])
    assert (fresh / f"{name}.corrupt").exists()
    assert list(faults(fresh)) == []
    with dg.DagsterInstance.local_temp(str(fresh)) as instance:
        assert instance.get_runs() == []
        known = instance.get_dynamic_partitions(PARTITIONS_NAME)
    assert known == (["birds"] if name.endswith("index.db") else [])


@pytest.mark.parametrize("name", DATABASES)
@pytest.mark.parametrize("is_emptied", [True, False])
def test_a_database_that_is_gone_or_empty_is_made_anew(fresh, name, is_emptied):
    if is_emptied:
        (fresh / name).write_bytes(b"")
    else:
        (fresh / name).unlink()
    prepare(fresh, ["birds"])
    with dg.DagsterInstance.local_temp(str(fresh)) as instance:
        assert instance.get_runs() == []
    assert [path.name for path in fresh.iterdir() if path.name.startswith(".")] == []


def test_what_is_whole_is_not_touched_again(fresh, monkeypatch):
    before = {name: (fresh / name).stat() for name in DATABASES}
    prepare(fresh)
    # Without the mark, as in a home of an older version, they are looked at once and stay.
    (fresh / MARK).unlink()
    prepare(fresh)
    for name, stat in before.items():
        assert ((fresh / name).stat().st_ino, (fresh / name).stat().st_size) == (
            stat.st_ino,
            stat.st_size,
        )
    monkeypatch.setattr(dg.DagsterInstance, "local_temp", None)
    prepare(fresh)


def test_an_older_database_with_runs_is_upgraded_after_a_backup(home):
    with open_instance() as instance:
        register(instance, Collection("birds", "/birds"))
    (home / MARK).unlink()
    index = home / "history/runs/index.db"
    with closing(sqlite3.connect(index)) as connection:
        # As it was before the last migration but one.
        connection.execute("DROP TABLE asset_check_executions")
        connection.execute("UPDATE alembic_version SET version_num = '701913684cb4'")
        connection.execute("INSERT INTO asset_keys (asset_key) VALUES ('[\"mosaic\"]')")
        connection.commit()
    with open_instance() as instance:
        assert instance.get_dynamic_partitions(PARTITIONS_NAME) == ["birds"]
    (backup,) = (home / "backups").iterdir()
    assert (backup / "history/runs/index.db").exists()
    assert not index.with_name("index.db.corrupt").exists()
    with closing(sqlite3.connect(index)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert ("asset_check_executions",) in tables


def test_a_database_of_a_newer_dagster_is_told_in_a_sentence(home):
    with open_instance() as instance:
        register(instance, Collection("birds", "/birds"))
    (home / MARK).unlink()
    with closing(sqlite3.connect(home / "history/runs/index.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
        connection.execute("INSERT INTO asset_keys (asset_key) VALUES ('[\"mosaic\"]')")
        connection.commit()
    with (
        pytest.raises(UserError, match=r"could not be brought to the version .*ffffffffffff"),
        open_instance(),
    ):
        pass


def test_a_database_that_another_program_holds_is_not_damaged(fresh, monkeypatch):
    monkeypatch.setattr(databases, "LONGEST_LOCKED", 0.1)
    database = fresh / "history/runs.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match=r"runs\.db cannot be used now \(database is locked\)"):
            list(faults(fresh))
    assert list(faults(fresh)) == []


def test_an_earlier_damaged_database_keeps_its_name(fresh):
    database = fresh / "history/runs.db"
    first = set_damaged_aside(fresh, database)
    prepare(fresh)
    second = set_damaged_aside(fresh, database)
    assert (first.name, second.name) == ("runs.db.corrupt", "runs.db.corrupt-2")
    assert first.exists()


@pytest.mark.parametrize("name", DATABASES)
def test_damage_is_told_in_a_sentence_and_set_aside_when_asked_for(home, name):
    with open_instance() as instance:
        register(instance, Collection("birds", "/birds"))
    database = home / name
    database.write_bytes(database.read_bytes()[:5_000] + b"\0" * 60_000)

    def look() -> None:
        with open_instance() as instance:
            instance.get_runs()
            instance.get_dynamic_partitions(PARTITIONS_NAME)
            instance.all_instigator_state()

    with pytest.raises(UserError, match=f"Dagster's database {database} is damaged"):
        look()
    assert [place for place, _ in faults(home)] == [database]
    set_damaged_aside(home, database)
    look()
    with open_instance() as instance:
        assert instance.get_dynamic_partitions(PARTITIONS_NAME) == ["birds"]
