import numpy as np
import pytest
from PIL import Image

from assets.methods.layout.four_panels import draw_four_panels


def figure(n, columns, rows, labels=None):
    rng = np.random.default_rng(0)
    cells = rng.permutation(columns * rows)[:n]
    row, col = cells // columns, cells % columns
    points = np.column_stack([col, row]) + rng.normal(0, 0.3, (n, 2))
    return draw_four_panels(points, row, col, columns, rows, Image.new("RGB", (90, 60)), labels)


def colours_of(picture):
    return {colour for _, colour in picture.getcolors(picture.width * picture.height)}


@pytest.mark.parametrize(
    ("n", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (17, 5, 4), (2500, 50, 50)]
)
def test_any_number_of_photos_is_drawn(n, columns, rows):
    picture = figure(n, columns, rows)
    assert picture.mode == "RGB"
    assert picture.size == (1800, 1900)


def test_one_hundred_thousand_photos_are_drawn():
    assert figure(100_000, 400, 250).size == (1800, 1900)


def test_the_picture_is_the_same_each_time():
    assert figure(2500, 51, 50).tobytes() == figure(2500, 51, 50).tobytes()


def test_without_labels_the_corners_of_the_grid_have_their_colours():
    colours = colours_of(figure(4, 2, 2))
    assert {(214, 62, 80), (240, 165, 30), (88, 80, 200), (20, 160, 140)} <= colours


def test_labels_give_the_colours():
    one = colours_of(figure(9, 3, 3, np.full(9, "cat")))
    two = colours_of(figure(9, 3, 3, np.array(["cat", "dog", None] * 3, dtype=object)))
    assert (214, 62, 80) not in one | two
    assert one != two


def test_many_labels_are_drawn_without_a_legend():
    def blank_below(labels):
        return np.asarray(figure(30, 6, 5, labels))[-110:].min() == 255

    assert blank_below(np.arange(30))
    assert not blank_below(np.arange(30) % 24)
