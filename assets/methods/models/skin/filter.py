"""The skin filter of 1996: which pixels have the colour and the smoothness of skin.

"Finding Naked People" (Fleck, Forsyth and Bregler, ECCV 1996): log-opponent colours, which the
brightness of the light leaves alone, bands of hue and saturation, and a limit on texture. The
paper's text was not at hand: its numbers are as others quote them, and docs/skin-baseline.md says
who. Large images are scaled down first, and no zero response of the camera is subtracted.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

# The mean of the original's noise, uniform over [0, 1), which hid bands in dark parts of images. A
# constant keeps an image's answer the same each time, and its mirror image's the mirrored one.
_OFFSET = 0.5

# The planes are rounded to 256 levels a step apart, from the lowest number of steps on, which reach
# beyond every colour and texture that a rule accepts. A median commutes with whatever keeps the
# order; 0 is a level, so that grey stays grey.
_COLOUR_STEP = 0.525
_LOWEST_RED_GREEN = -2
_LOWEST_BLUE_YELLOW = -253
_TEXTURE_STEP = 1 / 16


@dataclass(frozen=True)
class Band:
    """A range of hue in degrees and of saturation, ends left out."""

    lowest_hue: float
    highest_hue: float
    lowest_saturation: float
    highest_saturation: float

    def holds(self, hue: np.ndarray, saturation: np.ndarray) -> np.ndarray:
        """Return where both lie inside, bool of their shape."""
        return (
            (hue > self.lowest_hue)
            & (hue < self.highest_hue)
            & (saturation > self.lowest_saturation)
            & (saturation < self.highest_saturation)
        )


@dataclass(frozen=True)
class SkinRules:
    """The numbers of the filter; lengths are in SCALE px.

    SCALE is (height + width) / ``sides_per_scale``, and at least 1.

    Attributes:
        bands: a pixel is marked if its colour is in one of them; quoted.
        texture: and if its texture amplitude is below this; quoted.
        weaker: marked regions grow into adjacent pixels of this band; quoted.
        sides_per_scale: quoted.
        colour_radius, inner_radius, outer_radius: of the medians of the colours, of the intensity
            and of the differences from it; quoted.
        growth: how far a region grows, ours.
        largest_hole: as a share of the image; smaller holes are filled, ours.
        long_side: larger images are scaled down to this, px, ours.
    """

    bands: tuple[Band, ...] = (Band(110, 150, 20, 60), Band(130, 170, 30, 130))
    texture: float = 5
    weaker: Band = Band(110, 180, 0, 130)
    sides_per_scale: float = 320
    colour_radius: float = 2
    inner_radius: float = 4
    outer_radius: float = 6
    growth: float = 3
    largest_hole: float = 0.01
    long_side: int = 256


@dataclass(frozen=True)
class SkinPlanes:
    """What the filter computes on the way, each (h, w) of the working size.

    ``texture`` is the amplitude, ``hue`` in degrees in (-180, 180], ``marked`` the pixels that pass
    the narrow bands, ``skin`` those after growth, with small holes filled. ``scale`` is SCALE.
    Where Rg is negative or By positive, which is no skin, hue and saturation are roughly right.
    """

    texture: np.ndarray
    hue: np.ndarray
    saturation: np.ndarray
    marked: np.ndarray
    skin: np.ndarray
    scale: float


SKIN_RULES = SkinRules()


def log_opponent(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return intensity I, red-green Rg and blue-yellow By, each (h, w) float64.

    With L(x) = 105 log10(x + 1 + n): I = L(G), Rg = L(R) - L(G), By = L(B) - (L(G) + L(R)) / 2. The
    original's n is noise, here it is 0.5. ``image`` is (h, w, 3) uint8 RGB.
    """
    red, green, blue = np.moveaxis(_log_response(image), 2, 0)
    return green, red - green, blue - (green + red) / 2


def skin_planes(image: np.ndarray) -> SkinPlanes:
    """Filter an image, (h, w, 3) uint8 RGB, at the working size."""
    working = _scaled_down(image, SKIN_RULES.long_side)
    scale = max(1.0, sum(working.shape[:2]) / SKIN_RULES.sides_per_scale)
    intensity, red_green, blue_yellow = log_opponent(working)
    radius = round(SKIN_RULES.colour_radius * scale)
    red_green = _median(red_green, _COLOUR_STEP, _LOWEST_RED_GREEN, radius)
    blue_yellow = _median(blue_yellow, _COLOUR_STEP, _LOWEST_BLUE_YELLOW, radius)
    hue = np.degrees(np.arctan2(red_green, blue_yellow))
    saturation = np.hypot(red_green, blue_yellow)
    # L keeps the order, so that the median of L(G) is L of the median of G.
    smooth = _log_response(_rank_median(working[..., 1], round(SKIN_RULES.inner_radius * scale)))
    outer_radius = round(SKIN_RULES.outer_radius * scale)
    texture = _median(np.abs(intensity - smooth), _TEXTURE_STEP, 0, outer_radius)
    in_bands = np.any([band.holds(hue, saturation) for band in SKIN_RULES.bands], axis=0)
    marked = in_bands & (texture < SKIN_RULES.texture)
    skin = _grown(
        marked, SKIN_RULES.weaker.holds(hue, saturation), round(SKIN_RULES.growth * scale)
    )
    skin = _filled(skin, round(SKIN_RULES.largest_hole * skin.size))
    return SkinPlanes(texture, hue, saturation, marked, skin, scale)


def _log_response(values: np.ndarray) -> np.ndarray:
    return 105 * np.log10(values + (1 + _OFFSET))


def _scaled_down(image: np.ndarray, long_side: int) -> np.ndarray:
    longest = max(image.shape[:2])
    if longest <= long_side:
        return image
    height, width = (max(1, round(side * long_side / longest)) for side in image.shape[:2])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))


def _median(plane: np.ndarray, step: float, lowest: int, radius: int) -> np.ndarray:
    """Return the median over discs of a plane, rounded to 256 levels from ``lowest`` steps on."""
    levels = np.clip(np.rint(plane / step) - lowest, 0, 255).astype(np.uint8)
    return (_rank_median(levels, radius).astype(np.float64) + lowest) * step


def _rank_median(levels: np.ndarray, radius: int) -> np.ndarray:
    """Return the median over discs, at the border over the part inside: (h, w) uint8."""
    from skimage.filters import rank
    from skimage.morphology import disk

    # scikit-image takes no array that cannot be written to.
    return rank.median(levels.copy(), disk(radius))


def _grown(marked: np.ndarray, allowed: np.ndarray, reach: int) -> np.ndarray:
    from scipy.ndimage import binary_dilation

    if not marked.any():
        return marked
    return binary_dilation(marked, iterations=reach, mask=allowed | marked)


def _filled(mask: np.ndarray, largest: int) -> np.ndarray:
    from skimage.morphology import remove_small_holes

    return remove_small_holes(mask, max_size=largest)
