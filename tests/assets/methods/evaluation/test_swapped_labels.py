"""Which labels are doubted, as a table of what each model makes of each split."""

import pytest

from assets.methods.evaluation.intervals import Estimate
from assets.methods.evaluation.swapped_labels import (
    Reference,
    find_mixed_labels,
    find_swapped_labels,
    say_what_is_unknown,
)

CLASSES = ("sfw", "nsfw")
BELOW, UNSURE, ABOVE = Estimate(0.1, 0.05, 0.2), Estimate(0.5, 0.3, 0.7), Estimate(0.9, 0.8, 0.95)
AUCS = {"-": BELOW, "?": UNSURE, "+": ABOVE}
SPLITS = ("test", "train", "validation")


def reference(name: str, splits: str, agreement: Estimate | None = None, **slices: Estimate):
    """One that is below chance (-), unsure (?) or above (+) in test, train and validation."""
    aucs = {split: AUCS[one] for split, one in zip(SPLITS, splits, strict=False) if one != " "}
    return Reference(name, aucs, {f"{name} is x": auc for name, auc in slices.items()}, agreement)


@pytest.mark.parametrize(
    ("candidate", "champion", "open_nsfw", "doubted"),
    [
        # All labels, whether or not each split has enough photos to show it.
        ("+", "---", "---", "Labels swapped?"),
        ("+", "---", None, "Labels swapped?"),
        ("+", "-  ", None, "Labels swapped?"),
        # The champion learned from the same labels, or it is the champion that is wrong.
        ("+", "+++", "---", "Labels swapped?"),
        ("+", "---", "+++", "Labels swapped?"),
        ("+", None, "---", "Labels swapped?"),
        # A part of them.
        ("-", "+--", "+--", "Labels of the splits train and validation swapped?"),
        ("-", "+-+", None, "Labels of the split train swapped?"),
        ("-", "-++", None, "Labels of the split test swapped?"),
        ("+", "++-", None, "Labels of the split validation swapped?"),
        ("+", "-??", None, "Labels of the split test swapped?"),
        ("?", "?-?", None, "Labels of the split train swapped?"),
        # Without a model that knew train, train and test contradict each other.
        ("-", "+  ", None, "Labels of a split swapped?"),
        ("-", "???", None, "Labels of a split swapped?"),
        ("-", None, None, "Labels of a split swapped?"),
        # The labels are right, and the training went wrong.
        ("-", "+++", None, ""),
        ("?", "+++", "+++", ""),
        # Nothing is sure, or nothing is wrong.
        ("+", "???", "???", ""),
        ("+", "+++", "+++", ""),
        ("+", "?++", None, ""),
        ("+", None, None, ""),
    ],
)
def test_which_labels_are_doubted(candidate, champion, open_nsfw, doubted):
    given = {"the champion": champion, "open_nsfw": open_nsfw}
    known = [reference(name, splits) for name, splits in given.items() if splits is not None]
    said = find_swapped_labels(AUCS[candidate], known, CLASSES)
    assert said.partition("swapped?")[0] + "swapped?" * bool(said) == doubted
    assert ("Look at some photos labelled nsfw and some labelled sfw" in said) == bool(doubted)


def test_each_model_is_named_with_what_it_makes_of_the_labels():
    known = [reference("the champion", "---"), reference("open_nsfw", "+++")]
    assert find_swapped_labels(ABOVE, known, CLASSES) == (
        "Labels swapped? The champion ranks worse than chance (AUC 0.10 (0.05–0.20) in test, "
        "0.10 (0.05–0.20) in train, 0.10 (0.05–0.20) in validation). open_nsfw ranks better than "
        "chance (AUC 0.90 (0.80–0.95) in test, 0.90 (0.80–0.95) in train, 0.90 (0.80–0.95) in "
        "validation). Look at some photos labelled nsfw and some labelled sfw: the labels are "
        "wrong, or the champion is."
    )


def test_a_model_that_is_right_elsewhere_says_so():
    known = [reference("the champion", "+- "), reference("open_nsfw", "+? ")]
    assert find_swapped_labels(BELOW, known, CLASSES) == (
        "Labels of the split train swapped? The champion ranks worse than chance (AUC 0.10 "
        "(0.05–0.20) in train) and better than chance (AUC 0.90 (0.80–0.95) in test). Look at some "
        "photos labelled nsfw and some labelled sfw there: those labels seem to be wrong."
    )


def test_labels_of_one_source_are_doubted_where_each_split_is_at_chance():
    known = [reference("the champion", "???", web=BELOW, camera=ABOVE)]
    assert find_swapped_labels(ABOVE, known, CLASSES) == (
        "Labels where web is x swapped? The champion ranks worse than chance (AUC 0.10 (0.05–0.20) "
        "where web is x) and better than chance (AUC 0.90 (0.80–0.95) where camera is x). Look at "
        "some photos labelled nsfw and some labelled sfw there: those labels seem to be wrong."
    )


def test_of_many_slices_three_are_named():
    slices = {f"s{number}": BELOW for number in range(5)}
    said = find_swapped_labels(ABOVE, [reference("the champion", "???", **slices)], CLASSES)
    assert said.startswith("Labels where s0 is x; s1 is x; s2 is x; ... swapped? The champion")
    assert "s3" not in said


@pytest.mark.parametrize(
    ("agreement", "splits", "is_doubted"),
    [(BELOW, "?", True), (BELOW, "+", False), (UNSURE, "?", False), (ABOVE, "?", False)],
)
def test_a_version_that_says_the_opposite_of_the_champion_is_doubted(agreement, splits, is_doubted):
    said = find_swapped_labels(ABOVE, [reference("the champion", splits, agreement)], CLASSES)
    assert (said != "") == is_doubted
    if said:
        assert said == (
            "Labels swapped? The new version ranks the split test the other way round than the "
            "champion (AUC 0.10 (0.05–0.20) for the half that the champion scores higher). Look at "
            "some photos labelled nsfw and some labelled sfw: the labels are wrong, or the "
            "champion is."
        )


@pytest.mark.parametrize(
    ("candidate", "known", "is_mixed"),
    [
        ("?", ["???"], True),
        ("?", ["???", "??"], True),
        # The new version, or a model of before, tells the classes apart.
        ("+", ["???"], False),
        ("?", ["???", "??+"], False),
        ("?", [], False),
    ],
)
def test_mixed_labels_leave_every_model_at_chance(candidate, known, is_mixed):
    references = [reference(f"model {number}", one) for number, one in enumerate(known)]
    said = find_mixed_labels(AUCS[candidate], references, CLASSES)
    assert said.startswith("Labels mixed up, or too few photos? Neither the new") == is_mixed
    assert (said == "") == (not is_mixed)


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ([], "No model knew nsfw before, so nothing tells whether labels are swapped."),
        (
            ["???"],
            "As model 0 is not surely above chance, nothing tells whether labels are swapped.",
        ),
        (
            ["???", "?"],
            "As neither model 0 nor model 1 is surely above chance, nothing tells whether "
            "labels are swapped.",
        ),
        (["???", "?+"], ""),
    ],
)
def test_that_nothing_could_tell_is_told(known, said):
    references = [reference(f"model {number}", one) for number, one in enumerate(known)]
    assert say_what_is_unknown(references, "nsfw") == said
