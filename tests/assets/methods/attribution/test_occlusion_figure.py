import dataclasses
from functools import cache
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from assets.methods.attribution.heat_map import HeatMapSettings
from assets.methods.attribution.occlusion_figure import FigureTitle, Panel, draw_occlusion_figure
from assets.methods.plotting import sheet
from support.figures import assert_words_are_readable

TITLE = FigureTitle("astronaut.png", "nsfw", "opennsfw", 0.93, 64, 16, "black", 841)


def photograph(size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise)


def panel(size, window=None, rectangle=None, score=0.8, seed=0):
    values = np.random.default_rng(seed).random(size[::-1], dtype=np.float32)
    window = Image.new("RGB", (64, 64), "lime") if window is None else window
    rectangle = (0, 0, min(64, size[0]), min(64, size[1])) if rectangle is None else rectangle
    return Panel(values, window, score, rectangle)


def figure(size=(200, 100), seen=True, hidden=True, title=TITLE, more=None, **settings):
    return draw_occlusion_figure(
        photograph(size),
        panel(size) if seen is True else seen or None,
        panel(size, Image.new("RGB", size, "cyan"), seed=1) if hidden is True else hidden or None,
        HeatMapSettings(**settings),
        title,
        **(more or {}),
    )


@cache
def usual_pixels():
    """The pixels of the figure that the others are compared with."""
    return figure().tobytes()


def words_of(*arguments, **changes):
    """The texts of a figure, each of which can be read, and the figure."""
    with patch.object(sheet, "rasterised", wraps=sheet.rasterised) as rasterised:
        picture = figure(*arguments, **changes)
    # The last is the figure's own: before it texts are only measured.
    drawn = rasterised.call_args.args[0]
    return assert_words_are_readable(drawn), picture


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
    # A mark at the end of a bar is drawn around it.
    rim = [array[:30], array[-10:], array[:, :36], array[:, -30:]]
    assert all((part == 255).all() for part in rim)


@pytest.mark.parametrize("size", [(1, 1), (30, 400), (512, 512), (1024, 683), (3, 5000)])
def test_the_windows_lie_right_of_the_maps_and_keep_their_shape(size):
    picture = figure(size)
    seen, hidden = box_of(picture, (0, 255, 0)), box_of(picture, (0, 255, 255))
    assert seen[2] - seen[0] == seen[3] - seen[1] == 200
    shown = np.array([hidden[2] - hidden[0], hidden[3] - hidden[1]])
    assert (np.abs(shown - np.multiply(size, 200 / max(size))) < 1).all()
    assert seen[0] == hidden[0] >= 40 + 2 * (420 + 56)
    assert hidden[1] > seen[3] + 60


@pytest.mark.parametrize("size", [(400, 30), (4000, 400), (5000, 3)])
def test_a_panorama_has_its_maps_below_each_other_as_wide_as_the_figure(size):
    lit = [np.full(size[::-1], level, np.float32) for level in (0.0, 1.0)]
    window = Image.new("RGB", (64, 64), "lime")
    middle = size[0] // 2
    seen, hidden = (Panel(values, window, 0.5, (middle, 0, middle + 9, 3)) for values in lit)
    settings = HeatMapSettings(colormap="jet", opacity=1, scale="fixed")
    certain = dataclasses.replace(TITLE, score=1.0)
    picture = draw_occlusion_figure(photograph(size), seen, hidden, settings, certain)
    assert picture.width == 1800
    # Blue is the end of jet for 0 and dark red the end of the scale around 0 for 1.
    upper, lower = box_of(picture, (0, 0, 128)), box_of(picture, (103, 0, 31))
    for box in (upper, lower):
        assert (box[0], box[2]) == (40, 1760)
    assert upper[3] < lower[1]
    fed = box_of(picture, (0, 255, 0))
    assert fed[0] == 40
    assert fed[1] > lower[3]


def test_a_tall_photograph_is_drawn_higher_than_others():
    size = (400, 1200)
    dark = np.zeros((1200, 400), np.float32)
    shown = Panel(dark, Image.new("RGB", (64, 64), "lime"), 0.8, (0, 0, 400, 1200))
    picture = figure(size, shown, False, colormap="jet", opacity=1, scale="fixed")
    left, upper, right, lower = box_of(picture, (0, 0, 128))
    # The outline takes 3 px of each side.
    assert (right - left + 6, lower - upper + 6) == (333, 1000)


def test_the_whole_photograph_is_shown_as_it_was_fed():
    texts, picture = words_of(more={"whole": Image.new("RGB", (224, 224), "magenta")})
    whole, seen = box_of(picture, (255, 0, 255)), box_of(picture, (0, 255, 0))
    assert whole[3] - whole[1] == 200
    assert whole[0] == seen[0]
    assert whole[3] < seen[1]
    assert "the whole photograph" in texts


def test_a_figure_says_in_which_size_the_network_was_fed():
    window = Image.new("RGB", (224, 224), "lime")
    one = panel((200, 100), window)
    assert "as 224 x 224 px, and its score" in words_of(seen=one, hidden=one)[0]
    assert "as it is, and its score" in words_of()[0]


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
    certain = dataclasses.replace(TITLE, score=1.0)
    picture = draw_occlusion_figure(photograph(size), seen, hidden, settings, certain)
    upper = box_of(picture, (0, 255, 0))[1]
    assert picture.getpixel((40 + 320, upper + 320)) == (0, 0, 128)
    # Covering anything takes all of the score: the reddest colour, whatever that of seen is.
    assert picture.getpixel((40 + 640 + 56 + 320, upper + 320)) == (103, 0, 31)


def hidden_between(low, high):
    values = np.linspace(low, high, 640 * 640, dtype=np.float32).reshape(640, 640)
    return Panel(values, Image.new("RGB", (640, 640), "lime"), 0.5, (0, 0, 64, 64))


@pytest.mark.parametrize(
    ("score", "scale", "place"),
    [
        (0.3, "fixed", 0.7),
        (0.3, "own", (0.7 - 0.2) / 0.6),
        # The bar goes on to a level that is beyond the map.
        (0.1, "own", 1.0),
        (0.9, "own", 0.0),
    ],
)
def test_the_bar_is_marked_where_covering_changes_nothing(score, scale, place):
    title = dataclasses.replace(TITLE, score=score)
    settings = HeatMapSettings(scale=scale)
    panels = (None, hidden_between(0.2, 0.8))
    picture = draw_occlusion_figure(photograph((640, 640)), *panels, settings, title)
    row = box_of(picture, (0, 255, 0))[1] + 640 + 16 + 8
    bar = np.asarray(picture)[row, 36 : 40 + 640 + 4]
    # The mark is white within black.
    black = np.flatnonzero((bar < 40).all(axis=1))
    assert abs(black.mean() - 4 - place * 640) < 2


def test_the_level_is_the_score_of_the_pixels_on_which_windows_lie():
    title = dataclasses.replace(TITLE, score=0.9, read_score=0.3)
    texts, _ = words_of((640, 640), False, hidden_between(0.2, 0.8), title)
    assert "White (the mark, 0.70): covering changes nothing." in texts


@pytest.mark.parametrize(
    ("score", "told"),
    [
        (0.3, ["lowers P(nsfw), by up to 0.1", "raises P(nsfw), by up to 0.5"]),
        (0.1, ["lowers P(nsfw): nowhere", "raises P(nsfw), by up to 0.7"]),
        (0.9, ["lowers P(nsfw), by up to 0.7", "raises P(nsfw): nowhere"]),
    ],
)
def test_both_colours_of_hidden_are_explained(score, told):
    title = dataclasses.replace(TITLE, score=score)
    texts, _ = words_of((640, 640), False, hidden_between(0.2, 0.8), title)
    assert [text for text in texts if text.startswith("covering")] == [
        f"covering {words}" for words in told
    ]


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
        {"read_size": (100, 50)},
    ],
)
def test_all_of_the_title_is_written(change):
    assert figure(title=dataclasses.replace(TITLE, **change)).tobytes() != usual_pixels()


def test_the_score_of_the_window_is_written():
    other = panel((200, 100), score=0.7)
    assert figure(seen=other).tobytes() != usual_pixels()


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
    pictures = [figure(colormap="jet"), figure(scale="fixed"), figure(opacity=0.3)]
    assert len({usual_pixels(), *(picture.tobytes() for picture in pictures)}) == 4


def test_the_figure_is_the_same_each_time():
    assert figure().tobytes() == usual_pixels()


def test_a_figure_without_an_experiment_is_refused():
    with pytest.raises(ValueError, match="no experiment"):
        figure(seen=False, hidden=False)


def test_box_and_stride_are_told_in_px_of_what_was_read_and_of_the_photograph():
    title = dataclasses.replace(TITLE, read_size=(100, 50))
    texts, _ = words_of(title=title)
    words = " ".join(texts)
    assert "photograph 200 x 100 px, scaled to 100 x 50 px for the network" in words
    assert "box 64 px of that (128 px of the photograph), stride 16 px (32 px)" in words


def test_a_window_as_large_as_the_image_is_told():
    title = dataclasses.replace(TITLE, n_windows=1)
    texts, _ = words_of((24, 30), title=title)
    assert any(text.startswith("The window is as large as the image") for text in texts)


LONG = ("A sentence of many words that goes on for longer than any figure is wide. " * 3).strip()


@pytest.mark.parametrize("size", [(4000, 400), (512, 512), (24, 30), (400, 1200)])
def test_notes_and_foot_find_their_room_on_a_figure_of_any_shape(size):
    more = {"notes": [LONG, "A second one."], "foot": [LONG, "f" * 400]}
    texts, picture = words_of(size, more=more)
    assert " ".join(texts).count(LONG) == 2
    assert "A second one." in texts
    assert "".join(text for text in texts if set(text) == {"f"}) == "f" * 400
    assert (np.asarray(picture)[:, -30:] == 255).all()
