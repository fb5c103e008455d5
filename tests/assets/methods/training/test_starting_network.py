from dataclasses import replace

import pytest
import timm
import torch

from assets.methods.common.errors import UserError
from assets.methods.models import efficientnet_lite0, open_nsfw
from assets.methods.models.architectures import build_architecture
from assets.methods.models.classifier_file import save_classifier
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.training import starting_network
from assets.methods.training.starting_network import (
    check_start,
    head_of,
    start_network,
    without_head,
)

NAMES = ("a", "b")
NUMBERS = Preprocessing(40, 32, (0.5,) * 3, (0.5,) * 3, "bicubic")


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(1)
    weights = timm.create_model("test_resnet", num_classes=2).state_dict()
    save_classifier(tmp_path / "net.safetensors", weights, "timm:test_resnet", NAMES, NUMBERS)
    return tmp_path / "net.safetensors"


@pytest.fixture
def no_download(monkeypatch):
    def download(name, classes):
        raise AssertionError(f"{name} is downloaded")

    monkeypatch.setattr(starting_network, "download_architecture", download)


def test_open_nsfw_begins_with_its_own_classifier():
    start = start_network("open_nsfw", True, None, NAMES)
    packaged = open_nsfw.packaged_weights()
    assert start.module.state_dict().keys() == packaged.keys()
    assert torch.equal(start.module.fc_nsfw.weight, packaged["fc_nsfw.weight"])
    assert (start.architecture, start.preprocessing) == ("open_nsfw", open_nsfw.PREPROCESSING)
    assert head_of(start, "open_nsfw") == "fc_nsfw"
    assert not start.draws


def nsfw_row(class_names) -> int:
    """Which of the two logits starts as what OpenNSFW calls nsfw; the other is its sfw."""
    packaged = open_nsfw.packaged_weights()
    start = start_network("open_nsfw", True, None, class_names).module.state_dict()
    for row in (0, 1):
        order = [1 - row, row]
        if all(
            torch.equal(start[f"fc_nsfw.{part}"][order], packaged[f"fc_nsfw.{part}"])
            for part in ("weight", "bias")
        ):
            return row
    raise AssertionError("the head is another one")


@pytest.mark.parametrize(
    ("class_names", "row"),
    [
        (("sfw", "nsfw"), 1),
        (("nsfw", "sfw"), 0),
        ((" NSFW", "Sfw"), 0),
        (("nsfw", "harmless"), 0),
        (("explicit", "sfw"), 0),
        (("sfw", "explicit"), 1),
        (("kitchen", "garden"), 1),
    ],
)
def test_the_head_of_open_nsfw_starts_with_its_classes_where_their_names_are(class_names, row):
    assert nsfw_row(class_names) == row


def test_efficientnet_keeps_its_body_and_gets_a_new_classifier():
    start = start_network("efficientnet-lite0", True, None, NAMES)
    packaged = efficientnet_lite0.packaged_network().state_dict()
    for name, tensor in start.module.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(tensor, packaged[name])
    assert start.module.classifier.weight.shape == (2, 1280)
    assert start.architecture == "timm:tf_efficientnet_lite0"
    assert start.preprocessing == efficientnet_lite0.PREPROCESSING
    assert head_of(start, "efficientnet-lite0") == "classifier"


@pytest.mark.parametrize("name", ["open_nsfw", "timm:test_resnet"])
def test_random_weights_come_from_the_seed(name):
    def first_layer(seed):
        torch.manual_seed(seed)
        return next(start_network(name, False, None, NAMES).module.parameters())

    assert torch.equal(first_layer(0), first_layer(0))
    assert not torch.equal(first_layer(0), first_layer(1))


def test_a_file_begins_with_all_its_weights(file):
    start = start_network(str(file), True, None, NAMES)
    torch.manual_seed(1)
    expected = timm.create_model("test_resnet", num_classes=2).state_dict()
    for name, tensor in start.module.state_dict().items():
        assert torch.equal(tensor, expected[name])
    assert (start.architecture, start.preprocessing) == ("timm:test_resnet", NUMBERS)


def test_a_file_of_other_classes_or_without_its_weights_is_refused(file):
    with pytest.raises(UserError, match=r"tells a, b apart: .* not a, c"):
        start_network(str(file), True, None, ("a", "c"))
    with pytest.raises(UserError, match=r"give that name as base \(--base\)"):
        start_network(str(file), False, None, NAMES)


@pytest.mark.parametrize("name", ["timm:test_resnet", "torchvision:squeezenet1_1"])
def test_published_weights_keep_all_but_the_classifier(name, monkeypatch):
    published = {}

    def download(name, classes):
        # What a download gives, without one: another network's weights.
        torch.manual_seed(7)
        built = build_architecture(name, classes)
        published.update(built.module.state_dict())
        return built

    monkeypatch.setattr(starting_network, "download_architecture", download)
    start = start_network(name, True, None, NAMES)
    kept = {key for key in published if not key.startswith(("fc.", "classifier."))}
    assert len(kept) > 10
    for key in kept:
        assert torch.equal(start.module.state_dict()[key], published[key])
    assert start.architecture == name


def test_the_side_of_the_input_may_be_chosen(file):
    start = start_network(str(file), True, 48, NAMES)
    assert start.preprocessing == replace(NUMBERS, resize=48, crop=48)


def test_a_network_that_cannot_read_the_side_is_refused():
    with pytest.raises(UserError, match="squeezenet1_1 cannot read squares of 4 px"):
        start_network("torchvision:squeezenet1_1", False, 4, NAMES)


@pytest.mark.filterwarnings("ignore:The default weight initialization:FutureWarning")
def test_a_network_that_classifies_more_than_once_is_refused():
    with pytest.raises(UserError, match="more than two numbers"):
        start_network("torchvision:googlenet", False, 64, NAMES)


def test_an_unknown_network_is_refused():
    with pytest.raises(UserError, match="no network timm:nothing"):
        start_network("timm:nothing", False, None, NAMES)


def test_dropout_is_noticed_and_the_network_left_as_it_was():
    start = start_network("torchvision:squeezenet1_1", False, 64, NAMES)
    assert start.draws
    resnet = start_network("timm:test_resnet", False, 64, NAMES)
    assert not resnet.draws
    assert all(
        int(tensor) == 0
        for name, tensor in resnet.module.state_dict().items()
        if name.endswith("num_batches_tracked")
    )


def test_a_classifier_that_is_no_linear_layer_has_no_head():
    start = start_network("torchvision:squeezenet1_1", False, 64, NAMES)
    with pytest.raises(UserError, match="squeezenet1_1 is not one linear layer"):
        head_of(start, "torchvision:squeezenet1_1")


def test_something_after_the_linear_layer_makes_it_no_head():
    start = start_network("timm:test_resnet", False, 64, NAMES)
    changed = replace(start, module=torch.nn.Sequential(start.module, torch.nn.Softmax(dim=1)))
    with pytest.raises(UserError, match="not one linear layer"):
        head_of(changed, "changed")


@pytest.mark.parametrize(
    ("name", "side", "head", "told"),
    [
        ("nothing", None, True, "no network nothing to train"),
        ("timm:nothing", None, True, "no network timm:nothing"),
        ("torchvision:nothing", None, True, "no network torchvision:nothing"),
        ("other:nothing", None, True, "no network other:nothing"),
        ("gone.safetensors", None, True, "There is no weights file gone.safetensors"),
        ("torchvision:squeezenet1_1", 4, False, "cannot read squares of 4 px"),
        ("torchvision:squeezenet1_1", 64, True, "not one linear layer"),
    ],
)
def test_what_cannot_be_trained_is_refused_without_a_download(name, side, head, told, no_download):
    with pytest.raises(UserError, match=told):
        check_start(name, True, side, head, NAMES)


def test_a_damaged_file_and_one_of_other_classes_are_refused_at_once(file, no_download):
    check_start(str(file), True, None, True, NAMES)
    with pytest.raises(UserError, match=r"tells a, b apart"):
        check_start(str(file), True, None, True, ("a", "c"))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match="is not a whole safetensors file"):
        check_start(str(file), True, None, True, NAMES)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("open_nsfw", True),
        ("efficientnet-lite0", True),
        ("timm:test_resnet", True),
        ("torchvision:squeezenet1_1", False),
    ],
)
def test_what_can_be_trained_passes_without_a_download(name, head, no_download):
    check_start(name, True, None, head, NAMES)


def test_without_its_head_a_network_gives_the_heads_input(file):
    start = start_network(str(file), True, None, NAMES)
    images = torch.rand(2, 3, 32, 32)
    body = without_head(start.module, "fc")
    with torch.inference_mode():
        expected = start.module.eval()(images)
        head = start.module.fc
        assert isinstance(head, torch.nn.Linear)
        assert torch.allclose(head(body.eval()(images)), expected)
