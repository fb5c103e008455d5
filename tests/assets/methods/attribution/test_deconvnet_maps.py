import dataclasses

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from assets.methods.attribution.deconvnet_maps import N_TOP, DeconvnetSettings, deconvnet_map
from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.models import efficientnet_lite0
from assets.methods.models.classifier_file import convert_open_nsfw, load_classifier
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.models.reference_images import OPEN_NSFW_SCORES, reference_images
from assets.methods.models.torch_classifier import TorchClassifier
from support.classifiers import Brightness

PLAN = ComputePlan("cpu", 1, "float32", 1)
PLAIN = Preprocessing(16, 16, (0.5,) * 3, (0.25,) * 3, "bilinear")


def corner_net(channel=0):
    """Its class "bright" looks at one channel of the middle 8 rows' left half, where it is high."""
    convolution, head = nn.Conv2d(3, 2, 1), nn.Linear(2 * 8 * 8, 2)
    net = nn.Sequential(convolution, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), head)
    for layer in (convolution, head):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    convolution.weight.data[0, channel] = 1
    weights = torch.zeros(2, 8, 8)
    weights[0, 2:6, :4] = 1
    head.weight.data[1] = weights.flatten()
    return net


def classifier_of(net, preprocessing=PLAIN, class_names=("dark", "bright")):
    return TorchClassifier(net, preprocessing, class_names, "f", PLAN)


def noise(width, height):
    values = np.random.default_rng(0).integers(140, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize(("width", "height"), [(16, 8), (64, 32), (40, 20), (2000, 1000)])
def test_the_relevance_lies_where_the_class_looks(width, height):
    found = deconvnet_map(noise(width, height), classifier_of(corner_net()), "bright")
    assert found.relevance.shape == (height, width)
    # A pixel of the network spreads over two, bilinearly.
    edge = width // 2 + width // 16
    assert found.relevance[:, :edge].sum() > 0.999 * found.relevance.sum() > 0
    assert found.relevance[:, : width // 2].sum() > 0.95 * found.relevance.sum()


@pytest.mark.parametrize(("channels", "rgb"), [("RGB", 0), ("BGR", 2)])
def test_the_reconstruction_has_the_colour_that_the_network_reads(channels, rgb):
    preprocessing = dataclasses.replace(PLAIN, channels=channels)
    classifier = classifier_of(corner_net(channel=0), preprocessing)
    found = deconvnet_map(noise(16, 16), classifier, "bright")
    assert np.flatnonzero(np.abs(found.reconstruction).max(axis=(0, 1))).tolist() == [rgb]
    assert np.flatnonzero(np.abs(found.change).max(axis=(0, 1))).tolist() == [rgb]


def test_the_change_is_the_rise_by_a_grey_level():
    found = deconvnet_map(noise(16, 16), classifier_of(corner_net()), "bright")
    # One switch in each window of two by two, where the weight is one and the class looks.
    rises = found.change[4:12, :8, 0]
    assert np.count_nonzero(rises) == 16
    np.testing.assert_allclose(rises[rises != 0], 1 / (255 * 0.25), rtol=1e-6)
    assert np.count_nonzero(found.change) == 16


def test_of_the_other_class_the_change_goes_the_other_way():
    image, classifier = noise(16, 16), classifier_of(corner_net())
    bright, dark = (deconvnet_map(image, classifier, name) for name in ("bright", "dark"))
    np.testing.assert_allclose(dark.change, -bright.change, rtol=1e-6)
    assert dark.changed_score > dark.square_score == pytest.approx(1 - bright.square_score)
    # Nothing that is positive reaches its logit.
    assert not dark.relevance.any()
    assert dark.top == ()


def test_the_strongest_activation_is_where_the_class_looks():
    pixels = np.full((16, 16, 3), 160, dtype=np.uint8)
    pixels[6, 3, 0] = 250
    pixels[6, 13, 0] = 255
    settings = DeconvnetSettings(layer="1")
    image, classifier = Image.fromarray(pixels), classifier_of(corner_net())
    found = deconvnet_map(image, classifier, "bright", settings)
    assert (found.start.channel, found.start.row, found.start.column) == (0, 6, 3)
    assert found.start.value == pytest.approx((250 / 255 - 0.5) / 0.25, rel=1e-5)
    assert np.argwhere(found.relevance).tolist() == [[6, 3]]
    other = deconvnet_map(image, classifier, "bright", DeconvnetSettings("1", (0, 6, 13)))
    assert np.argwhere(other.relevance).tolist() == [[6, 13]]


def darkness_net():
    """Its class "bright" looks everywhere for what is dark, as padding is beside a light photo."""
    net = nn.Sequential(nn.Conv2d(3, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 16, 2))
    nn.init.constant_(net[0].weight, -1)
    nn.init.constant_(net[0].bias, 9)
    net[3].weight.data = torch.stack([torch.zeros(256), torch.ones(256)])
    return net


# The photograph lies at 7.2 to 8.8 px of 16, or at 9 to 11 px of 20, of which 2 are cut off.
@pytest.mark.parametrize("resize", [16, 20])
@pytest.mark.parametrize(("size", "across"), [((80, 8), "row"), ((8, 80), "column")])
def test_what_speaks_for_the_class_lies_in_the_photograph(size, across, resize):
    classifier = classifier_of(darkness_net(), dataclasses.replace(PLAIN, resize=resize))
    image = Image.new("RGB", size, "white")
    found = deconvnet_map(image, classifier, "bright", DeconvnetSettings("1"))
    assert getattr(found.start, across) in (7, 8)
    assert found.relevance.any()
    assert [one.activation for one in found.top] == [found.start]
    asked = deconvnet_map(image, classifier, "bright", DeconvnetSettings("1", (0, 0, 0)))
    assert (asked.start.row, asked.start.column) == (0, 0)
    assert asked.start.value > found.start.value


def test_an_activation_is_shown_beside_its_part_of_the_image():
    pixels = np.full((32, 32, 3), 160, dtype=np.uint8)
    pixels[10:12, 6:8, 0] = 250
    found = deconvnet_map(Image.fromarray(pixels), classifier_of(corner_net()), "bright")
    assert found.top_layer == "1"
    assert found.has_switches
    (top,) = found.top
    assert (top.activation.row, top.activation.column) == (5, 3)
    assert top.reconstruction.shape[:2] == top.patch.size[::-1]
    assert top.patch.width == top.patch.height <= 6
    assert (np.asarray(top.patch)[..., 0] == 250).sum() == 4


def test_a_reconstruction_is_like_that_of_noise_as_far_as_their_switches_agree():
    image = Image.new("RGB", (32, 32), (160, 160, 160))
    image.paste((250, 0, 0), (6, 10, 8, 12))
    found = deconvnet_map(image, classifier_of(corner_net()), "bright")
    assert found.read_size == (32, 32)
    # Of 16 windows of two by two, each has one pixel: it is the same, or none of both is there.
    agreeing = 16 * found.noise_likeness.pixels
    assert agreeing == pytest.approx(round(agreeing), abs=1e-4)
    assert 0 < agreeing < 15


def test_a_network_without_max_pools_has_one_reconstruction_for_all_photographs():
    net = darkness_net()
    for size in ((80, 8), (12, 16)):
        found = deconvnet_map(noise(*size), classifier_of(net), "bright")
        assert found.noise_likeness.pixels == pytest.approx(1)
        assert found.noise_likeness.strength == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3000, 4), (5, 1500), (17, 16)])
def test_an_image_of_any_shape_is_explained(size):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Linear(294, 2),
    )
    found = deconvnet_map(noise(*size), classifier_of(net), "bright")
    assert found.reconstruction.shape == found.change.shape == (size[1], size[0], 3)
    assert found.relevance.shape == size[::-1]
    assert found.changed.size == size
    for values in (found.reconstruction, found.relevance, found.change):
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
    assert found.relevance.max() > 0


def test_the_border_that_is_not_read_has_no_relevance():
    preprocessing = dataclasses.replace(PLAIN, resize=20)
    found = deconvnet_map(noise(40, 40), classifier_of(corner_net(), preprocessing), "bright")
    assert found.relevance[:, :3].max() == found.relevance[:3].max() == 0
    assert found.relevance.max() > 0


@pytest.fixture(scope="module")
def open_nsfw_classifier(tmp_path_factory):
    return load_classifier(convert_open_nsfw(tmp_path_factory.mktemp("open_nsfw")), PLAN)


@pytest.fixture(scope="module")
def of_open_nsfw(open_nsfw_classifier):
    images = {name: Image.fromarray(array) for name, array in reference_images().items()}
    return {
        name: deconvnet_map(image, open_nsfw_classifier, "nsfw") for name, image in images.items()
    }


def test_open_nsfw_scores_a_square_image_as_ever(of_open_nsfw):
    expected = OPEN_NSFW_SCORES["astronaut"]
    assert of_open_nsfw["astronaut"].score == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", reference_images())
def test_a_small_step_looks_more_like_the_class_to_open_nsfw(name, of_open_nsfw):
    found, image = of_open_nsfw[name], reference_images()[name]
    assert found.changed_score > 2 * found.square_score
    step = np.asarray(found.changed, dtype=np.float64) - image
    assert 0 < np.sqrt(np.square(step).mean()) < 2.1


@pytest.mark.parametrize("name", reference_images())
def test_open_nsfws_strongest_activations_are_shown(name, of_open_nsfw):
    found = of_open_nsfw[name]
    assert found.top_layer == "relu_stage3_block2"
    contributions = [one.activation.contribution for one in found.top]
    assert len(contributions) == N_TOP
    assert contributions == sorted(contributions, reverse=True)
    assert contributions[-1] > 0
    assert all(np.abs(one.reconstruction).max() > 0 for one in found.top)


def test_a_deep_layers_activation_sees_a_part_of_the_image(open_nsfw_classifier):
    image = Image.fromarray(reference_images()["coffee"])
    found = deconvnet_map(
        image, open_nsfw_classifier, "nsfw", DeconvnetSettings("relu_stage0_block0")
    )
    assert 0 < np.count_nonzero(found.relevance) < 0.02 * found.relevance.size


def test_the_results_are_the_same_bits_for_any_number_of_threads():
    image, classifier = noise(40, 30), classifier_of(corner_net())
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(deconvnet_map(image, classifier, "bright"))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert found[0].relevance.tobytes() == found[1].relevance.tobytes()
    assert found[0].changed.tobytes() == found[1].changed.tobytes()


@pytest.mark.parametrize("class_name", ["281", "207"])
def test_a_network_of_relu6_and_a_thousand_classes(class_name):
    names = [str(number) for number in range(1000)]
    classifier = TorchClassifier(
        efficientnet_lite0.packaged_network(), efficientnet_lite0.PREPROCESSING, names, "f", PLAN
    )
    image = Image.fromarray(reference_images()["chelsea"])
    found = deconvnet_map(image, classifier, class_name)
    assert found.changed_score > found.score
    assert found.relevance.max() > 0
    assert len(found.top) == N_TOP
    assert not found.has_switches
    flat = Image.new("RGB", image.size, "green")
    of_another = deconvnet_map(flat, classifier, class_name)
    np.testing.assert_allclose(of_another.relevance, found.relevance, rtol=1e-4)
    # Without max-pools and with gates that noise opens as this photograph does.
    assert found.noise_likeness.pixels > 0.9999
    assert found.noise_likeness.strength > 0.9999


def test_a_network_of_timm():
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=2)
    found = deconvnet_map(noise(40, 30), classifier_of(net), "bright")
    assert found.changed_score > found.score
    assert found.relevance.max() > 0


def test_a_classifier_that_is_no_network_of_torch_is_refused():
    with pytest.raises(UserError, match="does not show its own"):
        deconvnet_map(noise(4, 4), Brightness(), "bright")


def test_a_class_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="no class nsfw: choose dark or bright"):
        deconvnet_map(noise(4, 4), classifier_of(corner_net()), "nsfw")


def test_a_network_without_relu_is_refused():
    net = nn.Sequential(nn.Conv2d(3, 1, 3), nn.Flatten(), nn.Linear(196, 2))
    with pytest.raises(UserError, match="no ReLU"):
        deconvnet_map(noise(4, 4), classifier_of(net), "bright")


def test_a_network_of_other_activations_is_refused():
    net = nn.Sequential(nn.Conv2d(3, 1, 3), nn.SiLU(), nn.Flatten(), nn.Linear(196, 2))
    with pytest.raises(UserError, match="activation function silu"):
        deconvnet_map(noise(4, 4), classifier_of(net), "bright")


@pytest.mark.parametrize("classes", [("bright",), ("a", "b", "bright")])
def test_a_logit_for_each_of_two_classes_or_more_is_needed(classes):
    net = nn.Sequential(corner_net(), nn.Linear(2, max(2, len(classes) - 1)))
    with pytest.raises(UserError, match=r"2 logits, .* names: a deconvnet needs"):
        deconvnet_map(noise(4, 4), classifier_of(net, class_names=classes), "bright")


def test_a_layer_in_which_nothing_speaks_for_the_class_is_told():
    with pytest.raises(UserError, match="No activation of the layer 1 speaks for dark"):
        deconvnet_map(noise(4, 4), classifier_of(corner_net()), "dark", DeconvnetSettings("1"))


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(UserError, match="without a layer"):
        DeconvnetSettings(place=(0, 0, 0))
    with pytest.raises(UserError, match="three numbers"):
        DeconvnetSettings("1", (0, -1, 0))
    with pytest.raises(UserError, match="three numbers"):
        DeconvnetSettings("1", (0, 1))
