from hypothesis import given
from hypothesis import strategies as st

from assets.methods.confidence_intervals import Estimate
from assets.methods.promotion import judge

SERVED = Estimate(0.9, 0.8, 0.95)


def test_a_better_model_becomes_champion():
    verdict = judge(Estimate(0.92, 0.85, 0.97), SERVED)
    assert verdict.alias == "champion"
    assert verdict.reason == (
        "AUC 0.9200 (0.8500 to 0.9700), the champion of before 0.9000 (0.8000 to 0.9500): "
        "its lower bound is not below the champion's."
    )


def test_a_worse_model_does_not_become_champion():
    verdict = judge(Estimate(0.7, 0.6, 0.79), SERVED)
    assert verdict.alias == "challenger"
    assert verdict.reason == (
        "AUC 0.7000 (0.6000 to 0.7900), the champion of before 0.9000 (0.8000 to 0.9500): "
        "its lower bound is below the champion's."
    )


def test_an_equal_model_becomes_champion():
    assert judge(SERVED, SERVED).alias == "champion"


def test_a_higher_estimate_with_a_wider_interval_is_not_enough():
    assert judge(Estimate(0.93, 0.79, 0.99), SERVED).alias == "challenger"


def test_a_lower_estimate_that_is_surer_is_enough():
    assert judge(Estimate(0.88, 0.81, 0.9), SERVED).alias == "champion"


@st.composite
def estimates(draw):
    low, value, high = sorted(draw(st.tuples(*[st.floats(0, 1)] * 3)))
    return Estimate(value, low, high)


@given(estimates(), estimates())
def test_of_two_models_one_at_least_may_follow_the_other(one, other):
    aliases = {judge(one, other).alias, judge(other, one).alias}
    assert "champion" in aliases
    assert (aliases == {"champion"}) == (one.low == other.low)
