"""Which of two models is served: the champion stays unless the challenger is no worse."""

from dataclasses import dataclass
from typing import Literal

from assets.methods.confidence_intervals import Estimate

Alias = Literal["champion", "challenger"]


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
    """
    is_as_sure, is_as_high = candidate.low >= champion.low, candidate.value >= champion.value
    compared = {
        (True, True): "the AUC is as high, and its lower bound is not below the champion's.",
        (True, False): "its lower bound is not below, but the AUC itself is below the champion's.",
        (False, True): "the AUC is as high, but its lower bound is below the champion's.",
        (False, False): "the AUC is lower, and its lower bound is below the champion's.",
    }
    return Verdict(
        "champion" if is_as_sure and is_as_high else "challenger",
        f"AUC {_words(candidate)}, the champion of before {_words(champion)}: "
        + compared[is_as_sure, is_as_high],
    )


def _words(auc: Estimate) -> str:
    return f"{auc.value:.4f} ({auc.low:.4f} to {auc.high:.4f})"
