import os
from pathlib import Path

import pytest

from assets.methods.common.checksums import DamagedFileError
from assets.methods.page.folder import (
    MANIFEST,
    PageFolder,
    copy_page,
    damaged_files,
    link_newest_page,
    page_files,
    remove_page,
)


def fill(folder: Path, files: dict[str, bytes]) -> PageFolder:
    page = PageFolder(folder)
    with page.filled():
        for name, data in files.items():
            page.put(name, data)
    return page


def below(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != MANIFEST
    }


def test_what_is_there_stays_and_what_is_not_wanted_any_more_goes(tmp_path):
    assert fill(tmp_path, {"a": b"1", "b/c": b"2"}).n_written == 2
    (tmp_path / "mine.txt").write_bytes(b"3")
    assert fill(tmp_path, {"a": b"1", "b/d": b"4"}).n_written == 1
    assert below(tmp_path) == {"a": b"1", "b/d": b"4", "mine.txt": b"3"}


@pytest.mark.parametrize("damage", [b"", b"short", b"as long!"])
def test_a_file_that_was_changed_is_written_again(tmp_path, damage):
    fill(tmp_path, {"a": b"as long?", "b": b"2"})
    (tmp_path / "a").write_bytes(damage)
    later = (tmp_path / MANIFEST).stat().st_mtime_ns + 1
    os.utime(tmp_path / "a", ns=(later, later))
    assert damaged_files(tmp_path) == ["a"]
    assert fill(tmp_path, {"a": b"as long?", "b": b"2"}).n_written == 1
    assert damaged_files(tmp_path) == []


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"files": {"../../x": {}}}', b"\xff"])
def test_without_its_manifest_all_of_a_page_is_written_again(tmp_path, damage):
    fill(tmp_path, {"a": b"1"})
    (tmp_path / MANIFEST).write_bytes(damage)
    assert page_files(tmp_path) == {}
    assert fill(tmp_path, {"a": b"1"}).n_written == 1


def test_a_page_that_was_interrupted_goes_on_from_what_is_done(tmp_path):
    fill(tmp_path, {"a": b"1", "b": b"2", "c": b"3"})
    page = PageFolder(tmp_path)

    def be_interrupted():
        with page.filled():
            page.put("a", b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        be_interrupted()
    assert below(tmp_path) == {"a": b"new", "b": b"2", "c": b"3"}
    assert fill(tmp_path, {"a": b"new", "b": b"2"}).n_written == 0


def test_a_copy_is_brought_up_to_date(tmp_path):
    fill(tmp_path / "home", {"a": b"1", "b/c": b"2"})
    assert copy_page(tmp_path / "home", tmp_path / "out").n_written == 2
    fill(tmp_path / "home", {"a": b"1", "b/d": b"4"})
    (tmp_path / "out" / "mine.txt").write_bytes(b"3")
    assert copy_page(tmp_path / "home", tmp_path / "out").n_written == 1
    assert below(tmp_path / "out") == {"a": b"1", "b/d": b"4", "mine.txt": b"3"}


def test_what_is_damaged_is_not_copied_and_heals(tmp_path):
    fill(tmp_path / "home", {"a": b"1"})
    (tmp_path / "home" / "a").write_bytes(b"2")
    with pytest.raises(DamagedFileError, match="does not have the content"):
        copy_page(tmp_path / "home", tmp_path / "out")
    assert fill(tmp_path / "home", {"a": b"1"}).n_written == 1
    assert copy_page(tmp_path / "home", tmp_path / "out").n_written == 1


def test_a_page_is_removed_and_nothing_else(tmp_path):
    fill(tmp_path / "page", {"a": b"1", "b/c": b"2"})
    remove_page(tmp_path / "page")
    assert not (tmp_path / "page").exists()
    fill(tmp_path / "page", {"a": b"1"})
    (tmp_path / "page" / "mine.txt").write_bytes(b"3")
    remove_page(tmp_path / "page")
    remove_page(tmp_path / "page")
    assert below(tmp_path / "page") == {"mine.txt": b"3"}


def test_a_new_page_begins_with_the_files_of_the_newest_one_beside_it(tmp_path):
    link_newest_page(tmp_path / "pages" / "a")
    assert not (tmp_path / "pages").exists()
    fill(tmp_path / "pages" / "old", {"a": b"0"})
    os.utime(tmp_path / "pages" / "old" / MANIFEST, (1, 1))
    fill(tmp_path / "pages" / "new", {"a": b"1", "b/c": b"2"})
    third = tmp_path / "pages" / "third"
    link_newest_page(third)
    assert (third / "a").samefile(tmp_path / "pages" / "new" / "a")
    assert fill(third, {"a": b"1", "b/c": b"3"}).n_written == 1
    # What is another in one is not another in the other.
    assert below(tmp_path / "pages" / "new") == {"a": b"1", "b/c": b"2"}
    link_newest_page(third)
    assert below(third) == {"a": b"1", "b/c": b"3"}
