import subprocess
import sys
from pathlib import Path

import pytest

from assets.methods.common.files import (
    remove_unfinished,
    set_aside,
    share,
    share_equal_files,
    write_whole,
    written_whole,
)


def test_folders_are_made_and_nothing_stays_beside(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_whole(path, b"whole")
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_whole(path, b"old")

    def write_half() -> None:
        with written_whole(path) as beside:
            beside.write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.process
def test_what_a_killed_process_has_left_is_removed_and_what_others_write_is_not(tmp_path):
    script = (
        "import os, pathlib, sys; from assets.methods.common.files import written_whole\n"
        "with written_whole(pathlib.Path(sys.argv[1])) as beside: os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "deep" / "file.txt"
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    (left,) = path.parent.iterdir()
    (tmp_path / ".hidden.txt").write_text("a file of somebody else")
    with written_whole(tmp_path / "mine.txt"):
        assert remove_unfinished(tmp_path) == [left]
    assert remove_unfinished(tmp_path) == []
    assert {one.name for one in tmp_path.rglob("*")} == {"deep", ".hidden.txt", "mine.txt"}


def test_a_damaged_file_is_set_aside_by_whoever_is_first(tmp_path, caplog):
    path = tmp_path / "file.txt"
    path.write_bytes(b"damaged")
    set_aside(path, "is damaged")
    set_aside(path, "is damaged")
    assert (tmp_path / "file.corrupt").read_bytes() == b"damaged"
    assert "file.txt, which is damaged, to file.corrupt" in caplog.text


def test_files_of_the_same_bytes_become_one_whatever_they_are_called(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, names in ((old, ("a.txt", "b.txt")), (new, ("c.txt", "b.txt"))):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / names[0]).write_bytes(b"same")
        (folder / names[1]).write_bytes(folder.name.encode())
    share_equal_files(new, old)
    assert (new / "deep" / "c.txt").samefile(old / "deep" / "a.txt")
    assert (new / "b.txt").read_bytes() == b"new"
    assert (old / "b.txt").read_bytes() == b"old"
    assert not list(tmp_path.rglob(".*"))


def test_a_disk_without_files_of_two_names_keeps_both(tmp_path, monkeypatch):
    def refuse(path: Path, target: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    for name in ("old", "new"):
        (tmp_path / name).write_bytes(b"same")
    assert not share(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "new").read_bytes() == b"same"
    assert (tmp_path / "new").stat().st_nlink == 1
