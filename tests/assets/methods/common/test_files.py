import pytest

from assets.methods.common.files import set_aside, write_whole, written_whole


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


def test_a_damaged_file_is_set_aside_by_whoever_is_first(tmp_path, caplog):
    path = tmp_path / "file.txt"
    path.write_bytes(b"damaged")
    set_aside(path, "is damaged")
    set_aside(path, "is damaged")
    assert (tmp_path / "file.corrupt").read_bytes() == b"damaged"
    assert "file.txt, which is damaged, to file.corrupt" in caplog.text
