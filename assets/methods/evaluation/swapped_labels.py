"""Whether labels are swapped: a model that knew the classes before ranks them the wrong way round.

The AUC of a model is the share of pairs whose positive scores higher, and swapped labels make it
1 - AUC. So a model that knows the classes is then surely below chance: the whole interval of its
AUC is. As a model may be wrong itself, a person has to look.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from assets.methods.evaluation.intervals import Estimate, format_estimate

CHANCE = 0.5  # the AUC of random scores
SPLITS = ("test", "train", "validation")
_MOST_LISTED = 3


@dataclass(frozen=True)
class Reference:
    """How a model that knew the positive class before the training ranks the labelled photos.

    Attributes:
        name: as it stands in a sentence, such as "the champion".
        splits: its AUC by split; a split with too few photos of a class is absent.
        slices: its AUC by slice, such as "source is web". The more slices there are, the wider are
            their intervals, so that chance alone seldom puts any of them below 0.5.
        agreement: the AUC of the new version on the split test, if the half of the photos that this
            model scores higher were the positives; None if it is not known.
    """

    name: str
    splits: Mapping[str, Estimate]
    slices: Mapping[str, Estimate] = field(default_factory=dict)
    agreement: Estimate | None = None


def is_below_chance(auc: Estimate) -> bool:
    """Return whether a model surely ranks worse than chance."""
    return auc.high < CHANCE


def is_above_chance(auc: Estimate) -> bool:
    """Return whether a model surely ranks better than chance."""
    return auc.low > CHANCE


def find_swapped_labels(
    candidate: Estimate, references: Sequence[Reference], class_names: tuple[str, str]
) -> str:
    """Return which labels may be swapped and what to look at, or "" if none seem to be.

    It is told of the first of these that holds: a reference is surely below chance in a split; in a
    slice; the new version is surely below chance on the split test, and no reference says that the
    labels of train are right; the new version surely ranks the split test the other way round than
    a reference that is not surely above chance there.

    Args:
        candidate: AUC of the new version on the split test.
        references: the models that knew the positive class before.
        class_names: negative, positive.
    """
    by_split = {one.name: one.splits for one in references}
    by_slice = {one.name: one.slices for one in references}
    below = _places_below_chance(by_split)
    if below:
        judged = {split for splits in by_split.values() for split in splits}
        where = "" if judged == set(below) else f" of the {_splits(below)}"
        return _against_references(where, below, by_split, class_names)
    below = _places_below_chance(by_slice)
    if below:
        where = f" where {'; '.join(below[:_MOST_LISTED])}{'; ...' * (len(below) > _MOST_LISTED)}"
        return _against_references(where, below, by_slice, class_names)
    are_right = any("train" in one and is_above_chance(one["train"]) for one in by_split.values())
    if is_below_chance(candidate) and not are_right:
        return (
            "Labels of a split swapped? The new version ranks the split test worse than chance: it "
            f"has learned the opposite from the split train. {_look(class_names)} in each split."
        )
    return _against_agreement(references, class_names)


def find_mixed_labels(
    candidate: Estimate, references: Sequence[Reference], class_names: tuple[str, str]
) -> str:
    """Return what to look at if neither the new version nor a reference is surely above chance.

    So it is where half of the labels are wrong, and where photos are few. Returns "" otherwise.
    """
    if not references or is_above_chance(candidate) or _any_is_above_chance(references):
        return ""
    return (
        "Labels mixed up, or too few photos? Neither the new version nor "
        f"{' nor '.join(one.name for one in references)} is surely above chance. "
        f"{_look(class_names)}."
    )


def say_what_is_unknown(references: Sequence[Reference], positive: str) -> str:
    """Return a sentence if no reference can tell whether labels are swapped, or "" if one can."""
    if not references:
        return f"No model knew {positive} before, so nothing tells whether labels are swapped."
    if _any_is_above_chance(references):
        return ""
    names = [one.name for one in references]
    none_is = f"{names[0]} is not" if len(names) == 1 else f"neither {' nor '.join(names)} is"
    return f"As {none_is} surely above chance, nothing tells whether labels are swapped."


def _places_below_chance(aucs: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    """Return the splits or slices in which a reference is surely below chance, each once."""
    below = [
        place for places in aucs.values() for place, auc in places.items() if is_below_chance(auc)
    ]
    return list(dict.fromkeys(below))


def _against_references(
    where: str,
    below: Sequence[str],
    aucs: Mapping[str, Mapping[str, Estimate]],
    class_names: tuple[str, str],
) -> str:
    """Say what each reference has to say of the places in which one is below chance."""
    told, wrong, knows_better = [], [], False
    for name, places in aucs.items():
        worse = {place: auc for place, auc in places.items() if is_below_chance(auc)}
        better = {
            place: auc
            for place, auc in places.items()
            if is_above_chance(auc) and (worse or place in below)
        }
        if worse:
            wrong.append(name)
        # Who is right elsewhere knows the classes.
        knows_better |= bool(worse and better)
        parts = [
            f"{how} than chance (AUC {_listed(found)})"
            for how, found in (("worse", worse), ("better", better))
            if found
        ]
        if parts:
            told.append(f"{_capitalised(name)} ranks {' and '.join(parts)}.")
    if knows_better:
        advice = f"{_look(class_names)} there: those labels seem to be wrong."
    else:
        verb = "is" if len(wrong) == 1 else "are"
        advice = f"{_look(class_names)}: the labels are wrong, or {' and '.join(wrong)} {verb}."
    return f"Labels{where} swapped? {' '.join(told)} {advice}"


def _against_agreement(references: Sequence[Reference], class_names: tuple[str, str]) -> str:
    for one in references:
        knows = "test" in one.splits and is_above_chance(one.splits["test"])
        if one.agreement is not None and is_below_chance(one.agreement) and not knows:
            return (
                "Labels swapped? The new version ranks the split test the other way round than "
                f"{one.name} (AUC {format_estimate(one.agreement)} for the half that {one.name} "
                f"scores higher). {_look(class_names)}: the labels are wrong, or {one.name} is."
            )
    return ""


def _any_is_above_chance(references: Sequence[Reference]) -> bool:
    return any(is_above_chance(auc) for one in references for auc in one.splits.values())


def _look(class_names: tuple[str, str]) -> str:
    negative, positive = class_names
    return f"Look at some photos labelled {positive} and some labelled {negative}"


def _splits(names: Sequence[str]) -> str:
    ordered = [split for split in SPLITS if split in names]
    return f"split{'s' * (len(ordered) > 1)} {' and '.join(ordered)}"


def _listed(aucs: Mapping[str, Estimate]) -> str:
    told = [f"{format_estimate(auc)} {_in(place)}" for place, auc in aucs.items()]
    return ", ".join(told[:_MOST_LISTED]) + ", ..." * (len(told) > _MOST_LISTED)


def _in(place: str) -> str:
    return f"in {place}" if place in SPLITS else f"where {place}"


def _capitalised(name: str) -> str:
    # A model's name, such as open_nsfw, is written as it is.
    return f"T{name[1:]}" if name.startswith("the ") else name
