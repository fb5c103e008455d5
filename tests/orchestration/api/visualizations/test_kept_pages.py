"""The page of a visualization lies beside its mosaic, and goes with it."""

import os
import uuid
from pathlib import Path

import pytest

from assets.generations import note_origin
from assets.io_managers import KEPT
from assets.methods.page.folder import MANIFEST, PageFolder
from assets.resources.photos import Photos
from orchestration.api.visualizations.kept_pages import (
    page_beside,
    page_file,
    release_map,
    sweep_pages,
)


@pytest.fixture
def make(tmp_path):
    """Make a mosaic that is kept, with the page of its run; return both folders."""

    def make_one(run_id: str = "run-1") -> tuple[Path, Path]:
        mosaic = tmp_path / "outputs" / "mosaic" / "birds" / uuid.uuid4().hex
        mosaic.mkdir(parents=True)
        note_origin(mosaic, run_id)
        (mosaic / KEPT).touch()
        folder = Photos(home=str(tmp_path)).kept_page_folder("birds", run_id)
        page = PageFolder(folder)
        with page.filled():
            page.put("index.html", b"<!doctype html>")
        return mosaic, folder

    return make_one


def test_a_page_is_found_by_its_mosaic_and_goes_with_it(make, tmp_path):
    (mosaic, folder), (other, other_folder) = make(), make("run-2")
    assert page_beside(tmp_path, mosaic) == folder
    assert page_file(folder, "index.html").size == len(b"<!doctype html>")
    for name in (MANIFEST, "../run-2/index.html", "index.html/", "", "/etc/passwd"):
        assert page_file(folder, name) is None
    release_map(tmp_path, mosaic)
    assert not folder.exists()
    assert not mosaic.exists()
    assert page_beside(tmp_path, other) == other_folder
    assert page_file(folder, "index.html") is None


@pytest.mark.parametrize("run_id", ["run-3", "../../keys", "", "a/b"])
def test_a_mosaic_of_an_older_home_has_no_page(make, tmp_path, run_id):
    mosaic, _ = make()
    note_origin(mosaic, run_id)
    assert page_beside(tmp_path, mosaic) is None


def test_pages_that_no_mosaic_needs_are_swept_away_unless_a_run_may_be_at_work(make, tmp_path):
    (_, needed), (mosaic, left), (gone, new) = make(), make("run-2"), make("run-3")
    for one in (mosaic, gone):
        (one / KEPT).unlink()
    for folder in (needed, left):
        os.utime(folder, (1, 1))
    sweep_pages(tmp_path)
    assert needed.exists()
    assert not left.exists()
    assert new.exists()
