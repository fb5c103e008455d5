import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from assets.methods.plotting.sheet import FigureSheet, fitted, rasterised
from assets.methods.plotting.text import text_length


def sheet():
    return FigureSheet(301, 203, font=20)


def inked(picture):
    """The left, upper, right and lower px of what is not white."""
    rows, columns = np.nonzero((np.asarray(picture) < 255).any(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def written(*words, **options):
    page = sheet()
    page.write(*words, **options)
    return page.image()


def test_a_sheet_is_white_and_of_its_size():
    picture = sheet().image()
    assert (picture.mode, picture.size) == ("RGB", (301, 203))
    assert (np.asarray(picture) == 255).all()


def test_a_picture_is_put_in_its_place_pixel_by_pixel():
    noise = np.random.default_rng(0).integers(0, 255, (17, 31, 3), dtype=np.uint8)
    page = sheet()
    page.paste(Image.fromarray(noise), 12, 150)
    picture = page.image()
    assert (np.asarray(picture.crop((12, 150, 12 + 31, 150 + 17))) == noise).all()
    assert inked(picture) == (12, 150, 12 + 31, 150 + 17)


def test_a_text_begins_at_its_left_and_stands_on_its_baseline():
    left, upper, _, lower = inked(written(50, 120, "H"))
    assert left == pytest.approx(51, abs=2)
    assert lower == pytest.approx(120, abs=1)
    # The capitals of DejaVu Sans are 0.73 of the font.
    assert lower - upper == pytest.approx(0.73 * 20, abs=2)


def test_a_text_has_the_font_of_the_sheet_unless_it_is_given_another():
    own, same, large = (written(50, 120, "H", *font) for font in ((), (20,), (40,)))
    assert own.tobytes() == same.tobytes()
    height = [lower - upper for _, upper, _, lower in map(inked, (own, large))]
    assert height[1] == pytest.approx(2 * height[0], abs=2)


def test_a_text_has_its_colour_and_weight():
    assert written(50, 120, "■").getpixel((58, 115)) == (34, 34, 34)
    assert written(50, 120, "■", color="lime").getpixel((58, 115)) == (0, 255, 0)
    left, _, right, _ = inked(written(50, 120, "HH", weight="bold"))
    assert right - left == pytest.approx(text_length("HH", 20, "bold"), abs=4)
    assert right - left > text_length("HH", 20)


def test_nothing_of_a_text_is_interpreted():
    left, _, right, _ = inked(written(50, 120, "$HHH$"))
    assert right - left == pytest.approx(text_length("$HHH$", 20), abs=5)


def test_axes_lie_in_their_place():
    page = sheet()
    axes = page.axes(100, 40, 150, 90)
    axes.set_facecolor("lime")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    picture = page.image()
    assert inked(picture) == (100, 40, 100 + 150, 40 + 90)
    assert (np.asarray(picture)[40 : 40 + 90, 100 : 100 + 150] == (0, 255, 0)).all()


def test_a_figure_becomes_a_picture_of_its_pixels():
    picture = rasterised(Figure(figsize=(3, 2), dpi=50, facecolor="#4c78a8"))
    assert (picture.mode, picture.size) == ("RGB", (150, 100))
    assert (np.asarray(picture) == (76, 120, 168)).all()


@pytest.mark.parametrize(
    ("size", "room", "expected"),
    [
        ((200, 100), (50, 50), (50, 25)),
        ((100, 200), (50, 50), (25, 50)),
        ((10, 10), (640, 320), (320, 320)),
        ((30, 20), (90, 61), (90, 60)),
        ((5000, 3), (148, 148), (148, 1)),
        ((3, 5000), (148, 148), (1, 148)),
    ],
)
def test_a_size_is_fitted_into_a_room(size, room, expected):
    assert fitted(size, room) == expected
