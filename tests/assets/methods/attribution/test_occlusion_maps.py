import tempfile
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import Occlusion
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from assets.methods.attribution import occlusion_maps as occlusion_maps_module
from assets.methods.attribution.levels import levels_of
from assets.methods.attribution.occlusion import EXPERIMENTS, OcclusionSettings, estimated_error
from assets.methods.attribution.occlusion_maps import WorkEstimate, occlusion_maps
from assets.methods.attribution.window_images import WindowedImage, WindowImages
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.attribution.windows import fill_image
from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.models.torch_classifier import TorchClassifier


class Small:
    """A classifier of "yes" and "no" whose P(yes) of a picture (3, h, w) is ``answer``'s."""

    class_names = ("no", "yes")
    device = "cpu"
    fingerprint = "small"

    def __init__(self, answer, batch_size=3, workers=2):
        self.answer, self.batch_size, self.workers = answer, batch_size, workers
        self.sizes = []

    def classify(self, images):
        self.sizes.append(len(images))
        yes = np.array([self.answer(image) for image in images], dtype=np.float32)
        by_name = {"no": 1 - yes, "yes": yes}
        return {name: by_name[name] for name in self.class_names}

    @property
    def n_images(self):
        return sum(self.sizes)


def has_white(picture):
    """Return 1 for a picture that shows the one white pixel, else 0."""
    return float((picture == 255).all(dim=0).any())


def brightness(picture):
    return picture.to(torch.float64).mean() / 255


def with_white_pixel(width, height, x, y):
    image = Image.new("RGB", (width, height), (90, 120, 60))
    image.putpixel((x, y), (255, 255, 255))
    return image


def maps_of(image, classifier, class_name, chosen, store, experiments=EXPERIMENTS, **others):
    windowed = WindowedImage(image, chosen)
    return occlusion_maps(windowed, classifier, class_name, store, experiments, **others)


def maps_afresh(image, classifier, chosen, class_name="yes", **others):
    with tempfile.TemporaryDirectory() as folder:
        store = WindowScoreStore(Path(folder))
        return maps_of(image, classifier, class_name, chosen, store, **others)


def lit_in_loops(image, x, y, chosen):
    """Return the share of the windows over each pixel that are over pixel (x, y) too."""

    def starts(size):
        last = max(0, size - chosen.box)
        return {min(chosen.stride * step, last) for step in range(size)}

    sums, counts = np.zeros((2, image.height, image.width))
    for upper in starts(image.height):
        for left in starts(image.width):
            window = np.s_[upper : upper + chosen.box, left : left + chosen.box]
            inside = upper <= y < upper + chosen.box and left <= x < left + chosen.box
            sums[window] += inside
            counts[window] += 1
    return sums / counts


@st.composite
def grids(draw):
    box = draw(st.integers(1, 9))
    fill = draw(st.sampled_from(["black", "mean", "blur"]))
    return OcclusionSettings(box, draw(st.integers(max(1, box // 3), box)), fill)


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(1, 20), grids(), st.floats(0, 1, width=32))
def test_a_model_that_always_answers_the_same_gives_flat_maps(width, height, chosen, answer):
    image = with_white_pixel(width, height, 0, 0)
    found = maps_afresh(image, Small(lambda _: answer), chosen)
    assert list(found) == ["seen", "hidden"]
    assert found["seen"].values.shape == found["hidden"].values.shape == (height, width)
    assert (found["seen"].values == np.float32(answer)).all()
    assert (found["hidden"].values == 1 - np.float32(answer)).all()


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(1, 20), grids(), st.data())
def test_a_model_that_looks_at_one_pixel_lights_up_the_windows_over_it(width, height, chosen, draw):
    x, y = draw.draw(st.integers(0, width - 1)), draw.draw(st.integers(0, height - 1))
    image = with_white_pixel(width, height, x, y)
    if width * height == 1:
        chosen = OcclusionSettings(chosen.box, chosen.stride, "black")
    found = maps_afresh(image, Small(has_white), chosen)
    expected = lit_in_loops(image, x, y, chosen)
    for experiment in EXPERIMENTS:
        np.testing.assert_allclose(found[experiment].values, expected, atol=1e-6)
        assert found[experiment].values.dtype == np.float32


def test_the_axes_of_an_image_that_is_not_square_are_not_swapped():
    image = with_white_pixel(60, 20, 55, 3)
    found = maps_afresh(image, Small(has_white), OcclusionSettings(8, 4))
    for one in found.values():
        lit = np.argwhere(one.values > 0)
        assert one.values.shape == (20, 60)
        assert lit.min(axis=0).tolist() == [0, 48]
        assert lit.max(axis=0).tolist() == [7, 59]


def test_the_class_is_found_by_its_name():
    class OtherOrder(Small):
        class_names = ("yes", "no")

    image, chosen = with_white_pixel(20, 12, 15, 3), OcclusionSettings(6, 3)
    for class_name in ("yes", "no"):
        one = maps_afresh(image, Small(brightness), chosen, class_name)
        other = maps_afresh(image, OtherOrder(brightness), chosen, class_name)
        for experiment in EXPERIMENTS:
            assert np.array_equal(one[experiment].values, other[experiment].values)


def test_a_class_that_is_not_there_is_refused_before_any_work():
    classifier = Small(brightness)
    with pytest.raises(UserError, match="no class maybe"):
        maps_afresh(Image.new("RGB", (8, 8)), classifier, OcclusionSettings(4, 4), "maybe")
    assert classifier.sizes == []


def test_one_experiment_may_run_alone():
    classifier, chosen = Small(brightness), OcclusionSettings(4, 4)
    image = Image.new("RGB", (8, 8))
    assert list(maps_afresh(image, classifier, chosen, experiments=["hidden"])) == ["hidden"]
    assert classifier.n_images == 4


def test_an_image_scaled_down_gets_a_map_of_its_own_size():
    image = with_white_pixel(400, 200, 300, 50)
    image.paste((255, 255, 255), (280, 30, 320, 70))
    chosen = OcclusionSettings(8, 4, long_side=100)
    for one in maps_afresh(image, Small(has_white), chosen).values():
        assert one.values.shape == (200, 400)
        assert one.windows.image_shape == (50, 100)
        assert one.window_values.min() <= one.values.min()
        assert one.values.max() <= one.window_values.max()
    seen = maps_afresh(image, Small(has_white), chosen)["seen"].values
    assert seen[50, 300] == 1
    assert seen[100:].max() == seen[:, :250].max() == 0


@pytest.mark.parametrize("colour", [0, 255])
def test_a_scaled_map_of_a_constant_model_is_flat(colour):
    image = Image.new("RGB", (333, 77), (colour,) * 3)
    found = maps_afresh(image, Small(lambda _: 0.3), OcclusionSettings(8, 8, long_side=50))
    assert np.ptp(found["seen"].values) == 0


def test_workers_and_batch_size_change_nothing_but_the_speed():
    image = Image.fromarray(data.coffee()).resize((60, 40))
    maps = [
        maps_afresh(image, Small(brightness, batch_size, workers), OcclusionSettings(16, 5))
        for batch_size, workers in ((1, 1), (7, 3), (1000, 2))
    ]
    for experiment in EXPERIMENTS:
        assert len({found[experiment].values.tobytes() for found in maps}) == 1


def test_batches_are_as_large_as_the_classifier_wants():
    classifier = Small(brightness, batch_size=5)
    maps_afresh(Image.new("RGB", (40, 40)), classifier, OcclusionSettings(8, 4))
    assert max(classifier.sizes) == 5
    assert classifier.n_images == 2 * 81


def test_the_network_reads_what_pillow_draws_however_windows_are_built(monkeypatch):
    image, chosen = Image.fromarray(data.coffee()), OcclusionSettings(64, 60, "blur", 200)
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 96 * 96, 2))
    numbers = Preprocessing(96, 96, (0.5,) * 3, (0.25,) * 3, "bicubic", stretch=True)
    plan = ComputePlan("cpu", 3, "float32", 2)
    classifier = TorchClassifier(module, numbers, ("no", "yes"), "f", plan)
    scaled = maps_afresh(image, classifier, chosen)
    monkeypatch.setattr(occlusion_maps_module, "INTERPOLATIONS", ())
    drawn = maps_afresh(image, classifier, chosen)
    for experiment in EXPERIMENTS:
        assert scaled[experiment].scores.tobytes() == drawn[experiment].scores.tobytes()
        assert np.ptp(scaled[experiment].scores) > 0


def batches_of_at_most(n, monkeypatch):
    """Let the images of more than n windows exceed the memory."""
    build = WindowImages.batch

    def batch(self, numbers):
        if len(numbers) > n:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return build(self, numbers)

    monkeypatch.setattr(WindowImages, "batch", batch)


def test_a_batch_that_does_not_fit_into_memory_is_built_in_parts(monkeypatch):
    image, chosen = Image.fromarray(data.coffee()).resize((60, 40)), OcclusionSettings(16, 5)
    whole = maps_afresh(image, Small(brightness, batch_size=16), chosen)
    batches_of_at_most(5, monkeypatch)
    classifier = Small(brightness, batch_size=16)
    parts = maps_afresh(image, classifier, chosen)
    assert max(classifier.sizes) <= 5
    for experiment in EXPERIMENTS:
        assert np.array_equal(parts[experiment].scores, whole[experiment].scores)


def test_too_little_memory_for_one_window_is_the_users_error(monkeypatch):
    batches_of_at_most(0, monkeypatch)
    with pytest.raises(UserError, match="Memory on cpu does not suffice for the image of a window"):
        maps_afresh(Image.new("RGB", (8, 8)), Small(brightness), OcclusionSettings(4, 4))


class Failing(Small):
    """Fails for good from the call after the first ``calls``."""

    def __init__(self, calls):
        super().__init__(brightness, workers=1)
        self.calls = count(-calls)

    def classify(self, images):
        if next(self.calls) >= 0:
            raise OSError("unplugged")
        return super().classify(images)


@pytest.mark.parametrize("calls", [0, 1, 3, 20])
def test_an_interrupted_map_goes_on_from_what_is_scored(tmp_path, calls):
    image = Image.fromarray(data.coffee()).resize((60, 40))
    chosen, store = OcclusionSettings(16, 5), WindowScoreStore(tmp_path)
    failing, classifier, heard = Failing(calls), Small(brightness), []
    with pytest.raises(OSError, match="unplugged"):
        maps_of(image, failing, "yes", chosen, store)
    found = maps_of(image, classifier, "yes", chosen, store, on_estimate=heard.append)
    in_all = 2 * WindowedImage(image, chosen).windows.count
    assert failing.n_images + classifier.n_images == in_all
    assert (failing.n_images > 0) == (calls > 0)
    assert sum(one.n_computed for one in found.values()) == classifier.n_images
    assert (heard[0].n_windows, heard[0].n_known) == (in_all, failing.n_images)
    uninterrupted = maps_afresh(image, Small(brightness), chosen)
    for experiment in EXPERIMENTS:
        assert np.array_equal(found[experiment].values, uninterrupted[experiment].values)


def test_a_finished_map_computes_nothing(tmp_path):
    image, chosen = Image.fromarray(data.coffee()).resize((60, 40)), OcclusionSettings(16, 5)
    store, classifier, heard = WindowScoreStore(tmp_path), Small(brightness), []
    first = maps_of(image, classifier, "yes", chosen, store)
    calls = len(classifier.sizes)
    again = maps_of(image, classifier, "yes", chosen, store, on_estimate=heard.append)
    assert len(classifier.sizes) == calls
    n_windows = 2 * WindowedImage(image, chosen).windows.count
    assert heard == [WorkEstimate(n_windows, n_windows)]
    for experiment in EXPERIMENTS:
        assert again[experiment].n_computed == 0
        assert again[experiment].windows == first[experiment].windows
        assert np.array_equal(again[experiment].values, first[experiment].values)
        assert np.array_equal(again[experiment].scores, first[experiment].scores)


def test_another_class_is_another_map(tmp_path):
    image, chosen = Image.new("RGB", (8, 8), "white"), OcclusionSettings(4, 4)
    store, classifier = WindowScoreStore(tmp_path), Small(brightness)
    yes = maps_of(image, classifier, "yes", chosen, store)
    no = maps_of(image, classifier, "no", chosen, store)
    assert (yes["seen"].values == 1).all()
    assert (no["seen"].values == 0).all()


def test_another_fill_leaves_what_is_seen(tmp_path):
    image, store = Image.new("RGB", (8, 8), "white"), WindowScoreStore(tmp_path)
    maps_of(image, Small(brightness), "yes", OcclusionSettings(4, 4), store)
    found = maps_of(image, Small(brightness), "yes", OcclusionSettings(4, 4, "mean"), store)
    assert {name: one.n_computed for name, one in found.items()} == {"seen": 0, "hidden": 4}


def test_a_stored_number_that_is_no_probability_is_scored_again(tmp_path):
    image, chosen = Image.new("RGB", (8, 8), "white"), OcclusionSettings(4, 4)
    store = WindowScoreStore(tmp_path)
    maps_of(image, Small(brightness), "yes", chosen, store, ["seen"])
    (file,) = tmp_path.iterdir()
    # What was interrupted, or is older than the seals, has none.
    file.write_bytes(np.array([7, -1, 1, 1], np.float32).tobytes())
    found = maps_of(image, Small(brightness), "yes", chosen, store, ["seen"])["seen"]
    assert found.n_computed == 2
    assert (found.values == 1).all()


def test_windows_are_counted_before_the_first_and_their_time_is_told_soon_after():
    heard = []
    maps_afresh(
        Image.new("RGB", (40, 40)),
        Small(brightness),
        OcclusionSettings(8, 4),
        on_estimate=heard.append,
        progress=lambda *told: heard.append(told),
    )
    counted, timed, *told = heard
    assert counted == WorkEstimate(162, 0)
    assert (timed.n_windows, timed.n_known) == (162, 0)
    assert timed.seconds > 0
    assert told == sorted(told)
    assert {total for _, total in told} == {162}
    assert told[0][0] < 40
    assert told[-1] == (162, 162)


@pytest.mark.parametrize(
    ("estimate", "sentence"),
    [
        (WorkEstimate(841, 0), "841 windows."),
        (WorkEstimate(1, 0), "1 window."),
        (WorkEstimate(45602, 2), "45,602 windows, 2 of them scored before."),
        (WorkEstimate(1682, 1682), "1,682 windows, all of them scored before."),
        (WorkEstimate(841, 0, 12.4), "expected: 12 s for 841 windows."),
        (WorkEstimate(841, 840, 0.1), "expected: 1 s for 1 window."),
        (WorkEstimate(45602, 2, 611.0), "expected: 10 min for 45,600 windows."),
        (WorkEstimate(45602, 0, 9000.0), "expected: 2.5 h for 45,602 windows."),
        (WorkEstimate(841, 0, 12.4, may_stop=True), "expected: at most 12 s for 841 windows."),
    ],
)
def test_an_estimate_is_a_sentence(estimate, sentence):
    assert estimate.sentence() == sentence


def test_work_that_is_too_long_can_be_declined_and_keeps_what_was_timed(tmp_path):
    def decline(estimate):
        if estimate.seconds is not None:
            raise KeyboardInterrupt

    classifier, store = Small(brightness), WindowScoreStore(tmp_path)
    image, chosen = Image.new("RGB", (40, 40)), OcclusionSettings(8, 4)
    with pytest.raises(KeyboardInterrupt):
        maps_of(image, classifier, "yes", chosen, store, on_estimate=decline)
    timed = classifier.n_images
    assert 0 < timed < 40
    maps_of(image, classifier, "yes", chosen, store)
    assert classifier.n_images == 162


class Probabilities(torch.nn.Module):
    """A small random network: pictures (n, 3, h, w) of 0 to 255 to two probabilities."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 5, stride=2),
            torch.nn.ReLU(),
            torch.nn.Conv2d(8, 8, 3),
            torch.nn.AdaptiveAvgPool2d(4),
            torch.nn.Flatten(),
            torch.nn.Linear(128, 2),
        )

    def forward(self, pictures):
        return (20 * self.layers(pictures / 255)).softmax(dim=1)


@pytest.mark.parametrize("fill", ["black", "mean", "blur"])
def test_hidden_is_one_less_the_score_plus_captums_occlusion(fill):
    """captum divides the sum of f(x) - f(occluded) by the windows over a pixel, as we do."""
    module = Probabilities().eval()

    def answer(picture):
        with torch.inference_mode():
            return module(picture[None].float())[0, 1]

    # The last window ends at the edge by itself: captum would cut it off, we move it inside.
    chosen = OcclusionSettings(9, 4, fill)
    image = Image.fromarray(data.astronaut()[100:200, 150:300]).resize((37, 25))
    hidden = maps_afresh(image, Small(answer), chosen, experiments=["hidden"])["hidden"]

    pictures, filled = (
        torch.from_numpy(np.array(one)).permute(2, 0, 1)[None].float()
        for one in (image, fill_image(image, fill, chosen.box))
    )
    with torch.inference_mode():
        attribution = Occlusion(module).attribute(
            pictures, (3, 9, 9), strides=(3, 4, 4), baselines=filled, target=1
        )
        expected = 1 - module(pictures)[0, 1] + attribution[0]
    assert np.ptp(hidden.values) > 0.01
    for channel in expected:
        assert np.abs(hidden.values - channel.numpy()).max() <= 1e-5


# Levels of 25, 64 and 225 windows, of which each has those before it.
COARSE_TO_FINE = OcclusionSettings(16, 2)
LEVEL_SIZES = [25, 64, 225]


def photo_of(width=44, height=44):
    return Image.fromarray(data.coffee()[:, 60:460]).resize((width, height))


def n_scored_of(found):
    return {one: maps.n_scored for one, maps in found.items()}


def test_the_grid_of_these_tests_has_three_levels():
    levels = levels_of(WindowedImage(photo_of(), COARSE_TO_FINE).windows, 2)
    assert [len(level.numbers) for level in levels] == LEVEL_SIZES


def test_a_map_is_shown_after_each_level_and_the_last_is_the_one_without_levels():
    heard, classifier = [], Small(brightness)
    found = maps_afresh(photo_of(), classifier, COARSE_TO_FINE, on_level=heard.append)
    plain = maps_afresh(photo_of(), Small(brightness), COARSE_TO_FINE)
    assert classifier.n_images == 2 * 225
    assert [(one.level, one.n_levels) for one in heard] == [(1, 3), (2, 3)]
    for one, size in zip(heard, LEVEL_SIZES, strict=False):
        assert n_scored_of(one.maps) == dict.fromkeys(EXPERIMENTS, size)
    for experiment in EXPERIMENTS:
        exact, expected = found[experiment], plain[experiment]
        assert exact.values.tobytes() == expected.values.tobytes()
        assert exact.scores.tobytes() == expected.scores.tobytes()
        assert exact.error is expected.error is None
        errors = [np.abs(one.maps[experiment].values - exact.values).max() for one in heard]
        assert errors[0] > errors[1] > 0
        for one in heard:
            estimate = one.maps[experiment]
            known = np.isfinite(estimate.scores)
            assert np.array_equal(estimate.scores[known], exact.scores[known])
            worth = estimate.window_values[known]
            assert worth.min() <= estimate.values.min() <= estimate.values.max() <= worth.max()


def test_a_map_ends_at_the_first_level_within_the_tolerance():
    heard = []
    maps_afresh(photo_of(), Small(brightness), COARSE_TO_FINE, on_level=heard.append)
    first, second = (max(found.error for found in one.maps.values()) for one in heard)
    assert first > second > 0
    for tolerance, size in (
        (1.0, LEVEL_SIZES[0]),
        (first, LEVEL_SIZES[1]),
        (second, LEVEL_SIZES[2]),
        (0.0, LEVEL_SIZES[2]),
    ):
        classifier, told, shown = Small(brightness), [], []
        found = maps_afresh(
            photo_of(),
            classifier,
            COARSE_TO_FINE,
            tolerance=tolerance,
            on_level=shown.append,
            progress=lambda *done, told=told: told.append(done),
        )
        # The last one is the result.
        assert [one.level for one in shown] == [1, 2][: LEVEL_SIZES.index(size)]
        assert max(n_scored_of(found).values()) == size
        assert classifier.n_images == sum(n_scored_of(found).values())
        assert all(one.error is None or one.error < tolerance for one in found.values())
        assert told == sorted(told)
        assert told[-1] == (450, 450)


def test_each_experiment_ends_by_itself():
    def bright_only_in_parts(picture):
        """Return 0 for the large images of hidden, whose map is flat then."""
        return 0.0 if picture.shape[1] > 16 else brightness(picture)

    classifier = Small(bright_only_in_parts)
    found = maps_afresh(photo_of(), classifier, COARSE_TO_FINE, tolerance=1e-6)
    assert n_scored_of(found) == {"seen": 225, "hidden": 25}
    assert (found["seen"].error, found["hidden"].error) == (None, 0)
    assert (found["hidden"].values == 1).all()


@pytest.mark.parametrize("answer", [lambda _: 0.25, lambda _: 1.0])
def test_a_model_that_always_answers_the_same_needs_one_level(answer):
    found = maps_afresh(photo_of(), Small(answer), COARSE_TO_FINE, tolerance=0.01)
    assert n_scored_of(found) == {"seen": 25, "hidden": 25}
    assert all(np.ptp(one.values) == one.error == 0 for one in found.values())


def test_scores_that_change_evenly_have_no_error_at_any_level():
    levels = levels_of(WindowedImage(photo_of(), COARSE_TO_FINE).windows, 2)
    rows, columns = levels[0].windows.shape
    even = np.linspace(0, 1, rows, dtype=np.float32)[:, None] * np.ones(columns, np.float32)
    for level in levels:
        assert estimated_error(level, even) < 1e-6


def test_an_estimate_is_finished_when_the_exact_map_is_asked_for(tmp_path):
    store, classifier = WindowScoreStore(tmp_path), Small(brightness)
    estimate = maps_of(photo_of(), classifier, "yes", COARSE_TO_FINE, store, tolerance=1.0)
    assert n_scored_of(estimate) == {"seen": 25, "hidden": 25}
    again = maps_of(photo_of(), classifier, "yes", COARSE_TO_FINE, store, tolerance=1.0)
    assert classifier.n_images == 50
    assert again["seen"].values.tobytes() == estimate["seen"].values.tobytes()
    exact = maps_of(photo_of(), classifier, "yes", COARSE_TO_FINE, store)
    assert classifier.n_images == 450
    assert [one.n_computed for one in exact.values()] == [200, 200]
    plain = maps_afresh(photo_of(), Small(brightness), COARSE_TO_FINE)
    for experiment in EXPERIMENTS:
        assert exact[experiment].values.tobytes() == plain[experiment].values.tobytes()
    # What is known is used: nothing is gained by less.
    heard = []
    known = maps_of(
        photo_of(),
        classifier,
        "yes",
        COARSE_TO_FINE,
        store,
        tolerance=1.0,
        on_level=heard.append,
    )
    assert (classifier.n_images, heard) == (450, [])
    assert known["seen"].values.tobytes() == plain["seen"].values.tobytes()


@pytest.mark.parametrize("calls", [1, 15, 40, 100])
def test_a_map_interrupted_at_any_level_goes_on_from_what_is_scored(tmp_path, calls):
    store, failing, classifier = WindowScoreStore(tmp_path), Failing(calls), Small(brightness)
    with pytest.raises(OSError, match="unplugged"):
        maps_of(photo_of(), failing, "yes", COARSE_TO_FINE, store, on_level=lambda found: None)
    heard = []
    found = maps_of(photo_of(), classifier, "yes", COARSE_TO_FINE, store, on_level=heard.append)
    assert failing.n_images + classifier.n_images == 450
    levels = [one.level for one in heard]
    assert levels == sorted(set(levels))
    plain = maps_afresh(photo_of(), Small(brightness), COARSE_TO_FINE, on_level=heard.append)
    for one in heard:
        same = next(other for other in reversed(heard) if other.level == one.level)
        for experiment in EXPERIMENTS:
            estimates = [found.maps[experiment] for found in (one, same)]
            # Windows beyond the level are known to one of them, and change nothing.
            assert n_scored_of(one.maps) == n_scored_of(same.maps)
            assert estimates[0].values.tobytes() == estimates[1].values.tobytes()
    for experiment in EXPERIMENTS:
        assert found[experiment].values.tobytes() == plain[experiment].values.tobytes()


def test_the_maps_so_far_are_told_in_a_sentence():
    heard = []
    maps_afresh(photo_of(), Small(brightness), COARSE_TO_FINE, on_level=heard.append)
    error = max(found.error for found in heard[1].maps.values())
    assert heard[1].sentence() == (
        f"level 2 of 3: 128 of 450 windows, estimated mean error {error:.2g} of the map's range."
    )
