import dataclasses

import numpy as np
import pytest
from PIL import Image

from assets.methods.attribution.heat_map import HeatMapSettings
from assets.methods.attribution.occlusion_figure import FigureTitle, Panel, draw_occlusion_figure

TITLE = FigureTitle("astronaut.png", "nsfw", "opennsfw", 0.93, 64, 16, "black", 841)


def photograph(size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise)


def panel(size, window=None, rectangle=None, score=0.8, seed=0):
    values = np.random.default_rng(seed).random(size[::-1], dtype=np.float32)
    window = Image.new("RGB", (64, 64), "lime") if window is None else window
    rectangle = (0, 0, min(64, size[0]), min(64, size[1])) if rectangle is None else rectangle
    return Panel(values, window, score, rectangle)


def figure(size=(200, 100), seen=True, hidden=True, title=TITLE, **settings):
    return draw_occlusion_figure(
        photograph(size),
        panel(size) if seen is True else seen or None,
        panel(size, Image.new("RGB", size, "cyan"), seed=1) if hidden is True else hidden or None,
        HeatMapSettings(**settings),
        title,
    )


def box_of(picture, colour):
    """The left, upper, right and lower px of the pixels of a colour."""
    rows, columns = np.nonzero((np.asarray(picture) == colour).all(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


SIZES = [(1, 1), (400, 30), (30, 400), (512, 512), (1024, 683), (3, 5000)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("made", ["both", "seen", "hidden"])
def test_a_photograph_of_any_shape_gives_an_orderly_figure(size, made):
    picture = figure(size, seen=made != "hidden", hidden=made != "seen")
    assert picture.mode == "RGB"
    assert 700 < picture.width <= 1800
    array = np.asarray(picture)
    rim = [array[:30], array[-10:], array[:, :39], array[:, -30:]]
    assert all((part == 255).all() for part in rim)


@pytest.mark.parametrize("size", SIZES)
def test_the_windows_lie_right_of_the_maps_and_keep_their_shape(size):
    picture = figure(size)
    seen, hidden = box_of(picture, (0, 255, 0)), box_of(picture, (0, 255, 255))
    assert seen[2] - seen[0] == seen[3] - seen[1] == 245
    shown = np.array([hidden[2] - hidden[0], hidden[3] - hidden[1]])
    assert (np.abs(shown - np.multiply(size, 245 / max(size))) < 1).all()
    assert seen[0] == hidden[0] >= 40 + 2 * (420 + 56)
    assert hidden[1] > seen[3] + 60


def test_the_outline_is_where_the_window_lies():
    # A black map under an invisible photograph leaves the white of the outline alone.
    size = (320, 160)
    dark = np.zeros((160, 320), np.float32)
    rectangle = (100, 40, 164, 104)
    shown = Panel(dark, Image.new("RGB", (64, 64), "lime"), 0.8, rectangle)
    settings = HeatMapSettings(opacity=1, scale="fixed")
    picture = draw_occlusion_figure(photograph(size), shown, None, settings, TITLE)
    windows_upper = box_of(picture, (0, 255, 0))[1]
    map_part = picture.crop((40, windows_upper, 40 + 640, windows_upper + 320))
    # The map is drawn twice as large.
    assert box_of(map_part, (255, 255, 255)) == (200, 80, 328, 208)


def test_the_map_of_each_experiment_is_in_its_place():
    size = (640, 640)
    low, high = np.zeros((640, 640), np.float32), np.ones((640, 640), np.float32)
    window = Image.new("RGB", (64, 64), "lime")
    settings = HeatMapSettings(colormap="jet", opacity=1, scale="fixed")
    seen, hidden = (Panel(values, window, 0.5, (0, 0, 64, 64)) for values in (low, high))
    picture = draw_occlusion_figure(photograph(size), seen, hidden, settings, TITLE)
    upper = box_of(picture, (0, 255, 0))[1]
    assert picture.getpixel((40 + 320, upper + 320)) == (0, 0, 128)
    assert picture.getpixel((40 + 640 + 56 + 320, upper + 320)) == (128, 0, 0)


def bar_of_hidden(score, settings):
    """The colours along the bar of a hidden map of 640 x 640 px that spans 0.2 to 0.8."""
    values = np.linspace(0.2, 0.8, 640 * 640, dtype=np.float32).reshape(640, 640)
    hidden = Panel(values, Image.new("RGB", (640, 640), "lime"), 0.5, (0, 0, 64, 64))
    title = dataclasses.replace(TITLE, score=score)
    picture = draw_occlusion_figure(photograph((640, 640)), None, hidden, settings, title)
    row = box_of(picture, (0, 255, 0))[1] + 640 + 16 + 8
    return np.asarray(picture)[row, 40 : 40 + 640]


@pytest.mark.parametrize(("scale", "place"), [("fixed", 0.7), ("own", (0.7 - 0.2) / 0.6)])
def test_the_bar_is_marked_where_covering_changes_nothing(scale, place):
    bar = bar_of_hidden(score=0.3, settings=HeatMapSettings(colormap="jet", scale=scale))
    white = np.flatnonzero((bar > 240).all(axis=1))
    assert abs(white.mean() - place * 640) < 2


@pytest.mark.parametrize("score", [0.1, 0.9])
def test_a_bar_that_ends_before_has_no_mark(score):
    bar = bar_of_hidden(score, HeatMapSettings(colormap="jet"))
    assert not (bar > 240).all(axis=1).any()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "b.png"},
        {"class_name": "sfw"},
        {"model": "other"},
        {"score": 0.94},
        {"box": 32},
        {"stride": 3},
        {"fill": "blur"},
        {"n_windows": 842},
    ],
)
def test_all_of_the_title_is_written(change):
    assert figure(title=dataclasses.replace(TITLE, **change)).tobytes() != figure().tobytes()


def test_the_score_of_the_window_is_written():
    other = panel((200, 100), score=0.7)
    assert figure(seen=other).tobytes() != figure().tobytes()


@pytest.mark.parametrize("name", ["$x^2$", r"$\frac{1}{$", "{}", "{0.x}", "写真\n.jpg", "W" * 500])
def test_names_are_data(name):
    title = dataclasses.replace(TITLE, name=name, class_name=name, model=name)
    picture = figure(hidden=False, title=title, scale="fixed")
    assert (np.asarray(picture)[:, -30:] == 255).all()


def test_a_flat_map_is_drawn():
    flat = Panel(np.full((9, 9), 0.5, np.float32), Image.new("RGB", (9, 9)), 0.5, (0, 0, 9, 9))
    for scale in ("own", "fixed"):
        assert figure((9, 9), seen=flat, scale=scale).mode == "RGB"


def test_the_settings_change_the_figure():
    pictures = [figure(), figure(colormap="jet"), figure(scale="fixed"), figure(opacity=0.3)]
    assert len({picture.tobytes() for picture in pictures}) == 4


def test_the_figure_is_the_same_each_time():
    assert figure().tobytes() == figure().tobytes()


def test_a_figure_without_an_experiment_is_refused():
    with pytest.raises(ValueError, match="no experiment"):
        figure(seen=False, hidden=False)
