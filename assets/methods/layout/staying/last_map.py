"""The last map of a collection, and when another can start from it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.errors import UserError
from assets.methods.layout.grid import GridShape


@dataclass(frozen=True)
class StaySettings:
    """How far photos may move, and when a map is made anew instead.

    Attributes:
        max_move: rows and columns that a swap may take a known photo from its cell at most.
        price: of a known photo that is not in its cell: see ``Anchors``.
        most_change: share of new photos among those of now, or of removed ones among those before,
            above which the map is made anew.
        least_quality: share of the DPQ16 of a map made anew, below which it is made anew.

    Raises:
        UserError: a setting is outside its range.
    """

    max_move: int = 2
    price: float = 0.04
    most_change: float = 0.15
    least_quality: float = 0.9

    def __post_init__(self) -> None:
        if self.max_move < 0:
            raise UserError(f"Photos cannot move by at most {self.max_move} cells.")
        if not self.price >= 0:
            raise UserError(f"The price of a move may not be negative, as {self.price} is.")
        for share in (self.most_change, self.least_quality):
            if not 0 <= share <= 1:
                raise UserError(f"A share has to be from 0 to 1, not {share}.")


@dataclass(frozen=True)
class LastMap:
    """The last map of m photos: their names, cells (m, 2) as row and column, and its quality.

    ``fresh_dpq16`` is the DPQ16 of the last map that was made anew.
    """

    photos: Sequence[str]
    cells: NDArray[np.int64]
    grid: GridShape
    dpq16: float | None
    fresh_dpq16: float | None


def too_much_changed(before: Sequence[str], now: Sequence[str], settings: StaySettings) -> str:
    """Return, in a sentence, that too many photos came or went for a map to stay; "" if not."""
    known = len(set(before) & set(now))
    for what, share in (
        ("new", 1 - known / max(len(set(now)), 1)),
        ("gone", 1 - known / max(len(set(before)), 1)),
    ):
        if share > settings.most_change:
            return f"{share:.0%} of the photos are {what}, more than {settings.most_change:.0%}."
    return ""
