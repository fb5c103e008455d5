"""Where on a map a photo would lie that is not on it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.methods.layout.projection.projection_network import ProjectionNetwork

NEIGHBOURS = 8  # photos of the map, named and averaged
_SAME = 1e-6  # photos whose cosine is nearer to 1 are copies


@dataclass(frozen=True)
class PlacedPhoto:
    """A place on a map.

    Attributes:
        x: in the units of the map's points, and so is y.
        row: of the cell in which the photo of the map with the nearest point lies, and so is col.
            The points alone do not tell it: the grid spreads them.
        neighbours: (k,), the numbers of the most similar photos of the map, the most similar first.
        cosines: (k,), their cosine similarities.
        by_network: whether a network has placed it, or the mean of its neighbours' points.
    """

    x: float
    y: float
    row: int
    col: int
    neighbours: NDArray[np.int64]
    cosines: NDArray[np.float64]
    by_network: bool


@dataclass(frozen=True)
class PhotoPlaces:
    """The n >= 1 photos of a map.

    Attributes:
        vectors: (n, d) float32, of unit length.
        points: (n, 2), of the projection.
        cells: (n, 2), row and col.
        network: that has placed them; None for other projections.
    """

    vectors: NDArray[np.float32]
    points: NDArray[np.float64]
    cells: NDArray[np.integer]
    network: ProjectionNetwork | None = None

    def place(self, vector: NDArray[np.float32]) -> PlacedPhoto:
        """Return where the photo with this vector (d,), of unit length, would lie."""
        cosines = self.vectors @ vector
        # Two rows that are as similar come in the order of their numbers.
        nearest = np.argsort(-cosines, kind="stable")[: NEIGHBOURS + 1]
        near = cosines[nearest].astype(np.float64).clip(-1, 1)
        if self.network is None:
            x, y = _weighted_mean(self.points[nearest], near)
        else:
            x, y = self.network.place(vector[np.newaxis])[0]
        steps = np.square(self.points - (x, y)).sum(axis=1)
        row, col = self.cells[steps.argmin()]
        return PlacedPhoto(
            float(x),
            float(y),
            int(row),
            int(col),
            nearest[:NEIGHBOURS],
            near[:NEIGHBOURS],
            self.network is not None,
        )


def _weighted_mean(
    points: NDArray[np.float64], cosines: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mean of the points (k, 2) of neighbours, the most similar first.

    The weight of each is how much more similar it is than the last one, which only sets the scale:
    cosines of photos differ by less than they have in common. A copy alone decides.
    """
    if cosines[0] > 1 - _SAME:
        return points[0]
    weights = cosines - cosines[-1]
    if len(points) <= NEIGHBOURS or not weights.any():
        weights = np.ones(len(points))
    return weights @ points / weights.sum()
