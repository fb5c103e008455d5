"""Occlusion and deconvnet on a card: near the CPU's results, and the same bytes each time."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from skimage import data

from assets.methods.attribution.class_ascent import log_odds, log_odds_gradient
from assets.methods.attribution.deconvnet_maps import DeconvnetSettings, deconvnet_map
from assets.methods.attribution.occlusion import EXPERIMENTS, OcclusionSettings
from assets.methods.attribution.occlusion_maps import occlusion_maps, whole_image_score
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.devices import ComputePlan
from assets.methods.models.classifier_file import convert_open_nsfw, load_classifier
from assets.methods.models.forward import unsplit_pool
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.models.torch_classifier import TorchClassifier
from support.devices import CARD, HAS_CARD, card_plan, needs_card

pytestmark = needs_card

CPU_PLAN = ComputePlan("cpu", 4, "float32", 1)
CHOSEN = OcclusionSettings(64, 48, "blur")

# Of float32 in another order of the sums; the windows' pixels are the same.
ROUNDING = 2e-5


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """OpenNSFW's file."""
    return convert_open_nsfw(tmp_path_factory.mktemp("open_nsfw"))


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(data.chelsea()).crop((100, 0, 400, 200))


@pytest.fixture(scope="module")
def maps_on_cpu(photo, weights):
    return maps(photo, load_classifier(weights, CPU_PLAN))


def maps(photo, classifier, store=None, **others):
    windowed = WindowedImage(photo, CHOSEN)
    with tempfile.TemporaryDirectory() as folder:
        kept = store or WindowScoreStore(Path(folder))
        return occlusion_maps(windowed, classifier, "nsfw", kept, **others)


def assert_same_bytes(one, other):
    for experiment in EXPERIMENTS:
        assert one[experiment].scores.tobytes() == other[experiment].scores.tobytes()
        assert one[experiment].values.tobytes() == other[experiment].values.tobytes()


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    # bfloat16 keeps 8 bits of a number (0.026 on the CPU), float16 keeps 11.
    [("float32", ROUNDING), ("float16", 1e-2), ("bfloat16", 5e-2)],
)
def test_occlusion_maps_are_those_of_the_cpu(photo, weights, maps_on_cpu, precision, tolerance):
    if precision == "float16" and CARD == "cpu":
        pytest.skip("the CPU does not compute in float16")
    found = maps(photo, load_classifier(weights, card_plan(precision=precision)))
    for experiment in EXPERIMENTS:
        apart = np.abs(found[experiment].values - maps_on_cpu[experiment].values)
        assert apart.max() <= tolerance


def test_occlusion_maps_have_the_same_bytes_each_time(photo, weights):
    classifier = load_classifier(weights, card_plan())
    first = maps(photo, classifier)
    assert_same_bytes(first, maps(photo, classifier))
    assert_same_bytes(first, maps(photo, load_classifier(weights, card_plan())))


def test_an_interrupted_occlusion_map_ends_in_the_same_bytes(photo, weights, tmp_path):
    classifier, store = (
        load_classifier(weights, card_plan(batch_size=4)),
        WindowScoreStore(tmp_path),
    )

    def interrupt(done, total):
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        maps(photo, classifier, store, progress=interrupt)
    resumed, whole = maps(photo, classifier, store), maps(photo, classifier)
    assert resumed["hidden"].n_computed < whole["hidden"].n_computed
    assert_same_bytes(resumed, whole)


def test_the_score_of_a_whole_image_is_that_of_the_cpu(photo, weights, tmp_path):
    on_card, on_cpu = (
        whole_image_score(
            photo,
            CHOSEN,
            load_classifier(weights, plan),
            "nsfw",
            WindowScoreStore(tmp_path / plan.device),
        )
        for plan in (card_plan(), CPU_PLAN)
    )
    assert on_card == pytest.approx(on_cpu, abs=1e-3)


def test_when_memory_runs_out_batches_get_smaller_and_scores_stay(photo, weights, maps_on_cpu):
    if not HAS_CARD:
        pytest.skip("only the memory of a card can be limited")
    classifier = load_classifier(weights, card_plan(batch_size=512))
    torch.cuda.empty_cache()
    # 512 images take about 6 GB on their way through the network.
    limit = 2e9 / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(limit)
    try:
        found = maps(photo, classifier)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    for experiment in EXPERIMENTS:
        assert np.abs(found[experiment].scores - maps_on_cpu[experiment].scores).max() <= ROUNDING


def small_classifier(plan):
    """A small residual network with a max-pool, batch norm and random weights."""
    torch.manual_seed(0)
    module = timm.create_model("test_resnet", num_classes=3, zero_init_last=False)
    numbers = Preprocessing(96, 96, (0.5,) * 3, (0.25,) * 3, "bicubic")
    return TorchClassifier(module, numbers, ("cat", "dog", "fox"), "f", plan)


DECONVNET_STARTS = [None, DeconvnetSettings(layer="layer1.0.act2")]


def assert_near(found, expected, share):
    """Assert that two arrays differ by at most a share of the largest value."""
    assert np.abs(found - expected).max() <= share * np.abs(expected).max()


@pytest.mark.parametrize("settings", DECONVNET_STARTS)
def test_a_deconvnet_finds_what_it_finds_on_the_cpu(photo, settings):
    on_card, on_cpu = (
        deconvnet_map(photo, small_classifier(plan), "fox", settings)
        for plan in (card_plan(), CPU_PLAN)
    )
    # A max-pool whose maximum is nearly shared may choose another place.
    assert_near(on_card.reconstruction, on_cpu.reconstruction, 1e-3)
    assert_near(on_card.change, on_cpu.change, 1e-3)
    assert on_card.score == pytest.approx(on_cpu.score, abs=1e-5)
    assert on_card.changed_score == pytest.approx(on_cpu.changed_score, abs=1e-4)
    for one, other in zip(on_card.top, on_cpu.top, strict=True):
        places = [(found.activation.channel, found.activation.row) for found in (one, other)]
        assert places[0] == places[1]


@pytest.mark.parametrize("settings", DECONVNET_STARTS)
def test_a_deconvnet_gives_the_same_bytes_each_time(photo, settings):
    classifier = small_classifier(card_plan())
    first, second = (deconvnet_map(photo, classifier, "fox", settings) for _ in range(2))
    assert first.reconstruction.tobytes() == second.reconstruction.tobytes()
    assert first.change.tobytes() == second.change.tobytes()
    assert first.changed == second.changed
    for one, other in zip(first.top, second.top, strict=True):
        assert one.reconstruction.tobytes() == other.reconstruction.tobytes()


def test_open_nsfws_deconvnet_on_the_card_is_that_of_the_cpu(photo, weights):
    on_card, on_cpu = (
        deconvnet_map(photo, load_classifier(weights, plan), "nsfw")
        for plan in (card_plan(), CPU_PLAN)
    )
    assert_near(on_card.relevance, on_cpu.relevance, 1e-2)
    assert on_card.score == pytest.approx(on_cpu.score, abs=ROUNDING)


def test_the_gradient_of_log_odds_is_that_of_the_cpu():
    gradients, odds = [], []
    for plan in (card_plan(), CPU_PLAN):
        module = small_classifier(plan).module
        torch.manual_seed(1)
        inputs = torch.randn(1, 3, 96, 96).to(plan.device)
        # Without it torch lets convolutions on a card round to TF32.
        with unsplit_pool(1):
            gradients.append(log_odds_gradient(module, inputs, 2))
            with torch.no_grad():
                odds.append(float(log_odds(module, inputs, 2)))
    assert_near(gradients[0], gradients[1], 1e-3)
    assert odds[0] == pytest.approx(odds[1], abs=1e-4)
