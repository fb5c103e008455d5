"""Training on a card: near the CPU's results, and resumed to the same weights."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.common.progress import silent
from assets.methods.models.classifier import classify_arrays
from assets.methods.models.classifier_file import load_classifier, save_classifier
from assets.methods.models.forward import unsplit_pool
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.training.loop import Examples, Listeners, TrainingLoop
from assets.methods.training.settings import TrainingSettings
from assets.methods.training.train import LabelledImages, save_trained, train_classifier
from support.devices import CARD, HAS_CARD, card_plan, needs_card

pytestmark = needs_card

CPU_PLAN = ComputePlan("cpu", 1, "float32", 2)
NAMES = ("dark", "bright")
SMALL = Preprocessing(36, 32, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), "bicubic")
HEAD = TrainingSettings(
    trained="head", epochs=3, batch_size=8, augmentation="light", patience=0, seed=4
)
WHOLE = TrainingSettings(
    "timm:test_resnet", False, "all", input_side=32, epochs=3, batch_size=8, patience=0
)
PLAIN = replace(WHOLE, base="plain_convnet", input_side=64)
# It has dropout.
DRAWING = replace(WHOLE, base="torchvision:squeezenet1_1", epochs=1, batch_size=10)


class KilledError(Exception):
    """Stands for whatever ends a run."""


def noise(image_id):
    """Return a photo of noise, brighter the higher its id's first number."""
    level, seed = map(int, image_id.split("-"))
    generator = np.random.default_rng(seed)
    pixels = generator.integers(max(0, level - 30), level + 30, (40, 48, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def labelled(n, first=0):
    """Return n photos, dark and bright in turn."""
    ids = [f"{(60, 190)[seed % 2]}-{seed}" for seed in range(first, first + n)]
    return LabelledImages(ids, np.arange(first, first + n) % 2 == 1)


def train(folder, settings, plan=None, **others):
    train_set, validation = labelled(20), labelled(8, first=100)
    plan = plan or card_plan()
    return train_classifier(train_set, validation, NAMES, noise, settings, folder, plan, **others)


def assert_same_weights(first, second):
    assert first.weights.keys() == second.weights.keys()
    for name, tensor in first.weights.items():
        assert tensor.device.type == "cpu"
        assert tensor.numpy().tobytes() == second.weights[name].numpy().tobytes(), name


def losses(trained):
    return [epoch.validation_loss for epoch in trained.history]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A classifier to train the head of."""
    torch.manual_seed(3)
    module = timm.create_model("test_resnet", num_classes=2)
    path = tmp_path_factory.mktemp("base") / "net.safetensors"
    save_classifier(path, module.state_dict(), "timm:test_resnet", NAMES, SMALL)
    return str(path)


@pytest.fixture(params=["head", "whole", "plain", "drawing"])
def settings(request, base):
    """Of the trainings whose bytes are compared."""
    kinds = {"whole": WHOLE, "plain": PLAIN, "drawing": DRAWING}
    return kinds.get(request.param, replace(HEAD, base=base))


def test_a_head_learns_what_it_learns_on_the_cpu(base, tmp_path):
    settings = replace(HEAD, base=base)
    on_card = train(tmp_path / "card", settings)
    on_cpu = train(tmp_path / "cpu", settings, CPU_PLAN)
    np.testing.assert_allclose(losses(on_card), losses(on_cpu), rtol=1e-3)
    torch.testing.assert_close(on_card.weights, on_cpu.weights, rtol=1e-3, atol=1e-4)


def test_the_steps_of_a_linear_layer_are_those_of_the_cpu():
    # Of symmetric values the bias has a gradient of mere rounding, which Adam would scale up.
    values = torch.tensor([-1.0, 2.0] * 10)[:, None]
    examples = Examples(
        lambda places, epoch: values[places], np.array([0, 1] * 10), np.ones(20, np.float32)
    )
    listeners = Listeners(lambda _: None, lambda _: None, silent)
    chosen, ended = TrainingSettings(epochs=4, learning_rate=0.1, patience=0), []
    for plan in (card_plan(), CPU_PLAN):
        line = torch.nn.Linear(1, 2)
        torch.nn.init.zeros_(line.weight)
        torch.nn.init.zeros_(line.bias)
        with unsplit_pool(2) as pool:
            loop = TrainingLoop(line, False, examples, examples, chosen, plan, pool)
            ended.append(loop.run(None, listeners, 60).best_weights)
    torch.testing.assert_close(*ended)


def test_a_whole_network_learns(tmp_path):
    # A batch is one shard on a card, and several on the CPU: batch norm sees other images.
    settings = replace(PLAIN, epochs=8, augmentation="none", learning_rate=2e-3)
    trained = train(tmp_path, settings)
    assert trained.history[-1].validation_auc == 1
    assert losses(trained)[-1] < losses(trained)[0]
    save_trained(trained, tmp_path / "net.safetensors")
    photos = [np.array(noise(one)) for one in labelled(10, first=500).image_ids]
    scores = [
        classify_arrays(load_classifier(tmp_path / "net.safetensors", plan), photos)["bright"]
        for plan in (card_plan(), CPU_PLAN)
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-4)
    assert (scores[0][1::2] > scores[0][::2].max()).all()


def test_the_same_training_ends_in_the_same_weights(settings, tmp_path):
    first, second = (train(tmp_path / name, settings) for name in ("first", "second"))
    assert_same_weights(first, second)


@pytest.mark.parametrize("step", [1, 2])
def test_killed_inside_an_epoch_it_ends_in_the_same_weights(settings, tmp_path, step):
    unbroken, told = train(tmp_path / "unbroken", settings), []

    def kill(done, total):
        told.append(done)
        if len(told) > step:
            raise KilledError

    with pytest.raises(KilledError):
        train(tmp_path / "killed", settings, progress=kill, checkpoint_seconds=0)
    resumed = train(tmp_path / "killed", settings)
    assert_same_weights(resumed, unbroken)
    assert [{**asdict(one), "seconds": 0} for one in resumed.history] == [
        {**asdict(one), "seconds": 0} for one in unbroken.history
    ]


def test_killed_after_an_epoch_it_ends_in_the_same_weights(settings, tmp_path):
    if settings.epochs == 1:
        pytest.skip("it has one epoch")
    unbroken = train(tmp_path / "unbroken", settings)

    def kill(metrics):
        if metrics.epoch == 2:
            raise KilledError

    with pytest.raises(KilledError):
        train(tmp_path / "killed", settings, on_epoch=kill)
    resumed = train(tmp_path / "killed", settings)
    assert resumed.n_resumed == 2
    assert_same_weights(resumed, unbroken)


def test_bfloat16_learns_too(tmp_path):
    settings = replace(PLAIN, epochs=8, augmentation="none", learning_rate=2e-3)
    trained = train(tmp_path, settings, card_plan(precision="bfloat16"))
    assert trained.history[-1].validation_auc == 1


def test_random_states_are_left_as_they_were(tmp_path):
    torch.manual_seed(11)
    expected = [torch.rand(3), torch.rand(3, device=CARD)]
    torch.manual_seed(11)
    train(tmp_path, DRAWING)
    found = [torch.rand(3), torch.rand(3, device=CARD)]
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


def test_too_little_memory_for_a_batch_is_the_users_error(tmp_path):
    if not HAS_CARD:
        pytest.skip("only the memory of a card can be limited")
    torch.cuda.empty_cache()
    limit = 3e8 / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(limit)
    try:
        with pytest.raises(UserError, match="Memory on cuda does not suffice"):
            train(tmp_path, replace(PLAIN, input_side=1024, batch_size=20))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
