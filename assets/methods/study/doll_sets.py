"""Sets of paper dolls: with a shortcut planted in them, without it, and redesigned.

In the flawed set all bare dolls have red lips and no clothed one has. So a network can learn to
look at lips alone, and a test set that shares the flaw cannot show it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from PIL import Image

from assets.methods.study.paper_dolls import Doll, DollKind, draw_dolls
from assets.methods.training.train import LabelledImages

CLASS_NAMES = ("sfw", "nsfw")

Design = Literal["flawed", "redesigned", "unflawed"]
# The kinds that a set repeats. Half of each set is bare.
_KINDS: dict[Design, tuple[DollKind, ...]] = {
    "flawed": (DollKind(bare=False, red_lips=False), DollKind(bare=True, red_lips=True)),
    # The clothed get red lips as well, so that lips tell nothing any more.
    "redesigned": (DollKind(bare=False, red_lips=True), DollKind(bare=True, red_lips=True)),
    "unflawed": (
        DollKind(bare=False, red_lips=False),
        DollKind(bare=True, red_lips=False),
        DollKind(bare=False, red_lips=True),
        DollKind(bare=True, red_lips=True),
    ),
}


@dataclass(frozen=True)
class DollSet:
    """Dolls with their labels: bare ones stand for the positive class."""

    dolls: tuple[Doll, ...]

    @cached_property
    def image_ids(self) -> list[str]:
        """The SHA-256 of each image's pixels, in hex."""
        return [hashlib.sha256(doll.image.tobytes()).hexdigest() for doll in self.dolls]

    @property
    def is_positive(self) -> np.ndarray:
        """(n,) bool."""
        return np.array([doll.kind.bare for doll in self.dolls])

    @property
    def labelled(self) -> LabelledImages:
        """The set as ``train_classifier`` takes it."""
        return LabelledImages(self.image_ids, self.is_positive)

    @property
    def slices(self) -> pd.DataFrame:
        """How the dolls differ beside their label, one row a doll."""
        return pd.DataFrame(
            {"lips": ["red" if doll.kind.red_lips else "plain" for doll in self.dolls]}
        )

    def loader(self) -> Callable[[str], Image.Image]:
        """Return a function that returns the image of an image_id."""
        images = dict(zip(self.image_ids, (doll.image for doll in self.dolls), strict=True))
        return images.__getitem__


def draw_doll_set(design: Design, n: int, seed: int) -> DollSet:
    """Draw ``n`` dolls; sets of one seed have the same poses, grounds, lights and skins."""
    kinds = _KINDS[design]
    return DollSet(tuple(draw_dolls([kinds[number % len(kinds)] for number in range(n)], seed)))
