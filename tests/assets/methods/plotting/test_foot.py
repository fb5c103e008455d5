import numpy as np
import pytest
from PIL import Image

from assets.methods.plotting.foot import with_foot

FIGURE = Image.linear_gradient("L").resize((400, 60)).convert("RGB")


def inked(image: Image.Image) -> tuple[int, int, int, int]:
    """Return left, upper, right and lower of what is not white."""
    rows, columns = np.nonzero((np.asarray(image) < 255).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def test_a_figure_without_lines_is_the_figure_itself():
    assert with_foot(FIGURE, []) is FIGURE


@pytest.mark.parametrize("line", ["many short words " * 40, "x" * 350, "a " + "long" * 60 + " b"])
def test_lines_are_wrapped_within_the_width_below_the_figure(line):
    whole = with_foot(FIGURE, [line])
    assert whole.size[0] == 400
    np.testing.assert_array_equal(np.asarray(whole)[:60], np.asarray(FIGURE))
    foot = whole.crop((0, 60, *whole.size))
    left, upper, right, lower = inked(foot)
    assert 10 <= left < right <= 390
    assert 5 <= upper < lower <= foot.height - 5
    assert foot.height > 60


def test_a_narrow_figure_gets_room_for_words():
    whole = with_foot(FIGURE.resize((40, 20)), ["model models:/nsfw@champion version 3"])
    assert whole.size == (320, 20 + 28 + 18)
