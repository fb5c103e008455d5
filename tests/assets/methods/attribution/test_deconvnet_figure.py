import dataclasses
from functools import cache
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from assets.methods.attribution import deconvnet_figure
from assets.methods.attribution.deconvnet import Activation
from assets.methods.attribution.deconvnet_figure import draw_deconvnet_figure, signed_image
from assets.methods.attribution.deconvnet_maps import DeconvnetMap, NoiseLikeness, TopActivation
from assets.methods.attribution.heat_map import HeatMapSettings
from assets.methods.plotting import sheet
from support.figures import assert_words_are_readable

TITLE = ("astronaut.png", "opennsfw")


def photograph(size):
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def found_in(size, n_top=9, **changes):
    draw = np.random.default_rng(1)
    reconstruction, change = draw.normal(size=(2, size[1], size[0], 3)).astype(np.float32)
    top = tuple(
        TopActivation(
            Activation("conv", channel, 0, 0, 2.0, 0.5 - channel / 100),
            reconstruction[:9, :9],
            photograph(size).crop((0, 0, min(9, size[0]), min(9, size[1]))),
        )
        for channel in range(n_top)
    )
    found = DeconvnetMap(
        class_name="nsfw",
        score=0.2,
        square_score=0.1,
        read_size=size,
        start=None,
        reconstruction=reconstruction,
        has_switches=True,
        noise_likeness=NoiseLikeness(0.1, 0.2),
        relevance=np.abs(reconstruction).sum(axis=2),
        top_layer="conv",
        top=top,
        change=change,
        changed=photograph(size),
        changed_score=0.4,
    )
    return dataclasses.replace(found, **changes)


def figure(size=(90, 60), found=None, title=TITLE, **more):
    return draw_deconvnet_figure(photograph(size), found or found_in(size), *title, **more)


@cache
def usual_pixels():
    """The pixels of the figure that the others are compared with."""
    return figure().tobytes()


def words_of(*arguments, **more):
    """The texts of a figure, each of which can be read, and the figure."""
    with patch.object(sheet, "rasterised", wraps=sheet.rasterised) as rasterised:
        picture = figure(*arguments, **more)
    drawn = rasterised.call_args.args[0]
    return assert_words_are_readable(drawn), picture


SIZES = [(1, 1), (400, 30), (30, 400), (512, 512), (1024, 683), (3, 5000), (5000, 3)]


@pytest.mark.parametrize("size", SIZES)
def test_a_photograph_of_any_shape_gives_an_orderly_figure(size):
    picture = figure(size)
    assert picture.mode == "RGB"
    assert picture.width == 1800
    assert picture.height < 2100
    array = np.asarray(picture)
    rim = [array[:30], array[-10:], array[:, :39], array[:, -36:]]
    assert all((part == 255).all() for part in rim)


def box_of(picture, colour):
    """The left, upper, right and lower px of the pixels of a colour."""
    rows, columns = np.nonzero((np.asarray(picture) == colour).all(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("size", [(60, 60), (120, 60), (60, 120), (600, 20)])
def test_the_photograph_after_the_step_keeps_its_shape(size):
    found = found_in(size, changed=Image.new("RGB", size, "lime"))
    left, upper, right, lower = box_of(figure(size, found), (0, 255, 0))
    assert left > 1000
    assert (right - left) / size[0] == pytest.approx((lower - upper) / size[1], rel=0.06)


def test_the_patches_lie_beside_their_reconstructions():
    found = found_in((90, 60), n_top=1)
    top = dataclasses.replace(
        found.top[0],
        patch=Image.new("RGB", (9, 9), "lime"),
        reconstruction=np.full((9, 9, 3), [1, -1, 1], dtype=np.float32),
    )
    picture = figure(found=dataclasses.replace(found, top=(top,)))
    reconstruction, patch = box_of(picture, (255, 1, 255)), box_of(picture, (0, 255, 0))
    assert reconstruction == (40, patch[1], 40 + 148, patch[3])
    assert (patch[0], patch[2]) == (40 + 152, 40 + 300)


def test_what_gets_brighter_is_orange_and_what_gets_darker_violet():
    change = np.ones((60, 60, 3), dtype=np.float32)
    change[:, 30:] = -1
    picture = figure((60, 60), found_in((60, 60), change=change))
    # The rows of the picture, not of its colour bar.
    orange = (np.asarray(picture) == (235, 120, 0)).all(axis=2).sum(axis=1)
    rows = np.flatnonzero(orange > 60)
    shown = picture.crop((0, rows.min(), picture.width, rows.max() + 1))
    brighter, darker = box_of(shown, (235, 120, 0)), box_of(shown, (95, 50, 160))
    assert brighter[0] > 1000
    assert brighter[2] <= darker[0]
    assert brighter[1] == darker[1]


def test_the_relevance_glows_where_it_is(monkeypatch):
    relevance = np.zeros((60, 60), dtype=np.float32)
    relevance[10:20, 40:50] = 1
    monkeypatch.setattr(deconvnet_figure, "_RELEVANCE", HeatMapSettings(opacity=1))
    picture = figure((60, 60), found_in((60, 60), relevance=relevance))
    left, upper, right, lower = box_of(picture, (252, 255, 164))
    # The last of three panels of 546 px; the glow's middle is at 45, 15 of 60.
    panel_left, scale = 40 + 2 * (546 + 41), 546 / 60
    assert (left + right) / 2 - panel_left == pytest.approx(45 * scale, abs=8)
    assert right - left < 20 * scale
    panel_upper = (upper + lower) / 2 - 15 * scale
    assert panel_upper == pytest.approx(40 + 28 + 16 + 26 + 10 + 84, abs=8)


ACTIVATION = Activation("conv", 3, 1, 2, 2.5, 0.5)


@pytest.mark.parametrize(
    "change",
    [
        {"class_name": "sfw"},
        {"score": 0.3},
        {"square_score": 0.3},
        {"changed_score": 0.5},
        {"changed_score": 0.1},
        {"start": ACTIVATION},
        {"noise_likeness": NoiseLikeness(0.2, 0.2)},
        {"noise_likeness": NoiseLikeness(0.1, 0.3)},
        {"read_size": (45, 30)},
        {"top_layer": "other"},
        {"top": ()},
    ],
)
def test_all_of_the_findings_are_written(change):
    assert figure(found=found_in((90, 60), **change)).tobytes() != usual_pixels()


@cache
def pixels_with_start():
    return figure(found=found_in((90, 60), start=ACTIVATION)).tobytes()


@pytest.mark.parametrize(
    "change", [{"channel": 4}, {"row": 4}, {"column": 4}, {"value": 4.0}, {"layer": "other"}]
)
def test_all_of_the_start_is_written(change):
    start = dataclasses.replace(ACTIVATION, **change)
    assert figure(found=found_in((90, 60), start=start)).tobytes() != pixels_with_start()


@pytest.mark.parametrize("title", [("b.png", "opennsfw"), ("astronaut.png", "b")])
def test_all_of_the_title_is_written(title):
    assert figure(title=title).tobytes() != usual_pixels()


@pytest.mark.parametrize("name", ["$x^2$", r"$\frac{1}{$", "{}", "{0.x}", "写真\n.jpg", "W" * 500])
def test_names_are_data(name):
    start = dataclasses.replace(ACTIVATION, layer=name)
    found = found_in((90, 60), class_name=name, top_layer=name, start=start)
    picture = figure(found=found, title=(name, name))
    assert (np.asarray(picture)[:, -36:] == 255).all()


def test_a_map_of_nothing_is_drawn():
    zeros = np.zeros((60, 90, 3), dtype=np.float32)
    found = found_in((90, 60), n_top=0, reconstruction=zeros, relevance=zeros[..., 0], change=zeros)
    assert figure(found=found).mode == "RGB"


def test_signed_values_lie_around_mid_grey():
    values = np.array([-2.0, 0, 1, 2], dtype=np.float32).reshape(1, 4, 1).repeat(3, axis=2)
    shown = np.asarray(signed_image(values))[0, :, 0]
    assert shown.tolist() == [1, 128, 192, 255]


def test_a_few_large_values_do_not_dim_the_rest():
    values = np.ones((50, 50, 3), dtype=np.float32)
    values[0, 0] = 1000
    assert np.asarray(signed_image(values)).min() == 255


def test_the_figure_is_the_same_each_time():
    assert figure().tobytes() == usual_pixels()


def test_maps_of_another_size_are_refused():
    with pytest.raises(ValueError, match="the maps are"):
        figure((90, 60), found_in((60, 90)))


@pytest.mark.parametrize("size", [(4000, 400), (24, 30), (400, 1200)])
def test_every_picture_has_a_bar_with_its_unit_on_a_figure_of_any_shape(size):
    long = (
        "A sentence of many words that goes on for longer than the figure is wide. " * 4
    ).strip()
    more = {"notes": [long], "foot": [long, "f" * 400]}
    texts, picture = words_of(size, found_in(size, read_size=(1024, 512)), **more)
    words = " ".join(texts)
    assert words.count(long) == 2
    assert "grey levels up to a common factor" in words
    assert "sum of the sizes of its colours, smoothed, in the same unit" in words
    assert "log-odds per grey level" in words
    assert "scaled to 1,024 x 512 px for the network" in words
    assert (np.asarray(picture)[:, -36:] == 255).all()


def test_the_bar_of_the_reconstruction_has_the_values_of_its_greys():
    reconstruction = np.full((60, 60, 3), 0.25, np.float32)
    reconstruction[:30] = -0.25
    texts, _ = words_of((60, 60), found_in((60, 60), reconstruction=reconstruction))
    assert {"-0.25", "0.25"} <= set(texts)


@pytest.mark.parametrize(
    ("likeness", "start", "told"),
    [
        (NoiseLikeness(1.0, 1.0), None, "is the same for every photograph, for noise too"),
        (NoiseLikeness(1.0, 1.0), ACTIVATION, "every photograph once its place is chosen"),
        (NoiseLikeness(0.03, 0.94), None, "much the same for every photograph: it correlates by"),
        (NoiseLikeness(0.03, 0.94), ACTIVATION, "photograph once its place is chosen: it"),
        (NoiseLikeness(0.03, 0.5), None, None),
    ],
)
def test_a_reconstruction_that_tells_nothing_of_the_photograph_says_so(likeness, start, told):
    texts, _ = words_of((60, 60), found_in((60, 60), noise_likeness=likeness, start=start))
    sentences = [text for text in texts if "for every photograph" in text]
    assert len(sentences) == (0 if told is None else 1)
    if told:
        assert told in sentences[0]


def test_a_panorama_has_its_pictures_below_each_other():
    size = (900, 90)
    photo = Image.new("RGB", size, "lime")
    left, upper, right, lower = box_of(
        draw_deconvnet_figure(photo, found_in(size), *TITLE), (0, 255, 0)
    )
    assert (left, right, lower - upper) == (40, 1760, 172)
