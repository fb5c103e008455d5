from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from assets.methods.page.folder import PageFolder
from assets.methods.page.tiles import TILE, Pyramid, draw_cell, plan_pyramid, write_tiles

COLOURS = {
    "a": (250, 20, 20), "b": (20, 250, 20), "c": (20, 20, 250), "d": (250, 250, 20),
    "e": (20, 250, 250), "f": (250, 20, 250), "g": (250, 250, 250),
}  # fmt: skip


def photo(image_id: str) -> Image.Image:
    return Image.new("RGB", (60, 40), COLOURS[image_id])


def cells(*photos: tuple[str, int, int]) -> pd.DataFrame:
    return pd.DataFrame(photos, columns=["image_id", "row", "col"]).assign(is_blurred=False)


def write(folder: Path, table: pd.DataFrame, pyramid: Pyramid, threads: int = 1) -> int:
    page = PageFolder(folder)
    with page.filled():
        write_tiles(page, table, pyramid, photo, threads=threads)
    return page.n_written


@pytest.mark.parametrize(
    ("columns", "rows", "n_photos", "coarsest", "deepest"),
    [
        (1, 1, 1, 8, 8),
        (2, 2, 4, 8, 8),
        (3, 1, 3, 7, 8),
        (32, 32, 1_024, 4, 8),
        (320, 320, 102_400, 0, 7),
        (1000, 1000, 1_000_000, -1, 5),
        (2_000, 1, 2_000, -2, 8),
    ],
)
def test_one_tile_of_the_coarsest_zoom_holds_the_grid(columns, rows, n_photos, coarsest, deepest):
    pyramid = plan_pyramid(columns, rows, n_photos)
    assert (pyramid.coarsest, pyramid.deepest) == (coarsest, deepest)
    assert list(pyramid.places(coarsest)) == [(0, 0)]


def test_each_photo_is_in_its_cell_at_every_zoom(tmp_path):
    table = cells(("a", 0, 0), ("b", 0, 4), ("c", 2, 1), ("d", 2, 4), ("e", 1, 2))
    pyramid = plan_pyramid(5, 3, 5)
    assert write(tmp_path, table, pyramid) == 5 + 2 + 1
    for zoom in range(pyramid.coarsest, pyramid.deepest + 1):
        side = 2**zoom
        for image_id, row, col, _ in table.itertuples(index=False):
            left, upper = col * side, row * side
            name = f"tiles/{zoom}/{left // TILE}-{upper // TILE}.jpg"
            with Image.open(tmp_path / name) as tile:
                assert tile.size == (TILE, TILE)
                middle = (left % TILE + side // 2, upper % TILE + side // 2)
                difference = np.subtract(tile.getpixel(middle), COLOURS[image_id])
            assert np.abs(difference).max() < 12, (zoom, image_id)


def test_tiles_without_photos_are_not_written(tmp_path):
    write(tmp_path, cells(("a", 0, 0), ("b", 7, 7)), plan_pyramid(8, 8, 2))
    names = {file.relative_to(tmp_path / "tiles").as_posix() for file in tmp_path.rglob("*.jpg")}
    assert names == {"8/0-0.jpg", "8/3-3.jpg", "7/0-0.jpg", "7/1-1.jpg", "6/0-0.jpg"}


def test_the_bytes_do_not_depend_on_threads_order_or_what_was_there(tmp_path):
    pyramid = plan_pyramid(6, 6, 7)
    before = cells(*((image_id, 3, place) for place, image_id in enumerate("abcdef")))
    table = cells(*((image_id, place, place % 6) for place, image_id in enumerate("gfbade")))
    write(tmp_path / "one", table, pyramid, threads=1)
    write(tmp_path / "two", before, pyramid, threads=3)
    write(tmp_path / "two", table.iloc[::-1], pyramid, threads=3)
    files = [
        {
            file.relative_to(tmp_path / one): file.read_bytes()
            for file in (tmp_path / one).rglob("*.j*")
        }
        for one in ("one", "two")
    ]
    assert files[0] == files[1]


def test_only_tiles_whose_photos_changed_are_drawn_again(tmp_path):
    pyramid = plan_pyramid(8, 8, 7)
    table = cells(*((image_id, place, place) for place, image_id in enumerate("abcdefg")))
    assert write(tmp_path, table, pyramid) == 4 + 2 + 1
    assert write(tmp_path, table, pyramid) == 0
    times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.jpg")}
    # Its tile, and the one above it at each zoom.
    assert write(tmp_path, table.replace("g", "a"), pyramid) == 3
    changed = {file for file, time in times.items() if file.stat().st_mtime_ns != time}
    names = {file.relative_to(tmp_path / "tiles").as_posix() for file in changed}
    assert names == {"8/3-3.jpg", "7/1-1.jpg", "6/0-0.jpg"}


def test_photos_of_other_tiles_are_not_read(tmp_path):
    pyramid = plan_pyramid(8, 8, 7)
    table = cells(*((image_id, place, place) for place, image_id in enumerate("abcdefg")))
    write(tmp_path, table, pyramid)
    read = []
    page = PageFolder(tmp_path)
    with page.filled():
        changed = table.replace("g", "a")
        write_tiles(page, changed, pyramid, lambda one: (read.append(one), photo(one))[1])
    assert read == ["a"]


def test_a_tile_that_was_cut_off_is_drawn_again(tmp_path):
    pyramid = plan_pyramid(2, 2, 1)
    write(tmp_path, cells(("a", 0, 0)), pyramid)
    file = tmp_path / "tiles/8/0-0.jpg"
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    assert write(tmp_path, cells(("a", 0, 0)), pyramid) == 1
    assert file.read_bytes() == whole


def test_a_blurred_photo_is_grey_and_shows_nothing_small():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (256, 256, 3), np.uint8)
    # Fine stripes, which only a clear photo shows.
    pixels[:, ::2] = 0
    clear = np.asarray(draw_cell(Image.fromarray(pixels), 256), np.float64)
    blurred = np.asarray(draw_cell(Image.fromarray(pixels), 256, is_blurred=True), np.float64)
    assert (blurred[..., 0] == blurred[..., 1]).all()
    assert (blurred[..., 0] == blurred[..., 2]).all()
    assert np.abs(np.diff(clear, axis=1)).mean() > 50
    assert np.abs(np.diff(blurred, axis=1)).mean() < 2
