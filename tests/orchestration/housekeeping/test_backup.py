import errno
import fcntl
import io
import os
import shutil
import sqlite3
import stat
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from assets.io_managers import outputs_of
from assets.methods.common.errors import UserError
from assets.methods.common.files import new_unfinished
from assets.methods.photos.catalogue import Catalogue
from assets.resources.collections import Collection, CollectionRegistry, manifest_of_files
from assets.resources.home import RESTORING, home_folder
from assets.resources.tracking import Tracking
from orchestration.cli import backup as backup_command
from orchestration.cli import key as key_command
from orchestration.cli import list as list_command
from orchestration.cli import restore as restore_command
from orchestration.housekeeping import backup as backup_module
from orchestration.housekeeping.backup import LAST_MEMBER, back_up, restore
from orchestration.instance import open_instance, prepare_home
from support.homes import point_to
from support.nights import NIGHTS, Killed, killed_at

_NOT_IN_A_BACKUP = (".lock", "-wal", "-shm", "-journal")


def _contents(home: Path) -> dict[str, bytes]:
    """The files of a home but databases, of which a copy has other bytes."""
    return {
        path.relative_to(home).as_posix(): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and not path.name.endswith(_NOT_IN_A_BACKUP)
        if not path.read_bytes().startswith(b"SQLite")
    }


def _rows(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


def test_a_home_comes_back_on_another_path(kept_home, tmp_path, monkeypatch):
    (kept_home / "keys").mkdir()
    (kept_home / "keys" / "key.json").write_text("{}")
    (kept_home / "keys" / "key.json").chmod(0o600)
    databases = [*kept_home.rglob("*.db"), *kept_home.rglob("*.sqlite")]
    rows = {path.relative_to(kept_home): _rows(path) for path in databases}
    listed = manifest_of_files(["/a.jpg"])
    CollectionRegistry(kept_home).add(Collection("listed", str(listed)))
    before, file = _contents(kept_home), tmp_path / "home.tar"
    told = CliRunner().invoke(backup_command.command, [str(file)], catch_exceptions=False)
    assert f"of {kept_home} are in {file}" in told.output
    kept_home.rename(tmp_path / "lost")
    home = tmp_path / "elsewhere" / "home"
    point_to(home, monkeypatch)
    CliRunner().invoke(restore_command.command, [str(file)], catch_exceptions=False)
    assert _contents(home) == before
    assert {name: _rows(home / name) for name in rows} == rows
    assert stat.S_IMODE((home / "keys" / "key.json").stat().st_mode) == 0o600
    # It is a home that works: MLflow's files are found, and Dagster's runs.
    outputs = outputs_of(home)
    assert len(outputs.read(Catalogue, "raw_images", "birds").images) == 3
    tracking = Tracking(home=str(home))
    (run, *_) = tracking.client.search_runs(
        [tracking.experiment_id], "tags.`dagster.asset` = 'raw_images'"
    )
    note = Path(tracking.client.download_artifacts(run.info.run_id, "note.txt"))
    assert note.read_text() == f"night {NIGHTS - 1}"
    assert f"{home}/mlflow-artifacts/" in run.info.artifact_uri
    with open_instance() as instance:
        assert len(instance.get_run_ids()) == 2 * NIGHTS
    source = CollectionRegistry(home).get("listed").source
    assert source == str(home / "files" / listed.name)


def test_what_is_one_file_with_two_names_is_so_again(kept_home, tmp_path):
    (kept_home / "one").write_bytes(bytes(5000))
    (kept_home / "other").hardlink_to(kept_home / "one")
    back_up(kept_home, tmp_path / "home.tar")
    restore(tmp_path / "home.tar", tmp_path / "home-2")
    assert (tmp_path / "home-2" / "one").samefile(tmp_path / "home-2" / "other")


def test_nobody_else_can_read_a_backup_at_any_time(kept_home, tmp_path, monkeypatch):
    modes = []
    add = backup_module._add

    def look(archive, place, name, copies):
        modes.append([stat.S_IMODE(one.stat().st_mode) & 0o077 for one in tmp_path.glob(".*")])
        return add(archive, place, name, copies)

    monkeypatch.setattr(backup_module, "_add", look)
    before = os.umask(0)
    try:
        back_up(kept_home, tmp_path / "home.tar")
    finally:
        os.umask(before)
    assert {mode for found in modes for mode in found} == {0}
    assert stat.S_IMODE((tmp_path / "home.tar").stat().st_mode) == 0o600


def test_a_database_is_whole_though_somebody_writes_to_it(kept_home, tmp_path):
    database = kept_home / "inputs.sqlite"
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE numbers (number INTEGER)")
        connection.execute("INSERT INTO numbers VALUES (1)")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO numbers VALUES (2)")
        back_up(kept_home, tmp_path / "home.tar")
        connection.execute("COMMIT")
    restore(tmp_path / "home.tar", tmp_path / "home-2")
    with closing(sqlite3.connect(tmp_path / "home-2" / "inputs.sqlite")) as connection:
        assert connection.execute("SELECT number FROM numbers").fetchall() == [(1,)]


def test_a_backup_is_refused_where_it_cannot_be(kept_home, tmp_path):
    with pytest.raises(UserError, match="lies in the home itself"):
        back_up(kept_home, kept_home / "home.tar")
    with pytest.raises(UserError, match="is a folder"):
        back_up(kept_home, tmp_path)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A backup of a small home."""
    home = tmp_path / "small"
    (home / "folder").mkdir(parents=True)
    (home / "folder" / "file.txt").write_text("content")
    (home / "other.txt").write_text("other")
    back_up(home, tmp_path / "small.tar")
    return tmp_path / "small.tar"


def test_a_home_that_is_not_empty_is_left_alone(archive, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        restore(archive, home)
    assert [path.name for path in home.iterdir()] == ["mine.txt"]
    (home / "mine.txt").unlink()
    restore(archive, home)
    assert (home / "folder" / "file.txt").read_text() == "content"


def _with_member(archive: Path, member: tarfile.TarInfo) -> Path:
    """A backup with one more member."""
    changed = archive.with_name("changed.tar")
    with tarfile.open(archive) as old, tarfile.open(changed, "w") as new:
        *members, last = old.getmembers()
        for one in members:
            new.addfile(one, old.extractfile(one) if one.isfile() else None)
        new.addfile(member, io.BytesIO(bytes(member.size)))
        content = old.extractfile(last).read().replace(b'"members": 3', b'"members": 4')
        last.size = len(content)
        new.addfile(last, io.BytesIO(content))
    return changed


def test_two_do_not_restore_into_one_home(archive, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    other = os.open(home, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="Another `tessera restore` is at work on"):
        restore(archive, home)
    assert list(home.iterdir()) == []
    os.close(other)
    assert restore(archive, home) > 0


def test_a_file_system_without_locks_of_folders_will_do(archive, tmp_path, monkeypatch):
    def refuse(*_: int) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(backup_module.fcntl, "flock", refuse)
    assert restore(archive, tmp_path / "home") > 0


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [
        ("../outside.txt", tarfile.REGTYPE, ""),
        ("/tmp/absolute.txt", tarfile.REGTYPE, ""),
        ("folder/../../outside.txt", tarfile.REGTYPE, ""),
        ("link", tarfile.SYMTYPE, "/etc/passwd"),
        ("link", tarfile.SYMTYPE, "../../outside"),
        ("link", tarfile.LNKTYPE, "../outside.txt"),
        ("device", tarfile.CHRTYPE, ""),
        ("pipe", tarfile.FIFOTYPE, ""),
    ],
)
def test_a_member_that_would_lie_outside_is_refused_before_anything_is_unpacked(
    archive, tmp_path, name, kind, target
):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    with pytest.raises(UserError, match="Nothing was unpacked"):
        restore(_with_member(archive, member), tmp_path / "home")
    assert not (tmp_path / "home").exists()
    assert not (tmp_path / "outside.txt").exists()


def test_a_file_that_is_cut_or_no_backup_is_refused(archive, tmp_path):
    whole = archive.read_bytes()
    for size in (0, 100, 600, len(whole) // 2, whole.index(LAST_MEMBER.encode())):
        archive.write_bytes(whole[:size])
        with pytest.raises(UserError, match="backup"):
            restore(archive, tmp_path / "home")
    with tarfile.open(archive, "w") as other:
        other.addfile(tarfile.TarInfo("file"))
    with pytest.raises(UserError, match="is no backup of a home"):
        restore(archive, tmp_path / "home")
    with pytest.raises(UserError, match="There is no backup"):
        restore(tmp_path / "missing.tar", tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_backup_that_does_not_fit_is_refused(archive, tmp_path, monkeypatch):
    full = shutil.disk_usage(tmp_path)._replace(free=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: full)
    with pytest.raises(UserError, match="the disk of"):
        restore(archive, tmp_path / "home")


def test_a_backup_that_is_killed_leaves_the_older_one(archive, tmp_path, monkeypatch):
    before = archive.read_bytes()
    # What a process leaves that has no time to tidy up, while it copies a database.
    left = new_unfinished(tmp_path)
    left = left.rename(left.with_name(left.name.replace(f"-{os.getpid()}-", "-4194305-")))
    log = left.with_name(f"{left.name}-journal")
    log.touch()

    def die(*arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(backup_module, "_add_last", die)
        with pytest.raises(Killed):
            back_up(tmp_path / "small", archive)
    assert archive.read_bytes() == before
    back_up(tmp_path / "small", archive)
    assert [path.name for path in tmp_path.glob(".*")] == []
    assert not left.exists()


def test_a_restore_that_is_killed_is_finished_by_the_next(archive, tmp_path, monkeypatch):
    with killed_at(-1, monkeypatch) as steps:
        restore(archive, tmp_path / "home")
    expected = _contents(tmp_path / "home")
    assert steps == ["rename", "rename", "rmdir"]
    for step in range(len(steps)):
        home = tmp_path / f"home-{step}"
        with pytest.raises(Killed), killed_at(step, monkeypatch):
            restore(archive, home)
        assert (home / RESTORING).is_dir()
        point_to(home, monkeypatch)
        for other in (prepare_home, home_folder):
            with pytest.raises(UserError, match="is half restored"):
                other()
        for command in (backup_command, key_command, list_command):
            arguments = {backup_command: ["other.tar"], key_command: ["list"]}
            refused = CliRunner().invoke(command.command, arguments.get(command, []))
            assert "is half restored" in str(refused.exception)
        restore(archive, home)
        assert _contents(home) == expected
        assert not (home / RESTORING).exists()
