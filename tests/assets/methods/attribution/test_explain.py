import dataclasses

import numpy as np
import pytest
from PIL import Image

from assets.methods.attribution import explain as explained_image
from assets.methods.attribution.explain import Question, explain_image
from assets.methods.attribution.heat_map import HeatMapSettings
from assets.methods.attribution.occlusion import OcclusionSettings
from assets.methods.attribution.occlusion_maps import explain
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.errors import UserError
from support.classifiers import Brightness


@pytest.fixture
def store(tmp_path):
    return WindowScoreStore(tmp_path)


@pytest.fixture
def drawn(monkeypatch):
    """What is handed to the drawings, which are made all the same."""
    calls = {"draw_overlay": [], "draw_occlusion_figure": []}
    for name, made in calls.items():
        original = getattr(explained_image, name)

        def draw(*arguments, made=made, original=original):
            made.append(arguments)
            return original(*arguments)

        monkeypatch.setattr(explained_image, name, draw)
    return calls


def ask(classifier=None, **changed):
    parts = {
        "classifier": classifier or Brightness(),
        "model": "brightness",
        "class_name": "bright",
        "occlusion": OcclusionSettings(4, 4),
        "drawing": HeatMapSettings(),
    }
    return Question(**{**parts, **changed})


def corner(width=12, height=8, mode="RGB"):
    """A black image whose upper right window of 4 px, scaled with the image, is white."""
    image = Image.new("RGB", (width, height))
    image.paste("white", (width * 2 // 3, 0, width, height // 2))
    return image.convert(mode)


def test_both_maps_the_score_and_their_figures(store):
    found = explain_image(corner(), "corner.png", ask(), store)
    lit = np.asarray(corner())[..., 0] / 255
    assert found.score == pytest.approx(1 / 6)
    np.testing.assert_array_equal(found.maps["seen"].values, lit)
    # Without the one white window nothing is bright; without another one all of it is left.
    np.testing.assert_allclose(found.maps["hidden"].values, 1 - (1 - lit) / 6, rtol=1e-6)
    assert found.metrics == {
        "score": found.score,
        "seen.minimum": 0,
        "seen.maximum": 1,
        "seen.mean": pytest.approx(1 / 6),
        "seen.share_above_threshold": pytest.approx(1 / 6),
        "hidden.minimum": pytest.approx(5 / 6),
        "hidden.maximum": 1,
        "hidden.mean": pytest.approx(1 - 5 / 36),
        "hidden.share_above_threshold": 1,
    }
    assert {type(metric) for metric in found.metrics.values()} == {float}


def test_the_maps_are_those_of_explain(store, tmp_path):
    question = ask(occlusion=OcclusionSettings(5, 3, "mean", long_side=10))
    image = corner(24, 16)
    found = explain_image(image, "corner.png", question, store)
    expected = explain(
        image,
        question.classifier,
        "bright",
        question.occlusion,
        WindowScoreStore(tmp_path / "other"),
    )
    assert list(found.maps) == list(expected) == ["seen", "hidden"]
    for experiment, one in expected.items():
        np.testing.assert_array_equal(found.maps[experiment].values, one.values)
        np.testing.assert_array_equal(found.maps[experiment].scores, one.scores)


@pytest.mark.parametrize("experiment", ["seen", "hidden"])
def test_one_experiment_alone_has_one_map_one_overlay_and_its_figures(store, experiment, drawn):
    found = explain_image(corner(), "corner.png", ask(experiments=[experiment]), store)
    assert list(found.maps) == list(found.overlays) == [experiment]
    assert {name.split(".")[0] for name in found.metrics} == {"score", experiment}
    ((_, seen, hidden, *_),) = drawn["draw_occlusion_figure"]
    assert (seen is None, hidden is None) == (experiment == "hidden", experiment == "seen")


def test_pictures_are_rgb_and_the_same_each_time(store):
    one = explain_image(corner(), "corner.png", ask(), store)
    two = explain_image(corner(), "corner.png", ask(), store)
    assert one.figure.mode == "RGB"
    assert one.figure.tobytes() == two.figure.tobytes()
    for experiment, overlay in one.overlays.items():
        assert overlay.mode == "RGB"
        assert overlay.tobytes() == two.overlays[experiment].tobytes()
        assert two.maps[experiment].n_computed == 0
    assert one.overlays["seen"].tobytes() != one.overlays["hidden"].tobytes()


def test_an_overlay_says_what_its_map_shows(store, drawn):
    explain_image(corner(), "corner.png", ask(class_name="dark"), store)
    assert [(label, values.max()) for _, values, _, label in drawn["draw_overlay"]] == [
        ("P(dark), window cut out", 1),
        ("1 - P(dark), window painted over", pytest.approx(1 / 6)),
    ]


def test_the_figure_shows_the_window_that_says_most_where_it_lies_on_the_image(store, drawn):
    question = ask(occlusion=OcclusionSettings(4, 4, long_side=12))
    explain_image(corner(24, 16), "corner.png", question, store)
    ((image, seen, hidden, drawing, title),) = drawn["draw_occlusion_figure"]
    assert (image.size, drawing) == ((24, 16), question.drawing)
    # 8 to 12 px from the left of the scaled image, 16 to 24 of the image itself.
    assert seen.window_rectangle == hidden.window_rectangle == (16, 0, 24, 8)
    assert (seen.window_image.size, hidden.window_image.size) == ((4, 4), (12, 8))
    for panel in (seen, hidden):
        bright = np.asarray(panel.window_image)[..., 0].mean() / 255
        assert panel.window_score == pytest.approx(bright)
    # Scaling leaves a soft edge.
    assert seen.window_score > 0.95
    assert hidden.window_score < 0.01
    assert seen.values.shape == hidden.values.shape == (16, 24)
    assert dataclasses.astuple(title) == (
        *("corner.png", "bright", "brightness", pytest.approx(1 / 6, abs=1e-3)),
        *(4, 4, "black", 6),
    )


def test_a_window_larger_than_the_image_is_told_as_it_is(store, drawn):
    explain_image(corner(), "corner.png", ask(occlusion=OcclusionSettings(64, 16)), store)
    (title,) = drawn["draw_occlusion_figure"][0][4:]
    assert (title.box, title.n_windows) == (12, 1)


def test_the_score_is_that_of_the_image_scaled_down(store):
    class Sizes(Brightness):
        def classify(self, images):
            self.shapes = getattr(self, "shapes", []) + [tuple(image.shape) for image in images]
            return super().classify(images)

    classifier = Sizes()
    question = ask(classifier, occlusion=OcclusionSettings(4, 4, long_side=12))
    found = explain_image(corner(24, 16), "corner.png", question, store)
    assert classifier.shapes[-1] == (3, 8, 12)
    assert (3, 16, 24) not in classifier.shapes
    assert found.score == pytest.approx(1 / 6, abs=1e-3)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_an_image_of_any_mode_is_taken_as_rgb(store, mode):
    found = explain_image(corner(mode=mode), "corner.png", ask(), store)
    np.testing.assert_array_equal(found.maps["seen"].values, np.asarray(corner())[..., 0] / 255)


def test_the_threshold_decides_what_share_of_windows_counts(store):
    shares = [
        explain_image(corner(), "corner.png", ask(threshold=threshold), store).metrics[
            "hidden.share_above_threshold"
        ]
        for threshold in (0.5, 0.9, 1)
    ]
    assert shares == [1, pytest.approx(1 / 6), 0]


def test_work_is_announced_and_its_progress_told(store):
    announced, told = [], []
    explain_image(
        corner(), "corner.png", ask(), store, announced.append, lambda *done: told.append(done)
    )
    assert [one.n_windows for one in announced] == [12, 12]
    assert told[-1] == (12, 12)


def test_an_unknown_class_is_refused_before_any_work(store, tmp_path):
    classifier = Brightness()
    with pytest.raises(UserError, match="There is no class nsfw: choose dark or bright"):
        explain_image(corner(), "corner.png", ask(classifier, class_name="nsfw"), store)
    assert classifier.sizes == []
    assert list(tmp_path.iterdir()) == []


def test_the_score_of_an_image_is_found_by_the_name_of_the_class(store):
    for class_names in (("dark", "bright"), ("bright", "dark")):
        question = ask(Brightness(class_names))
        dark = dataclasses.replace(question, class_name="dark")
        assert explain_image(corner(), "a.png", question, store).score == pytest.approx(1 / 6)
        assert explain_image(corner(), "a.png", dark, store).score == pytest.approx(5 / 6)


def test_an_image_that_was_explained_before_costs_no_call(store):
    first = explain_image(corner(), "corner.png", ask(), store)
    classifier = Brightness()
    again = explain_image(corner(), "corner.png", ask(classifier), store)
    assert classifier.sizes == []
    assert again.score == first.score
