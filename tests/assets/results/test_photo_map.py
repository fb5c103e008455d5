from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from assets.methods.common.progress import silent
from assets.methods.layout.mosaic import MosaicSettings, compare_tiles, plan_mosaic
from assets.methods.photos.catalogue import CatalogueSettings, catalogue_photos
from assets.methods.photos.photo_store import PhotoStore
from assets.methods.plotting.blurring import with_blurred
from assets.results.photo_map import drawn_mosaic, labels_of
from support.photos import encoded, scene

SETTINGS = CatalogueSettings()


@pytest.fixture
def album(tmp_path: Path) -> tuple[PhotoStore, pd.DataFrame]:
    """A store of four photos, and their cells."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(4):
        (folder / f"{seed}.png").write_bytes(encoded(scene(800, 600, seed)))
    store = PhotoStore(tmp_path / "store")
    images = catalogue_photos(str(folder), store, SETTINGS).images
    return store, images[["image_id", "uri"]].assign(row=[0, 0, 1, 1], col=[0, 1, 0, 1])


@pytest.mark.parametrize("fit", ["fill", "fit"])
@pytest.mark.parametrize("file_format", ["png", "jpeg"])
def test_large_tiles_come_from_originals_and_pass_the_comparison(album, fit, file_format):
    store, table = album
    plan = plan_mosaic(2, 2, MosaicSettings(tile=300, fit=fit, format=file_format))
    drawn, note = drawn_mosaic(store, table, plan, SETTINGS, silent)
    assert note is None
    # Without a file nothing is read from it, and the comparison asks for working copies alone.
    compared = compare_tiles(drawn, table, plan, store.open_working_copy)
    assert compared.right.all()
    assert compared.difference.max() < 4
    moved = table.assign(row=np.roll(table.row, 1), col=np.roll(table.col, 1))
    assert not compare_tiles(drawn, moved, plan, store.open_working_copy).right.any()


def test_tiles_whose_original_is_gone_are_told(album):
    store, table = album
    Path(table.uri[2]).unlink()
    plan = plan_mosaic(2, 2, MosaicSettings(tile=300))
    drawn, note = drawn_mosaic(store, table, plan, SETTINGS, silent)
    assert note.startswith("1 of 4 tiles are enlarged")
    assert compare_tiles(drawn, table, plan, store.open_working_copy).right.all()


def test_small_tiles_are_drawn_from_working_copies(album):
    store, table = album
    for uri in table.uri:
        Path(uri).unlink()
    plan = plan_mosaic(2, 2, MosaicSettings(tile=256))
    drawn, note = drawn_mosaic(store, table, plan, SETTINGS, silent)
    assert (drawn.size, note) == ((514, 514), None)
    assert isinstance(drawn, Image.Image)


@pytest.mark.parametrize("tile", [64, 300])
def test_blurred_photos_are_grey_in_small_and_in_large_tiles_and_pass_the_comparison(album, tile):
    store, table = album
    blurred = {table.image_id[1], table.image_id[2]}
    plan = plan_mosaic(2, 2, MosaicSettings(tile=tile, format="png"))
    drawn, _ = drawn_mosaic(store, table, plan, SETTINGS, silent, blurred)
    pixels = np.asarray(drawn, int)
    upper_left, upper_right = pixels[:tile, :tile], pixels[:tile, tile + 2 :]
    assert np.ptp(upper_left, axis=2).max() > 20
    assert np.ptp(upper_right, axis=2).max() == 0
    load = with_blurred(store.open_working_copy, blurred)
    assert compare_tiles(drawn, table, plan, load).right.all()
    assert not compare_tiles(drawn, table, plan, store.open_working_copy).right.all()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["cat", None, "dog"], ["cat", None, "dog"]),
        ([None, None], [None, None]),
        (["cat", "dog"] * 10, ["cat", "dog"] * 10),
        # Each photo has its own, so that colours and neighbours would say nothing.
        ([f"IMG_{number}" for number in range(20)], [None] * 20),
    ],
)
def test_labels_that_name_single_photos_are_none(labels, expected):
    photos = pd.DataFrame({"label": pd.array(labels, dtype="string")})
    assert labels_of(photos).tolist() == expected
