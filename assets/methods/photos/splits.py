"""Splits: which photos train a model, choose its settings, and test it."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.errors import UserError

# In ascending order: a group of photos takes the last of the splits that its photos have.
SPLITS = ("train", "validation", "test")
# The words that the library `datasets` of Hugging Face takes for splits, and no others.
_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_NAMES = {word: split for split, words in _WORDS.items() for word in words}


@dataclass(frozen=True)
class SplitFractions:
    """The expected share of the groups in each split.

    Raises:
        UserError: a share is negative, or they do not sum to one.
    """

    train: float = 0.7
    validation: float = 0.1
    test: float = 0.2

    def __post_init__(self) -> None:
        shares = astuple(self)
        if not (min(shares) >= 0 and math.isclose(sum(shares), 1)):
            raise UserError(
                f"The shares of {', '.join(SPLITS)} are {', '.join(map(str, shares))}: none may be "
                "negative, and they have to sum to 1."
            )


def split_name(text: str) -> str | None:
    """Return the split that ``text`` names, None if there is no such split.

    Case and spaces around it do not matter; `training`, `val`, `dev` and `testing` are names, too.
    """
    return _NAMES.get(text.strip().lower())


def assign_splits(
    image_ids: Sequence[str],
    groups: NDArray[np.integer],
    given: Sequence[str | None] | None = None,
    fractions: SplitFractions | None = None,
) -> list[str]:
    """Return the split of each of n photos; photos of one group are in one split.

    A group takes the strongest split that is given to one of its photos: test, so that a test set
    stays whole, then validation, then train. If none is given, a hash of the smallest image_id in
    the group decides. New photos therefore change the split of no group that they do not join.

    Args:
        image_ids: n ids.
        groups: n numbers; equal ones are of one group.
        given: n names of `SPLITS`, None where none is given.
        fractions: the share of each split among the groups to which none is given.
    """
    claims: dict[int, int] = {}
    smallest: dict[int, str] = {}
    for image_id, group, name in zip(
        image_ids, groups.tolist(), given or [None] * len(image_ids), strict=True
    ):
        smallest[group] = min(image_id, smallest.get(group, image_id))
        if name is not None:
            claims[group] = max(SPLITS.index(name), claims.get(group, 0))
    fractions = fractions or SplitFractions()
    splits = {
        group: SPLITS[claims[group]] if group in claims else _split_by_hash(image_id, fractions)
        for group, image_id in smallest.items()
    }
    return [splits[group] for group in groups.tolist()]


def with_validation(
    image_ids: Sequence[str],
    groups: NDArray[np.integer],
    labels: Sequence[str],
    splits: Sequence[str],
    fractions: SplitFractions | None = None,
) -> list[str]:
    """Return the splits of n photos with a part of train made validation.

    From each class the same share of the groups is taken, at least one group, and at least one
    stays. A group is of the class of its photo with the smallest image_id, and a hash of that id
    says which are taken: the same each time, and few others when there are new photos.

    Args:
        image_ids: n ids.
        groups: n numbers; equal ones are of one group, which has one split.
        labels: n names of classes.
        splits: n names of `SPLITS`.
        fractions: whose train and validation together are the photos of train.
    """
    fractions = fractions or SplitFractions()
    of_train = fractions.train + fractions.validation
    share = fractions.validation / of_train if of_train else 0
    first: dict[int, tuple[str, str]] = {}
    for image_id, group, label, split in zip(
        image_ids, groups.tolist(), labels, splits, strict=True
    ):
        if split == "train":
            first[group] = min((image_id, label), first.get(group, (image_id, label)))
    taken = set()
    for label in sorted(set(labels)):
        of_class = [
            (_digest("validation", one), group)
            for group, (one, name) in first.items()
            if name == label
        ]
        wanted = max(1, round(share * len(of_class))) if share else 0
        in_order = sorted(of_class)[: min(wanted, len(of_class) - 1)] if of_class else []
        taken |= {group for _, group in in_order}
    return [
        "validation" if group in taken else split
        for group, split in zip(groups.tolist(), splits, strict=True)
    ]


def _split_by_hash(image_id: str, fractions: SplitFractions) -> str:
    # 32 bits are coarse enough to ignore that the shares sum to one only up to rounding.
    place = int.from_bytes(_digest("split", image_id)[:4]) / 2**32
    if place < fractions.train:
        return "train"
    return "validation" if place < fractions.train + fractions.validation else "test"


def _digest(purpose: str, image_id: str) -> bytes:
    # The smallest id of a large group begins with zeros, so the id itself would depend on the size.
    return hashlib.sha256(f"{purpose} {image_id}".encode()).digest()
