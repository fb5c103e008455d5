"""The maps of what a model looks at, beside the tiles of a page."""

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from assets.methods.page.explained import ExplainedPhoto, MapOfPhoto
from assets.methods.page.page import PageSettings
from assets.methods.page.scripts import fields_of
from support.album import N_PHOTOS, explained_album


def colours(data: bytes) -> int:
    """How much the colours of a picture differ at most."""
    with Image.open(io.BytesIO(data)) as opened:
        return int(np.ptp(np.asarray(opened.convert("RGB"), int), axis=2).max())


def test_maps_lie_apart_and_the_photo_below_them_is_blurred_where_it_is_above_the_limit(
    album, write, tmp_path
):
    explained = explained_album(album)
    (low, high) = explained
    report = write(explained=explained)
    folder = tmp_path / "page"
    names = {path.name for path in (folder / "maps").iterdir()}
    assert names == {
        f"{low}.jpg", f"{low}-seen.jpg", f"{low}-hidden.jpg",
        f"{high}.jpg", f"{high}-clear.jpg", f"{high}-seen.jpg", f"{high}-deconvnet.jpg",
    }  # fmt: skip
    with Image.open(folder / "maps" / f"{low}.jpg") as photo:
        assert photo.size == album.load(low).size
    assert colours((folder / "maps" / f"{low}.jpg").read_bytes()) > 60
    assert colours((folder / "maps" / f"{high}.jpg").read_bytes()) < 6
    assert colours((folder / "maps" / f"{high}-clear.jpg").read_bytes()) > 60
    known = fields_of((folder / "data" / "map.js").read_bytes())["explained"]
    assert known == [2, N_PHOTOS - 1]
    maps = fields_of((folder / "data" / "maps.js").read_bytes())["maps"]
    assert maps["2"]["model"] == r"a <b>model</b>, version 3 \x1b"
    assert [one["kind"] for one in maps["2"]["maps"]] == ["seen", "hidden"]

    # Nothing is drawn again, and what is not asked for any more goes.
    assert write(explained=explained).written == 0
    again = write(explained={low: replace(explained[low], maps=explained[low].maps[:1])})
    assert again.files < report.files
    assert not (folder / "maps" / f"{high}-seen.jpg").exists()
    assert not (folder / "maps" / f"{low}-hidden.jpg").exists()


def test_without_clear_photos_no_map_shows_what_is_blurred(album, write, tmp_path):
    (_, high) = explained = explained_album(album)
    write(PageSettings(clear=False), explained=explained)
    names = {path.name for path in (tmp_path / "page" / "maps").iterdir()}
    assert {name for name in names if name.startswith(high)} == {f"{high}.jpg", f"{high}-seen.jpg"}


def test_a_map_that_changed_is_drawn_again_and_a_large_one_is_scaled_down(album, write, tmp_path):
    (low, _) = explained = explained_album(album)
    write(explained=explained)
    large = MapOfPhoto("seen", "", "2", lambda: Image.new("RGB", (1024, 300), "red"))
    write(explained={low: ExplainedPhoto(low, "", (large,))})
    with Image.open(tmp_path / "page" / "maps" / f"{low}-seen.jpg") as shown:
        assert shown.size == (512, 150)
        assert np.asarray(shown)[9, 9, 0] > 240
