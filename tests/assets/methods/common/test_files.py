import subprocess
import sys

import pytest

from assets.methods.common.files import (
    remove_unfinished,
    set_aside,
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
