"""What becomes of a trained classifier, in a real registry; the networks are not trained."""

import dataclasses
import itertools
import math
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

from assets.methods.common.devices import ComputeSettings
from assets.methods.common.errors import UserError
from assets.methods.models.classifier_file import describe_classifier, save_classifier
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.photos.labels import LabelledData
from assets.methods.training.loop import EpochMetrics
from assets.methods.training.train import TrainedClassifier
from assets.resources.models import Models
from assets.resources.registry import CHAMPION, MODEL, RegisteredModel
from assets.resources.tracking import Tracking
from assets.results.references import reference_sample
from assets.results.training import (
    CHAMPION_OF_BEFORE,
    NEW,
    TRAINING_IMAGES,
    check_test_split,
    examples_of,
    log_epoch,
    register_version,
    training_images,
)
from assets.values import NsfwTraining
from support.brightness_network import ARCHITECTURE, PREPROCESSING, brightness_weights, grey

COMPUTE = ComputeSettings(device="cpu", threads=1)
CLASSES = ("sfw", "nsfw")
N = 16  # test images; every second one is bright, and positive
HISTORY = [
    EpochMetrics(1, 0.7, 0.6, 0.75, 1e-3, 2.0),
    EpochMetrics(2, 0.5, 0.4, 0.875, 5e-4, 2.5),
]


def labelled(rows: list[tuple[str, str, str]], classes: tuple[str, str] = CLASSES) -> LabelledData:
    """Photos of (image_id, label, split)."""
    images = pd.DataFrame(rows, columns=["image_id", "label", "split"], dtype="string")
    images = images.assign(uri=images.image_id + ".png", group=range(len(images)))
    findings = pd.DataFrame({"row": [], "uri": [], "reason": [], "detail": [], "left_out": []})
    return LabelledData(images, findings, (), classes)


def judging(n: int = N) -> list[tuple[str, str, str]]:
    return [(f"image-{number}", CLASSES[number % 2], "test") for number in range(n)]


def load_image(image_id: str) -> Image.Image:
    number = int(image_id.removeprefix("image-"))
    return grey((40, 220)[number % 2], number)


def load_with_a_dim_one(image_id: str) -> Image.Image:
    """One of the bright ones is less so: still above half of white, and below DIM_SIGHTED's."""
    return grey(150, 1) if image_id == "image-1" else load_image(image_id)


# To it all is 0 that is darker than 0.7 of white, so that one positive is like the negatives.
DIM_SIGHTED = dataclasses.replace(PREPROCESSING, mean=(0.7,) * 3)
AUC_OF_DIM_SIGHTED = 7.5 / 8


def trained(slope: float, preprocessing: Preprocessing = PREPROCESSING) -> TrainedClassifier:
    weights = brightness_weights(slope)
    return TrainedClassifier(weights, ARCHITECTURE, preprocessing, CLASSES, HISTORY, 2, 0)


class WithSmallPackage(Models):
    """The packaged network is one of brightness, too; without `nsfw` it is no reference."""

    def __init__(
        self, tracking: Tracking, slope: float = 1, classes: tuple[str, str] = ("dark", "light")
    ) -> None:
        super().__init__(Path(tracking.home), tracking)
        self.file = Path(tracking.home, f"packaged{slope}.safetensors")
        weights = brightness_weights(slope)
        save_classifier(self.file, weights, ARCHITECTURE, classes, PREPROCESSING)

    def packaged(self) -> Path:
        return self.file


@pytest.fixture
def models(tracking) -> Models:
    return WithSmallPackage(tracking)


@pytest.fixture
def champion(models, tmp_path):
    """Returns a function that makes a network the champion."""

    def make(slope: float, classes: tuple[str, str] = CLASSES) -> RegisteredModel:
        file = tmp_path / "champion.safetensors"
        save_classifier(file, brightness_weights(slope), ARCHITECTURE, classes, PREPROCESSING)
        models.registry.register(file, CHAMPION)
        return models.champion()

    return make


def enter(
    slope: float,
    models: Models,
    folder: Path,
    data: LabelledData | None = None,
    load: Callable[[str], Image.Image] = load_image,
    preprocessing: Preprocessing = PREPROCESSING,
) -> NsfwTraining:
    data = data or labelled(judging())
    return register_version(trained(slope, preprocessing), data, load, models, COMPUTE, folder, "")


def aliases(tracking: Tracking) -> dict[str, str]:
    """The version that each alias names."""
    found = tracking.client.get_registered_model(MODEL).aliases
    return {alias: str(version) for alias, version in found.items()}


def n_versions(tracking: Tracking) -> int:
    return len(tracking.client.search_model_versions(f"name = '{MODEL}'"))


def test_examples_are_those_of_the_split_and_say_which_are_positive():
    rows = [("a", "sfw", "train"), ("b", "nsfw", "test"), ("c", "nsfw", "train")]
    examples = examples_of(labelled(rows), "train")
    assert examples.image_ids == ["a", "c"]
    assert examples.is_positive.dtype == bool
    np.testing.assert_array_equal(examples.is_positive, [False, True])
    # The class is found by its name, not by its place in the alphabet.
    other = examples_of(labelled(rows, ("nsfw", "sfw")), "train")
    np.testing.assert_array_equal(other.is_positive, [True, False])


def test_five_of_each_class_are_enough_to_judge_by():
    check_test_split(labelled(judging(10)))


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (judging(9), "has 4 images of the class nsfw"),
        (judging(20)[::2], "has 0 images of the class nsfw"),
        (judging(20)[1::2], "has 0 images of the class sfw"),
        ([(one, label, "train") for one, label, _ in judging(20)], "has 0 images of the class"),
    ],
    ids=["four", "no positive", "no negative", "no test set"],
)
def test_a_test_set_that_cannot_judge_is_refused_in_a_sentence(rows, told):
    with pytest.raises(UserError, match=f"^The split test {told}.*label 5 of each class"):
        check_test_split(labelled(rows))


def test_an_epoch_is_a_point_of_each_curve(tracking):
    with tracking.lone_run("training", pytest.fail) as run:
        for epoch in HISTORY:
            log_epoch(run, epoch)
    for name in ("train_loss", "validation_loss", "validation_auc", "learning_rate", "seconds"):
        points = tracking.client.get_metric_history(run.run_id, name)
        assert [(point.step, point.value) for point in points] == [
            (epoch.epoch, getattr(epoch, name)) for epoch in HISTORY
        ]
    assert "epoch" not in tracking.client.get_run(run.run_id).data.metrics


def test_a_better_model_becomes_champion(models, champion, tracking, tmp_path):
    champion(0)
    result = enter(1, models, tmp_path)
    assert (result.version, result.alias) == ("2", "champion")
    assert aliases(tracking) == {"champion": "2"}
    assert models.champion().description.fingerprint == result.fingerprint
    table = result.comparison.set_index("model")
    assert table.version.to_dict() == {NEW: "2", CHAMPION_OF_BEFORE: "1"}
    assert table.auc.to_dict() == {NEW: 1, CHAMPION_OF_BEFORE: 0.5}
    assert (table.auc_low <= table.auc).all()
    assert (table.auc <= table.auc_high).all()
    assert result.reason.startswith("AUC 1.0000 (")
    assert result.reason.endswith(
        "its lower bound is not below the champion's. As the champion is not surely above "
        "chance, nothing tells whether labels are swapped."
    )


@pytest.mark.parametrize("slope", [-1, 0], ids=["the wrong way round", "at random"])
def test_a_worse_model_does_not_become_champion(models, champion, tracking, tmp_path, slope):
    before = champion(1)
    result = enter(slope, models, tmp_path)
    assert (result.version, result.alias) == ("2", "challenger")
    assert aliases(tracking) == {"champion": "1", "challenger": "2"}
    assert models.champion().description == before.description
    assert "its lower bound is below the champion's." in result.reason


def test_a_model_that_ranks_as_well_becomes_champion(models, champion, tracking, tmp_path):
    champion(1)
    result = enter(2, models, tmp_path)
    assert (result.version, result.alias) == ("2", "champion")
    assert aliases(tracking) == {"champion": "2"}


def test_a_network_that_diverged_does_not_follow_a_champion_that_is_below_chance(
    models, champion, tracking, tmp_path
):
    champion(-1)
    result = enter(0, models, tmp_path)
    assert (result.version, result.alias) == ("2", "challenger")
    assert aliases(tracking) == {"champion": "1", "challenger": "2"}
    assert result.comparison.auc.tolist() == [0.5, 0]
    assert ": its lower bound is not above chance, which is 0.5. Labels swapped?" in result.reason


def test_the_champion_that_is_trained_once_more_stays_champion_whatever_its_auc(
    models, champion, tracking, tmp_path
):
    champion(0)
    result = enter(0, models, tmp_path)
    assert (result.version, result.alias) == ("1", "champion")
    assert aliases(tracking) == {"champion": "1"}
    assert result.reason == "It is the champion already."


def test_the_same_weights_are_no_new_version(models, champion, tracking, tmp_path):
    champion(0)
    first = enter(1, models, tmp_path)
    again = enter(1, models, tmp_path)
    assert (again.version, again.alias) == (first.version, "champion")
    assert again.fingerprint == first.fingerprint
    assert n_versions(tracking) == 2
    assert aliases(tracking) == {"champion": "2"}


def test_only_the_test_set_judges(models, champion, tmp_path):
    """The labels of train and validation are the wrong way round, and change nothing."""
    others = [
        (f"image-{number}", CLASSES[1 - number % 2], ("train", "validation")[number % 4 // 2])
        for number in range(N, 3 * N)
    ]
    data = labelled([*judging(), *others])
    champion(0)
    result = enter(1, models, tmp_path, data)
    assert result.comparison.auc.tolist() == [1, 0.5]


def test_a_champion_without_the_class_stays_and_is_not_compared(
    models, champion, tracking, tmp_path
):
    champion(1, ("dark", "bright"))
    result = enter(1, models, tmp_path)
    assert (result.version, result.alias) == ("2", "challenger")
    assert aliases(tracking) == {"champion": "1", "challenger": "2"}
    assert result.reason == (
        "It does not know bright, which the champion is asked for. The champion has no class nsfw, "
        "so the two cannot be compared. No model knew nsfw before, so nothing tells whether labels "
        "are swapped."
    )
    new, before = result.comparison.itertuples(index=False)
    assert (new.model, new.version, new.auc) == (NEW, "2", 1)
    assert (before.model, before.version) == (CHAMPION_OF_BEFORE, "1")
    assert all(math.isnan(number) for number in (before.auc, before.auc_low, before.auc_high))


def test_the_file_of_the_version_and_its_history_are_kept(models, champion, tmp_path):
    champion(0)
    result = enter(1, models, tmp_path / "new")
    described = describe_classifier(tmp_path / "new" / result.weights)
    assert described.fingerprint == result.fingerprint
    assert described.class_names == CLASSES
    assert described.reference_scores.keys() == {"astronaut", "chelsea", "coffee"}
    assert models.champion().description == described
    assert result.history.to_dict("records") == [dataclasses.asdict(one) for one in HISTORY]
    assert result.best_epoch == 2


def test_a_champion_that_was_replaced_while_it_was_judged_is_not_the_one_to_match(
    models, champion, tracking, tmp_path
):
    """Better than the champion at first, worse than the one that took its place meanwhile."""
    champion(0)
    promoted = threading.Lock()

    def load(image_id: str) -> Image.Image:
        # The photos are loaded when the first of the two is asked, by several threads.
        if promoted.acquire(blocking=False):
            champion(1)
        return load_with_a_dim_one(image_id)

    result = enter(2, models, tmp_path, load=load, preprocessing=DIM_SIGHTED)
    assert promoted.locked()
    assert (result.version, result.alias) == ("3", "challenger")
    assert aliases(tracking) == {"champion": "2", "challenger": "3"}
    assert result.comparison.version.tolist() == ["3", "2"]
    assert result.comparison.auc.tolist() == [AUC_OF_DIM_SIGHTED, 1]


def test_a_champion_that_was_replaced_after_it_was_judged_is_not_the_one_to_match(
    models, champion, tracking, tmp_path
):
    champion(0)
    numbers = itertools.count(1)

    def load(image_id: str) -> Image.Image:
        # The last photo that the champion of before is asked about.
        if next(numbers) == 2 * N:
            champion(1)
        return load_with_a_dim_one(image_id)

    result = enter(2, models, tmp_path, load=load, preprocessing=DIM_SIGHTED)
    assert next(numbers) == 3 * N + 1
    assert (result.version, result.alias) == ("3", "challenger")
    assert aliases(tracking) == {"champion": "2", "challenger": "3"}
    assert result.comparison.version.tolist() == ["3", "2"]


@pytest.mark.parametrize(
    ("slope", "alias"), [(1, "champion"), (0, "challenger")], ids=["no worse", "worse"]
)
def test_test_photos_that_the_champion_was_trained_on_are_told(
    models, champion, tracking, tmp_path, slope, alias
):
    """Three of the sixteen were for training when it was made, and two for validation."""
    champion(0)
    splits = ["train"] * 3 + ["validation"] * 2 + ["test"] * (N - 5)
    before = [(one, label, split) for (one, label, _), split in zip(judging(), splits, strict=True)]
    before += [(f"image-{N + number}", CLASSES[number % 2], "train") for number in range(4)]
    with tracking.lone_run("training", pytest.fail) as run:
        table = training_images(labelled(before))
        run.file(TRAINING_IMAGES, table.to_csv(index=False).encode())
    file = tmp_path / "seen.safetensors"
    save_classifier(file, brightness_weights(1), ARCHITECTURE, CLASSES, PREPROCESSING)
    models.registry.register(file, CHAMPION, run.run_id)
    result = enter(slope * 2, models, tmp_path)
    assert result.alias == alias
    assert result.reason.endswith(
        "below the champion's. The champion was trained on 3 of the 16 photos of the split test."
    )


def test_the_images_of_a_training_are_those_that_it_saw():
    rows = [("a", "sfw", "train"), ("b", "nsfw", "test"), ("c", "nsfw", "validation")]
    assert training_images(labelled(rows)).to_dict("list") == {
        "image_id": ["a", "c"],
        "split": ["train", "validation"],
    }


def test_a_champion_that_could_not_be_asked_for_is_not_replaced(
    models, champion, tracking, tmp_path
):
    """What was seen last may not be champion any more, so that beating it proves nothing."""
    last_seen = dataclasses.replace(champion(0), version="", unreachable="It was down.")

    class DownForOneQuestion(WithSmallPackage):
        def champion(self, run_id: str = "") -> RegisteredModel:
            return last_seen

    back = DownForOneQuestion(tracking)
    result = enter(1, back, tmp_path)
    assert (result.version, result.alias) == ("2", "challenger")
    assert aliases(tracking) == {"champion": "1", "challenger": "2"}
    assert result.comparison.auc.tolist() == [1, 0.5]
    assert result.reason == "The champion is not known: It was down."


def test_a_registry_that_is_down_costs_no_result(
    models, champion, tracking, tmp_path, unreachable_uri
):
    champion(0)
    down = WithSmallPackage(Tracking(home=tracking.home, tracking_uri=unreachable_uri))
    result = enter(1, down, tmp_path)
    assert (result.version, result.alias) == ("", "")
    assert result.reason.startswith("The model registry could not be reached: ")
    assert "secret" not in result.reason
    assert result.comparison.auc.tolist() == [1, 0.5]
    assert result.comparison.version.tolist() == ["", ""]
    assert (tmp_path / result.weights).is_file()
    assert aliases(tracking) == {"champion": "1"}


def test_a_registry_that_is_down_fails_when_tracking_is_strict(
    models, champion, tracking, tmp_path, unreachable_uri
):
    champion(0)
    down = WithSmallPackage(Tracking(home=tracking.home, tracking_uri=unreachable_uri, strict=True))
    with pytest.raises(MlflowException):
        enter(1, down, tmp_path)


def in_splits(swapped: str = "", source: str = "") -> LabelledData:
    """Photos of each split from two sources, whose labels are swapped in splits or in a source."""
    splits = [*["test"] * 16, *["train"] * 16, *["validation"] * 12]
    sources = [("camera", "web")[number // 2 % 2] for number in range(len(splits))]
    rows = [
        (f"image-{number}", CLASSES[(number + (split in swapped or one == source)) % 2], split)
        for number, (split, one) in enumerate(zip(splits, sources, strict=True))
    ]
    data = labelled(rows)
    images = data.images.assign(source=pd.array(sources, dtype="string"))
    return dataclasses.replace(data, images=images, slice_columns=("source",))


@pytest.mark.parametrize(
    ("data", "slopes", "alias", "doubted"),
    [
        # The slopes of the new version, of the champion and of the packaged network: a slope below
        # 0 is of a network that learned from swapped labels, and one of 0 of a network that tells
        # nothing.
        (in_splits(), (2, 1, 1.5), "champion", ""),
        (in_splits(), (2, 1, -1), "challenger", "Labels swapped?"),
        (in_splits(), (2, -1, 1), "challenger", "Labels swapped?"),
        (in_splits("test train validation"), (-1, 1, 1.5), "challenger", "Labels swapped?"),
        (in_splits("train"), (2, 1, 1.5), "challenger", "Labels of the split train swapped?"),
        (in_splits("test"), (2, 1, 1.5), "challenger", "Labels of the split test swapped?"),
        (in_splits(source="web"), (0, 1, 1.5), "challenger", "Labels where source is web swapped?"),
        (in_splits(), (0, -0.0, 1.5), "challenger", ""),
    ],
    ids=["right", "packaged", "champion", "all", "train", "test", "half", "champion tells nothing"],
)
def test_swapped_labels_leave_the_champion_as_it_is(
    tracking, tmp_path, champion, data, slopes, alias, doubted
):
    candidate, of_champion, of_package = slopes
    champion(of_champion)
    models = WithSmallPackage(tracking, of_package, CLASSES)
    result = enter(candidate, models, tmp_path, data)
    assert result.alias == alias
    assert result.label_doubt.startswith(doubted)
    assert (result.label_doubt == "") == (doubted == "")
    assert result.label_doubt in result.reason
    assert aliases(tracking)["champion"] == ("2" if alias == "champion" else "1")
    verdict = models.registry.verdict_on(result.version)
    assert verdict == f"{alias}: {result.reason}"
    references = result.references
    assert references.model.unique().tolist() == ["the champion", "open_nsfw"]
    places = ["test", "train", "validation", "source is camera", "source is web"]
    assert references.place.tolist() == places * 2


def test_a_reference_is_asked_about_a_sample_of_each_split():
    rows = [(f"{number:05}", CLASSES[number % 2], "train") for number in range(1, 1201)]
    rows += [(f"{number:05}", CLASSES[number % 2], "test") for number in range(2000, 3200)]
    sample = reference_sample(labelled(rows)).images
    assert sample.groupby(["split", "label"]).size().tolist() == [600, 600, 500, 500]
    # The same ones in whatever order the photos come.
    other = reference_sample(labelled(rows[::-1])).images
    assert other.image_id.tolist() == sample.image_id.tolist()


def test_intervals_of_slices_are_wider_the_more_there_are(tracking, tmp_path, champion):
    champion(1)
    few = in_splits()
    values = pd.array([str(number // 11) for number in range(len(few.images))], dtype="string")
    many = dataclasses.replace(
        few, images=few.images.assign(part=values), slice_columns=("source", "part")
    )
    lows = [
        enter(1, WithSmallPackage(tracking), tmp_path, data).references.set_index("place").auc_low
        for data in (few, many)
    ]
    assert lows[1]["source is web"] < lows[0]["source is web"]
    assert lows[1]["test"] == lows[0]["test"]
