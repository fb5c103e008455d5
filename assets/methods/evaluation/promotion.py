"""Which of two models is served: the champion stays unless the challenger is no worse."""

from dataclasses import dataclass
from typing import Literal

from assets.methods.evaluation.intervals import Estimate

Alias = Literal["champion", "challenger"]
CHANCE = 0.5  # the AUC of scores that tell nothing


@dataclass(frozen=True)
class Verdict:
    """The alias that a new version gets, and why, in a sentence."""

    alias: Alias
    reason: str


def judge(candidate: Estimate, champion: Estimate) -> Verdict:
    """Judge a new version by the AUC of both on one test set, each with its interval.

    It becomes champion when its lower bound is not below the champion's: what it surely reaches is
    as much. On the point estimates alone a lucky draw of the test set would do. Its AUC must not be
    below the champion's either: an interval may be narrower although the ranking has more errors.
    And it must be surely better than chance: on a small test set the champion may rank worse, and
    a network that diverged, to which all images are alike, would follow it.
    """
    is_as_sure, is_as_high = candidate.low >= champion.low, candidate.value >= champion.value
    compared = {
        (True, True): "the AUC is as high, and its lower bound is not below the champion's.",
        (True, False): "its lower bound is not below, but the AUC itself is below the champion's.",
        (False, True): "the AUC is as high, but its lower bound is below the champion's.",
        (False, False): "the AUC is lower, and its lower bound is below the champion's.",
    }
    is_no_worse, is_by_chance = is_as_sure and is_as_high, candidate.low <= CHANCE
    why = compared[is_as_sure, is_as_high]
    if is_no_worse and is_by_chance:
        why = f"it is not surely better than chance, which is {CHANCE}."
    return Verdict(
        "champion" if is_no_worse and not is_by_chance else "challenger",
        f"AUC {_words(candidate)}, the champion of before {_words(champion)}: {why}",
    )


def _words(auc: Estimate) -> str:
    return f"{auc.value:.4f} ({auc.low:.4f} to {auc.high:.4f})"
