"""Two occlusion experiments on an image: its parts alone, and the image without them.

`seen` scores each window cut out of the image: how much does this part show the class by itself?
It is the experiment that Tessera began with. `hidden` scores the image with the window painted
over, and maps 1 - score: how much does the class need this part? Source: Zeiler and Fergus,
"Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from assets.methods.attribution.levels import Level
from assets.methods.attribution.windows import FILLS, Fill, Windows
from assets.methods.common.errors import UserError

Experiment = Literal["seen", "hidden"]
EXPERIMENTS: tuple[Experiment, ...] = get_args(Experiment)

# Box and stride. `figure` is what the original work used.
PRESETS = {"figure": (64, 3), "quick": (64, 16)}

# A map of a larger image has this many pixels instead of the image's own: 6,000 x 4,000 px are
# what most cameras give, and a float32 map of them takes 96 MB.
MOST_MAP_PIXELS = 24_000_000

# Scores are exact to about 1e-6: a map that spans less is flat, and its grain is rounding.
FLAT = 1e-6


@dataclass(frozen=True)
class OcclusionSettings:
    """How windows are placed and painted.

    An image whose long side exceeds ``long_side`` px is scaled down to it first, with None none
    is: ``box`` and ``stride`` are px of the scaled image. ``fill`` is what `hidden` paints windows
    over with.

    Raises:
        UserError: a number is below one, the stride exceeds the box, which would leave pixels
            uncovered, or there is no such fill.
    """

    box: int = 64
    stride: int = 16
    fill: Fill = "black"
    long_side: int | None = None

    def __post_init__(self) -> None:
        for name in ("box", "stride", "long_side"):
            length = getattr(self, name)
            if length is not None and length < 1:
                raise UserError(f"The {name} is {length} px: it has to be at least 1.")
        if self.stride > self.box:
            raise UserError(
                f"A stride of {self.stride} px leaves pixels between windows of {self.box} px "
                "uncovered: choose a stride no larger than the box."
            )
        if self.fill not in FILLS:
            raise UserError(f"There is no fill {self.fill!r}: use {', '.join(FILLS)}.")


@dataclass(frozen=True)
class OcclusionMap:
    """What an experiment found on an image.

    Attributes:
        experiment: "seen" or "hidden".
        values: float32 (rows, columns) of the size that was asked for, within the range of
            ``window_values``.
        windows: where the windows lay, in px of the scaled image.
        scores: float32 (rows, columns) of windows, P(class) of each window's image; NaN where an
            estimate goes without.
        n_computed: windows scored just now; the others were known.
        error: of an estimate, how far its values are expected to be from those of the exact map, on
            average, as a share of its range (``estimated_error``). None for the exact map.
    """

    experiment: Experiment
    values: NDArray[np.float32]
    windows: Windows
    scores: NDArray[np.float32]
    n_computed: int
    error: float | None = None

    @property
    def n_scored(self) -> int:
        """The number of windows that have a score: all of them, or fewer for an estimate."""
        return int(np.isfinite(self.scores).sum())

    @property
    def window_values(self) -> NDArray[np.float32]:
        """What the map averages: the scores of `seen`, 1 - score of `hidden`; NaN as in them."""
        return window_values(self.experiment, self.scores)


def scale_down(image: Image.Image, long_side: int | None) -> Image.Image:
    """Return ``image`` in RGB, with its long side at most ``long_side`` px if that is given."""
    image, scale = image.convert("RGB"), min(1, (long_side or math.inf) / max(image.size))
    size = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def window_values(experiment: Experiment, scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a map averages: the scores of `seen`, 1 - score of `hidden`."""
    return scores if experiment == "seen" else 1 - scores


def occlusion_map(
    experiment: Experiment,
    windows: Windows,
    scores: NDArray[np.float32],
    size: tuple[int, int],
    n_computed: int,
    level: Level | None = None,
) -> OcclusionMap:
    """Average the windows' scores and bring the map to ``size``.

    Args:
        experiment: which one the scores are of.
        windows: where the windows lay, in px of the scaled image.
        scores: (rows, columns) of windows.
        size: (width, height) of the map in px; bilinear where it is not that of the windows.
        n_computed: windows scored just now.
        level: estimates the map from the scores of this level alone; None for the exact map.
    """
    error = None
    if level is None:
        values = windows.average(window_values(experiment, scores))
    else:
        values = windows.average(level.fill(window_values(experiment, scores)))
        error, scores = estimated_error(level, scores), level.only(scores)
    if size != values.shape[::-1]:
        stretched = Image.fromarray(values).resize(size, Image.Resampling.BILINEAR)
        # Weights that sum to one only nearly could leave the range by a rounding.
        values = np.asarray(stretched).clip(values.min(), values.max())
    return OcclusionMap(experiment, values, windows, scores, n_computed, error)


def estimated_error(level: Level, scores: NDArray[np.float32]) -> float:
    """Estimate the mean difference, over all pixels, between the map of a level and the exact one.

    It is the mean difference between the map of the level and that of every other row and column of
    it, as a share of the range of the first, from its lowest to its highest value, and at most 1;
    0 where both maps are flat and the same. What all scored windows miss, it does not see.

    Args:
        level: whose windows have scores.
        scores: P(class) of each window's image, (rows, columns) of windows.
    """
    fine, coarse = (level.windows.average(one.fill(scores)) for one in (level, level.coarser))
    difference = float(np.abs(fine - coarse).mean(dtype=np.float64))
    spread = float(np.ptp(fine))
    if spread <= FLAT:
        return 0.0 if difference <= FLAT else 1.0
    return min(1.0, difference / spread)


def strongest_window(found: OcclusionMap) -> tuple[int, int]:
    """Return (row, column) of the scored window with the highest value, the first of equals.

    For `seen` it is the window that looks most like the class by itself, for `hidden` the one
    without which the image looks least like it.
    """
    row, column = np.unravel_index(np.nanargmax(found.window_values), found.scores.shape)
    return int(row), int(column)


def occlusion_metrics(found: OcclusionMap, threshold: float = 0.5) -> dict[str, float]:
    """Return the map's minimum, maximum and mean, and the share of windows above ``threshold``.

    The share is of the windows that were scored. An estimate also has its ``estimated_error``.
    """
    is_scored = np.isfinite(found.scores)
    metrics = {
        "minimum": float(found.values.min()),
        "maximum": float(found.values.max()),
        "mean": float(found.values.mean(dtype=np.float64)),
        "share_above_threshold": float((found.window_values[is_scored] > threshold).mean()),
    }
    return metrics if found.error is None else metrics | {"estimated_error": found.error}
