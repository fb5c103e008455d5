import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from assets.methods.common.errors import UserError
from assets.methods.layout import mosaic as mosaic_module
from assets.methods.layout.mosaic import (
    LARGEST_SIDE,
    MosaicSettings,
    compare_tiles,
    draw_mosaic,
    encode_mosaic,
    plan_mosaic,
    read_mosaic,
    tile_box,
)

TINY = MosaicSettings(tile=4, gap=1, background="#0a141e", format="png")
BACKGROUND = [10, 20, 30]
PHOTOS = {
    "red": Image.new("RGB", (4, 4), "red"),
    "white": Image.new("L", (8, 8), 255),
    "steps": Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)),
}


def layout(*cells):
    return pd.DataFrame(cells, columns=["image_id", "row", "col"])


THREE = layout(("steps", 0, 0), ("red", 0, 2), ("white", 1, 1))


@pytest.fixture(scope="module")
def cats():
    """Return 36 photos that overlap, and their layout in six columns."""
    chelsea = Image.fromarray(data.chelsea())
    photos = {
        f"{row}{col}": chelsea.crop((60 * col, 32 * row, 60 * col + 128, 32 * row + 128))
        for row in range(6)
        for col in range(6)
    }
    return photos, layout(*((image_id, int(image_id[0]), int(image_id[1])) for image_id in photos))


def test_pixels_are_the_photos_in_their_cells():
    plan = plan_mosaic(3, 2, TINY)
    drawn = np.asarray(draw_mosaic(PHOTOS.get, THREE, plan))
    expected = np.full((9, 14, 3), BACKGROUND, dtype=np.uint8)
    expected[0:4, 0:4] = np.arange(48).reshape(4, 4, 3)
    expected[0:4, 10:14] = [255, 0, 0]
    expected[5:9, 5:9] = 255
    assert np.array_equal(drawn, expected)


def test_fill_cuts_the_centre_square_out():
    stripes = np.repeat(np.array([[9, 9, 50, 60, 70, 80, 9, 9]], dtype=np.uint8), 4, axis=0)
    plan = plan_mosaic(1, 1, TINY)
    drawn = draw_mosaic(lambda _: Image.fromarray(stripes), layout(("a", 0, 0)), plan)
    assert np.asarray(drawn)[0, :, 0].tolist() == [50, 60, 70, 80]


def test_fit_shows_the_whole_photo_on_the_background():
    plan = plan_mosaic(1, 1, MosaicSettings(tile=4, background="#0a141e", fit="fit"))
    drawn = draw_mosaic(lambda _: Image.new("L", (8, 4), 200), layout(("a", 0, 0)), plan)
    assert np.asarray(drawn)[:, 1].tolist() == [BACKGROUND, [200] * 3, [200] * 3, BACKGROUND]


@pytest.mark.parametrize("fit", ["fill", "fit"])
@pytest.mark.parametrize("size", [(1, 1), (1000, 1), (1, 1000)])
def test_photos_of_any_shape_are_drawn(fit, size):
    plan = plan_mosaic(1, 1, MosaicSettings(tile=4, fit=fit))
    drawn = draw_mosaic(lambda _: Image.new("RGB", size, "white"), layout(("a", 0, 0)), plan)
    assert np.asarray(drawn).max() == 255


def test_progress_counts_the_photos():
    told = []
    plan = plan_mosaic(3, 2, TINY)
    draw_mosaic(PHOTOS.get, THREE, plan, lambda *tell: told.append(tell))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("columns", "rows", "tile", "gap", "expected"),
    [
        (1, 1, 96, 2, (96, 2, 96, 96)),
        (32, 31, 96, 2, (96, 2, 3134, 3036)),
        (128, 1, 128, 0, (128, 0, 16384, 128)),
        (129, 1, 128, 0, (127, 0, 16383, 127)),
        (1, 129, 128, 0, (127, 0, 127, 16383)),
        (8192, 2, 1, 1, (1, 1, 16383, 3)),
        (8193, 2, 1, 1, (1, 0, 8193, 2)),
        (400, 250, 96, 2, (40, 0, 16000, 10000)),
        (200, 250, 96, 4, (63, 2, 12998, 16248)),
        (16384, 1, 1, 5, (1, 0, 16384, 1)),
    ],
)
def test_sizes_stop_at_the_largest_side(columns, rows, tile, gap, expected):
    plan = plan_mosaic(columns, rows, MosaicSettings(tile=tile, gap=gap))
    assert (plan.tile, plan.gap, plan.width, plan.height) == expected
    assert (plan.shrunk is None) == (expected[:2] == (tile, gap))


def test_shrinking_is_told_in_a_sentence():
    plan = plan_mosaic(250, 250, MosaicSettings(tile=96, gap=4))
    assert plan.shrunk == (
        "Tiles are 63 px with gaps of 2 px instead of 96 and 4, because the picture's side may "
        "not exceed 16,384 px."
    )


@given(
    columns=st.integers(1, LARGEST_SIDE),
    rows=st.integers(1, LARGEST_SIDE),
    tile=st.integers(1, 2000),
    gap=st.integers(0, 300),
)
def test_every_plan_holds_its_tiles(columns, rows, tile, gap):
    plan = plan_mosaic(columns, rows, MosaicSettings(tile=tile, gap=gap))
    assert 1 <= plan.tile <= tile
    assert 0 <= plan.gap <= gap
    assert max(plan.width, plan.height) <= LARGEST_SIDE
    assert tile_box(plan, 0, 0)[:2] == (0, 0)
    assert tile_box(plan, rows - 1, columns - 1)[2:] == (plan.width, plan.height)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tile": 0}, "tile size is 0 px"),
        ({"gap": -1}, "gap is -1 px"),
        ({"quality": 0}, "quality is 0"),
        ({"background": "nocolour"}, "'nocolour' is not a colour"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        MosaicSettings(**settings)


def test_a_grid_longer_than_a_picture_is_refused():
    with pytest.raises(UserError, match="16,385 x 1 does not fit"):
        plan_mosaic(LARGEST_SIDE + 1, 1, MosaicSettings())


@pytest.mark.parametrize("file_format", ["jpeg", "png"])
def test_a_file_is_the_same_bytes_each_time_and_reads_back(cats, file_format):
    photos, places = cats
    settings = MosaicSettings(tile=32, format=file_format)
    plan = plan_mosaic(6, 6, settings)
    first, second = (
        encode_mosaic(
            draw_mosaic(photos.get, places.sample(frac=1, random_state=seed), plan), settings
        )
        for seed in (0, 1)
    )
    assert first == second
    assert read_mosaic(first, settings).size == (plan.width, plan.height)
    assert Image.open(io.BytesIO(first)).format == file_format.upper()


def test_a_mosaic_larger_than_pillow_opens_is_read(monkeypatch):
    settings = MosaicSettings(format="png")
    encoded = encode_mosaic(Image.new("RGB", (50, 50)), settings)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(encoded))
    assert read_mosaic(encoded, settings).size == (50, 50)


@pytest.mark.parametrize("fit", ["fill", "fit"])
@pytest.mark.parametrize(
    ("file_format", "quality"), [("png", 90), ("jpeg", 95), ("jpeg", 90), ("jpeg", 75)]
)
def test_the_comparison_finds_two_tiles_that_changed_places(cats, fit, file_format, quality):
    photos, places = cats
    settings = MosaicSettings(tile=40, gap=1, fit=fit, format=file_format, quality=quality)
    plan = plan_mosaic(6, 6, settings)
    encoded = encode_mosaic(draw_mosaic(photos.get, places, plan), settings)
    mosaic = read_mosaic(encoded, settings)

    compared = compare_tiles(mosaic, places, plan, photos.get)
    assert len(compared) == 36
    assert compared["right"].all()

    swapped = places.copy()
    swapped["image_id"] = places["image_id"].replace({"00": "35", "35": "00"})
    compared = compare_tiles(mosaic, swapped, plan, photos.get)
    assert set(compared.loc[~compared["right"], "image_id"]) == {"00", "35"}


def test_the_comparison_samples_with_a_fixed_seed(cats, monkeypatch):
    monkeypatch.setattr(mosaic_module, "COMPARED_TILES", 5)
    photos, places = cats
    plan = plan_mosaic(6, 6, TINY)
    mosaic = draw_mosaic(photos.get, places, plan)
    one, same = (compare_tiles(mosaic, places, plan, photos.get) for _ in range(2))
    assert len(one) == 5
    pd.testing.assert_frame_equal(one, same)
