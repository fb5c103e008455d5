"""Values of more than 8 bits, integers or floating-point numbers, brought to 8 bits."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

_TIFF_BITS = 258
_TIFF_SAMPLE_FORMAT = 339
# By Pillow's mode and the sample format, 1 for unsigned and 2 for signed integers.
_DTYPES = {("I", 1): "uint32", ("L", 2): "int8"}
# Sensors have even numbers of bits: 12-bit grey whose highest value needs 11 is not brightened.
_NO_DEPTHS = (9, 11, 13, 15)
_BAND_PIXELS = 1_000_000


@dataclass(frozen=True)
class GreyScale:
    """Which values are black and white: ``black``, and ``black`` + 2 ** ``bits`` - 1.

    ``dtype`` is what the values are, where Pillow has no mode for it; ``note`` is a sentence for
    people where the file does not say which value is white.
    """

    black: float
    bits: int
    dtype: str | None
    note: str | None

    def apply(self, image: Image.Image) -> Image.Image:
        """Return a loaded image, or a part of it, in mode L."""
        levels = Image.new("L", image.size)
        for top, values in _bands(image, self.dtype):
            above_black = values - self.black
            if self.bits >= 8:
                # The highest 8 bits, as Pillow does with 16-bit colours.
                of_8_bits = np.floor(above_black / 2 ** (self.bits - 8))
            else:
                of_8_bits = np.rint(above_black * (255 / (2**self.bits - 1)))
            levels.paste(Image.fromarray(of_8_bits.astype(np.uint8)), (0, top))
        return levels


def grey_scale(image: Image.Image) -> GreyScale | None:
    """Return the scale of a loaded image, None if it is not grey of more than 8 bits, or signed.

    Files seldom say which value is white. Black is 0, or the lowest value if that is negative.
    White is the highest number of the least bits that hold all values; depths that no sensor has
    are left out. Only a TIFF of 12 bits a value says how many there are. The significant bits of a
    PNG say nothing: by its specification they are its highest bits.
    """
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    dtype = _DTYPES.get((image.mode, max(tags.get(_TIFF_SAMPLE_FORMAT, (1,)))))
    is_deep = image.mode.startswith("I;16") or image.mode in ("I", "F")
    if not is_deep and dtype is None:
        return None
    stated = 1 if image.mode == "F" else max(tags.get(_TIFF_BITS, (16,)))
    extremes = [(band.min(), band.max()) for _, band in _bands(image, dtype)]
    low = float(min(lowest for lowest, _ in extremes))
    high = float(max(highest for _, highest in extremes))
    black = min(0.0, low)
    if black == 0 and stated == 12:
        return GreyScale(black, stated, dtype, None)
    bits = bits_for(high - black)
    is_as_stated = black == 0 and bits == stated
    note = None if is_as_stated else range_note(low, high, black, bits)
    return GreyScale(black, bits, dtype, note)


def bits_for(span: float) -> int:
    """Return the least number of bits, of a depth in use, whose numbers reach ``span``."""
    bits = max(1, int(np.ceil(span)).bit_length())
    return bits + 1 if bits in _NO_DEPTHS else bits


def range_note(low: float, high: float, black: float, bits: int) -> str:
    """Return the sentence for a photo whose values are from ``low`` to ``high``."""
    white = black + 2**bits - 1
    return (
        f"The file does not say which value is white; its values are from {low:,.6g} to"
        f" {high:,.6g}, and {black:,.10g} is shown as black and {white:,.10g} as white."
    )


def _bands(image: Image.Image, dtype: str | None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row of each band of an image and its values as float64, which are finite.

    Float64 holds integers of 32 bits, and takes too much memory for a whole photo.
    """
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        values = np.asarray(band) if dtype is None else np.asarray(band).view(dtype)
        yield top, np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
