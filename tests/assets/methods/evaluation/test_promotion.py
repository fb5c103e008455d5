import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.methods.evaluation.intervals import Estimate, area_under_roc
from assets.methods.evaluation.promotion import (
    Champion,
    Verdict,
    answered_classes,
    judge,
    missing_classes,
)
from assets.methods.evaluation.swapped_labels import Reference

CLASSES = ("sfw", "nsfw")
SERVED = Estimate(0.9, 0.8, 0.95)
PERFECT = Estimate(1, 1, 1)
AT_CHANCE = Estimate(0.5, 0.33, 0.67)
INVERTED = Estimate(0.02, 0.0, 0.1)


def reference(name: str = "the champion", **splits: Estimate) -> Reference:
    return Reference(name, splits)


def compare(candidate: Estimate, champion: Estimate) -> Verdict:
    return judge(candidate, CLASSES, Champion(reference(test=champion)))


def test_the_classes_that_a_champion_is_asked_for():
    assert answered_classes(("sfw", "nsfw"), "nsfw") == ("nsfw",)
    assert answered_classes(("nsfw", "sfw"), "nsfw") == ("nsfw", "sfw")
    assert answered_classes(("indoors", "animal"), "nsfw") == ("animal",)
    assert missing_classes(("nsfw", "sfw"), ("nsfw",)) == ()
    assert missing_classes(("indoors", "sfw"), ("nsfw", "sfw")) == ("nsfw",)


@pytest.mark.parametrize("known", [reference(test=SERVED), None])
@pytest.mark.parametrize("is_candidate", [True, False])
def test_a_champion_that_cannot_be_asked_for_is_not_replaced(known, is_candidate):
    champion = Champion(known, ("nsfw",), is_candidate, "The registry is down.")
    assert judge(PERFECT, CLASSES, champion) == Verdict(
        "challenger", "The champion is not known: The registry is down."
    )


@pytest.mark.parametrize("candidate", [PERFECT, SERVED, Estimate(0.5, 0.4, 0.6)])
def test_the_champion_stays_champion_whatever_its_auc(candidate):
    champion = Champion(reference(test=SERVED), ("nsfw",), is_candidate=True)
    assert judge(candidate, CLASSES, champion) == Verdict("champion", "It is the champion already.")


def test_a_champion_without_the_class_is_not_replaced():
    assert judge(PERFECT, CLASSES, Champion(None)) == Verdict(
        "challenger",
        "The champion has no class nsfw, so the two cannot be compared. No model knew nsfw before, "
        "so nothing tells whether labels are swapped.",
    )


def test_a_version_without_the_class_that_the_champion_is_asked_for_does_not_replace_it():
    """A better one of the class sfw, which the champion knows, too, and of another than nsfw."""
    champion = Champion(reference(test=SERVED), ("nsfw",))
    assert judge(PERFECT, ("family", "sfw"), champion) == Verdict(
        "challenger", "It does not know nsfw, which the champion is asked for."
    )


def test_two_models_of_different_classes_are_not_compared():
    verdict = judge(PERFECT, ("indoors", "animal"), Champion(None, ("nsfw",)))
    assert verdict == Verdict(
        "challenger",
        "It does not know nsfw, which the champion is asked for. The champion has no class animal, "
        "so the two cannot be compared. No model knew animal before, so nothing tells whether "
        "labels are swapped.",
    )


def test_a_better_model_becomes_champion():
    verdict = compare(Estimate(0.92, 0.85, 0.97), SERVED)
    assert verdict == Verdict(
        "champion",
        "AUC 0.9200 (0.8500 to 0.9700), the champion's 0.9000 (0.8000 to 0.9500): "
        "the AUC is as high, and its lower bound is not below the champion's.",
    )


def test_a_worse_model_does_not_become_champion():
    verdict = compare(Estimate(0.7, 0.6, 0.79), SERVED)
    assert verdict == Verdict(
        "challenger",
        "AUC 0.7000 (0.6000 to 0.7900), the champion's 0.9000 (0.8000 to 0.9500): "
        "the AUC is lower, and its lower bound is below the champion's.",
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
    verdict = compare(AT_CHANCE, Estimate(0.42, 0.2, 0.64))
    assert verdict.alias == "challenger"
    assert verdict.reason.startswith(
        "AUC 0.5000 (0.3300 to 0.6700), the champion's 0.4200 (0.2000 to 0.6400): "
        "its lower bound is not above chance, which is 0.5."
    )


@pytest.mark.parametrize(("low", "alias"), [(0.5, "challenger"), (0.501, "champion")])
def test_a_lower_bound_at_chance_is_not_surely_better_than_it(low, alias):
    assert compare(Estimate(0.9, low, 0.95), Estimate(0.4, 0.2, 0.6)).alias == alias


def test_a_model_that_is_worse_is_told_so_although_it_is_no_better_than_chance():
    verdict = compare(AT_CHANCE, SERVED)
    assert verdict.alias == "challenger"
    assert verdict.reason.endswith(
        ": the AUC is lower, and its lower bound is below the champion's."
    )


LOOK = "Look at some photos labelled nsfw and some labelled sfw"


@pytest.mark.parametrize(
    ("candidate", "champion", "others", "alias", "reason"),
    [
        pytest.param(
            PERFECT,
            reference(test=INVERTED, train=INVERTED),
            [],
            "challenger",
            "AUC 1.0000 (1.0000 to 1.0000), the champion's 0.0200 (0.0000 to 0.1000): not promoted "
            "by itself. Labels swapped? The champion ranks worse than chance (AUC 0.02 (0.00–0.10) "
            f"in test, 0.02 (0.00–0.10) in train). {LOOK}: the labels are wrong, or the champion "
            "is.",
            id="all labels",
        ),
        pytest.param(
            PERFECT,
            reference(test=SERVED),
            [reference("open_nsfw", test=INVERTED)],
            "challenger",
            "AUC 1.0000 (1.0000 to 1.0000), the champion's 0.9000 (0.8000 to 0.9500): not promoted "
            "by itself. Labels swapped? The champion ranks better than chance (AUC 0.90 "
            "(0.80–0.95) in test). open_nsfw ranks worse than chance (AUC 0.02 (0.00–0.10) in "
            f"test). {LOOK}: the labels are wrong, or open_nsfw is.",
            id="the champion learned from swapped labels",
        ),
        pytest.param(
            INVERTED,
            reference(test=SERVED),
            [],
            "challenger",
            "AUC 0.0200 (0.0000 to 0.1000), the champion's 0.9000 (0.8000 to 0.9500): the AUC is "
            "lower, and its lower bound is below the champion's. Labels of a split swapped? The "
            "new version ranks the split test worse than chance: it has learned the opposite from "
            f"the split train. {LOOK} in each split.",
            id="train or test, and the champion saw test alone",
        ),
        pytest.param(
            Estimate(0.52, 0.4, 0.65),
            reference(test=Estimate(0.48, 0.3, 0.66)),
            [],
            "challenger",
            "AUC 0.5200 (0.4000 to 0.6500), the champion's 0.4800 (0.3000 to 0.6600): its lower "
            "bound is not above chance, which is 0.5. Labels mixed up, or too few photos? Neither "
            f"the new version nor the champion is surely above chance. {LOOK}.",
            id="half of the labels",
        ),
        pytest.param(
            PERFECT,
            reference(test=AT_CHANCE),
            [],
            "champion",
            "AUC 1.0000 (1.0000 to 1.0000), the champion's 0.5000 (0.3300 to 0.6700): the AUC is "
            "as high, and its lower bound is not below the champion's. As the champion is not "
            "surely above chance, nothing tells whether labels are swapped.",
            id="a champion that knows nothing of these photos",
        ),
    ],
)
def test_what_is_said_of_labels(candidate, champion, others, alias, reason):
    verdict = judge(candidate, CLASSES, Champion(champion, ("nsfw",)), others)
    assert (verdict.alias, verdict.reason) == (alias, reason)
    assert (verdict.label_doubt != "") == (alias == "challenger")
    assert verdict.label_doubt in verdict.reason


DOUBTED = [reference("open_nsfw", test=INVERTED)]


@pytest.mark.parametrize(
    ("champion", "alias"),
    [
        (Champion(reference(test=SERVED), ("nsfw",), unreachable="Down."), "challenger"),
        (Champion(reference(test=SERVED), ("nsfw",), is_candidate=True), "champion"),
        (Champion(reference(test=SERVED), ("lewd",)), "challenger"),
        (Champion(None, ("nsfw",)), "challenger"),
        (Champion(reference(test=PERFECT), ("nsfw",)), "challenger"),
        (Champion(reference(test=AT_CHANCE), ("nsfw",)), "challenger"),
    ],
    ids=["unknown", "itself", "class missing", "other classes", "better", "worse"],
)
def test_swapped_labels_are_told_whatever_else_decides(champion, alias):
    verdict = judge(SERVED, CLASSES, champion, DOUBTED)
    assert verdict.alias == alias
    assert verdict.label_doubt.startswith("Labels swapped?")
    assert verdict.reason.endswith(verdict.label_doubt)


@st.composite
def estimates(draw):
    low, value, high = sorted(draw(st.tuples(*[st.sampled_from([0, 0.4, 0.5, 0.6, 0.75, 1])] * 3)))
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


@given(estimates(), estimates(), estimates(), estimates())
def test_a_model_that_is_surely_below_chance_never_makes_room(candidate, champion, train, other):
    verdict = judge(
        candidate,
        CLASSES,
        Champion(reference(test=champion, train=train)),
        [reference("open_nsfw", test=other)],
    )
    if any(auc.high < 0.5 for auc in (champion, train, other)):
        assert verdict.alias == "challenger"
        assert "swapped?" in verdict.label_doubt


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
        judge(PERFECT, CLASSES, Champion(reference(test=SERVED), caveat=caveat))
        for caveat in ("", "It is so.")
    )
    assert with_caveat == Verdict("champion", f"{plain.reason} It is so.")
