import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight

from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.models import open_nsfw, vector_store
from assets.methods.models.classifier import classify_arrays
from assets.methods.models.classifier_file import (
    describe_classifier,
    load_classifier,
    save_classifier,
)
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.models.reference_images import OPEN_NSFW_SCORES, reference_images
from assets.methods.models.torch_classifier import TorchClassifier
from assets.methods.training.settings import TrainingSettings
from assets.methods.training.train import (
    LabelledImages,
    class_weights,
    save_trained,
    train_classifier,
)

PLAN = ComputePlan("cpu", 1, "float32", 2)
NAMES = ("dark", "bright")
SMALL = Preprocessing(36, 32, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), "bicubic")
WHOLE = TrainingSettings(
    "timm:test_resnet", False, "all", input_side=32, epochs=3, batch_size=8, patience=0
)


HEAD = TrainingSettings(
    trained="head", epochs=3, batch_size=8, augmentation="none", patience=0, seed=4
)


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


TRAIN, VALIDATION = labelled(20), labelled(8, first=100)


def train(folder, settings=WHOLE, **changed):
    parts = {
        "train": TRAIN,
        "validation": VALIDATION,
        "class_names": NAMES,
        "load_image": noise,
        "settings": settings,
        "folder": folder,
        "plan": PLAN,
    }
    return train_classifier(**{**parts, **changed})


def assert_same_weights(first, second):
    assert first.weights.keys() == second.weights.keys()
    for name, tensor in first.weights.items():
        assert tensor.numpy().tobytes() == second.weights[name].numpy().tobytes(), name


def without_seconds(trained):
    return [{**asdict(epoch), "seconds": 0} for epoch in trained.history]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return train(tmp_path_factory.mktemp("unbroken"))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A classifier to train the head of."""
    torch.manual_seed(3)
    module = timm.create_model("test_resnet", num_classes=2)
    path = tmp_path_factory.mktemp("base") / "net.safetensors"
    save_classifier(path, module.state_dict(), "timm:test_resnet", NAMES, SMALL)
    return str(path)


def test_bright_and_dark_are_learned(unbroken, tmp_path):
    assert unbroken.history[-1].validation_auc == 1
    assert [epoch.epoch for epoch in unbroken.history] == [1, 2, 3]
    losses = [epoch.validation_loss for epoch in unbroken.history]
    assert unbroken.best_epoch == 1 + int(np.argmin(losses))
    assert (unbroken.class_names, unbroken.n_resumed) == (NAMES, 0)
    trained = train(tmp_path, replace(WHOLE, epochs=8))
    save_trained(trained, tmp_path / "net.safetensors")
    photos = [np.array(noise(one)) for one in labelled(10, first=500).image_ids]
    scores = classify_arrays(load_classifier(tmp_path / "net.safetensors", PLAN), photos)["bright"]
    assert (scores[1::2] > 0.5).all()
    assert (scores[::2] < 0.5).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_and_the_order_of_the_photos_do_not_change_a_bit(unbroken, tmp_path, threads):
    order = np.random.default_rng(0).permutation(len(TRAIN.image_ids))
    shuffled = LabelledImages([TRAIN.image_ids[place] for place in order], TRAIN.is_positive[order])
    torch.manual_seed(threads)
    trained = train(tmp_path, train=shuffled, plan=ComputePlan("cpu", 4, "float32", threads))
    assert_same_weights(trained, unbroken)
    assert without_seconds(trained) == without_seconds(unbroken)


def test_another_seed_gives_other_weights(unbroken, tmp_path):
    other = train(tmp_path, replace(WHOLE, seed=1))
    assert not torch.equal(other.weights["fc.weight"], unbroken.weights["fc.weight"])


def test_nothing_global_is_left_changed(tmp_path):
    threads = torch.get_num_threads()
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    train(tmp_path, replace(WHOLE, epochs=1))
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("epoch", [1, 2])
def test_killed_after_an_epoch_it_ends_in_the_same_weights(unbroken, tmp_path, epoch):
    def kill(metrics):
        if metrics.epoch == epoch:
            raise KilledError

    with pytest.raises(KilledError):
        train(tmp_path, on_epoch=kill)
    heard, seen = [], []
    resumed = train(tmp_path, on_epoch=heard.append, progress=lambda *told: seen.append(told))
    assert_same_weights(resumed, unbroken)
    assert without_seconds(resumed) == without_seconds(unbroken)
    assert resumed.n_resumed == epoch
    assert [metrics.epoch for metrics in heard] == [1, 2, 3]
    assert seen[-1] == ((3 - epoch) * 28, (3 - epoch) * 28)


@pytest.mark.parametrize("step", [1, 2, 6, 10])
def test_killed_inside_an_epoch_it_ends_in_the_same_weights(unbroken, tmp_path, step):
    calls, seen = [], []

    def kill(done, total):
        calls.append(done)
        if len(calls) > step:
            raise KilledError

    with pytest.raises(KilledError):
        train(tmp_path, progress=kill, checkpoint_seconds=0)
    resumed = train(tmp_path, progress=lambda *told: seen.append(told))
    assert_same_weights(resumed, unbroken)
    assert without_seconds(resumed) == without_seconds(unbroken)
    # An epoch is three steps and a validation, each told of.
    assert len(seen) == 12 - step
    assert all(metrics.seconds > 0 for metrics in resumed.history)


def test_killed_again_and_again_it_ends_in_the_same_weights(unbroken, tmp_path):
    calls = []

    def kill(done, total):
        calls.append(done)
        if len(calls) % 3 == 0:
            raise KilledError

    runs = 0
    while True:
        runs += 1
        try:
            resumed = train(tmp_path, progress=kill, checkpoint_seconds=0)
            break
        except KilledError:
            continue
    assert runs > 3
    assert_same_weights(resumed, unbroken)


@pytest.mark.process
def test_a_process_that_is_really_killed_ends_in_the_same_weights(unbroken, tmp_path):
    program = f"""
import os, signal, sys
sys.path[:0] = [{os.path.dirname(__file__)!r}, *{sys.path!r}]
from pathlib import Path
from test_train import train

def kill(done, total):
    # The fifth step: inside the second epoch.
    if done > 28 + 7:
        os.kill(os.getpid(), signal.SIGKILL)

train(Path({str(tmp_path)!r}), progress=kill, checkpoint_seconds=0)
"""
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    seen = []
    resumed = train(tmp_path, progress=lambda *told: seen.append(told))
    assert resumed.n_resumed == 1
    assert len(seen) == 12 - 5
    assert_same_weights(resumed, unbroken)


def test_a_training_that_has_ended_is_answered_from_its_checkpoint(tmp_path):
    first = train(tmp_path)

    def never(*told):
        raise AssertionError

    heard = []
    again = train(tmp_path, load_image=never, progress=never, on_epoch=heard.append)
    assert_same_weights(first, again)
    assert again.history == first.history == heard
    assert again.n_resumed == 3
    assert again.best_epoch == first.best_epoch


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": replace(WHOLE, learning_rate=2e-3)},
        {"settings": replace(WHOLE, epochs=4)},
        {"train": LabelledImages(TRAIN.image_ids, ~TRAIN.is_positive)},
        {"train": labelled(18)},
        {"validation": labelled(6, first=100)},
        {"class_names": ("dark", "light")},
        {"plan": ComputePlan("cpu", 1, "bfloat16", 2)},
    ],
)
def test_the_checkpoint_of_another_training_is_not_taken(tmp_path, changed):
    def kill(metrics):
        raise KilledError

    with pytest.raises(KilledError):
        train(tmp_path, on_epoch=kill)

    heard = []
    with pytest.raises(KilledError):
        train(
            tmp_path,
            progress=lambda *told: heard.append(told),
            on_epoch=kill,
            **changed,
        )
    # It began with the first step.
    images = [changed.get("train", TRAIN), changed.get("validation", VALIDATION)]
    epochs = changed.get("settings", WHOLE).epochs
    assert heard[0][1] == epochs * sum(len(one.image_ids) for one in images)


def test_the_checkpoint_of_other_starting_weights_is_not_taken(base, tmp_path):
    settings = replace(HEAD, base=str(tmp_path / "net.safetensors"))
    weights = load_file(base)
    for change, n_resumed in ((0, 0), (0, 3), (1, 0)):
        changed = {**weights, "fc.bias": weights["fc.bias"] + change}
        save_classifier(tmp_path / "net.safetensors", changed, "timm:test_resnet", NAMES, SMALL)
        assert train(tmp_path / "folder", settings).n_resumed == n_resumed


def test_a_damaged_checkpoint_is_set_aside_and_the_training_begun_anew(unbroken, tmp_path, caplog):
    def kill(metrics):
        raise KilledError

    with pytest.raises(KilledError):
        train(tmp_path, on_epoch=kill)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-10])
    anew = train(tmp_path)
    assert "is damaged" in caplog.text
    assert anew.n_resumed == 0
    assert_same_weights(anew, unbroken)


def test_dropout_is_repeatable_and_resumable(tmp_path):
    settings = replace(WHOLE, base="torchvision:squeezenet1_1", epochs=1, batch_size=16)
    first = train(tmp_path / "first", settings)
    second = train(tmp_path / "second", settings, plan=ComputePlan("cpu", 1, "float32", 1))
    assert_same_weights(first, second)

    def kill(done, total):
        if done > 10:
            raise KilledError

    with pytest.raises(KilledError):
        train(tmp_path / "third", settings, progress=kill, checkpoint_seconds=0)
    assert_same_weights(first, train(tmp_path / "third", settings))


def test_a_saved_classifier_gives_the_probabilities_of_the_trained_network(unbroken, tmp_path):
    described = save_trained(unbroken, tmp_path / "new" / "net.safetensors")
    assert described.architecture == "timm:test_resnet"
    assert described.class_names == NAMES
    assert (described.preprocessing.resize, described.preprocessing.crop) == (32, 32)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["net.safetensors"]
    module = timm.create_model("test_resnet", num_classes=2)
    module.load_state_dict(unbroken.weights)
    memory = TorchClassifier(module, unbroken.preprocessing, NAMES, "f", PLAN)
    loaded = load_classifier(tmp_path / "new" / "net.safetensors", PLAN)
    images = reference_images()
    answers = classify_arrays(memory, list(images.values()))
    again = classify_arrays(loaded, list(images.values()))
    np.testing.assert_array_equal(answers["bright"], again["bright"])
    assert described.reference_scores == {
        name: {"bright": pytest.approx(float(score), abs=1e-6)}
        for name, score in zip(images, answers["bright"], strict=True)
    }


def test_a_trained_classifier_can_be_trained_on(unbroken, tmp_path):
    path = tmp_path / "net.safetensors"
    save_trained(unbroken, path)
    settings = replace(WHOLE, base=str(path), pretrained=True, input_side=None, learning_rate=1e-9)
    onwards = train(tmp_path, replace(settings, epochs=1))
    for name, tensor in onwards.weights.items():
        if name.endswith("weight"):
            torch.testing.assert_close(tensor, unbroken.weights[name], atol=1e-6, rtol=0)


def test_the_head_alone_leaves_the_body_untouched(base, tmp_path):
    loads = []

    def load_image(image_id):
        loads.append(image_id)
        return noise(image_id)

    settings = replace(HEAD, base=base, augmentation="light")
    seen = []
    trained = train(
        tmp_path, settings, load_image=load_image, progress=lambda *told: seen.append(told)
    )
    assert seen[-1] == (28, 28)
    weights = load_file(base)
    assert trained.weights.keys() == weights.keys()
    for name, tensor in trained.weights.items():
        assert torch.equal(tensor, weights[name]) == (name not in ("fc.weight", "fc.bias")), name
    assert trained.preprocessing == SMALL
    assert sorted(loads) == sorted(TRAIN.image_ids + VALIDATION.image_ids)


LEVELS = {40: (9, 1), 90: (6, 4), 140: (4, 6), 190: (1, 9)}  # grey level: how many of each class


def flat(image_id):
    level = int(image_id.split("-")[0])
    return Image.new("RGB", (40, 40), (level, level, level))


def flat_images(prefix):
    ids, positive = [], []
    for level, counts in LEVELS.items():
        for number in range(sum(counts)):
            ids.append(f"{level}-{prefix}{number}")
            positive.append(number >= counts[0])
    return LabelledImages(ids, np.array(positive))


@pytest.mark.parametrize("balanced", [False, True])
def test_the_head_is_a_logistic_regression(base, tmp_path, balanced):
    # Four pictures, shown with both labels: the likeliest probabilities are the frequencies.
    images, unlabelled = flat_images("t"), flat_images("v")
    if balanced:
        # With about half of the negatives, which the weights make up for.
        kept = [place for place in range(40) if images.is_positive[place] or place % 2 == 0]
        images = LabelledImages([images.image_ids[k] for k in kept], images.is_positive[kept])
    settings = replace(
        HEAD,
        base=base,
        epochs=150,
        batch_size=64,
        learning_rate=0.05,
        weight_decay=0.0,
        class_weights="balanced" if balanced else "none",
    )
    trained = train(tmp_path, settings, train=images, validation=unlabelled, load_image=flat)
    save_trained(trained, tmp_path / "net.safetensors")
    photos = [np.array(flat(f"{level}-0")) for level in LEVELS]
    scores = classify_arrays(load_classifier(tmp_path / "net.safetensors", PLAN), photos)["bright"]
    levels = np.array(
        [[int(one.split("-")[0]) == level for level in LEVELS] for one in images.image_ids]
    )
    regression = LogisticRegression(
        C=1e6, max_iter=1000, class_weight="balanced" if balanced else None
    ).fit(levels, images.is_positive)
    np.testing.assert_allclose(scores, regression.predict_proba(np.eye(4))[:, 1], atol=0.05)
    if not balanced:
        np.testing.assert_allclose(scores, [0.1, 0.4, 0.6, 0.9], atol=0.05)


def test_features_are_computed_once_though_a_run_is_killed(base, tmp_path, monkeypatch):
    monkeypatch.setattr(vector_store, "SHARD_SIZE", 8)
    settings = replace(HEAD, base=base, augmentation="light")
    whole = train(tmp_path / "whole", settings)
    loads = []

    def dying(image_id):
        loads.append(image_id)
        if len(loads) == 20:
            raise KilledError
        return noise(image_id)

    def noted(image_id):
        loads.append(image_id)
        return noise(image_id)

    with pytest.raises(KilledError):
        train(tmp_path / "killed", settings, load_image=dying)
    loads.clear()
    resumed = train(tmp_path / "killed", settings, load_image=noted)
    # Two shards of eight were kept.
    assert sorted(loads) == sorted(TRAIN.image_ids + VALIDATION.image_ids)[16:]
    assert_same_weights(whole, resumed)
    loads.clear()
    train(tmp_path / "killed", replace(settings, learning_rate=0.1), load_image=noted)
    assert loads == []


def test_a_head_is_resumable_and_repeatable(base, tmp_path):
    settings = replace(HEAD, base=base, augmentation="light")
    whole = train(tmp_path / "whole", settings)

    def kill(metrics):
        if metrics.epoch == 2:
            raise KilledError

    with pytest.raises(KilledError):
        train(tmp_path / "killed", settings, on_epoch=kill)
    resumed = train(tmp_path / "killed", settings, plan=ComputePlan("cpu", 1, "float32", 1))
    assert_same_weights(whole, resumed)
    assert resumed.n_resumed == 2


def test_mirrored_photos_teach_the_head_too(base, tmp_path):
    plain = train(tmp_path / "plain", replace(HEAD, base=base))
    mirrored = train(tmp_path / "mirrored", replace(HEAD, base=base, augmentation="light"))
    assert not torch.equal(plain.weights["fc.weight"], mirrored.weights["fc.weight"])


def test_the_head_of_open_nsfw_begins_with_its_own_answers(tmp_path):
    few = [LabelledImages(one.image_ids[:4], one.is_positive[:4]) for one in (TRAIN, VALIDATION)]
    settings = TrainingSettings(epochs=1, batch_size=4, learning_rate=1e-9)
    trained = train(
        tmp_path, settings, train=few[0], validation=few[1], class_names=("sfw", "nsfw")
    )
    assert trained.architecture == "open_nsfw"
    assert trained.preprocessing == open_nsfw.PREPROCESSING
    described = save_trained(trained, tmp_path / "net.safetensors")
    assert described == describe_classifier(tmp_path / "net.safetensors")
    for name, score in OPEN_NSFW_SCORES.items():
        assert described.reference_scores[name]["nsfw"] == pytest.approx(score, abs=1e-4)


def test_the_whole_of_open_nsfw_can_be_trained(tmp_path):
    few = [LabelledImages(one.image_ids[:4], one.is_positive[:4]) for one in (TRAIN, VALIDATION)]
    settings = TrainingSettings(trained="all", epochs=1, batch_size=4)
    trained = train(tmp_path, settings, train=few[0], validation=few[1])
    packaged = open_nsfw.packaged_weights()
    assert trained.weights.keys() == packaged.keys()
    for name in ("conv_1.weight", "conv_stage3_block2_branch2c.bias", "fc_nsfw.weight"):
        difference = (trained.weights[name] - packaged[name]).abs().max()
        # One step of AdamW at 1e-4 moves a number by at most about as much.
        assert 0 < difference < 3e-4


@pytest.mark.parametrize("kind", ["balanced", "none"])
def test_class_weights_are_scikit_learns(kind):
    is_positive = np.array([True] * 3 + [False] * 9)
    expected = compute_class_weight(
        kind if kind == "balanced" else None, classes=np.array([False, True]), y=is_positive
    )
    np.testing.assert_allclose(class_weights(is_positive, kind), expected)
    assert np.mean(class_weights(is_positive, kind)[is_positive.astype(int)]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"train": LabelledImages(["a", "b"], np.array([True, True]))},
            "train has no image of .* dark",
        ),
        (
            {"validation": LabelledImages(["a", "b"], np.array([False, False]))},
            "validation has no image of .* bright",
        ),
        ({"validation": TRAIN}, "20 images are in both splits"),
        ({"class_names": ("a", "a")}, "Both classes are called a"),
        ({"plan": ComputePlan("cpu", 1, "float16", 1)}, "float16"),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path, changed, said):
    with pytest.raises(UserError, match=said):
        train(tmp_path, **changed)


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="each image needs one"):
        LabelledImages(["a", "b"], np.array([True]))
    with pytest.raises(UserError, match="listed twice"):
        LabelledImages(["a", "a"], np.array([True, False]))
