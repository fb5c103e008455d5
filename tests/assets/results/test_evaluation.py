import dataclasses
import io
import math
import shutil
from pathlib import Path
from typing import NoReturn

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    precision_score,
    recall_score,
    roc_auc_score,
)

from assets import nsfw, photo_map, training
from assets.checks import training as training_checks
from assets.config import NsfwEvaluationConfig
from assets.io_managers import load, outputs_of, save
from assets.methods.common.errors import UserError
from assets.methods.evaluation.evaluate import EvaluationSettings
from assets.methods.evaluation.worst_errors import worst_errors
from assets.methods.models.callable_classifier import CallableClassifier
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.labels import LabelledData
from assets.methods.study.doll_sets import draw_doll_set
from assets.resources.collections import PARTITIONS_NAME, Collection, CollectionRegistry
from assets.resources.compute import Compute
from assets.resources.models import Models
from assets.resources.partitions import COLLECTIONS
from assets.resources.photos import Photos
from assets.resources.progress import LogProgress
from assets.resources.registry import CHAMPION_URI
from assets.resources.tracking import DAGSTER_RUN, Tracking
from assets.results.evaluation import (
    EvaluatedModel,
    evaluate_model,
    evaluation_files,
    evaluation_summary,
    evaluation_value,
    label_metrics,
    log_evaluation,
    scores_in_words,
    shown_names,
    slice_metrics,
)
from assets.values import EncodedImage, NsfwEvaluation

NSFW_EVALUATION = dg.AssetKey("nsfw_evaluation")
PAGE = Image.new("RGB", (8, 8))
OVERALL = ["auc", "average_precision", "ece_after", "ece_before"]
AT_THRESHOLD = [
    "f1",
    "false_positive_rate",
    "precision",
    "precision_at_prevalence",
    "recall",
    "threshold_at_recall",
]


def unheard(message: str) -> NoReturn:
    raise AssertionError(message)


class Labelled:
    """Images of one grey level each, whose score is known: level / 255."""

    def __init__(self, levels, is_positive, split="test", **slices) -> None:
        ids = [f"{number:04}" for number in range(len(levels))]
        self.level_of = dict(zip(ids, (int(level) for level in levels), strict=True))
        self.is_positive = np.asarray(is_positive, dtype=bool)
        self.scores = np.asarray(levels) / 255
        images = pd.DataFrame(
            {
                "image_id": ids,
                "uri": [f"/photos/{one}.png" for one in ids],
                "label": np.where(self.is_positive, "nsfw", "sfw"),
                "split": split,
                "group": range(len(ids)),
                **slices,
            }
        ).astype(dict.fromkeys(("image_id", "uri", "label", "split", *slices), "string"))
        findings = pd.DataFrame(columns=["row", "uri", "reason", "detail", "left_out"])
        self.data = LabelledData(images, findings, tuple(slices), ("sfw", "nsfw"))

    def load(self, image_id: str) -> Image.Image:
        """Half an image is black, so that blurring shows; its score is in the other half."""
        picture = Image.new("RGB", (8, 8), (self.level_of[image_id],) * 3)
        picture.paste((0, 0, 0), (4, 0, 8, 8))
        return picture


def brightness(scale: float = 1.0, class_name: str = "nsfw") -> CallableClassifier:
    def classify(images):
        bright = np.array([image.getpixel((0, 0))[0] / 255 * scale for image in images])
        return {"sfw": 1 - bright, class_name: bright}

    return CallableClassifier(classify, ["sfw", class_name], f"brightness {scale}")


@pytest.fixture
def store(tmp_path) -> VectorStore:
    return VectorStore(tmp_path / "probabilities")


def evaluated(
    labelled: Labelled,
    store,
    name="bright",
    classifier=None,
    split="test",
    classes=(),
    version="",
    **settings,
) -> EvaluatedModel:
    return evaluate_model(
        name,
        classifier or brightness(),
        labelled.data,
        split,
        EvaluationSettings(**settings),
        labelled.load,
        store,
        classes=classes,
        version=version,
    )


def test_an_animation_has_the_score_of_its_highest_frame_and_is_shown_at_it(store):
    labelled = random_set(40)
    data, (first, *_) = labelled.data, labelled.data.images.image_id
    is_first = data.images.image_id == first
    data.images.loc[is_first, ["label", "split"]] = ["sfw", "test"]
    labelled.level_of |= {f"{first}-0": 0, f"{first}-7": 255}
    model = evaluate_model(
        "bright",
        brightness(),
        data,
        "all",
        EvaluationSettings(),
        labelled.load,
        store,
        ids_of={first: (f"{first}-0", f"{first}-7")},
    )
    scores = model.scores.set_index("image_id")
    assert (scores.score[first], scores.frame[first]) == (1, 7)
    assert scores.frame.drop(first).isna().all()
    seen = []

    def load(image_id):
        seen.append(image_id)
        return labelled.load(image_id)

    value = evaluation_value([model], PAGE, load, "nsfw", NsfwEvaluationConfig(worst=1))
    assert f"{first}-7" in seen
    assert first not in seen
    assert value.scores.set_index("image_id").frame[first] == 7


def value_of(models, labelled, **config) -> NsfwEvaluation:
    return evaluation_value(models, PAGE, labelled.load, "nsfw", NsfwEvaluationConfig(**config))


def random_set(n: int = 120, seed: int = 0, **options) -> Labelled:
    """Scores of both classes overlap; none is 0 or 1, whose logits would be clipped."""
    random = np.random.default_rng(seed)
    is_positive = random.random(n) < 0.4
    levels = random.normal(np.where(is_positive, 160, 90), 50).round().clip(1, 254)
    return Labelled(levels, is_positive, **options)


@pytest.fixture
def hand() -> Labelled:
    """Ten of each class: of the positives two are missed, of the negatives one is flagged."""
    levels = [250, 240, 230, 220, 210, 200, 190, 180, 100, 90, 220, *range(10, 100, 10)]
    source = ["web"] * 5 + ["book"] * 5 + ["web"] * 4 + ["book"] * 6
    return Labelled(levels, [True] * 10 + [False] * 10, source=source)


def metrics_of(value: NsfwEvaluation, model: str) -> pd.DataFrame:
    return value.metrics[value.metrics.model == model].set_index("metric")


def test_figures_by_hand(hand, store):
    value = value_of([evaluated(hand, store, wanted_recall=0.9, prevalence=0.05)], hand)
    metrics = metrics_of(value, "bright")
    assert sorted(metrics.index) == sorted(
        [*OVERALL, *AT_THRESHOLD, "n", "n_positive", "temperature"]
    )
    assert metrics.value["precision"] == 8 / 9
    assert metrics.value["recall"] == 0.8
    assert metrics.value["false_positive_rate"] == 0.1
    assert metrics.value["f1"] == pytest.approx(16 / 19)
    # Of 100 images 5 are positive: 4 of them are flagged, and 9.5 others.
    assert metrics.value["precision_at_prevalence"] == pytest.approx(4 / 13.5)
    # Nine of ten positives have to score as high: the ninth highest is 100 of 255.
    assert metrics.value["threshold_at_recall"] == pytest.approx(100 / 255)
    assert (metrics.value["n"], metrics.value["n_positive"]) == (20, 10)
    ends = metrics.loc[[*OVERALL, *AT_THRESHOLD]]
    assert (ends.low <= ends.value).all()
    assert (ends.value <= ends.high).all()
    assert (ends.low < ends.high).all()


@pytest.mark.parametrize("seed", range(3))
def test_figures_and_curves_are_those_of_scikit_learn(store, seed):
    labelled = random_set(seed=seed)
    model = evaluated(labelled, store, threshold=0.45, wanted_recall=0.8)
    value = value_of([model], labelled)
    metrics = metrics_of(value, "bright").value
    truth, scores = labelled.is_positive, labelled.scores
    assert metrics["auc"] == pytest.approx(roc_auc_score(truth, scores))
    assert metrics["average_precision"] == pytest.approx(average_precision_score(truth, scores))
    assert metrics["precision"] == pytest.approx(precision_score(truth, scores >= 0.45))
    assert metrics["recall"] == pytest.approx(recall_score(truth, scores >= 0.45))
    reaching = [one for one in scores if recall_score(truth, scores >= one) >= 0.8]
    assert metrics["threshold_at_recall"] == pytest.approx(max(reaching))
    curves = value.curves.set_index("curve")
    roc = curves.loc["roc"]
    area = np.trapezoid([0, *roc.y], [0, *roc.x])
    assert area == pytest.approx(roc_auc_score(truth, scores))
    precision, recall, _ = precision_recall_curve(truth, scores, drop_intermediate=True)
    kept = curves.loc["precision_recall"]
    np.testing.assert_allclose(kept.x, recall[-2::-1])
    np.testing.assert_allclose(kept.y, precision[-2::-1])


def calibration_error(truth, scores) -> float:
    """The error of 15 bins of equal width, bin by bin."""
    place = np.ceil(scores * 15).clip(1)
    return sum(
        abs((truth[place == one] - scores[place == one]).sum()) for one in np.unique(place)
    ) / len(scores)


def test_the_temperature_is_fitted_on_validation_and_applied_to_test(store):
    random = np.random.default_rng(0)
    # Much too certain: the logits are three times as large as they should be.
    logits = random.normal(0, 1.2, 1200)
    is_positive = random.random(1200) < 1 / (1 + np.exp(-logits))
    levels = (255 / (1 + np.exp(-3 * logits))).round().clip(1, 254)
    # None on the edge of a bin, where a rounding decides.
    levels += levels % 17 == 0
    split = np.where(random.random(1200) < 0.4, "validation", "test")
    labelled = Labelled(levels, is_positive, split)
    model = evaluated(labelled, store)
    value = value_of([model], labelled)
    metrics = metrics_of(value, "bright").value
    tested = split == "test"
    # scikit-learn's fit of one slope, to the logits, is one over the temperature.
    fit = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8).fit(
        logit(labelled.scores[~tested])[:, None], is_positive[~tested]
    )
    assert metrics["temperature"] == pytest.approx(1 / fit.coef_[0, 0], rel=1e-3)
    assert 2 < metrics["temperature"] < 4.5
    truth, before = is_positive[tested], labelled.scores[tested]
    after = 1 / (1 + np.exp(-logit(before) / metrics["temperature"]))
    assert metrics["ece_before"] == pytest.approx(calibration_error(truth, before), abs=1e-5)
    assert metrics["ece_after"] == pytest.approx(calibration_error(truth, after), abs=1e-5)
    assert metrics["ece_after"] < metrics["ece_before"] / 2
    # Validation is no part of what is reported.
    assert (metrics["n"], metrics["n_positive"]) == (tested.sum(), truth.sum())
    assert set(value.scores.split) == {"test"}
    n_in_bins = value.reliability.groupby("scaled").n.sum()
    assert n_in_bins.to_dict() == {False: tested.sum(), True: tested.sum()}


def test_split_all_leaves_nobody_out_and_needs_no_validation(store):
    split = np.resize(["train", "validation", "test", "test"], 120)
    labelled = random_set(split=split)
    everything = evaluated(labelled, store, split="all")
    assert everything.evaluation.n == 120
    assert everything.evaluation.metrics["auc"].value == pytest.approx(
        roc_auc_score(labelled.is_positive, labelled.scores)
    )
    tested = evaluated(labelled, store)
    assert (
        tested.scores.image_id.tolist() == labelled.data.images.image_id[split == "test"].tolist()
    )
    assert tested.evaluation.metrics["auc"].value == pytest.approx(
        roc_auc_score(labelled.is_positive[split == "test"], labelled.scores[split == "test"])
    )


def test_slices_have_recall_precision_and_false_positive_rate_with_intervals(hand, store):
    value = value_of([evaluated(hand, store)], hand)
    assert list(value.slices)[:4] == ["model", "class", "slice", "value"]
    by_value = value.slices.set_index("value")
    counts = by_value[["n", "n_positive", "n_negative", "n_flagged", "false_positives"]]
    assert counts.T["book"].tolist() == [11, 5, 6, 3, 0]
    assert counts.T["web"].tolist() == [9, 5, 4, 6, 1]
    assert by_value.recall.to_dict() == {"book": 0.6, "web": 1.0}
    assert by_value.precision.to_dict() == {"book": 1.0, "web": 5 / 6}
    assert by_value.false_positive_rate["web"] == 0.25
    # Wilson's interval of 1 in 4, as in the tables of the literature.
    assert by_value.false_positive_rate_low["web"] == pytest.approx(0.0456, abs=1e-4)
    assert by_value.false_positive_rate_high["web"] == pytest.approx(0.6994, abs=1e-4)
    assert by_value.false_positive_rate_low["book"] == 0
    assert 0 < by_value.false_positive_rate_high["book"] < 0.5


def test_without_slices_the_table_is_empty_and_has_its_columns(store):
    labelled = random_set()
    value = value_of([evaluated(labelled, store), evaluated(labelled, store, "again")], labelled)
    assert len(value.slices) == 0
    assert list(value.slices)[:4] == ["model", "class", "slice", "value"]


def test_each_of_several_models_has_its_rows_its_sheet_and_its_prefix(hand, store, tracking):
    models = [
        evaluated(hand, store, "bright"),
        evaluated(hand, store, "http://box/dim", brightness(0.25)),
    ]
    value = value_of(models, hand)
    names = ["bright", "http://box/dim"]
    assert value.models == names
    assert len(set(value.fingerprints)) == 2
    for table in (value.metrics, value.slices, value.curves, value.reliability, value.scores):
        assert table.model.unique().tolist() == names
    assert list(value.worst) == ["model_1", "model_2"]
    # A quarter of the brightness ranks the same and reaches no threshold.
    one, other = (metrics_of(value, name).value for name in names)
    assert one["auc"] == other["auc"]
    assert "precision" not in other.index
    assert value.notes[0].startswith("bright: The temperature of one half of the set is 0.01, ")
    assert value.notes[1].startswith("http://box/dim: No score reaches the threshold of 0.5")
    with tracking.lone_run("evaluation", unheard) as run:
        log_evaluation(run, models, value)
    metrics = tracking.client.get_run(run.run_id).data.metrics
    assert metrics["model_1.auc"] == metrics["model_2.auc"] == pytest.approx(one["auc"])
    assert "model_1.precision" in metrics
    assert "model_2.precision" not in metrics
    assert (
        len(
            {"worst_errors_model_1.png", "worst_errors_model_2.png"}
            & {item.path for item in tracking.client.list_artifacts(run.run_id)}
        )
        == 2
    )
    summary = evaluation_summary(models)
    assert (summary["model_1.model"], summary["model_2.model"]) == tuple(names)
    assert "model_2.precision" not in summary


def test_slices_have_names_that_mlflow_takes_and_that_are_theirs_alone(store, tracking):
    values = ["a/b", "a b", "a.b", "写真", "", "..", "x" * 300, "plain"] * 3
    labelled = Labelled(range(10, 250, 10), [False] * 12 + [True] * 12, source=values)
    model = evaluated(labelled, store)
    found = slice_metrics(model.evaluation.slices)
    assert {name.split(".")[2] for name in found} == {"a b", "x" * 60, "plain", ""}
    assert all(math.isfinite(one) for one in found.values())
    with tracking.lone_run("evaluation", unheard) as run:
        run.metrics(found)
    assert tracking.client.get_run(run.run_id).data.metrics == pytest.approx(found)


def test_of_many_slices_mlflow_has_the_largest(store):
    names = [f"s{number}" for number in range(21) for _ in range(2)]
    labelled = Labelled(range(10, 95, 2), [False, True] * 21 + [True], source=[*names, "s20"])
    found = slice_metrics(evaluated(labelled, store).evaluation.slices)
    values = {name.split(".")[2] for name in found}
    assert len(values) == 20
    assert "s20" in values


def test_mlflow_has_every_figure_and_every_file(hand, store, tracking, tmp_path):
    model = evaluated(hand, store)
    value = value_of([model], hand)
    with tracking.lone_run("evaluation", unheard) as run:
        log_evaluation(run, [model], value)
    metrics = tracking.client.get_run(run.run_id).data.metrics
    of_slices = {name: metrics.pop(name) for name in [*metrics] if name.startswith("slice.")}
    assert metrics == pytest.approx(model.evaluation.flat_metrics())
    # Each of two slices has three rates and the ends of their intervals.
    assert len(of_slices) == 18
    assert of_slices["slice.source.web.false_positive_rate"] == 0.25
    assert of_slices["slice.source.web.false_positive_rate_high"] == pytest.approx(0.6994, abs=1e-4)
    files = evaluation_files(value)
    tables = ["curves", "metrics", "reliability", "scores", "slices"]
    others = ["evaluation.png", "worst_errors.csv", "worst_errors.png"]
    assert sorted(files) == sorted([*(f"{one}.csv" for one in tables), *others])
    for name, data in files.items():
        logged = tracking.client.download_artifacts(run.run_id, name, str(tmp_path))
        assert Path(logged).read_bytes() == data
    for name in tables:
        read = pd.read_csv(io.BytesIO(files[f"{name}.csv"]), dtype={"image_id": str})
        table = getattr(value, name)
        assert list(read) == list(table)
        assert len(read) == len(table)
    scores = pd.read_csv(io.BytesIO(files["scores.csv"]), dtype={"image_id": str})
    assert sorted(scores.columns.tolist()) == sorted(
        ["image_id", "uri", "label", "split", "model", "class", "score", "frame"]
    )
    np.testing.assert_allclose(scores.score, hand.scores, rtol=1e-6)
    for name in ("evaluation.png", "worst_errors.png"):
        assert Image.open(io.BytesIO(files[name])).format == "PNG"


def test_the_summary_is_a_figure_with_its_interval_in_words(hand, store):
    summary = evaluation_summary([evaluated(hand, store)])
    assert (summary["model"], summary["images"], summary["positives"]) == ("bright", 20, 10)
    # Wilson's interval of 8 in 10.
    assert summary["recall"] == "0.8000 (0.4902 to 0.9433)"
    assert set(summary) - {"model", "class", "images", "positives"} == {
        *OVERALL,
        "precision",
        "recall",
        "f1",
    }


@pytest.mark.parametrize(
    "levels",
    [[255] * 10 + [0] * 10, [0] * 10 + [255] * 10, [0] * 20, [255] * 20, [128] * 20],
    ids=["perfect", "wrong way round", "all 0", "all 1", "all alike"],
)
def test_no_number_that_is_none_is_logged_or_shown(levels, store, tracking):
    labelled = Labelled(levels, [True] * 10 + [False] * 10, source=["a", None] * 10)
    model = evaluated(labelled, store)
    value = value_of([model], labelled)
    with tracking.lone_run("evaluation", unheard) as run:
        log_evaluation(run, [model], value)
    metrics = tracking.client.get_run(run.run_id).data.metrics
    assert len(metrics) >= 3
    assert all(math.isfinite(one) for one in metrics.values())
    assert not any("nan" in str(one) for one in evaluation_summary([model]).values())
    assert value.metrics.value.notna().all()
    # Only counts have no interval.
    counts = value.metrics[value.metrics.low.isna()].metric
    assert set(counts) == {"n", "n_positive", "temperature"}


def test_the_worst_errors_are_those_that_the_figures_count(store):
    """A score of 0.7, which a float32 holds as a little less, at a threshold of 0.7."""
    labelled = Labelled(range(20), [True] * 10 + [False] * 10)

    def tenths(images):
        high = [0.7 if image.getpixel((0, 0))[0] % 2 else 0.1 for image in images]
        return {"sfw": [1 - one for one in high], "nsfw": high}

    model = evaluated(
        labelled, store, classifier=CallableClassifier(tenths, None, "tenths"), threshold=0.7
    )
    errors = worst_errors(model.scores, 0.7)
    metrics = model.evaluation.metrics
    assert errors.n_false_positives == 10 * metrics["false_positive_rate"].value
    assert errors.n_false_negatives == 10 * (1 - metrics["recall"].value)


def test_the_worst_errors_are_blurred_unless_somebody_asks(hand, store):
    models = [evaluated(hand, store)]
    blurred, sharp = (
        np.asarray(Image.open(io.BytesIO(value.worst["model_1"].data)))
        for value in (value_of(models, hand), value_of(models, hand, sharp=True))
    )
    assert blurred.shape == sharp.shape
    assert (blurred != sharp).any()


def test_scores_are_computed_once(hand, store):
    evaluated(hand, store)

    def refuse(images):
        raise AssertionError("an image is scored anew")

    again = brightness()
    again._function = refuse
    assert evaluated(hand, store, classifier=again).evaluation.n == 20


@pytest.mark.parametrize(
    ("n_positive", "n_negative", "message"),
    [
        (4, 30, "The split test has 4 images of the class nsfw: label 5 of each class at least"),
        (30, 0, "The split test has 0 images of the class sfw: label 5 of each class at least"),
        (0, 0, "The split test has 0 images of the class sfw: .* all splits"),
    ],
)
def test_too_few_of_a_class_are_told_in_a_sentence(store, n_positive, n_negative, message):
    n = n_positive + n_negative
    # What is in other splits does not make up for it.
    levels, split = [200] * n + [100] * 20, ["test"] * n + ["train"] * 20
    labelled = Labelled(levels, [True] * n_positive + [False] * n_negative + [True] * 20, split)
    # Before any image is scored, which may take hours.
    labelled.load = lambda image_id: unheard(image_id)
    with pytest.raises(UserError, match=message) as caught:
        evaluated(labelled, store)
    assert "\n" not in str(caught.value)


def test_a_validation_set_of_one_class_is_left_aside_with_a_note(store):
    split = ["test"] * 100 + ["validation"] * 20
    labelled = random_set(split=split)
    labelled.data.images.loc[100:, "label"] = "sfw"
    model = evaluated(labelled, store)
    assert model.evaluation.n == 100
    assert "The calibration set has 0 rows of one class" in " ".join(model.evaluation.notes)
    assert all(math.isfinite(one) for one in model.evaluation.flat_metrics().values())


def test_a_model_that_lacks_the_class_is_told_in_a_sentence(hand, store):
    with pytest.raises(UserError) as caught:
        evaluated(hand, store, classifier=brightness(class_name="porn"))
    assert str(caught.value) == (
        "bright cannot be evaluated: it has no class nsfw but 'sfw' and 'porn', so name each of "
        "its classes that stands for nsfw by --class 'bright=CLASS', or in Dagster in the setting "
        "classes; several add up."
    )


def test_a_model_may_call_the_positive_class_otherwise(hand, store):
    named = evaluated(hand, store)
    mapped = evaluated(
        hand, store, classifier=brightness(class_name="porn"), classes=["porn"], version="3"
    )
    assert mapped.scores.equals(named.scores)
    value = value_of([mapped], hand)
    assert value.classes == (["porn"],)
    for table in (value.metrics, value.slices, value.curves, value.reliability, value.scores):
        assert (table["class"] == "porn").all()
    worst = pd.read_csv(io.BytesIO(evaluation_files(value)["worst_errors.csv"]))
    assert (worst["class"] == "porn").all()
    assert evaluation_summary([mapped])["class"] == "porn"
    assert scores_in_words([mapped, named], "nsfw") == (
        "Positive are the images labelled nsfw; bright: P(porn) for nsfw."
    )
    assert scores_in_words([named], "nsfw") == "Positive are the images labelled nsfw."


def shades(images):
    """The brightness, divided among three classes."""
    bright = np.array([image.getpixel((0, 0))[0] / 255 for image in images])
    return {"dark": 1 - bright, "grey, light": 0.7 * bright, "white": 0.3 * bright}


def test_several_classes_of_a_model_add_up_each_once(hand, store):
    classifier = CallableClassifier(shades, None, "shades")
    classes = ["grey, light", "white", "white"]
    model = evaluated(hand, store, classifier=classifier, classes=classes)
    assert model.scores.score.tolist() == pytest.approx(hand.scores.tolist(), abs=1e-7)
    assert model.class_names == ("grey, light", "white")
    assert model.class_name == "grey, light + white"
    assert scores_in_words([model], "nsfw").endswith("P(grey, light) + P(white) for nsfw.")


def test_of_many_classes_the_first_are_named_and_the_others_counted(hand, store):
    many = {f"c{number}": 0.1 for number in range(9)}
    classifier = CallableClassifier(
        lambda images: {name: [share] * len(images) for name, share in many.items()}, None, "many"
    )
    model = evaluated(hand, store, classifier=classifier, classes=list(many))
    assert model.class_name == "c0 + c1 + c2 + c3 + c4 + c5 + 3 more"
    assert value_of([model], hand).classes == (list(many),)
    with pytest.raises(UserError, match="it has no class nsfw but 9 others, so name each"):
        evaluated(hand, store, classifier=classifier)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["porn", "drawn"], r"^bright cannot be evaluated: There is no class porn: choose dark or"),
        (
            ["dark", "white", "drawn"],
            r"The probabilities of dark \+ white \+ drawn add up to 1\.\d+",
        ),
    ],
    ids=["no such class", "classes that do not exclude each other"],
)
def test_classes_that_cannot_be_added_up_are_told_in_a_sentence(hand, store, classes, message):
    def classify(images):
        bright = np.array([image.getpixel((0, 0))[0] / 255 for image in images])
        return {"dark": 1 - bright, "white": bright, "drawn": bright}

    classifier = CallableClassifier(classify, None, "labels")
    with pytest.raises(UserError, match=message):
        evaluated(hand, store, classifier=classifier, classes=classes)


def test_the_sheets_of_errors_say_the_model_its_version_the_class_and_the_threshold(
    hand, store, monkeypatch
):
    titles = []

    def note(load_image, errors, positive, title, *, blur):
        titles.append((positive, *title))
        return PAGE

    monkeypatch.setattr("assets.results.evaluation.draw_worst_errors", note)
    models = [
        evaluated(hand, store, "models:/nsfw@champion", version="7"),
        evaluated(hand, store, "b", brightness(class_name="porn"), classes=["porn"]),
    ]
    value_of(models, hand, threshold=0.7)
    assert titles == [
        ("nsfw", "Worst errors of models:/nsfw@champion, version 7", "P(nsfw), flagged from 0.7"),
        ("nsfw", "Worst errors of b", "P(porn) for nsfw, flagged from 0.7"),
    ]


def test_each_of_more_than_ten_sheets_is_the_one_of_its_model(hand, store, tmp_path):
    """A value that was stored has its sheets in the order of their names: 1, 10, 11, 2."""
    models = [evaluated(hand, store, f"m{number}") for number in range(11)]
    value = value_of(models, hand)
    sheets = {f"model_{n}": EncodedImage(b"%d" % n, ".png") for n in range(1, 12)}
    save(dataclasses.replace(value, worst=sheets), tmp_path / "value")
    files = evaluation_files(load(NsfwEvaluation, tmp_path / "value"))
    assert [files[f"worst_errors_model_{n}.png"] for n in range(1, 12)] == [
        b"%d" % n for n in range(1, 12)
    ]


@pytest.mark.parametrize("answer", [math.nan, math.inf, 1.5, -0.5])
def test_an_answer_that_is_no_probability_is_told_in_a_sentence(hand, store, answer):
    broken = CallableClassifier(
        lambda images: {"sfw": [0.0] * len(images), "nsfw": [answer] * len(images)}, None, "broken"
    )
    with pytest.raises(UserError, match="as the probability of nsfw, which has to be a number"):
        evaluated(hand, store, classifier=broken)


def test_labels_are_counted_by_split_and_findings_by_reason():
    split = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
    data = Labelled(range(10), [True, False] * 5, split).data
    findings = pd.DataFrame(
        {
            "row": [1, 2, 3],
            "uri": ["a", "b", "c"],
            "reason": ["label conflict", "label conflict", "near-duplicate conflict"],
            "detail": "",
            "left_out": [True, True, False],
        }
    )
    metrics = label_metrics(LabelledData(data.images, findings, (), data.class_names))
    assert metrics == {
        "images": 10,
        "rows_left_out": 2,
        "train_sfw": 3,
        "train_nsfw": 3,
        "validation_sfw": 1,
        "validation_nsfw": 1,
        "test_sfw": 1,
        "test_nsfw": 1,
        "found_label_conflict": 2,
        "found_near-duplicate_conflict": 1,
    }


# A model of the user's own, which knows no nsfw.
DARKNESS = """
def dark(images):
    return {"dark": [0.5 for _ in images], "bright": [0.5 for _ in images]}
"""


@pytest.fixture(scope="module")
def world(home_template, tmp_path_factory):
    """A home with a labelled manifest of dolls, and what materialises its evaluation."""
    folder = tmp_path_factory.mktemp("world")
    home = shutil.copytree(home_template, folder / "home")
    dolls = draw_doll_set("unflawed", 20, seed=0)
    rows = []
    for number, doll in enumerate(dolls.dolls):
        doll.image.save(folder / f"{number}.png")
        rows.append(
            {
                "uri": f"{number}.png",
                "label": "nsfw" if doll.kind.bare else "sfw",
                "split": "test" if number < 10 else "validation",
                "lips": "red" if doll.kind.red_lips else "plain",
            }
        )
    rows.append({"uri": "gone.png", "label": "sfw", "split": "test", "lips": "red"})
    pd.DataFrame(rows).to_csv(folder / "dolls.csv", index=False)
    (folder / "darkness.py").write_text(DARKNESS)
    CollectionRegistry(home).add(Collection("dolls", str(folder / "dolls.csv")))
    tracking = Tracking(home=str(home))
    outputs = outputs_of(home)
    resources = {
        "io_manager": outputs,
        "photos": Photos(home=str(home)),
        "models": Models(home, tracking),
        "compute": Compute(device="cpu"),
        "tracking": tracking,
        "progress": LogProgress(),
    }

    def materialise(assets, **config) -> dg.ExecuteInProcessResult:
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions(PARTITIONS_NAME, ["dolls"])
            return dg.materialize(
                assets,
                partition_key="dolls",
                instance=instance,
                resources=resources,
                run_config={"ops": {"nsfw_evaluation": {"config": config}}},
                raise_on_error=False,
            )

    vars(materialise).update(folder=folder, outputs=outputs, tracking=tracking)
    return materialise


@pytest.fixture(scope="module")
def evaluation(world):
    """A run of the evaluation, of the model of 1996 and of the packaged network."""
    return world(
        [
            photo_map.raw_images,
            training.labelled_images,
            nsfw.nsfw_model,
            training.nsfw_evaluation,
            *(
                check
                for check in training_checks.CHECKS
                if all(spec.asset_key == NSFW_EVALUATION for spec in check.check_specs)
            ),
        ],
        models=["skin-baseline", CHAMPION_URI, "skin-baseline"],
        worst=5,
    )


def tracked(tracking: Tracking, run_id: str, asset: str):
    query = f"tags.`{DAGSTER_RUN}` = '{run_id}' and tags.`dagster.asset` = '{asset}'"
    (run,) = tracking.client.search_runs([tracking.experiment_id], query)
    return run


def test_models_are_compared_on_a_labelled_manifest(world, evaluation):
    assert evaluation.success
    value = world.outputs.read(NsfwEvaluation, "nsfw_evaluation", "dolls")
    # A model that is named twice is asked once.
    assert value.models == ["skin-baseline", CHAMPION_URI]
    labelled = world.outputs.read(LabelledData, "labelled_images", "dolls")
    assert labelled.findings.uri.tolist() == [str(world.folder / "gone.png")]
    tested = labelled.images[labelled.images.split == "test"]
    for model in value.models:
        scores = value.scores[value.scores.model == model]
        assert scores.image_id.tolist() == tested.image_id.tolist()
        metrics = metrics_of(value, model).value
        is_positive = scores.label == "nsfw"
        assert metrics["auc"] == pytest.approx(roc_auc_score(is_positive, scores.score))
        assert metrics["n"] == len(tested)
    assert set(value.slices.value) == {"red", "plain"}
    assert value.settings["models"] == ["skin-baseline", CHAMPION_URI, "skin-baseline"]
    assert all(check.passed for check in evaluation.get_asset_check_evaluations())


def test_dagster_and_mlflow_show_what_was_found(world, evaluation):
    (materialization,) = evaluation.asset_materializations_for_node("nsfw_evaluation")
    metadata = {name: one.value for name, one in materialization.metadata.items()}
    assert metadata["model_1.model"] == "skin-baseline"
    assert metadata["model_2.positives"] > 0
    assert metadata["evaluation"].startswith("![thumbnail](data:image/jpeg;base64,")
    assert not any(str(one).lower() == "nan" or "nan (" in str(one) for one in metadata.values())
    run = tracked(world.tracking, evaluation.run_id, "nsfw_evaluation")
    assert run.info.status == "FINISHED"
    assert {"model_1.auc_low", "model_2.ece_after"} < run.data.metrics.keys()
    assert all(math.isfinite(one) for one in run.data.metrics.values())
    artifacts = {item.path for item in world.tracking.client.list_artifacts(run.info.run_id)}
    value = world.outputs.read(NsfwEvaluation, "nsfw_evaluation", "dolls")
    assert evaluation_files(value).keys() <= artifacts


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            {"models": ["python:darkness:dark"]},
            "python:darkness:dark cannot be evaluated: it has no class nsfw but 'dark' and 'bri",
        ),
        (
            {"classes": {"skin": ["nude"]}},
            "Classes are given for skin, which is not evaluated: the classifiers are models:/nsfw@",
        ),
        ({"models": ["skin-baseline", "skin"]}, "skin"),
        ({"prevalence": 0.0}, "The prevalence is 0.0: choose a number above 0 and below 1."),
    ],
)
def test_what_cannot_be_evaluated_is_told_in_a_sentence(
    world, evaluation, monkeypatch, config, sentence
):
    monkeypatch.syspath_prepend(str(world.folder))
    upstream = [
        dg.AssetSpec("raw_images", partitions_def=COLLECTIONS),
        dg.AssetSpec("labelled_images", partitions_def=COLLECTIONS),
        dg.AssetSpec("nsfw_model"),
    ]
    result = world([*upstream, training.nsfw_evaluation], **config)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    told = failure.step_failure_data.user_failure_data.description
    assert sentence in told
    assert "\n" not in told
    assert tracked(world.tracking, result.run_id, "nsfw_evaluation").info.status == "FAILED"
    # What was found before is still there.
    value = world.outputs.read(NsfwEvaluation, "nsfw_evaluation", "dolls")
    assert value.models == ["skin-baseline", CHAMPION_URI]


@pytest.mark.parametrize(
    ("models", "names"),
    [
        (
            ["/a/b/before.safetensors", "/a/b/after.safetensors"],
            ["before.safetensors", "after.safetensors"],
        ),
        (["/a/b.safetensors", "/c/b.safetensors"], ["a/b.safetensors", "c/b.safetensors"]),
        (["/b.safetensors", "b.safetensors"], ["/b.safetensors", "b.safetensors"]),
        (
            ["models:/nsfw@champion", "/a/b/c.safetensors"],
            ["models:/nsfw@champion", "c.safetensors"],
        ),
    ],
)
def test_files_are_shown_by_what_tells_them_apart(models, names):
    assert shown_names(models) == names


def test_the_numbers_on_the_sheets_lead_to_the_files(store):
    labelled = Labelled(
        [250, 240, 10, 20, *[200] * 5, *[5] * 5], [False] * 2 + [True] * 7 + [False] * 5
    )
    models = [evaluated(labelled, store, name) for name in ("one", "two")]
    value = evaluation_value(models, PAGE, labelled.load, "nsfw", NsfwEvaluationConfig())
    table = pd.read_csv(io.BytesIO(evaluation_files(value)["worst_errors.csv"]))
    assert table.model.tolist() == ["one"] * 4 + ["two"] * 4
    rows = table[table.model == "one"][["error", "number", "uri"]].to_numpy().tolist()
    assert rows == [
        ["false positive", 1, "/photos/0000.png"],
        ["false positive", 2, "/photos/0001.png"],
        ["false negative", 1, "/photos/0002.png"],
        ["false negative", 2, "/photos/0003.png"],
    ]
