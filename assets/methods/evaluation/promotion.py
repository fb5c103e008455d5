"""Which of two models is served: the champion stays unless the new version is no worse."""

from dataclasses import dataclass
from typing import Literal

from assets.methods.evaluation.intervals import Estimate, format_to_four_decimals

Alias = Literal["champion", "challenger"]
CHANCE = 0.5  # the AUC of random scores


@dataclass(frozen=True)
class Champion:
    """What is known of the champion when a new version is judged.

    Attributes:
        auc: on the test set of the new version; None if the champion has no such class.
        is_candidate: whether the new version has the champion's weights.
        unreachable: why the registry could not say which version is champion; empty if it could.
        caveat: a sentence on how far its AUC can be trusted; may be empty.
    """

    auc: Estimate | None
    is_candidate: bool = False
    unreachable: str = ""
    caveat: str = ""


@dataclass(frozen=True)
class Verdict:
    """The alias that a new version gets, and the reason in a sentence."""

    alias: Alias
    reason: str


def judge(candidate: Estimate, champion: Champion, positive: str) -> Verdict:
    """Decide whether a new version becomes champion.

    A version that cannot be compared with the champion becomes challenger: when the registry could
    not say which version is champion, because another and better one may have taken its place; and
    when the champion does not have the class ``positive``. A version that is the champion already
    stays so whatever its AUC, because a person may have promoted it. Any other is compared by the
    AUC of both on one test set, each with its interval.

    It becomes champion when its lower bound is not below the champion's: on the point estimates
    alone a lucky draw of the test set would do. Its AUC must not be below the champion's either: an
    interval may be narrower although the ranking has more errors. And its lower bound must be above
    chance: on a small test set the champion may rank worse than chance, and a network that
    diverged, which gives all images one score, would replace it.
    """
    if champion.unreachable:
        return Verdict("challenger", f"The champion is not known: {champion.unreachable}")
    if champion.is_candidate:
        return Verdict("champion", "It is the champion already.")
    if champion.auc is None:
        return Verdict(
            "challenger", f"The champion has no class {positive}, so the two cannot be compared."
        )
    is_no_worse, why = _compared(candidate, champion.auc)
    new, old = format_to_four_decimals(candidate), format_to_four_decimals(champion.auc)
    reason = f"AUC {new}, the champion's {old}: {why}"
    return Verdict(
        "champion" if is_no_worse else "challenger", f"{reason} {champion.caveat}".rstrip()
    )


def _compared(candidate: Estimate, champion: Estimate) -> tuple[bool, str]:
    is_as_sure, is_as_high = candidate.low >= champion.low, candidate.value >= champion.value
    if not is_as_sure:
        higher = "the AUC is as high, but" if is_as_high else "the AUC is lower, and"
        return False, f"{higher} its lower bound is below the champion's."
    if not is_as_high:
        return False, "its lower bound is not below, but the AUC itself is below the champion's."
    if candidate.low <= CHANCE:
        return False, f"its lower bound is not above chance, which is {CHANCE}."
    return True, "the AUC is as high, and its lower bound is not below the champion's."
