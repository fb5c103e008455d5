import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.methods.evaluation.intervals import Estimate, area_under_roc
from assets.methods.evaluation.promotion import Champion, Verdict, judge

SERVED = Estimate(0.9, 0.8, 0.95)
PERFECT = Estimate(1, 1, 1)


def compare(candidate: Estimate, champion: Estimate) -> Verdict:
    return judge(candidate, Champion(champion), "nsfw")


@pytest.mark.parametrize("auc", [SERVED, None])
@pytest.mark.parametrize("is_candidate", [True, False])
def test_a_champion_that_cannot_be_asked_for_is_not_replaced(auc, is_candidate):
    champion = Champion(auc, is_candidate, "The registry is down.")
    assert judge(PERFECT, champion, "nsfw") == Verdict(
        "challenger", "The champion is not known: The registry is down."
    )


@pytest.mark.parametrize("candidate", [PERFECT, SERVED, Estimate(0.5, 0.4, 0.6)])
def test_the_champion_stays_champion_whatever_its_auc(candidate):
    assert judge(candidate, Champion(SERVED, is_candidate=True), "nsfw") == Verdict(
        "champion", "It is the champion already."
    )


def test_a_champion_without_the_class_is_not_replaced():
    assert judge(PERFECT, Champion(None), "nsfw") == Verdict(
        "challenger", "The champion has no class nsfw, so the two cannot be compared."
    )


def test_a_better_model_becomes_champion():
    verdict = compare(Estimate(0.92, 0.85, 0.97), SERVED)
    assert verdict.alias == "champion"
    assert verdict.reason == (
        "AUC 0.9200 (0.8500 to 0.9700), the champion's 0.9000 (0.8000 to 0.9500): "
        "the AUC is as high, and its lower bound is not below the champion's."
    )


def test_a_worse_model_does_not_become_champion():
    verdict = compare(Estimate(0.7, 0.6, 0.79), SERVED)
    assert verdict.alias == "challenger"
    assert verdict.reason == (
        "AUC 0.7000 (0.6000 to 0.7900), the champion's 0.9000 (0.8000 to 0.9500): "
        "the AUC is lower, and its lower bound is below the champion's."
    )


def test_an_equal_model_becomes_champion():
    assert compare(SERVED, SERVED).alias == "champion"


def test_a_higher_estimate_with_a_wider_interval_is_not_enough():
    verdict = compare(Estimate(0.93, 0.79, 0.99), SERVED)
    assert verdict.alias == "challenger"
    assert verdict.reason.endswith(
        ": the AUC is as high, but its lower bound is below the champion's."
    )


def test_a_lower_estimate_that_is_surer_is_not_enough():
    verdict = compare(Estimate(0.88, 0.81, 0.9), SERVED)
    assert verdict.alias == "challenger"
    assert verdict.reason.endswith(
        ": its lower bound is not below, but the AUC itself is below the champion's."
    )


def test_a_network_that_tells_nothing_does_not_follow_a_champion_that_is_below_chance():
    verdict = compare(Estimate(0.5, 0.33, 0.67), Estimate(0.42, 0.2, 0.64))
    assert verdict.alias == "challenger"
    assert verdict.reason == (
        "AUC 0.5000 (0.3300 to 0.6700), the champion's 0.4200 (0.2000 to 0.6400): "
        "its lower bound is not above chance, which is 0.5."
    )


@pytest.mark.parametrize(("low", "alias"), [(0.5, "challenger"), (0.501, "champion")])
def test_a_lower_bound_at_chance_is_not_surely_better_than_it(low, alias):
    assert compare(Estimate(0.9, low, 0.95), Estimate(0.4, 0.2, 0.6)).alias == alias


def test_a_model_that_is_worse_is_told_so_although_it_is_no_better_than_chance():
    verdict = compare(Estimate(0.5, 0.33, 0.67), SERVED)
    assert verdict.alias == "challenger"
    assert verdict.reason.endswith(
        ": the AUC is lower, and its lower bound is below the champion's."
    )


@st.composite
def estimates(draw):
    low, value, high = sorted(draw(st.tuples(*[st.sampled_from([0, 0.5, 0.6, 0.75, 1])] * 3)))
    return Estimate(value, low, high)


@given(estimates(), estimates())
def test_each_of_two_models_may_follow_the_other_only_if_they_are_equal(one, other):
    aliases = {compare(one, other).alias, compare(other, one).alias}
    is_equal = (one.low, one.value) == (other.low, other.value)
    assert (aliases == {"champion"}) == (is_equal and one.low > 0.5)


@given(estimates(), estimates())
def test_a_champion_is_surely_better_than_chance_whatever_it_follows(candidate, champion):
    if candidate.low <= 0.5:
        assert compare(candidate, champion).alias == "challenger"


@given(estimates(), estimates(), estimates())
def test_a_chain_of_champions_never_leads_to_a_worse_one(first, second, third):
    if compare(second, first).alias == compare(third, second).alias == "champion":
        assert compare(third, first).alias == "champion"
        assert third.value >= first.value


@pytest.mark.parametrize("n", [20, 100, 400])
def test_a_perfect_ranking_follows_every_other_and_none_follows_it(n):
    rng = np.random.default_rng(0)
    is_positive = np.arange(2 * n) < n
    perfect = area_under_roc(is_positive, is_positive.astype(float), 0.95)
    for apart in rng.uniform(2, 4, 100):
        scores = rng.standard_normal(2 * n) + apart * is_positive
        other = area_under_roc(is_positive, scores, 0.95)
        assert compare(perfect, other).alias == "champion"
        assert (compare(other, perfect).alias == "champion") == (other.value == 1)


def test_a_caveat_ends_the_reason_of_a_comparison():
    plain, with_caveat = (
        judge(PERFECT, Champion(SERVED, caveat=caveat), "nsfw") for caveat in ("", "It is so.")
    )
    assert with_caveat == Verdict("champion", f"{plain.reason} It is so.")
