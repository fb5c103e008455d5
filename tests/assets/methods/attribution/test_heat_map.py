import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import gaussian_filter

from assets.methods.attribution.heat_map import (
    HeatMap,
    HeatMapSettings,
    draw_overlay,
    fill_colour_bar,
    shown_size,
    smoothed,
)
from assets.methods.common.errors import UserError
from support.figures import assert_words_are_readable

LABEL = "P(nsfw), window seen"


def photograph(width, height):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def slope(width, height, low=0.1, high=0.6):
    return np.linspace(low, high, width * height, dtype=np.float32).reshape(height, width)


def overlay(size=(300, 260), values=None, label=LABEL, level=None, foot=(), **settings):
    values = slope(*size) if values is None else values
    return draw_overlay(photograph(*size), values, HeatMapSettings(**settings), label, level, foot)


def mixed(grey, colour, opacity=0.6):
    return np.rint((1 - opacity) * grey + opacity * 255 * np.array(colour[:3]))


# Settings


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"colormap": "rainbow"}, "'rainbow': choose one of inferno"),
        ({"scale": "log"}, "'log': choose one of own, fixed"),
        ({"opacity": 1.5}, "1.5: it has to be from 0 to 1"),
        ({"opacity": float("nan")}, "nan: it has to be from 0 to 1"),
    ],
)
def test_a_setting_out_of_its_choices_is_refused(settings, told):
    with pytest.raises(UserError, match=told):
        HeatMapSettings(**settings)


# Colours


def test_a_flat_map_on_the_fixed_scale_has_the_colour_of_its_value_over_grey():
    image = Image.new("RGB", (300, 300), (100, 100, 100))
    for value in (0.0, 0.25, 1.0):
        flat = np.full((300, 300), value, np.float32)
        for name in ("inferno", "jet"):
            settings = HeatMapSettings(colormap=name, scale="fixed")
            picture = np.asarray(draw_overlay(image, flat, settings, LABEL))
            expected = mixed(100, colormaps[name](round(value * 255)))
            assert np.abs(picture[:300, :300] - expected).max() <= 1


def test_the_own_scale_spans_the_map():
    image = Image.new("RGB", (300, 300), "black")
    values = np.full((300, 300), 0.3, np.float32)
    values[:, :100], values[:, 200:] = 0.2, 0.4
    picture = np.asarray(draw_overlay(image, values, HeatMapSettings(opacity=1), LABEL))
    for column, entry in ((50, 0), (150, 128), (250, 255)):
        expected = np.array(colormaps["inferno"](entry)[:3]) * 255
        assert np.abs(picture[150, column] - expected).max() <= 2


def test_rows_are_rows():
    values = np.zeros((260, 300), np.float32)
    values[:130] = 1
    picture = np.asarray(overlay(values=values, opacity=1))
    assert (picture[10, :300] == picture[10, 0]).all()
    assert picture[10, 150].sum() > picture[250, 150].sum()


def test_opacity_mixes_the_map_with_the_photograph_in_grey():
    image = photograph(300, 260)
    unmapped = np.asarray(overlay(opacity=0))[:260, :300]
    assert (unmapped == np.asarray(image.convert("L"))[..., np.newaxis]).all()
    assert overlay(opacity=0.2).tobytes() != overlay(opacity=0.8).tobytes()


def test_colour_map_and_scale_change_the_picture():
    pictures = [overlay(), overlay(colormap="jet"), overlay(scale="fixed")]
    assert len({picture.crop((0, 0, 300, 260)).tobytes() for picture in pictures}) == 3


# Around a level


def around(level, values, **settings):
    """The map of a row of values around a level, and the colours it is drawn in."""
    row = np.array([values], np.float32)
    image = Image.new("RGB", (len(values), 1))
    shown = HeatMap(image, row, HeatMapSettings(opacity=1, **settings), level)
    return shown, np.asarray(shown.blended(image.size))[0].astype(int)


def entries(*numbers):
    return np.rint(colormaps["RdBu_r"](np.array(numbers))[:, :3] * 255)


def test_a_level_is_white_and_as_far_from_it_is_as_strong_a_colour():
    shown, colours = around(0.7, [0.3, 0.5, 0.7, 0.8])
    assert shown.limits == pytest.approx((0.3, 0.8))
    # 0.4 from the level is the strongest: half of it, nothing, and a quarter of it on the red side.
    assert np.abs(colours - entries(0, 64, 128, 159)).max() <= 2
    assert colours[2].min() > 240
    assert colours[0].argmax() == 2
    assert colours[3].argmax() == 0


def test_on_the_fixed_scale_a_change_of_one_is_the_strongest_colour():
    for level in (0.2, 0.7):
        shown, colours = around(level, [level - 0.2, level, level + 0.2], scale="fixed")
        assert shown.limits == (0, 1)
        assert np.abs(colours - entries(102, 128, 153)).max() <= 2
    _, colours = around(0.0, [0.0, 1.0], scale="fixed")
    assert np.abs(colours - entries(128, 255)).max() <= 2


def test_the_colour_map_is_not_that_of_maps_from_low_to_high():
    assert (around(0.5, [0.1, 0.9], colormap="jet")[1] == around(0.5, [0.1, 0.9])[1]).all()


def test_a_map_that_covering_does_not_change_is_white():
    shown, colours = around(0.9, [0.9, 0.9])
    assert shown.limits[0] == shown.limits[1]
    assert colours.min() > 240


def test_a_flat_map_beside_its_level_has_the_colour_of_its_side():
    shown, colours = around(0.9, [0.4, 0.4])
    assert shown.limits == pytest.approx((0.4, 0.9))
    assert shown.range_beyond_bar() == "this map: 0.4 everywhere"
    assert np.abs(colours - entries(0, 0)).max() <= 2


def test_the_bar_of_an_overlay_is_marked_at_the_level():
    marked = np.asarray(overlay(level=0.35, opacity=1))[:, 300:]
    rows, columns = np.nonzero((marked < 40).all(axis=2))
    bar = columns < 12 + 1.1 * 12
    # The middle of 0.1 to 0.6, in a bar that has 0.8 of the font above it and below.
    assert abs(rows[bar].mean() - marked.shape[0] / 2) < 2
    assert overlay(level=0.35).tobytes() != overlay(level=0.3501).tobytes()


@pytest.mark.parametrize("size", [(300, 260), (40, 400), (400, 30)])
def test_the_foot_of_an_overlay_finds_its_room(size):
    plain, footed = (
        overlay(size, level=0.3),
        overlay(size, level=0.3, foot=["word " * 90, "g" * 300]),
    )
    assert footed.height > plain.height + 60
    assert (np.asarray(footed)[plain.height :, -5:] == 255).all()
    upper = np.asarray(footed)[: plain.height, : plain.width]
    assert (upper == np.asarray(plain)).all()


# Colour bars


@pytest.mark.parametrize(("low", "high"), [(0.933201, 0.9896), (0.99927, 0.99985), (-0.06, 0.06)])
@pytest.mark.parametrize("upright", [True, False])
def test_labels_of_a_bar_do_not_touch(low, high, upright):
    figure = Figure(figsize=(4.2, 4.2), dpi=100)
    axes = figure.add_axes((0.3, 0.3, 0.6, 0.04) if not upright else (0.3, 0.1, 0.04, 0.6))
    colours = np.zeros((9, 3))
    fill_colour_bar(axes, colours, (low, high), 16, upright=upright, n_ticks=4)
    assert_words_are_readable(figure)


# Flat maps


def test_a_flat_map_on_its_own_scale_has_the_middle_colour():
    shown = HeatMap(
        Image.new("RGB", (9, 9)), np.full((9, 9), 0.42, np.float32), HeatMapSettings(opacity=1)
    )
    assert shown.limits == (pytest.approx(0.42), pytest.approx(0.42))
    assert shown.range_beyond_bar() == "this map: 0.42 everywhere"
    expected = np.rint(np.array(colormaps["inferno"](128)[:3]) * 255)
    assert (np.asarray(shown.blended((9, 9))) == expected).all()


def test_the_grain_of_rounding_is_no_range():
    grain = np.float32(0.7) + np.float32(6e-8) * np.arange(9, dtype=np.float32).reshape(3, 3)
    assert np.ptp(grain) > 0
    assert HeatMap(Image.new("RGB", (3, 3)), grain, HeatMapSettings()).is_flat
    assert not HeatMap(Image.new("RGB", (3, 3)), slope(3, 3), HeatMapSettings()).is_flat


def test_the_bar_of_a_flat_map_tells_its_value():
    def bar(value, scale):
        flat = np.full((300, 300), value, np.float32)
        return overlay((300, 300), flat, scale=scale).crop((300, 0, 400, 300)).tobytes()

    for scale in ("own", "fixed"):
        assert bar(0.42, scale) != bar(0.43, scale)


def test_the_range_is_told_where_the_bar_does_not():
    image = Image.new("RGB", (20, 20))
    ranges = [
        HeatMap(image, slope(20, 20), HeatMapSettings(scale=scale)).range_beyond_bar()
        for scale in ("own", "fixed")
    ]
    assert ranges == [None, "this map: 0.10 to 0.60"]


# Sizes


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((1, 1), (256, 256)),
        ((20, 13), (260, 169)),
        ((30, 400), (30, 400)),
        ((1024, 768), (1024, 768)),
        ((1600, 1600), (1600, 1600)),
    ],
)
def test_any_size_is_shown_with_a_bar_that_can_be_read(size, shown):
    assert shown_size(size) == shown
    picture = overlay(size)
    assert picture.mode == "RGB"
    assert shown[0] + 60 < picture.width < shown[0] + 360
    assert max(shown[1], 180) <= picture.height <= max(shown[1], 340)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((256, 10), (256, 10)),
        ((400, 30), (400, 30)),
        ((3200, 1000), (1600, 500)),
        ((10_000, 2), (1600, 1)),
    ],
)
def test_the_bar_of_a_panorama_lies_below(size, shown):
    assert shown_size(size) == shown
    for level in (None, 0.3):
        picture = overlay(size, level=level)
        assert picture.width == shown[0]
        assert shown[1] + 40 < picture.height < shown[1] + 260


def test_pixels_of_a_tiny_photograph_become_squares():
    image = Image.fromarray(np.array([[[0] * 3, [255] * 3]], np.uint8))
    flat = np.zeros((1, 2), np.float32)
    picture = np.asarray(draw_overlay(image, flat, HeatMapSettings(opacity=0), LABEL))
    upper = (picture.shape[0] - 128) // 2
    assert (picture[upper : upper + 128, :128] == 0).all()
    assert (picture[upper : upper + 128, 128:256] == 255).all()


def test_a_map_scaled_down_is_averaged():
    board = np.indices((1000, 2000)).sum(axis=0).astype(np.float32) % 2
    shown = HeatMap(Image.new("RGB", (2000, 1000)), board, HeatMapSettings(opacity=1))
    expected = np.rint(np.array(colormaps["inferno"](128)[:3]) * 255)
    assert (np.asarray(shown.blended((1000, 500))) == expected).all()


def test_a_long_label_finds_its_room():
    short, long = overlay((40, 20), label="P"), overlay((40, 20), label="W" * 200)
    assert long.height > short.height == 180


# Smoothing


def test_a_map_is_smoothed_by_a_gaussian_and_goes_on_beyond_its_edge_as_it_ends():
    values = np.random.default_rng(0).normal(size=(30, 40)).astype(np.float32)
    expected = gaussian_filter(values, 1.7, mode="nearest")
    assert smoothed(values, 1.7).dtype == np.float32
    assert smoothed(values, 1.7) == pytest.approx(expected, abs=1e-6)


# Text


def test_nothing_of_a_label_is_interpreted():
    dollars = [overlay(label=label).tobytes() for label in ("$x^2$", "x2", r"$\frac{1}{$", "100 $")]
    assert len(set(dollars)) == 4


def test_names_the_font_lacks_are_drawn():
    assert overlay(label="写真\x00\u202e").tobytes() == overlay(label="????").tobytes()


@pytest.mark.parametrize(("low", "high"), [(0, 3e-6), (0.99999, 1), (0, 1), (0.3, 0.31)])
def test_any_range_is_drawn(low, high):
    assert overlay(values=slope(300, 260, low, high)).size[1] == 260


def test_the_picture_is_the_same_each_time():
    assert overlay().tobytes() == overlay().tobytes()


# Bugs of the caller


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    values = slope(300, 260)
    values[3, 5] = value
    with pytest.raises(ValueError, match="not finite"):
        overlay(values=values)


def test_a_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(300, 260\)"):
        overlay(values=slope(260, 300))
