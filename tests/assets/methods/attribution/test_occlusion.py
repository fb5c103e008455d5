import numpy as np
import pytest
from PIL import Image

from assets.methods.attribution.levels import Level
from assets.methods.attribution.occlusion import (
    PRESETS,
    OcclusionSettings,
    occlusion_map,
    occlusion_metrics,
    scale_down,
    strongest_window,
)
from assets.methods.attribution.windows import place_windows
from assets.methods.common.errors import UserError


def map_of(experiment, scores, size=(4, 2)):
    """Return the map of an image of 4 x 2 px, cut in two windows."""
    scores = np.asarray(scores, dtype=np.float32)
    return occlusion_map(experiment, place_windows(2, 4, 2, 2), scores, size, n_computed=2)


def test_the_presets_are_those_of_the_original_work_and_a_quicker_one():
    assert PRESETS == {"figure": (64, 3), "quick": (64, 16)}
    assert (OcclusionSettings().box, OcclusionSettings().stride) == PRESETS["quick"]


def test_a_stride_larger_than_the_box_is_refused():
    OcclusionSettings(box=8, stride=8)
    with pytest.raises(UserError, match="a stride no larger than the box"):
        OcclusionSettings(box=8, stride=9)


@pytest.mark.parametrize("name", ["box", "stride", "long_side"])
def test_a_size_below_one_is_refused(name):
    with pytest.raises(UserError, match=f"The {name} is 0 px"):
        OcclusionSettings(**{name: 0})


def test_a_fill_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="use black, mean, blur"):
        OcclusionSettings(fill="pink")


@pytest.mark.parametrize(
    ("size", "scaled"),
    [
        ((100, 80), (100, 80)),
        ((200, 100), (100, 50)),
        ((150, 300), (50, 100)),
        ((5000, 1), (100, 1)),
        ((1, 1), (1, 1)),
    ],
)
def test_only_large_images_are_scaled_down(size, scaled):
    image = scale_down(Image.new("L", size, 9), 100)
    assert image.size == scaled
    assert image.getpixel((0, 0)) == (9, 9, 9)


def test_seen_maps_the_score_and_hidden_what_it_lacks_of_one():
    assert map_of("seen", [[0.25, 1.0]]).values.tolist() == 2 * [[0.25, 0.25, 1, 1]]
    assert map_of("hidden", [[0.25, 1.0]]).values.tolist() == 2 * [[0.75, 0.75, 0, 0]]


def test_the_map_is_brought_to_the_images_size_within_its_range():
    found = map_of("seen", [[0.1, 0.7]], size=(40, 30))
    assert found.values.shape == (30, 40)
    assert found.values.dtype == np.float32
    assert found.values.min() == np.float32(0.1)
    assert found.values.max() == np.float32(0.7)
    # Bilinear: halfway between the pixels that differ lies their mean.
    assert found.values[7, 19:21].mean() == pytest.approx(0.4)
    assert (np.diff(found.values, axis=1) >= 0).all()
    assert np.ptp(found.values, axis=0).max() == 0


def test_a_flat_map_stays_flat_when_it_is_enlarged():
    assert np.ptp(map_of("hidden", [[0.3, 0.3]], size=(41, 33)).values) == 0


def test_the_most_telling_window_scores_highest_seen_and_lowest_hidden():
    scores = np.array([[0.5, 0.2, 0.9], [0.1, 0.9, 0.1]], dtype=np.float32)
    windows = place_windows(4, 6, 2, 2)
    assert strongest_window(occlusion_map("seen", windows, scores, (6, 4), 0)) == (0, 2)
    assert strongest_window(occlusion_map("hidden", windows, scores, (6, 4), 0)) == (1, 0)


def test_figures_are_of_the_map_and_the_share_is_of_its_windows():
    assert occlusion_metrics(map_of("hidden", [[0.25, 1.0]])) == {
        "minimum": 0,
        "maximum": 0.75,
        "mean": 0.375,
        "share_above_threshold": 0.5,
    }
    assert occlusion_metrics(map_of("seen", [[0.25, 1.0]]), 0.2)["share_above_threshold"] == 1
    assert occlusion_metrics(map_of("seen", [[0.25, 0.5]]))["share_above_threshold"] == 0


def test_an_estimate_names_and_counts_scored_windows_alone():
    # Every other one of 3 x 3 windows is scored; what lies between is guessed, even where known.
    windows = place_windows(4, 4, 2, 1)
    scores = np.array([[0.5, 0.75, 1], [0, 0, 0], [0.5, 0, 0.5]], dtype=np.float32)
    scores[0, 1] = 0.999
    found = occlusion_map("seen", windows, scores, (4, 4), 0, Level(windows, 2))
    assert (found.n_scored, strongest_window(found)) == (4, (0, 2))
    corners = [[0.5, np.nan, 1], [np.nan] * 3, [0.5, np.nan, 0.5]]
    np.testing.assert_array_equal(found.scores, corners)
    metrics = occlusion_metrics(found, threshold=0.7)
    assert metrics["share_above_threshold"] == 0.25
    assert metrics["estimated_error"] == found.error
    # Between four scored windows lies their mean, 0.625.
    filled = np.array([[0.5, 0.75, 1], [0.5, 0.625, 0.75], [0.5, 0.5, 0.5]])
    np.testing.assert_allclose(found.values, windows.average(filled))


def test_an_exact_map_has_no_estimated_error():
    found = map_of("seen", [[0.25, 0.75]])
    assert (found.error, found.n_scored) == (None, 2)
    assert "estimated_error" not in occlusion_metrics(found)
