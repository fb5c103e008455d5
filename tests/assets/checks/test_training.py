"""Each check passes on a sound value, and fails on one that is broken in its own way."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import assets.checks.training
from assets.methods.common.files import write_whole
from assets.methods.evaluation.intervals import Estimate
from assets.methods.models.classifier_file import describe_classifier, save_classifier
from assets.methods.photos.catalogue import Catalogue
from assets.methods.photos.labels import LabelledData
from assets.resources.models import Models
from assets.resources.registry import CHAMPION
from assets.resources.tracking import Tracking
from assets.results.training import CHAMPION_OF_BEFORE, NEW
from assets.values import EncodedImage, NsfwEvaluation, NsfwTraining
from support.brightness_network import ARCHITECTURE, PREPROCESSING, brightness_weights

# Dagster declares that the call of a check returns an object of any kind.
training_checks: Any = assets.checks.training
CLASSES = ("sfw", "nsfw")


def is_blocking(name: str) -> bool:
    specs = [spec for check in training_checks.CHECKS for spec in check.check_specs]
    return {spec.name: spec.blocking for spec in specs}[name]


SPLITS = ("train", "validation", "test")
# Two of each class in each split.
IDS = [f"{split}-{label}-{number}" for split in SPLITS for label in CLASSES for number in (0, 1)]


@pytest.fixture
def catalogue() -> Catalogue:
    """A photo's exact copy, two near-duplicates in one split, and one nobody labelled."""
    copies = {"train-sfw-0": "train-sfw-0", "test-sfw-1": "test-sfw-0", "another": "train-nsfw-0"}
    ids = [*IDS, "train-sfw-0", "another"]
    marked = [copies.get(one) for one in IDS]
    marked[0] = None
    images = pd.DataFrame(
        {
            "image_id": pd.array(ids, dtype="string"),
            "uri": [f"/photos/{number}.png" for number in range(len(ids))],
            "duplicate_of": pd.array([*marked, "train-sfw-0", "train-nsfw-0"], dtype="string"),
        }
    )
    return Catalogue(images, pd.DataFrame(columns=["uri", "reason", "detail"]), len(ids), len(ids))


@pytest.fixture
def data() -> LabelledData:
    split, label, _ = zip(*(one.split("-") for one in IDS), strict=True)
    images = pd.DataFrame({"image_id": IDS, "label": label, "split": split}, dtype="string")
    return LabelledData(images, found([]), (), CLASSES)


def found(rows: list[tuple[int, str, bool]]) -> pd.DataFrame:
    """Findings of (row, reason, left_out)."""
    table = pd.DataFrame(rows, columns=["row", "reason", "left_out"])
    return table.astype({"row": "int64", "reason": "string", "left_out": "bool"})


def with_split(data: LabelledData, image_id: str, split: str) -> LabelledData:
    images = data.images.copy()
    images.loc[images.image_id == image_id, "split"] = split
    return dataclasses.replace(data, images=images)


def test_photos_that_have_one_split_pass(catalogue, data):
    result = training_checks.no_image_is_in_two_splits(catalogue, data)
    assert result.passed
    assert result.description == "12 images, 0 twice, 0 pairs of copies in two splits"


def test_a_photo_that_is_listed_twice_fails(catalogue, data):
    again = data.images.iloc[[3]].assign(split="test")
    twice = dataclasses.replace(data, images=pd.concat([data.images, again]))
    result = training_checks.no_image_is_in_two_splits(catalogue, twice)
    assert not result.passed
    assert result.description.startswith("13 images, 1 twice, ")


@pytest.mark.parametrize("moved", ["test-sfw-0", "test-sfw-1"])
def test_near_duplicates_in_two_splits_fail(catalogue, data, moved):
    straddling = with_split(data, moved, "train")
    result = training_checks.no_image_is_in_two_splits(catalogue, straddling)
    assert not result.passed
    assert result.description.endswith(" 1 pairs of copies in two splits")


def test_a_copy_that_is_not_labelled_is_in_no_split(catalogue, data):
    assert training_checks.no_image_is_in_two_splits(
        catalogue, with_split(data, "train-nsfw-0", "test")
    ).passed


def test_a_straddling_copy_stops_the_training():
    assert is_blocking("no_image_is_in_two_splits")


# With 12 photos, 20 rows and 8 left out are 40 %; one in 20 is the most that is a few.
@pytest.mark.parametrize(
    ("findings", "passed", "told"),
    [
        ([], True, "0 of 12 rows"),
        ([(1, "unreadable", True)], False, "1 of 13 rows"),
        # Copies are left out, and there is nothing wrong with them.
        ([(number, "duplicate", True) for number in range(1, 9)], True, "0 of 20 rows"),
        (
            [(1, "unknown label", True), *((n, "duplicate", True) for n in range(2, 9))],
            True,
            "1 of 20 rows",
        ),
        (
            [(1, "unknown label", True), *((n, "duplicate", True) for n in range(2, 8))],
            False,
            "1 of 19 rows",
        ),
        # What is only reported is not left out.
        ([(number, "near-duplicate conflict", False) for number in (1, 2)], True, "0 of 12 rows"),
    ],
    ids=["none", "one in 13", "copies", "one in 20", "one in 19", "reported"],
)
def test_few_rows_are_left_out(data, findings, passed, told):
    result = training_checks.few_rows_are_left_out(
        dataclasses.replace(data, findings=found(findings))
    )
    assert result.passed == passed
    assert result.description == f"{told} are left out (a few: up to 5%)"
    assert result.severity == dg.AssetCheckSeverity.WARN
    reasons = [reason for _, reason, _ in findings]
    assert result.metadata["reasons"].value == {one: reasons.count(one) for one in set(reasons)}


@pytest.mark.parametrize(
    ("findings", "passed", "told"),
    [
        ([], True, "0 rows are left out"),
        ([(1, "duplicate", True), (2, "near-duplicate conflict", False)], True, "0 rows are left"),
        ([(1, "label conflict", True), (2, "label conflict", True)], False, "2 rows are left out"),
    ],
)
def test_labels_do_not_contradict(data, findings, passed, told):
    result = training_checks.labels_do_not_contradict(
        dataclasses.replace(data, findings=found(findings))
    )
    assert (result.passed, result.severity) == (passed, dg.AssetCheckSeverity.WARN)
    assert result.description.startswith(told)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("label", CLASSES)
def test_a_split_that_lacks_a_class_is_named(data, split, label):
    images = data.images[(data.images.split != split) | (data.images.label != label)]
    result = training_checks.few_rows_are_left_out(dataclasses.replace(data, images=images))
    assert not result.passed
    assert result.description.endswith(f"; {split} has no {label}")


@pytest.fixture(scope="module")
def models(home_template, tmp_path_factory) -> Models:
    home = shutil.copytree(home_template, tmp_path_factory.mktemp("checks") / "home")
    return Models(home, Tracking(home=str(home)))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """Two classifiers."""
    folder = tmp_path_factory.mktemp("files")
    made = {"old": folder / "old.safetensors", "new": folder / "new.safetensors"}
    for slope, file in enumerate(made.values(), 1):
        save_classifier(file, brightness_weights(slope), ARCHITECTURE, CLASSES, PREPROCESSING)
    return made


def serve(models: Models, file: Path) -> None:
    """Make a file the champion, without asking what it is worth."""
    models.registry.register(file, CHAMPION)


def training(file: Path, alias: str, low: float = 0.9, low_of_before: float = 0.8) -> NsfwTraining:
    comparison = pd.DataFrame(
        {
            "model": [NEW, CHAMPION_OF_BEFORE],
            "version": ["2", "1"],
            "auc": [0.95, 0.95],
            "auc_low": [low, low_of_before],
            "auc_high": [0.99, 0.99],
        }
    )
    fingerprint = describe_classifier(file).fingerprint
    history = pd.DataFrame({"epoch": [1]})
    return NsfwTraining(history, comparison, file.name, fingerprint, "2", alias, "So it is.", 1)


@pytest.mark.parametrize(
    ("served", "alias", "lows", "passed"),
    [
        ("new", "champion", (0.9, 0.8), True),
        ("new", "champion", (0.9, 0.9), True),
        ("new", "champion", (0.8, 0.9), False),
        # The champion could not be asked, and yet it was replaced.
        ("new", "champion", (0.9, np.nan), False),
        ("old", "challenger", (0.8, 0.9), True),
        ("old", "challenger", (0.9, np.nan), True),
        ("old", "", (0.9, 0.8), True),
        # The registry does not do what the asset says.
        ("new", "challenger", (0.8, 0.9), False),
    ],
)
def test_champion_is_no_worse(models, files, served, alias, lows, passed):
    serve(models, files[served])
    result = training_checks.champion_is_no_worse(
        training(files["new"], alias, *lows), models=models
    )
    assert result.passed == passed
    assert result.severity == dg.AssetCheckSeverity.ERROR
    serves = "champion" if served == "new" else "not champion"
    assert result.description == f"{serves}: So it is."


def test_a_lower_auc_is_worse_even_with_the_higher_bound(models, files):
    serve(models, files["new"])
    promoted = training(files["new"], "champion", 0.9, 0.8)
    promoted.comparison.loc[0, "auc"] = 0.94
    assert not training_checks.champion_is_no_worse(promoted, models=models).passed


def test_a_champion_that_was_replaced_since_is_a_warning(models, files):
    serve(models, files["old"])
    result = training_checks.champion_is_no_worse(
        training(files["new"], "champion", 0.9, 0.8), models=models
    )
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert result.description == ("not champion: So it is. Another version is champion by now.")


def test_a_worse_champion_stops_what_comes_after():
    assert is_blocking("champion_is_no_worse")


@pytest.mark.parametrize(("alias", "passed"), [("champion", False), ("", True)])
def test_a_registry_that_is_down_is_a_warning(
    models, files, tmp_path, unreachable_uri, alias, passed
):
    write_whole(tmp_path / "models" / "old.safetensors", files["old"].read_bytes())
    write_whole(tmp_path / "models" / CHAMPION, b"old.safetensors")
    down = Models(tmp_path, Tracking(home=str(tmp_path), tracking_uri=unreachable_uri))
    result = training_checks.champion_is_no_worse(training(files["new"], alias), models=down)
    assert (result.passed, result.severity) == (passed, dg.AssetCheckSeverity.WARN)
    assert result.description.startswith("The model registry could not be asked, ")


@pytest.mark.parametrize(
    ("doubt", "models_before", "passed", "told"),
    [
        ("", [], True, "no model knew the class before, so nothing was compared"),
        (
            "",
            ["the champion", "open_nsfw"],
            True,
            "the champion and open_nsfw: 2 splits and slices, none surely worse than chance",
        ),
        ("Labels swapped? So it seems.", ["open_nsfw"], False, "Labels swapped? So it seems."),
    ],
)
def test_labels_are_not_swapped(files, doubt, models_before, passed, told):
    references = pd.DataFrame({"model": models_before, "place": "test", "auc": 0.9})
    trained = dataclasses.replace(
        training(files["new"], "challenger"), label_doubt=doubt, references=references
    )
    result = training_checks.labels_are_not_swapped(trained)
    assert (result.passed, result.severity) == (passed, dg.AssetCheckSeverity.WARN)
    assert result.description == told


def test_a_training_of_an_older_home_has_nothing_to_tell_of_labels(files):
    result = training_checks.labels_are_not_swapped(training(files["new"], "champion"))
    assert result.passed


MODEL, OTHER = "models:/nsfw@champion", "timm:other"


@pytest.fixture
def evaluation() -> NsfwEvaluation:
    """What two models are worth on six images, ties among their scores included."""
    scores = {MODEL: [0.1, 0.3, 0.3, 0.3, 0.8, 0.9], OTHER: [0.2, 0.7, 0.1, 0.6, 0.7, 0.9]}
    positive = [False, False, False, True, True, True]
    tables, metrics, slices = [], [], []
    for model, numbers in scores.items():
        labels = [CLASSES[one] for one in positive]
        ids = [f"image-{number}" for number in range(6)]
        table = pd.DataFrame({"image_id": ids, "label": labels})
        tables.append(table.assign(model=model, score=np.array(numbers, np.float32)))
        auc = roc_auc_score(positive, numbers)
        metrics += [
            (model, "auc", auc, auc - 0.1, min(auc + 0.1, 1)),
            (model, "recall", 1.0, 0.4, 1.0),
            (model, "n", 6.0, np.nan, np.nan),
            (model, "n_positive", 3.0, np.nan, np.nan),
            (model, "temperature", 1.7, np.nan, np.nan),
        ]
        slice_of = {"model": model, "slice": "source", "value": "web", "n": 3, "n_negative": 3}
        rates = Estimate(1 / 3, 0.1, 0.7).named("false_positive_rate")
        # No positives, no recall.
        nothing = Estimate(np.nan, np.nan, np.nan)
        rates |= nothing.named("recall") | nothing.named("precision")
        slices.append({**slice_of, "n_positive": 0, "n_flagged": 0, **rates})
    picture = EncodedImage(b"", ".png")
    return NsfwEvaluation(
        positive="nsfw",
        models=[MODEL, OTHER],
        fingerprints=["f0", "f1"],
        metrics=pd.DataFrame(metrics, columns=["model", "metric", "value", "low", "high"]),
        slices=pd.DataFrame(slices),
        curves=pd.DataFrame(),
        reliability=pd.DataFrame(),
        scores=pd.concat(tables, ignore_index=True),
        figure=picture,
        worst={},
        notes=[],
        settings={},
    )


def changed(evaluation: NsfwEvaluation, table: str, row: int, **cells: object) -> NsfwEvaluation:
    """The same, but for some cells of a row of one of its tables."""
    copy = getattr(evaluation, table).copy()
    for column, value in cells.items():
        copy.loc[row, column] = value
    return dataclasses.replace(evaluation, **{table: copy})


def test_figures_in_their_intervals_pass(evaluation):
    result = training_checks.figures_lie_in_their_intervals(evaluation)
    assert result.passed
    assert result.description == "12 metrics, 0 not finite or outside their interval"


# The first row of metrics is an AUC of 8 / 9.
@pytest.mark.parametrize(
    ("table", "row", "cells"),
    [
        ("metrics", 0, {"low": 0.95}),
        ("metrics", 0, {"high": 0.85}),
        ("metrics", 0, {"value": np.nan}),
        ("metrics", 0, {"low": np.nan}),
        ("metrics", 0, {"high": np.nan}),
        ("metrics", 0, {"low": np.nan, "high": np.nan}),
        ("metrics", 0, {"value": np.nan, "low": np.nan, "high": np.nan}),
        ("metrics", 6, {"high": 1.1}),
        ("metrics", 6, {"low": -0.1}),
        ("metrics", 0, {"high": np.inf}),
        ("metrics", 4, {"value": np.nan}),
        ("metrics", 4, {"value": np.inf}),
        ("metrics", 2, {"value": -1.0}),
        ("slices", 0, {"false_positive_rate_low": 0.5}),
        ("slices", 1, {"false_positive_rate_high": 0.2}),
        ("slices", 1, {"false_positive_rate": np.nan}),
        ("slices", 1, {"false_positive_rate_low": np.nan}),
    ],
)
def test_a_figure_outside_its_interval_fails(evaluation, table, row, cells):
    result = training_checks.figures_lie_in_their_intervals(
        changed(evaluation, table, row, **cells)
    )
    assert not result.passed
    assert result.description == "12 metrics, 1 not finite or outside their interval"


def test_each_rate_of_a_slice_has_to_be_there_where_there_are_rows_for_it(evaluation):
    whole = {"n_positive": 3, "recall": 0.5, "recall_low": 0.1, "recall_high": 0.9}
    found = training_checks.figures_lie_in_their_intervals(
        changed(evaluation, "slices", 0, **whole)
    )
    assert found.passed
    assert found.description == "13 metrics, 0 not finite or outside their interval"
    for column in ("recall", "recall_low", "recall_high"):
        broken = changed(evaluation, "slices", 0, **{**whole, column: np.nan})
        assert not training_checks.figures_lie_in_their_intervals(broken).passed


def test_slices_of_an_older_home_are_checked(evaluation):
    slices = evaluation.slices.drop(columns=[*evaluation.slices.filter(regex="recall|precision")])
    older = dataclasses.replace(evaluation, slices=slices)
    assert training_checks.figures_lie_in_their_intervals(older).passed


def test_an_evaluation_without_figures_fails(evaluation):
    empty = dataclasses.replace(
        evaluation, metrics=evaluation.metrics[:0], slices=evaluation.slices[:0]
    )
    assert not training_checks.figures_lie_in_their_intervals(empty).passed


def test_a_set_without_slices_passes(evaluation):
    whole = dataclasses.replace(evaluation, slices=evaluation.slices[:0])
    assert training_checks.figures_lie_in_their_intervals(whole).passed


def test_an_auc_that_follows_from_the_scores_passes(evaluation):
    result = training_checks.auc_follows_from_the_scores(evaluation)
    assert result.passed
    assert result.description.startswith("largest difference ")


@pytest.mark.parametrize(
    ("table", "row", "cells"),
    [
        ("metrics", 0, {"value": 8 / 9 + 1e-6}),
        ("metrics", 5, {"value": 0.5}),
        # Python's max overlooks a NaN that does not come first.
        ("metrics", 0, {"value": np.nan}),
        ("metrics", 5, {"value": np.nan}),
        ("scores", 11, {"score": 0.15}),
        ("scores", 0, {"label": "nsfw"}),
    ],
)
def test_an_auc_of_other_scores_fails(evaluation, table, row, cells):
    result = training_checks.auc_follows_from_the_scores(changed(evaluation, table, row, **cells))
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.ERROR)


@pytest.mark.parametrize("kept", [[MODEL], [OTHER], []])
def test_a_model_whose_scores_are_missing_fails(evaluation, kept):
    scores = evaluation.scores[evaluation.scores.model.isin(kept)]
    result = training_checks.auc_follows_from_the_scores(
        dataclasses.replace(evaluation, scores=scores)
    )
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.ERROR)


def test_a_set_of_one_class_has_no_auc_and_fails(evaluation):
    alone = evaluation.scores[evaluation.scores.label == "nsfw"]
    result = training_checks.auc_follows_from_the_scores(
        dataclasses.replace(evaluation, scores=alone)
    )
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.ERROR)


@pytest.mark.parametrize(("high", "passed"), [(0.49, False), (0.5, True)])
def test_a_model_that_is_surely_worse_than_chance_is_a_warning(evaluation, high, passed):
    reversed_ = evaluation.scores.assign(
        score=np.where(
            evaluation.scores.model == OTHER, 1 - evaluation.scores.score, evaluation.scores.score
        )
    )
    value = 1 - evaluation.metrics.value[5]
    below = changed(evaluation, "metrics", 5, value=value, low=0.0, high=high)
    result = training_checks.auc_follows_from_the_scores(
        dataclasses.replace(below, scores=reversed_)
    )
    assert (result.passed, result.severity) == (passed, dg.AssetCheckSeverity.WARN)
    assert result.description.endswith(f"; {OTHER} ranks worse than chance: labels swapped?") == (
        not passed
    )


def test_no_check_is_without_a_test():
    names = {spec.name for definition in training_checks.CHECKS for spec in definition.check_specs}
    assert names == {
        "no_image_is_in_two_splits",
        "few_rows_are_left_out",
        "labels_do_not_contradict",
        "champion_is_no_worse",
        "labels_are_not_swapped",
        "figures_lie_in_their_intervals",
        "auc_follows_from_the_scores",
    }
