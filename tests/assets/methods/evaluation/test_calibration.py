import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator

from assets.methods.evaluation.calibration import (
    expected_calibration_error,
    fit_temperature,
    reliability_table,
    scale,
    scale_cross_fitted,
)
from assets.methods.evaluation.intervals import wilson_interval


def simulated(n, temperature=1.0, seed=0):
    """Scores that are too certain by the temperature."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(0.6, 1.2, n).clip(0.01, 0.99)
    return rng.random(n) < truth, expit(temperature * logit(truth))


class _Logits(ClassifierMixin, BaseEstimator):
    """A classifier whose decision function is its only feature."""

    classes_ = np.array([False, True])

    def fit(self, x, y):
        return self

    def decision_function(self, x):
        return x[:, 0]

    def predict(self, x):
        return x[:, 0] > 0

    def __sklearn_is_fitted__(self):
        return True


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_again_and_is_that_of_scikit_learn(temperature):
    is_positive, scores = simulated(5_000, temperature)
    found = fit_temperature(is_positive, scores)
    assert found == pytest.approx(temperature, rel=0.1)
    logits = logit(scores)[:, None]
    fitted = CalibratedClassifierCV(
        FrozenEstimator(_Logits()), method="temperature", ensemble=False
    )
    expected = fitted.fit(logits, is_positive).predict_proba(logits)[:, 1]
    assert scale(scores, found) == pytest.approx(expected, abs=1e-3)


def test_a_temperature_divides_the_logits():
    assert scale(np.array([0.5, 0.8]), 2.0) == pytest.approx([0.5, 2 / 3])
    assert scale(np.array([0.2, 0.9]), 1.0) == pytest.approx([0.2, 0.9])


def test_scores_of_0_and_1_are_scaled_too():
    scaled = scale(np.array([0.0, 1.0]), 4.0)
    assert scaled == pytest.approx([1e-7**0.25, 1 - 1e-7**0.25], rel=0.02)
    # One certain score in ten is wrong: with it, confidence has to fall to nine in ten.
    is_positive, scores = np.arange(20) % 10 > 0, np.ones(20)
    assert scale(scores, fit_temperature(is_positive, scores)) == pytest.approx(
        np.full(20, 0.9), abs=1e-3
    )


def test_scores_that_cannot_be_scaled_have_a_temperature_all_the_same():
    is_positive = np.arange(10) >= 5
    assert fit_temperature(is_positive, np.full(10, 0.5)) == 1
    # The ends of the range to the last bit.
    assert fit_temperature(is_positive, np.where(is_positive, 0.9, 0.1)) == 0.01
    assert fit_temperature(is_positive, np.where(is_positive, 0.1, 0.9)) == 100


def test_a_half_is_scaled_by_what_the_other_half_says():
    is_positive, scores = simulated(400, 3.0)
    scaled, fitted = scale_cross_fitted(is_positive, scores, 0)
    temperatures = logit(scores) / logit(scaled)
    values, counts = np.unique(temperatures.round(6), return_counts=True)
    assert len(values) == 2
    assert abs(counts[0] - 200) <= 1
    first = np.isclose(temperatures, values[0])
    assert fit_temperature(is_positive[~first], scores[~first]) == pytest.approx(values[0])
    assert fit_temperature(is_positive[first], scores[first]) == pytest.approx(values[1])
    assert sorted(fitted) == pytest.approx(values)


def test_the_halves_do_not_depend_on_the_order_of_the_rows():
    is_positive, scores = simulated(101, 2.0)
    order = np.random.default_rng(1).permutation(101)
    scaled, _ = scale_cross_fitted(is_positive, scores, 0)
    shuffled, _ = scale_cross_fitted(is_positive[order], scores[order], 0)
    # Rows that are alike may change places.
    assert np.sort(shuffled) == pytest.approx(np.sort(scaled))
    assert not np.allclose(scale_cross_fitted(is_positive, scores, 1)[0], scaled)


def test_the_reliability_table_by_hand():
    is_positive = np.array([False, True, False, True, True])
    scores = np.array([0.0, 0.25, 0.1, 0.8, 1.0])
    table = reliability_table(is_positive, scores, 4, 0.95)
    # 0.25 is the upper edge of the first bin; the second and third hold nothing.
    assert table[["lower", "upper", "n"]].to_numpy().tolist() == [[0, 0.25, 3], [0.75, 1, 2]]
    assert table["mean_score"].tolist() == pytest.approx([0.35 / 3, 0.9])
    assert table["positive_share"].tolist() == pytest.approx([1 / 3, 1])
    low, high = wilson_interval(np.array([1, 2]), np.array([3, 2]), 0.95)
    assert table[["low", "high"]].to_numpy() == pytest.approx(np.column_stack([low, high]))


@given(st.integers(1, 20), st.integers(0, 1_000))
def test_the_reliability_table_is_that_of_scikit_learn(bins, seed):
    is_positive, scores = simulated(200, 2.0, seed)
    scores = scores.round(1)
    table = reliability_table(is_positive, scores, bins, 0.95)
    share, mean = calibration_curve(is_positive, scores, n_bins=bins)
    assert table["positive_share"].to_numpy() == pytest.approx(share)
    assert table["mean_score"].to_numpy() == pytest.approx(mean)
    assert table["n"].sum() == 200


def test_the_calibration_error_by_hand():
    is_positive = np.array([False, True, False, True, True])
    scores = np.array([0.0, 0.25, 0.1, 0.8, 1.0])
    found = expected_calibration_error(is_positive, scores, 4, 0.95, 0)
    # |0.35 - 1| and |1.8 - 2| out of 5 rows.
    assert found.value == pytest.approx((0.65 + 0.2) / 5)


@given(st.integers(5, 60), st.floats(0.1, 5), st.integers(0, 1_000))
def test_the_calibration_error_lies_within_its_interval(n, temperature, seed):
    is_positive, scores = simulated(n, temperature, seed)
    found = expected_calibration_error(is_positive, scores, 15, 0.95, 0)
    assert 0 <= found.low <= found.value <= found.high <= 1
    table = reliability_table(is_positive, scores, 15, 0.95)
    gaps = (table["mean_score"] - table["positive_share"]).abs()
    assert found.value == pytest.approx((gaps * table["n"]).sum() / n)


def test_scores_without_an_error_are_not_known_to_be_perfect():
    is_positive = np.arange(20) >= 10
    found = expected_calibration_error(is_positive, is_positive.astype(float), 15, 0.95, 0)
    assert found.value == found.low == 0
    assert 0.02 < found.high < 0.2


@pytest.mark.parametrize(("temperature", "least"), [(1.0, 930), (2.0, 930)])
def test_the_true_calibration_error_lies_in_its_interval(temperature, least):
    truth = np.random.default_rng(3).beta(0.6, 1.2, 1_000_000).clip(0.01, 0.99)
    scores = expit(temperature * logit(truth))
    place = np.minimum((scores * 15).astype(int), 14)
    error = np.abs(np.bincount(place, truth - scores)).sum() / len(truth)
    held = 0
    for seed in range(1_000):
        is_positive, scores = simulated(500, temperature, seed)
        found = expected_calibration_error(is_positive, scores, 15, 0.95, seed)
        held += found.low <= error <= found.high
    assert held >= least
