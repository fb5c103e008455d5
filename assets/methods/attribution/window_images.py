"""An image with windows placed on it, and the images of windows that are fed to the network."""

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from assets.methods.attribution.occlusion import Experiment, OcclusionSettings, scale_down
from assets.methods.attribution.windows import fill_image, place_windows

if TYPE_CHECKING:
    import torch


class WindowedImage:
    """An image, scaled down once, with the windows placed on it.

    Attributes:
        scaled: RGB, its long side at most ``settings.long_side`` px.
        windows: in px of ``scaled``.
        settings: how the windows are placed and painted.
        map_size: (width, height) of the maps in px.
    """

    def __init__(
        self,
        image: Image.Image,
        settings: OcclusionSettings,
        map_size: tuple[int, int] | None = None,
    ) -> None:
        """Take an image of any size and mode; None is for maps of the image's own size."""
        self.map_size = map_size or image.size
        self.scaled = scale_down(image, settings.long_side)
        self.windows = place_windows(
            self.scaled.height, self.scaled.width, settings.box, settings.stride
        )
        self.settings = settings

    @cached_property
    def fill(self) -> Image.Image:
        """What shows where a window is painted over: RGB, of the size of ``scaled``."""
        return fill_image(self.scaled, self.settings.fill, self.settings.box)

    def window_image(self, experiment: Experiment, window: tuple[int, int]) -> Image.Image:
        """Draw what the network is fed for the window at (row, column).

        Returns:
            RGB, the size of the window for `seen`, of ``scaled`` for `hidden`.
        """
        rectangle = self.windows.rectangle(*window)
        if experiment == "seen":
            return self.scaled.crop(rectangle)
        painted = self.scaled.copy()
        painted.paste(self.fill.crop(rectangle), rectangle)
        return painted


class WindowImages:
    """The windows' images of one experiment, built on a device in batches.

    They are those of ``WindowedImage.window_image``.

    Args:
        windowed: the image and its windows.
        experiment: "seen" or "hidden".
        device: torch's name of where batches are built.
    """

    def __init__(self, windowed: WindowedImage, experiment: Experiment, device: str) -> None:
        self._windows = windowed.windows
        self._image = _pixels(windowed.scaled, device)
        self._fill = _pixels(windowed.fill, device) if experiment == "hidden" else None

    def batch(self, numbers: Iterable[int]) -> "torch.Tensor":
        """Build the images of windows, numbered from 0 row by row.

        Returns:
            (n, 3, h, w) uint8, channels last in memory; h and w are the window's for `seen`, the
            scaled image's for `hidden`.
        """
        import torch

        columns = self._windows.shape[1]
        corners = [self._windows.rectangle(*divmod(int(number), columns)) for number in numbers]
        places = [np.s_[upper:lower, left:right] for left, upper, right, lower in corners]
        if self._fill is None:
            images = torch.stack([self._image[place] for place in places])
        else:
            images = self._image.repeat(len(places), 1, 1, 1)
            for image, place in zip(images, places, strict=True):
                image[place] = self._fill[place]
        return images.permute(0, 3, 1, 2)


def _pixels(image: Image.Image, device: str) -> "torch.Tensor":
    import torch

    return torch.from_numpy(np.array(image)).to(device)
