"""The images of windows, cut, painted and scaled to a network's size by torch, on any device.

They are what Pillow draws and scales, bit for bit. Of an image whose window is painted over, only
the part that the window reaches once it is scaled is computed: a few per cent of it.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from assets.methods.attribution.occlusion import Experiment
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.models.scaling import order_of_axes, scale_along, scale_images, taps_of

if TYPE_CHECKING:
    import torch


class ScaledWindowImages:
    """The windows' images of one experiment at the network's size, built on a device in batches.

    ``preprocess_batch`` only crops and normalises images of that size.

    Args:
        windowed: the image and its windows.
        experiment: "seen" or "hidden".
        device: torch's name of where batches are built.
        preprocessing: of the network.

    Raises:
        UserError: the network's interpolation is neither bilinear nor bicubic.
    """

    def __init__(
        self,
        windowed: WindowedImage,
        experiment: Experiment,
        device: str,
        preprocessing: Preprocessing,
    ) -> None:
        build = _SeenWindows if experiment == "seen" else _HiddenWindows
        self._columns = windowed.windows.shape[1]
        self._device = device
        self._images = build(windowed, device, preprocessing)

    def batch(self, numbers: Iterable[int]) -> "torch.Tensor":
        """Build the images of windows, numbered from 0 row by row: (n, 3, h, w) uint8."""
        import torch

        places = np.divmod(np.fromiter(numbers, dtype=np.int64), self._columns)
        rows, columns = (torch.from_numpy(one).to(self._device) for one in places)
        return self._images(rows, columns)


class _SeenWindows:
    """The windows cut out of the image, and enlarged."""

    def __init__(self, windowed: WindowedImage, device: str, preprocessing: Preprocessing) -> None:
        windows = windowed.windows
        self._image = _pixels(windowed.scaled, device)
        self._rows = _ranges(windows.row_starts, windows.height, device)
        self._columns = _ranges(windows.col_starts, windows.width, device)
        width, height = preprocessing.scaled_size(windows.width, windows.height)
        self._scaling = (height, width, preprocessing.interpolation)

    def __call__(self, rows: "torch.Tensor", columns: "torch.Tensor") -> "torch.Tensor":
        y, x = self._rows[rows], self._columns[columns]
        cut = self._image[y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)
        return scale_images(cut, *self._scaling)


class _HiddenWindows:
    """The image with a window painted over, which differs from itself in that window's reach."""

    def __init__(self, windowed: WindowedImage, device: str, preprocessing: Preprocessing) -> None:
        windows = windowed.windows
        self._image = _pixels(windowed.scaled, device)
        self._fill = _pixels(windowed.fill, device)
        size, kind = windows.image_shape, preprocessing.interpolation
        width, height = preprocessing.scaled_size(size[1], size[0])
        self._order = order_of_axes(*size, height, width)
        self._reaches = (
            _Reaches(windows.row_starts, windows.height, size[0], height, kind, device),
            _Reaches(windows.col_starts, windows.width, size[1], width, kind, device),
        )
        scaled = scale_images(self._image.permute(2, 0, 1)[None], height, width, kind)
        self._scaled = scaled.permute(0, 2, 3, 1).contiguous()

    def __call__(self, rows: "torch.Tensor", columns: "torch.Tensor") -> "torch.Tensor":
        import torch

        starts, (along_rows, along_columns) = (rows, columns), self._reaches
        # (n, rows, 1) and (n, 1, columns).
        y, x = along_rows.read[rows][:, :, None], along_columns.read[columns][:, None, :]
        is_hidden = along_rows.hidden[rows][:, :, None] & along_columns.hidden[columns][:, None, :]
        painted = torch.where(is_hidden[..., None], self._fill[y, x], self._image[y, x])
        changed = painted.permute(0, 3, 1, 2)
        for axis in self._order:
            reach, start = self._reaches[axis], starts[axis]
            changed = scale_along(changed, axis, reach.places[start], reach.weights[start])
        images = self._scaled.repeat(len(rows), 1, 1, 1)
        numbers = torch.arange(len(rows), device=rows.device)[:, None, None]
        y, x = along_rows.reached[rows][:, :, None], along_columns.reached[columns][:, None, :]
        images[numbers, y, x] = changed.permute(0, 2, 3, 1)
        return images.permute(0, 3, 1, 2)


class _Reaches:
    """What windows change of the scaled image along one axis.

    Each array has a row for each start of a window; all rows have the length of the longest, so
    that windows can be computed together.

    Attributes:
        reached: the pixels of the scaled image that a window changes, and some beside them.
        read: the pixels of the image that these are computed from.
        hidden: of those read, whether the window hides them.
        places: (starts, reached, taps), the taps of each pixel reached, among those read.
        weights: of the taps.
    """

    def __init__(
        self,
        starts: tuple[int, ...],
        window: int,
        length: int,
        scaled: int,
        interpolation: str,
        device: str,
    ) -> None:
        import torch

        taps = taps_of(length, scaled, interpolation)
        first, end = taps.places[:, 0], taps.places[:, -1] + 1
        start = np.asarray(starts)[:, np.newaxis]
        # Taps move along the line, so that the pixels reached are neighbours.
        reached = _widened((end <= start).sum(axis=1), (first < start + window).sum(axis=1), scaled)
        read = _widened(first[reached[:, 0]], end[reached[:, -1]], length)
        hidden = (read >= start) & (read < start + window)
        places = taps.places[reached] - read[:, :1, np.newaxis]
        self.reached, self.read, self.hidden, self.places, self.weights = (
            torch.from_numpy(one).to(device)
            for one in (reached, read, hidden, places, taps.weights[reached])
        )


def _widened(
    first: NDArray[np.integer], end: NDArray[np.integer], length: int
) -> NDArray[np.int64]:
    """Return ranges inside a line, each with its ``first`` to ``end`` and as long as the longest.

    The result is (ranges, longest).
    """
    longest = int((end - first).max())
    return np.minimum(first, length - longest)[:, np.newaxis] + np.arange(longest)


def _ranges(starts: tuple[int, ...], length: int, device: str) -> "torch.Tensor":
    """Return (starts, length): the pixels of each window along an axis."""
    import torch

    return torch.tensor(starts, device=device)[:, None] + torch.arange(length, device=device)


def _pixels(image: Image.Image, device: str) -> "torch.Tensor":
    import torch

    return torch.from_numpy(np.array(image)).to(device)
