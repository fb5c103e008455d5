import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from assets.methods.page import page
from assets.methods.page.page import PageSettings, write_page
from support.album import BLURRED, N_PHOTOS, explained_album
from support.page_data import fields_of


def fields(folder: Path, part: str) -> dict[str, Any]:
    return fields_of((folder / "data" / f"{part}.js").read_bytes(), part)


def test_a_page_is_whole(page_folder):
    names = {file.relative_to(page_folder).as_posix() for file in page_folder.rglob("*.*")}
    assert {"index.html", "manifest.json", "leaflet/leaflet.js", "leaflet/leaflet.css"} <= names
    assert (page_folder / "leaflet" / "LICENSE").read_text().startswith("BSD 2-Clause License")
    index = (page_folder / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="([^"#:?]+)(?:\?[^"]*)?"', index):
        assert (page_folder / name).is_file(), name
    # Neither scripts nor styles are in it, so that its policy can forbid them.
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", index)
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in index


def test_what_a_page_knows(page_folder, album):
    about = fields(page_folder, "map")
    assert about["photos"] == N_PHOTOS
    assert about["title"] == "<i>birds</i>"
    assert about["labels"] == ["<b>bold</b>", "bird"]
    assert about["blurred"] == list(range(N_PHOTOS - BLURRED, N_PHOTOS))
    assert about["recall"] >= 0.8
    facts = fields(page_folder, "facts")
    (copied,) = facts["copies"].values()
    assert [Path(one).name for one in copied] == ["bird 00.png", "copy of a bird.png"]
    assert len(fields(page_folder, "names-0")["names"]) == N_PHOTOS


def test_a_page_is_the_same_each_time_and_whatever_is_there_already(album, page_folder, tmp_path):
    contents = replace(album.contents, explained=explained_album(album))
    moved = album.contents.layout.assign(row=album.contents.layout.row.to_numpy()[::-1])
    write_page(
        tmp_path / "page",
        replace(contents, layout=moved),
        album.load,
    )
    write_page(tmp_path / "page", contents, album.load, threads=3)
    files = [
        {
            file.relative_to(folder): file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file()
        }
        for folder in (page_folder, tmp_path / "page")
    ]
    assert files[0] == files[1]


def test_a_page_that_is_up_to_date_is_left_alone(write):
    assert write().written > 0
    assert write().written == 0


def test_the_most_similar_photos_are_found_once_for_the_same_vectors(
    write, album, tmp_path, monkeypatch
):
    before = write()
    codes = tmp_path / "page" / "data" / "codes.js"
    whole = codes.read_bytes()
    codes.write_bytes(b"")
    assert write().written == 1
    assert codes.read_bytes() == whole

    found = []
    for name in ("nearest_photos", "encode_vectors"):
        find = getattr(page, name)
        monkeypatch.setattr(page, name, lambda *a, n=name, f=find: (found.append(n), f(*a))[1])
    assert write(scores=None).recall == before.recall
    assert found == []
    write(vectors=album.contents.vectors[::-1])
    assert found == ["nearest_photos", "encode_vectors"]


def test_new_scores_change_only_what_they_touch(write, album):
    before = write()
    scores = album.contents.scores.copy()
    scores.loc[0, "score"] = 0.95
    after = write(scores=scores)
    assert (before.blurred, after.blurred) == (BLURRED, BLURRED + 1)
    # A tile of each zoom, the photo as it is, the data, the landmarks, and the index, which has
    # their versions.
    assert after.written == 3 + 1 + 1 + 1 + 1


def test_photos_are_blurred_above_the_score_and_never_without_scores(write):
    assert write(PageSettings(blur_above=0.5)).blurred > BLURRED
    assert write(PageSettings(blur_above=None)).blurred == 0
    assert write(scores=None).blurred == 0


def test_the_clear_photos_are_only_there_if_wanted(write, tmp_path):
    write()
    assert len(list((tmp_path / "page" / "clear").iterdir())) == BLURRED
    write(PageSettings(clear=False))
    assert list((tmp_path / "page").rglob("clear/*")) == []


def test_a_photo_without_facts_score_or_vector_is_shown_all_the_same(write, album):
    contents = album.contents
    report = write(images=contents.images.iloc[5:], scores=contents.scores.iloc[:3], vectors=None)
    assert report.recall is None


@pytest.mark.parametrize("n", [1, 2])
def test_very_small_maps_have_pages(write, album, n):
    layout = album.contents.layout.head(n).assign(row=0, col=np.arange(n))
    vectors = album.contents.vectors[:n]
    assert write(layout=layout, vectors=vectors, columns=n, rows=1).files > 20


def test_labels_that_name_single_photos_are_no_colours(write, album, tmp_path):
    labels = pd.array([f"photo {number}" for number in range(N_PHOTOS)], dtype="string")
    write(layout=album.contents.layout.assign(label=labels))
    assert fields(tmp_path / "page", "map")["labels"] is None
    assert len(fields(tmp_path / "page", "facts")["labels"]) == N_PHOTOS
