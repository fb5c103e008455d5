import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from assets.methods.common.errors import UserError
from assets.methods.evaluation.calibration import fit_temperature, scale
from assets.methods.evaluation.evaluate import EvaluationSettings, evaluate_scores
from assets.methods.evaluation.intervals import Estimate, proportion

# Ten of each class; at 0.5 eight of the positives are flagged, and two of the negatives.
POSITIVE = np.arange(20) < 10
SCORES = np.array(
    [
        [0.1, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1],
        [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.6, 0.75],
    ]
).ravel()

NOTHING = Estimate(np.nan, np.nan, np.nan)


def simulated(n, prevalence=0.5, apart=2.0, seed=0):
    """Scores whose logits are half of what they should be, where the prevalence is a half."""
    rng = np.random.default_rng(seed)
    is_positive = rng.random(n) < prevalence
    return is_positive, expit(rng.standard_normal(n) + apart * (is_positive - 0.5))


def numbers(evaluation):
    """Everything in an evaluation, as plain data that can be compared."""
    return {
        field.name: value.to_dict() if isinstance(value, pd.DataFrame) else value
        for field in dataclasses.fields(evaluation)
        for value in [getattr(evaluation, field.name)]
    }


def test_figures_at_the_threshold_by_hand():
    metrics = evaluate_scores(POSITIVE, SCORES).metrics
    assert metrics["recall"] == proportion(8, 10, 0.95)
    assert metrics["precision"] == proportion(8, 10, 0.95)
    assert metrics["false_positive_rate"] == proportion(2, 10, 0.95)
    assert metrics["f1"].value == pytest.approx(0.8)
    # 0.01 * 0.8 / (0.01 * 0.8 + 0.99 * 0.2).
    assert metrics["precision_at_prevalence"].value == pytest.approx(0.008 / 0.206)
    # All ten positives have to be flagged to flag 95 % of them.
    assert metrics["threshold_at_recall"].value == 0.1


@settings(max_examples=40)
@given(st.integers(0, 1_000), st.floats(0, 1))
def test_figures_are_those_of_scikit_learn_and_lie_within_their_intervals(seed, threshold):
    is_positive, scores = simulated(60, 0.5, seed=seed)
    scores = scores.round(1)
    found = evaluate_scores(is_positive, scores, EvaluationSettings(threshold=threshold)).metrics
    flagged = scores >= threshold
    expected = {
        "recall": recall_score(is_positive, flagged),
        "f1": f1_score(is_positive, flagged),
        "auc": roc_auc_score(is_positive, scores),
        "average_precision": average_precision_score(is_positive, scores),
    }
    if flagged.any():
        expected["precision"] = precision_score(is_positive, flagged)
    assert {name: found[name].value for name in expected} == pytest.approx(expected)
    assert all(0 <= one.low <= one.value <= one.high <= 1 for one in found.values())


def test_a_wider_confidence_gives_wider_intervals():
    is_positive, scores = simulated(400)
    narrow, wide = (
        evaluate_scores(is_positive, scores, EvaluationSettings(confidence=confidence)).metrics
        for confidence in (0.8, 0.99)
    )
    assert all(
        wide[name].low <= narrow[name].low and narrow[name].high <= wide[name].high
        for name in narrow
    )


def test_where_nothing_is_flagged_there_is_no_precision_and_a_note_says_so():
    found = evaluate_scores(POSITIVE, SCORES * 0.9, EvaluationSettings(threshold=0.95))
    assert not {"precision", "precision_at_prevalence"} & set(found.metrics)
    assert found.metrics["recall"].value == found.metrics["f1"].value == 0
    assert found.notes == (
        "No score reaches the threshold of 0.95: without a flagged row there is no precision, in "
        "the set or at another prevalence.",
    )


@pytest.mark.parametrize(
    "scores",
    [np.full(20, 0.5), np.zeros(20), np.ones(20), POSITIVE.astype(float), 1.0 - POSITIVE],
)
def test_no_number_is_missing_whatever_the_scores(scores):
    slices = pd.DataFrame({"half": np.arange(20) < 10})
    found = evaluate_scores(POSITIVE, scores, slices=slices)
    assert found.slices["n"].tolist() == [10, 10]
    tables = (found.reliability_before, found.reliability_after, found.roc)
    flat = [*found.flat_metrics().values(), *found.precision_recall.to_numpy().ravel()]
    assert np.isfinite(flat).all()
    assert all(np.isfinite(table.select_dtypes("number")).all(axis=None) for table in tables)


def test_flat_figures_have_the_ends_of_the_intervals_and_what_they_were_made_of():
    found = evaluate_scores(POSITIVE, SCORES)
    flat = found.flat_metrics()
    auc = found.metrics["auc"]
    assert (flat["auc"], flat["auc_low"], flat["auc_high"]) == (auc.value, auc.low, auc.high)
    assert (flat["n"], flat["n_positive"]) == (20, 10)
    assert flat["temperature"] == found.temperature
    assert len(flat) == 3 + 3 * len(found.metrics)


def test_the_curves_of_a_small_set_are_whole():
    found = evaluate_scores(POSITIVE, SCORES)
    expected = np.column_stack(roc_curve(POSITIVE, SCORES))[1:]
    columns = ["false_positive_rate", "true_positive_rate", "threshold"]
    assert found.roc[columns].to_numpy() == pytest.approx(expected)
    curve = found.precision_recall
    assert curve.iloc[0].tolist() == [1.0, 0.1, 1.0]
    # The lowest threshold at which scikit-learn's curve still turns: all 20 rows flagged.
    assert curve.iloc[-1].tolist() == [0.0, 1.0, 0.5]
    at_half = curve[curve["threshold"] == 0.5]
    assert at_half[["recall", "precision"]].to_numpy().tolist() == [[0.8, 0.8]]


def test_long_curves_are_thinned_and_keep_their_shape():
    is_positive, scores = simulated(60_000)
    found = evaluate_scores(is_positive, scores)
    for table in (found.roc, found.precision_recall):
        assert 500 < len(table) <= 1_000
        assert table["threshold"].is_monotonic_decreasing
    rates, recalls, _ = roc_curve(is_positive, scores)
    stored = (found.roc["false_positive_rate"], found.roc["true_positive_rate"])
    assert np.abs(np.interp(rates, *stored)[1:] - recalls[1:]).max() < 0.02
    assert (np.diff(np.log(stored[0][stored[0] > 0])) < 0.75).all()
    assert found.precision_recall["recall"].iloc[-1] == stored[1].iloc[-1] == 1


def test_slices_by_hand():
    slices = pd.DataFrame({"source": ["a"] * 10 + ["b"] * 7 + ["c"] * 2 + [None], "all": 1})
    found = evaluate_scores(POSITIVE, SCORES, slices=slices).slices
    # Of the two negatives above 0.5, one is in c and one has no source.
    counts = {
        "slice": ["source", "source", "source", "all"],
        "value": ["a", "b", "c", "1"],
        "n": [10, 7, 2, 20],
        "n_positive": [10, 0, 0, 10],
        "n_negative": [0, 7, 2, 10],
        "n_flagged": [8, 0, 1, 10],
        "true_positives": [8, 0, 0, 8],
        "false_positives": [0, 0, 1, 2],
    }
    assert found[list(counts)].to_dict("list") == counts
    ratios = {
        "recall": [(8, 10), None, None, (8, 10)],
        "precision": [(8, 8), None, (0, 1), (8, 10)],
        "false_positive_rate": [None, (0, 7), (1, 2), (2, 10)],
    }
    for rate, of_slices in ratios.items():
        # What has no rows has no rate and no interval.
        expected = [
            [one.value, one.low, one.high]
            for one in (proportion(*ratio, 0.95) if ratio else NOTHING for ratio in of_slices)
        ]
        numbers = found[[rate, f"{rate}_low", f"{rate}_high"]].to_numpy()
        np.testing.assert_array_equal(numbers, expected)
    assert list(found) == [*counts, *(end for rate in ratios for end in NOTHING.named(rate))]


def test_without_slices_the_table_has_its_columns():
    found = evaluate_scores(POSITIVE, SCORES)
    with_some = evaluate_scores(POSITIVE, SCORES, slices=pd.DataFrame({"all": [1] * 20}))
    assert len(found.slices) == 0
    assert found.slices.columns.tolist() == with_some.slices.columns.tolist()


def test_the_order_of_the_rows_does_not_matter():
    is_positive, scores = simulated(300)
    slices = pd.DataFrame({"third": np.arange(300) % 3})
    order = np.random.default_rng(1).permutation(300)
    found = evaluate_scores(is_positive, scores, slices=slices)
    shuffled = evaluate_scores(is_positive[order], scores[order], slices=slices.iloc[order])
    assert numbers(shuffled) == numbers(found)


def test_the_temperature_is_that_of_the_calibration_set():
    is_positive, scores = simulated(2_000)
    others, certain = simulated(2_000, seed=1)
    certain = scale(certain, 0.25)
    found = evaluate_scores(is_positive, scale(scores, 0.25), calibration=(others, certain))
    assert found.temperature == pytest.approx(fit_temperature(others, certain))
    assert found.temperature == pytest.approx(2, rel=0.1)
    assert found.metrics["ece_after"].high < found.metrics["ece_before"].low
    assert found.notes == ()


def test_without_a_calibration_set_the_halves_are_scaled_by_one_another():
    is_positive, scores = simulated(2_000)
    certain = scale(scores, 0.25)
    found = evaluate_scores(is_positive, certain)
    assert found.temperature == pytest.approx(fit_temperature(is_positive, certain))
    assert found.metrics["ece_after"].high < found.metrics["ece_before"].low


def test_a_calibration_set_of_too_few_is_left_aside_and_a_note_says_so():
    few = np.arange(100) < 4
    found = evaluate_scores(POSITIVE, SCORES, calibration=(few, few * 0.9))
    assert found.temperature == evaluate_scores(POSITIVE, SCORES).temperature
    assert found.notes == (
        "The calibration set has 4 rows of one class, fewer than 5: the temperature was fitted on "
        "the halves of the set itself.",
    )


CERTAIN = POSITIVE.astype(float)


@pytest.mark.parametrize(
    ("scores", "calibration", "begins"),
    [
        (CERTAIN, None, "The temperature is 0.01, the lowest that is tried: "),
        (0.5 + 0.01 * (POSITIVE - 0.5), None, "The temperature is 0.01, the lowest"),
        (1 - CERTAIN, None, "The temperature is 100, the highest that is tried: "),
        (np.full(20, 0.2), None, "The temperature is 100, the highest that is tried: "),
        # A positive is on the wrong side, so that one half has an error and the other has none.
        (
            np.where(np.arange(20) == 0, 0.3, 0.1 + 0.8 * POSITIVE),
            None,
            "The temperature of one half of the set is 0.01, ",
        ),
        (
            SCORES,
            (POSITIVE, CERTAIN),
            "The temperature, fitted on the calibration set, is 0.01, the lowest that is tried: ",
        ),
    ],
    ids=["perfect", "close to a half", "wrong way round", "one score", "one half", "calibration"],
)
def test_a_temperature_at_the_end_of_its_range_is_explained(scores, calibration, begins):
    found = evaluate_scores(POSITIVE, scores, calibration=calibration)
    (note,) = [note for note in found.notes if "temperature" in note]
    assert note.startswith(begins)
    assert note.endswith("do not use them.")


@pytest.mark.parametrize(
    ("n_positive", "message"),
    [
        (0, "has 0 positive rows of 20: label 5 of each class"),
        (4, "has 4 positive rows of 20"),
        (16, "has 4 negative rows of 20"),
        (20, "has 0 negative rows of 20"),
    ],
)
def test_too_few_of_a_class_are_refused(n_positive, message):
    with pytest.raises(UserError, match=message):
        evaluate_scores(np.arange(20) < n_positive, SCORES)


def test_an_empty_set_is_refused():
    with pytest.raises(UserError, match="has 0 positive rows of 0"):
        evaluate_scores(np.zeros(0, dtype=bool), np.zeros(0))


def test_five_of_each_class_are_enough():
    found = evaluate_scores(np.arange(10) < 5, np.arange(10) / 10)
    assert found.metrics["auc"].value == 0


@pytest.mark.parametrize("wrong", [np.nan, -0.01, 1.01, np.inf])
def test_scores_that_are_no_probability_are_refused(wrong):
    scores = np.append(SCORES[:-1], wrong)
    with pytest.raises(UserError, match=f"1 of 20 scores are no probability, such as {wrong}"):
        evaluate_scores(POSITIVE, scores)
    with pytest.raises(UserError, match="no probability"):
        evaluate_scores(POSITIVE, SCORES, calibration=(POSITIVE, scores))


def test_arguments_of_different_length_are_a_bug():
    with pytest.raises(ValueError, match="same number of rows"):
        evaluate_scores(POSITIVE, SCORES[:-1])
    with pytest.raises(ValueError, match="same number of rows"):
        evaluate_scores(POSITIVE, SCORES, slices=pd.DataFrame({"a": [1]}))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"threshold": 1.1}, "The threshold is 1.1: choose one from 0 to 1"),
        ({"threshold": float("nan")}, "The threshold is nan"),
        ({"wanted_recall": 1}, "The wanted recall is 1: choose a number above 0 and below 1"),
        ({"prevalence": 0}, "The prevalence is 0"),
        ({"confidence": 95}, "The confidence is 95"),
        ({"bins": 0}, "0 bins were asked for"),
        ({"seed": -1}, "The seed is -1"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        EvaluationSettings(**wrong)


def test_a_model_that_is_surely_below_chance_is_noted():
    inverted = evaluate_scores(POSITIVE, 1 - SCORES)
    assert inverted.metrics["auc"].high < 0.5
    note, *others = inverted.notes
    assert note.startswith("Labels swapped? The model ranks worse than chance (AUC 0.")
    assert note.endswith("): look at some photos of each label.")
    assert tuple(others) == evaluate_scores(POSITIVE, SCORES).notes == ()
    # Chance alone is no reason for a note.
    assert evaluate_scores(POSITIVE, np.full(20, 0.5)).notes == ()


def test_a_calibration_set_that_is_ranked_the_other_way_round_is_noted():
    found = evaluate_scores(POSITIVE, SCORES, calibration=(~POSITIVE, SCORES))
    (note,) = found.notes
    assert note.startswith("Labels of the calibration set swapped? The model ranks it worse than")
    # All labels are swapped: once is enough.
    (note,) = evaluate_scores(~POSITIVE, SCORES, calibration=(~POSITIVE, SCORES)).notes
    assert note.startswith("Labels swapped?")
