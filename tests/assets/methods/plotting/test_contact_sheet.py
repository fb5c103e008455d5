import numpy as np
import pandas as pd
import pytest
from PIL import Image

from assets.methods.plotting.contact_sheet import N_RANKED, TILE, draw_ranking, draw_tiles, tile_box

COLOURS = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "gray": (128, 128, 128)}


def load_plain(image_id):
    return Image.new("RGB", (200, 200), image_id)


def load_edge(image_id):
    """A photo whose left half is black and whose right half is white."""
    image = Image.new("RGB", (320, 320))
    image.paste("white", (160, 0, 320, 320))
    return image


def table(**scores):
    return pd.DataFrame({"image_id": scores.keys(), "score": scores.values()})


def many(n):
    return pd.DataFrame({"image_id": [f"{i:03}" for i in range(n)], "score": np.arange(n) / n})


def centres(sheet, n):
    boxes = [tile_box(place, n) for place in range(n)]
    return [sheet.getpixel(((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)) for box in boxes]


def caption(sheet, n, place=0):
    left, _, right, lower = tile_box(place, n)
    return sheet.crop((left, lower, right, lower + 30)).tobytes()


def test_the_highest_scores_come_first():
    scores = table(red=0.2, green=0.9, blue=0.5, gray=0.1)
    sheet = draw_ranking(load_plain, scores)
    assert centres(sheet, 4) == [COLOURS[name] for name in ("green", "blue", "red", "gray")]


def test_only_the_highest_scores_are_drawn():
    highest = many(60)[:-21:-1]
    assert len(highest) == N_RANKED
    expected = draw_tiles(load_edge, highest, blur=True)
    assert draw_ranking(load_edge, many(60)).tobytes() == expected.tobytes()


def test_equal_scores_follow_the_image_id_whatever_the_order():
    scores = table(red=0.5, green=0.5, blue=0.5)
    sheets = [draw_ranking(load_plain, one) for one in (scores, scores[::-1])]
    assert centres(sheets[0], 3) == [COLOURS[name] for name in ("blue", "green", "red")]
    assert sheets[0].tobytes() == sheets[1].tobytes()


def test_tiles_lie_in_rows_from_the_upper_left():
    assert tile_box(0, 1) == (14, 14, 174, 174)
    assert tile_box(1, 2) == (188, 14, 348, 174)
    # Eight photos have four columns.
    assert tile_box(4, 8) == (14, 218, 174, 378)


@pytest.mark.parametrize("n", [1, 2, 3, 20, 50])
def test_tiles_fill_the_sheet_without_overlapping(n):
    sheet = draw_tiles(load_edge, many(n), blur=True)
    covered = np.zeros((sheet.height, sheet.width), int)
    for place in range(n):
        left, upper, right, lower = tile_box(place, n)
        assert right - left == lower - upper == TILE == 160
        assert right <= sheet.width
        assert lower + 30 <= sheet.height
        covered[upper:lower, left:right] += 1
    assert covered.max() == 1


def test_fewer_photos_are_all_there():
    expected = draw_tiles(load_edge, many(3), blur=True)
    assert draw_ranking(load_edge, many(3)).size == expected.size


def test_photos_are_blurred_unless_asked_for_sharp():
    def shades(sheet):
        left, upper, right, _ = tile_box(0, 1)
        return np.unique(np.asarray(sheet)[upper + 80, left:right, 0])

    assert len(shades(draw_ranking(load_edge, many(1)))) > 30
    assert len(shades(draw_tiles(load_edge, many(1), blur=False))) < 12


def test_stripes_that_could_be_read_are_gone():
    stripes = np.zeros((160, 160, 3), np.uint8)
    stripes[:, ::20] = stripes[:, 1::20] = stripes[:, 2::20] = 255
    sheet = np.asarray(draw_ranking(lambda _: Image.fromarray(stripes), many(1)))
    left, upper, right, lower = tile_box(0, 1)
    assert np.ptp(sheet[upper + 20 : lower - 20, left + 40 : right - 40].astype(int)) < 20


def test_the_score_and_the_rank_are_written_below():
    sheets = [draw_ranking(load_plain, table(red=score)) for score in (0.5, 0.51, 2e-5)]
    assert len({caption(sheet, 1) for sheet in sheets}) == 3
    two = draw_ranking(load_plain, table(red=0.5, blue=0.5))
    assert caption(two, 2, 0) != caption(two, 2, 1)


@pytest.mark.parametrize("size", [(1, 1), (4096, 3), (3, 4096), (60, 50)])
def test_photos_of_any_shape_are_drawn_whole(size):
    sheet = draw_ranking(lambda _: Image.new("RGB", size, "red"), many(1))
    rows, columns = np.nonzero((np.asarray(sheet) == (255, 0, 0)).all(axis=2))
    scale = min(1, 160 / max(size))
    expected = [max(1, round(length * scale)) for length in size]
    assert [np.ptp(columns) + 1, np.ptp(rows) + 1] == expected


def test_the_sheet_is_the_same_each_time():
    pictures = {draw_ranking(load_edge, many(9)).tobytes() for _ in range(2)}
    assert len(pictures) == 1
