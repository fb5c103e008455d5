"""A map that follows from the last one: photos stay where a person has seen them.

Known photos belong in their old cells and new ones beside their like; all are assigned again, and
refined under a bound. A map of which too much has changed, or that has become much worse than one
made anew, is made anew and turned to fit.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.progress import Progress, silent
from assets.methods.layout.grid import GridShape
from assets.methods.layout.layout import Layout, LayoutSettings, Stay, assigned, lay_out
from assets.methods.layout.quality import layout_quality
from assets.methods.layout.refinement import Anchors, refine
from assets.methods.layout.staying.growth import changed_grid
from assets.methods.layout.staying.last_map import LastMap, StaySettings, too_much_changed
from assets.methods.layout.staying.new_places import placed
from assets.methods.layout.turning import best_symmetry, turned_points

# The DPQ16 of fewer photos is mostly chance, and no reason to make a map anew.
FEWEST_MEASURED = 100
# Shares of the DPQ16 of a map made anew: at the lower one moves are free, from the higher one on
# they have their full price.
_FREE_AND_FULL_PRICE = (0.96, 1.0)


def lay_out_again(
    photos: Sequence[str],
    points: NDArray[np.floating],
    vectors: NDArray[np.floating],
    last: LastMap,
    labels: Any = None,
    settings: LayoutSettings | None = None,
    stay: StaySettings | None = None,
    progress: Callable[[str], Progress] = lambda unit: silent,
) -> Layout:
    """Give each photo a cell of its own, near the one that it had on the last map.

    Args:
        photos: n names, each once.
        points, vectors, labels, settings, progress: as for ``lay_out``.
        last: the map to start from; it may be of quite other photos.
        stay: how far photos may move.

    Raises:
        UserError: the grid is too small for n photos.
    """
    settings, stay = settings or LayoutSettings(), stay or StaySettings()
    number = {name: index for index, name in enumerate(last.photos)}
    numbers = np.array([number.get(name, -1) for name in photos], dtype=np.int64)
    known = numbers >= 0
    gone = np.setdiff1d(np.arange(len(last.photos)), numbers)
    changed = changed_grid(last.grid, last.cells[numbers[known]], len(photos), settings.shape)
    before = np.zeros((len(photos), 2), dtype=np.int64)
    before[known] = changed.cells(last.cells[numbers[known]])
    anew = too_much_changed(last.photos, photos, stay)
    if not anew:
        anchors = Anchors(before, known, stay.max_move, _price(last, stay))
        layout = _anchored(changed.grid, anchors, points, vectors, labels, settings, progress)
        anew = _too_bad(layout.quality.dpq16, last.fresh_dpq16, len(photos), stay)
    fresh_dpq16 = last.fresh_dpq16
    if anew:
        before[known] = last.cells[numbers[known]]
        layout = _turned(points, vectors, before, known, labels, settings, progress)
        fresh_dpq16 = layout.quality.dpq16
    where = last.cells if anew else changed.cells(last.cells)
    report = Stay(anew, known, before, gone, where[gone], last.dpq16, fresh_dpq16)
    return replace(layout, stay=report)


def _anchored(
    grid: GridShape,
    anchors: Anchors,
    points: NDArray[np.floating],
    vectors: NDArray[np.floating],
    labels: Any,
    settings: LayoutSettings,
    progress: Callable[[str], Progress],
) -> Layout:
    targets = placed(anchors.cells, vectors, anchors.known)[:, ::-1]
    assignment = assigned(targets, grid, settings, progress)
    row, col, refinement = assignment.row, assignment.col, None
    if settings.refine:
        refinement = refine(
            row,
            col,
            vectors,
            grid,
            anchors=anchors,
            seed=settings.seed,
            progress=progress("passes"),
        )
        row, col = refinement.row, refinement.col
    quality = layout_quality(row, col, vectors, points, labels, seed=settings.seed)
    return Layout(grid, targets, row, col, assignment, None, refinement, quality)


def _price(last: LastMap, settings: StaySettings) -> float:
    """Return the price of a move: less and less where the quality has fallen, night after night."""
    if last.dpq16 is None or not last.fresh_dpq16 or len(last.photos) < FEWEST_MEASURED:
        return settings.price
    free, full = _FREE_AND_FULL_PRICE
    share = (last.dpq16 / last.fresh_dpq16 - free) / (full - free)
    return settings.price * float(np.clip(share, 0, 1))


def _too_bad(dpq16: float | None, fresh_dpq16: float | None, n: int, settings: StaySettings) -> str:
    if dpq16 is None or fresh_dpq16 is None or n < FEWEST_MEASURED:
        return ""
    if dpq16 >= settings.least_quality * fresh_dpq16:
        return ""
    return (
        f"DPQ16 would be {dpq16:.3f}, below {settings.least_quality:.0%} of the "
        f"{fresh_dpq16:.3f} of the last map that was made anew."
    )


def _turned(
    points: NDArray[np.floating],
    vectors: NDArray[np.floating],
    before: NDArray[np.int64],
    known: NDArray[np.bool_],
    labels: Any,
    settings: LayoutSettings,
    progress: Callable[[str], Progress],
) -> Layout:
    """Lay the photos out anew, as near to where they were as turning and mirroring can do."""
    points = turned_points(np.asarray(points, dtype=np.float64), before[:, ::-1], known)
    layout = lay_out(points, vectors, labels, settings, progress)
    cells = np.stack([layout.row, layout.col], axis=1).astype(np.int64)
    symmetry = best_symmetry(cells, layout.grid, before, known)
    row, col = symmetry.of(cells, layout.grid).astype(np.int32).T
    targets = symmetry.of(layout.cells[:, ::-1], layout.grid)[:, ::-1]
    return replace(layout, row=row, col=col, cells=targets)
