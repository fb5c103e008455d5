import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit
from scipy.stats import binomtest, norm
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.metrics import f1_score as sklearn_f1_score

from assets.methods.evaluation.intervals import (
    Estimate,
    area_under_roc,
    average_precision,
    f1_score,
    format_estimate,
    format_to_four_decimals,
    precision_at_prevalence,
    proportion,
    threshold_at_recall,
    wilson_interval,
)

Z = norm.ppf(0.975)


@st.composite
def labelled_scores(draw, least=2):
    """Scores in steps of a tenth, so that many are equal, with so many of each class at least."""
    n_positive, n_negative = draw(st.integers(least, 12)), draw(st.integers(least, 12))
    n = n_positive + n_negative
    scores = draw(st.lists(st.integers(0, 10), min_size=n, max_size=n))
    return np.arange(n) < n_positive, np.array(scores) / 10


def binormal(rng, n, prevalence, apart):
    is_positive = rng.random(n) < prevalence
    return is_positive, rng.standard_normal(n) + apart * is_positive


def is_within(estimate):
    return 0 <= estimate.low <= estimate.value <= estimate.high <= 1


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_the_interval_of_a_proportion_is_that_of_scipy(confidence):
    trials = np.repeat(np.arange(1, 12), 12)
    successes = np.minimum(np.tile(np.arange(12), 11), trials)
    low, high = wilson_interval(successes, trials, confidence)
    expected = [
        binomtest(k, n).proportion_ci(confidence, method="wilson")
        for k, n in zip(successes.tolist(), trials.tolist(), strict=True)
    ]
    assert np.column_stack([low, high]) == pytest.approx(np.array(expected), abs=1e-12)


def test_a_proportion_of_none_or_all_has_an_interval_that_begins_or_ends_there():
    # Wilson's limit at 0 of n is z^2 / (n + z^2).
    limit = Z**2 / (10 + Z**2)
    assert proportion(0, 10, 0.95) == Estimate(0, 0, pytest.approx(limit))
    assert proportion(10, 10, 0.95) == Estimate(1, pytest.approx(1 - limit), 1)


def test_f1_is_that_of_scikit_learn_and_its_interval_that_of_the_jaccard_index():
    # 3 true positives, 1 false positive, 2 false negatives: F1 = 6/9, J = 3/6.
    truth, flagged = [1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 1, 0]
    found, jaccard = f1_score(3, 1, 2, 0.95), proportion(3, 6, 0.95)
    assert found.value == pytest.approx(6 / 9) == sklearn_f1_score(truth, flagged)
    assert found.low == pytest.approx(2 * jaccard.low / (1 + jaccard.low))
    assert found.high == pytest.approx(2 * jaccard.high / (1 + jaccard.high))
    assert f1_score(0, 0, 5, 0.95).value == 0


def test_at_the_prevalence_of_the_set_it_is_the_precision_of_the_set():
    # Of 20 positives 15 are flagged, of 180 negatives 9.
    recall, false_positive_rate = proportion(15, 20, 0.95), proportion(9, 180, 0.95)
    assert precision_at_prevalence(recall, false_positive_rate, 0.1).value == pytest.approx(15 / 24)
    # Bayes: 0.01 * 0.75 / (0.01 * 0.75 + 0.99 * 0.05).
    found = precision_at_prevalence(recall, false_positive_rate, 0.01)
    assert found.value == pytest.approx(0.0075 / 0.057)
    assert is_within(found)


def test_without_false_positives_precision_is_one_as_far_as_the_rate_is_known():
    recall, rate = proportion(15, 20, 0.95), proportion(0, 180, 0.95)
    found = precision_at_prevalence(recall, rate, 0.01)
    expected = 0.01 * recall.low / (0.01 * recall.low + 0.99 * rate.high)
    assert found == Estimate(1, pytest.approx(expected), 1)


def test_without_true_positives_precision_is_zero_as_far_as_recall_is_known():
    recall, rate = proportion(0, 20, 0.95), proportion(9, 180, 0.95)
    found = precision_at_prevalence(recall, rate, 0.01)
    expected = 0.01 * recall.high / (0.01 * recall.high + 0.99 * rate.low)
    assert found == Estimate(0, 0, pytest.approx(expected))


@given(st.integers(0, 20), st.integers(0, 30), st.floats(1e-4, 0.999))
def test_the_precision_at_a_prevalence_lies_within_its_interval(hits, alarms, prevalence):
    if hits + alarms:
        recall, rate = proportion(hits, 20, 0.9), proportion(alarms, 30, 0.9)
        assert is_within(precision_at_prevalence(recall, rate, prevalence))


@given(labelled_scores())
def test_the_area_is_that_of_scikit_learn_and_lies_within_its_interval(given_set):
    is_positive, scores = given_set
    found = area_under_roc(is_positive, scores, 0.95)
    assert found.value == pytest.approx(roc_auc_score(is_positive, scores))
    assert is_within(found)


@given(labelled_scores())
def test_the_other_class_has_the_area_in_the_mirror(given_set):
    is_positive, scores = given_set
    found, other = (area_under_roc(one, scores, 0.95) for one in (is_positive, ~is_positive))
    mirrored = [1 - other.value, 1 - other.high, 1 - other.low]
    assert [found.value, found.low, found.high] == pytest.approx(mirrored)


def test_in_a_large_set_the_interval_has_delongs_width_on_the_scale_of_logits():
    is_positive, scores = binormal(np.random.default_rng(0), 4_000, 0.4, 1.0)
    above = scores[is_positive][:, None] > scores[~is_positive]
    variance = sum(above.mean(axis=axis).var(ddof=1) / above.shape[1 - axis] for axis in (0, 1))
    found = area_under_roc(is_positive, scores, 0.95)
    error = np.sqrt(variance) / (found.value * (1 - found.value))
    assert logit(found.high) - logit(found.value) == pytest.approx(Z * error, rel=0.02)
    assert logit(found.value) - logit(found.low) == pytest.approx(Z * error, rel=0.02)


@pytest.mark.parametrize("n", [5, 50, 5_000])
def test_a_perfect_ranking_has_an_interval_that_narrows_with_the_rows(n):
    is_positive = np.arange(2 * n) >= n
    for estimate in (area_under_roc, average_precision):
        found = estimate(is_positive, np.arange(2 * n) / (2 * n), 0.95)
        assert found.value == found.high == 1
        assert 1 - 5 / n < found.low < 1 - 0.5 / n


def test_both_metrics_of_a_perfect_ranking_end_at_one_exactly():
    # For 34 of these counts Wilson's formula ends at 1.0000000000000002.
    for n in range(2, 201):
        is_positive = np.arange(2 * n) >= n
        scores = np.arange(2 * n) / (2 * n)
        for estimate in (area_under_roc, average_precision):
            found = estimate(is_positive, scores, 0.95)
            assert is_within(found)
            assert found.value == found.high == 1


def test_a_perfect_ranking_is_as_sure_as_two_trials_for_each_row_of_the_rarer_class():
    low = area_under_roc(np.arange(400) < 40, -np.arange(400.0), 0.95).low
    # The limit of 80 successes in 80.2, by the equation that Wilson's solves.
    assert (80 / 80.2 - low) / np.sqrt(low * (1 - low) / 80) == pytest.approx(Z)


@given(st.integers(0, 1_000), st.integers(10, 80), st.integers(10, 80), st.floats(2, 4))
def test_no_ranking_has_a_higher_low_end_than_the_perfect_one(seed, n_positive, n_negative, apart):
    is_positive = np.arange(n_positive + n_negative) < n_positive
    noise = np.random.default_rng(seed).standard_normal(len(is_positive))
    found = area_under_roc(is_positive, noise + apart * is_positive, 0.95)
    perfect = area_under_roc(is_positive, is_positive.astype(float), 0.95)
    assert found.low <= perfect.low


def test_a_negative_above_fewer_positives_does_not_lower_the_low_end():
    # 100 of each class; one negative stands above so many positives.
    lows = [
        area_under_roc(np.arange(200) >= 100, np.append(100.5 + above, np.arange(199)), 0.95).low
        for above in range(100)
    ]
    assert (np.diff(lows) <= 0).all()
    assert lows[0] > lows[-1]


def test_correcting_a_pair_hardly_ever_lowers_the_low_end():
    rng = np.random.default_rng(0)
    steps = []
    for n, apart in [(30, 2.5), (100, 3.3), (100, 3.9), (200, 3.9)]:
        is_positive, scores = np.arange(2 * n) < n, rng.standard_normal(2 * n)
        scores[:n] += apart
        low = area_under_roc(is_positive, scores, 0.95).low
        while True:
            wrong = np.argwhere(scores[:n, None] < scores[n:])
            if len(wrong) == 0:
                break
            positive, negative = rng.choice(wrong) + np.array([0, n])
            scores[[positive, negative]] = scores[[negative, positive]]
            before, low = low, area_under_roc(is_positive, scores, 0.95).low
            steps.append(low - before)
    assert np.mean(np.array(steps) < 0) < 0.03
    assert min(steps) > -0.002


@given(labelled_scores())
def test_rankings_of_the_same_area_have_it_to_the_last_bit(given_set):
    is_positive, scores = given_set
    over = scores[is_positive][:, None] - scores[~is_positive]
    # Counts of halves have no rounding.
    won = (over > 0).sum() + (over == 0).sum() / 2
    assert area_under_roc(is_positive, scores, 0.95).value == won / over.size


@pytest.mark.parametrize(("n_positive", "n_negative"), [(5, 5), (7, 5), (50, 3_000)])
def test_equal_scores_rank_as_chance_does(n_positive, n_negative):
    is_positive = np.arange(n_positive + n_negative) < n_positive
    scores = np.full(len(is_positive), 0.3)
    area = area_under_roc(is_positive, scores, 0.95)
    assert area.value == 0.5
    assert area.low < 0.49 < 0.51 < area.high
    average = average_precision(is_positive, scores, 0.95)
    assert average.value == pytest.approx(is_positive.mean())
    # It is then a share of positives, as uncertain as that share but for Student's quantile.
    share = proportion(n_positive, len(is_positive), 0.95)
    assert 0.6 * share.low < average.low < share.low


def test_average_precision_by_hand():
    # Positives come first, third and fourth: (1/1 + 2/3 + 3/4) / 3.
    is_positive = np.array([True, False, True, True, False])
    found = average_precision(is_positive, np.array([0.9, 0.8, 0.7, 0.6, 0.5]), 0.95)
    assert found.value == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


@given(labelled_scores())
def test_average_precision_is_that_of_scikit_learn_and_lies_within_its_interval(given_set):
    is_positive, scores = given_set
    found = average_precision(is_positive, scores, 0.95)
    assert found.value == pytest.approx(average_precision_score(is_positive, scores))
    assert is_within(found)


def test_the_interval_of_average_precision_is_as_wide_as_a_bootstraps():
    rng = np.random.default_rng(1)
    is_positive, scores = binormal(rng, 3_000, 0.2, 1.5)
    scores = scores.round(1)
    drawn = []
    for _ in range(300):
        rows = rng.integers(0, len(scores), len(scores))
        drawn.append(average_precision_score(is_positive[rows], scores[rows]))
    found = average_precision(is_positive, scores, 0.95)
    assert found.high - found.low == pytest.approx(2 * Z * np.std(drawn), rel=0.12)


def test_the_threshold_at_a_recall_by_hand():
    scores = np.arange(1, 11) / 10
    assert threshold_at_recall(scores, 0.9, 0.95).value == 0.2
    assert threshold_at_recall(scores, 0.91, 0.95).value == 0.1
    assert threshold_at_recall(scores, 0.1, 0.95).value == 1.0
    # 0.55 * 100 is more than 55 in floating point.
    assert threshold_at_recall(np.arange(1, 101) / 100, 0.55, 0.95).value == 0.46


def test_too_few_positives_leave_the_threshold_open():
    found = threshold_at_recall(np.linspace(0.4, 0.6, 20), 0.95, 0.95)
    assert found.low == 0
    assert 0.4 < found.high < 0.5
    assert threshold_at_recall(np.linspace(0.4, 0.6, 20), 0.05, 0.95).high == 1


@given(st.lists(st.integers(0, 20), min_size=5, max_size=60), st.floats(0.01, 0.99))
def test_the_threshold_is_the_highest_that_reaches_the_recall(tenths, recall):
    scores = np.array(tenths) / 20
    found = threshold_at_recall(scores, recall, 0.95)
    assert is_within(found)
    assert (scores >= found.value).mean() >= recall - 1e-9
    assert (scores > found.value).mean() < recall


@pytest.mark.parametrize(
    ("n", "prevalence", "area"), [(1_000, 0.3, 0.85), (2_000, 0.02, 0.95), (200, 0.2, 0.9)]
)
def test_in_93_to_97_of_100_sets_precision_and_area_lie_in_their_intervals(n, prevalence, area):
    # Where scores are normal with equal variance, AUC = Phi(d / sqrt 2).
    apart = np.sqrt(2) * norm.ppf(area)
    threshold = apart / 2
    flagged = prevalence * norm.sf(threshold - apart), (1 - prevalence) * norm.sf(threshold)
    precision = flagged[0] / sum(flagged)
    rng = np.random.default_rng(0)
    held = np.zeros(2)
    for _ in range(1_000):
        is_positive, scores = binormal(rng, n, prevalence, apart)
        is_flagged = scores >= threshold
        found = (
            proportion(int((is_flagged & is_positive).sum()), int(is_flagged.sum()), 0.95),
            area_under_roc(is_positive, scores, 0.95),
        )
        held += [
            one.low <= truth <= one.high
            for one, truth in zip(found, (precision, area), strict=True)
        ]
    assert ((held >= 930) & (held <= 970)).all(), held


@pytest.mark.parametrize("spread", [0.5, 1, 2])
@pytest.mark.parametrize(("n", "area"), [(40, 0.9), (40, 0.99), (100, 0.95), (100, 0.99)])
def test_the_area_lies_in_its_interval_whichever_class_spreads_more(n, area, spread):
    apart = np.sqrt(1 + spread**2) * norm.ppf(area)
    rng, is_positive = np.random.default_rng(0), np.arange(2 * n) < n
    held = 0
    for _ in range(600):
        scores = rng.standard_normal(2 * n)
        scores[:n] = spread * scores[:n] + apart
        found = area_under_roc(is_positive, scores, 0.95)
        held += found.low <= area <= found.high
    assert 0.92 <= held / 600 <= 0.985


@pytest.mark.parametrize("area", [0.999, 0.9999])
def test_very_good_rankings_have_intervals_that_hold_the_area_too(area):
    apart = np.sqrt(2) * norm.ppf(area)
    rng, is_positive = np.random.default_rng(0), np.arange(200) < 100
    held = 0
    for _ in range(600):
        scores = rng.standard_normal(200) + apart * is_positive
        found = area_under_roc(is_positive, scores, 0.95)
        held += found.low <= area <= found.high
    assert held / 600 > 0.95


@pytest.mark.parametrize(
    ("estimate", "written"),
    [
        ((0.9, 0.8, 0.95), "0.90 (0.80–0.95)"),
        ((0.9123, 0.91, 0.915), "0.912 (0.910–0.915)"),
        ((0.5, 0.5, 0.5), "0.5000 (0.5000–0.5000)"),
        ((1.0, 0.0, 1.0), "1.00 (0.00–1.00)"),
    ],
)
def test_a_metric_has_the_digits_that_its_interval_allows(estimate, written):
    assert format_estimate(Estimate(*estimate)) == written


def test_a_small_threshold_can_be_read_off():
    assert format_estimate(Estimate(3.29e-5, 1.2e-5, 0.00012)) == "3.3e-05 (1.2e-05–0.00012)"
    assert format_estimate(Estimate(0.0, 0.0, 0.0)) == "0.0000 (0.0000–0.0000)"


def test_the_metrics_of_two_models_can_be_told_apart():
    assert format_to_four_decimals(Estimate(0.91234, 0.8, 1.0)) == "0.9123 (0.8000 to 1.0000)"
