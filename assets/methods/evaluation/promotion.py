"""Which of two models is served: the champion stays unless the new version is no worse."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from assets.methods.evaluation.intervals import Estimate, format_to_four_decimals
from assets.methods.evaluation.swapped_labels import (
    CHANCE,
    Reference,
    find_mixed_labels,
    find_swapped_labels,
    is_above_chance,
    say_what_is_unknown,
)

Alias = Literal["champion", "challenger"]


@dataclass(frozen=True)
class Champion:
    """What is known of the champion when a new version is judged.

    Attributes:
        reference: how it ranks the labelled photos; None if it has no such class.
        answers: the classes that it is asked for, as ``answered_classes`` returns them.
        is_candidate: whether the new version has the champion's weights.
        unreachable: why the registry could not say which version is champion; empty if it could.
        caveat: a sentence on how far its AUC can be trusted; may be empty.
    """

    reference: Reference | None
    answers: tuple[str, ...] = ()
    is_candidate: bool = False
    unreachable: str = ""
    caveat: str = ""


@dataclass(frozen=True)
class Verdict:
    """The alias that a new version gets, and the reason in one or more sentences.

    ``label_doubt`` is the part of the reason that says which labels may be wrong; may be empty.
    """

    alias: Alias
    reason: str
    label_doubt: str = ""


def answered_classes(class_names: Sequence[str], asked: str) -> tuple[str, ...]:
    """Return the classes that others ask a champion for.

    These are the class ``asked`` that commands ask for by default, if the champion has it, and its
    positive class, which is the last one.
    """
    known = [asked] if asked in class_names else []
    return tuple(dict.fromkeys([*known, *class_names[-1:]]))


def missing_classes(class_names: Sequence[str], answers: Sequence[str]) -> tuple[str, ...]:
    """Return those classes of ``answers`` that a version with ``class_names`` does not know."""
    return tuple(name for name in answers if name not in class_names)


def judge(
    candidate: Estimate,
    class_names: tuple[str, str],
    champion: Champion,
    others: Sequence[Reference] = (),
) -> Verdict:
    """Decide whether a new version becomes champion.

    A version that cannot be compared with the champion becomes challenger: when the registry could
    not say which version is champion, because another and better one may have taken its place; when
    it lacks a class that the champion is asked for; and when the champion does not have the
    positive class. A version that is the champion already stays so whatever its AUC, because a
    person may have promoted it. Any other is compared by the AUC of both on one test set, each with
    its interval.

    It becomes champion when its lower bound is not below the champion's: on the point estimates
    alone a lucky draw of the test set would do. Its AUC must not be below the champion's either: an
    interval may be narrower although the ranking has more errors. And its lower bound must be above
    chance: on a small test set the champion may rank worse than chance, and a network that
    diverged, which gives all images one score, would replace it.

    Where labels seem to be swapped, a person has to look first: a model that learned from swapped
    labels is perfect on a test split whose labels are swapped too, and the champion is wrong there.

    Args:
        candidate: AUC of the new version on the split test.
        class_names: those of the new version: negative, positive.
        champion: the model that it would replace.
        others: other models that knew the positive class before.
    """
    known = [one for one in (champion.reference, *others) if one is not None]
    doubt = find_swapped_labels(candidate, known, class_names)
    missing = missing_classes(class_names, champion.answers)
    if champion.unreachable:
        return _verdict("challenger", f"The champion is not known: {champion.unreachable}", doubt)
    if champion.is_candidate:
        return _verdict("champion", "It is the champion already.", doubt)
    if missing or champion.reference is None:
        return _verdict(
            "challenger", _why_not_comparable(class_names, missing, champion, known), doubt
        )
    old = champion.reference.splits["test"]
    compared = (
        f"AUC {format_to_four_decimals(candidate)}, the champion's {format_to_four_decimals(old)}: "
    )
    is_no_worse, why = _compared(candidate, old)
    if not is_no_worse:
        doubt = doubt or find_mixed_labels(candidate, known, class_names)
    elif doubt:
        return Verdict("challenger", f"{compared}not promoted by itself. {doubt}", doubt)
    reason = f"{compared}{why} {champion.caveat}".rstrip()
    if is_no_worse:
        unknown = say_what_is_unknown(known, class_names[1])
        return Verdict("champion", f"{reason} {unknown}".rstrip())
    return _verdict("challenger", reason, doubt)


def _why_not_comparable(
    class_names: tuple[str, str],
    missing: Sequence[str],
    champion: Champion,
    known: Sequence[Reference],
) -> str:
    positive = class_names[1]
    sentences = []
    if missing:
        sentences.append(
            f"It does not know {' and '.join(missing)}, which the champion is asked for."
        )
    if champion.reference is None:
        sentences.append(f"The champion has no class {positive}, so the two cannot be compared.")
        sentences.append(say_what_is_unknown(known, positive))
    return " ".join(sentences).rstrip()


def _verdict(alias: Alias, reason: str, doubt: str) -> Verdict:
    return Verdict(alias, f"{reason} {doubt}".rstrip(), doubt)


def _compared(candidate: Estimate, champion: Estimate) -> tuple[bool, str]:
    is_as_sure, is_as_high = candidate.low >= champion.low, candidate.value >= champion.value
    if not is_as_sure:
        higher = "the AUC is as high, but" if is_as_high else "the AUC is lower, and"
        return False, f"{higher} its lower bound is below the champion's."
    if not is_as_high:
        return False, "its lower bound is not below, but the AUC itself is below the champion's."
    if not is_above_chance(candidate):
        return False, f"its lower bound is not above chance, which is {CHANCE}."
    return True, "the AUC is as high, and its lower bound is not below the champion's."
