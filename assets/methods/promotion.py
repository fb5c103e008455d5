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
    as much. On the point estimates alone a lucky draw of the test set would do.
    """
    is_no_worse = candidate.low >= champion.low
    return Verdict(
        "champion" if is_no_worse else "challenger",
        f"AUC {_words(candidate)}, the champion of before {_words(champion)}: its lower bound is "
        + ("not below the champion's." if is_no_worse else "below the champion's."),
    )


def _words(auc: Estimate) -> str:
    return f"{auc.value:.4f} ({auc.low:.4f} to {auc.high:.4f})"
