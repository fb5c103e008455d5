"""The pictures of windows that are fed to the network: cut out, or painted over."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from assets.methods.attribution.occlusion import (
    Experiment,
    OcclusionSettings,
    scale_down,
    windows_of,
)
from assets.methods.attribution.windows import fill_image

if TYPE_CHECKING:
    import torch


class WindowImages:
    """The windows' pictures of one experiment on one image, built on a device in batches.

    Args:
        image: RGB, scaled down.
        experiment: "seen" or "hidden".
        settings: box, stride and fill.
        device: torch's name of where batches are built.
    """

    def __init__(
        self, image: Image.Image, experiment: Experiment, settings: OcclusionSettings, device: str
    ) -> None:
        self._windows = windows_of(image, settings)
        self._image = _pixels(image, device)
        self._fill = None
        if experiment == "hidden":
            self._fill = _pixels(fill_image(image, settings.fill, settings.box), device)

    def batch(self, numbers: Iterable[int]) -> "torch.Tensor":
        """Build the pictures of windows, numbered from 0 row by row.

        Returns:
            (n, 3, h, w) uint8, channels last in memory; h and w are the window's for `seen`, the
            image's for `hidden`.
        """
        import torch

        columns = self._windows.shape[1]
        corners = [self._windows.rectangle(*divmod(int(number), columns)) for number in numbers]
        places = [np.s_[upper:lower, left:right] for left, upper, right, lower in corners]
        if self._fill is None:
            pictures = torch.stack([self._image[place] for place in places])
        else:
            pictures = self._image.repeat(len(places), 1, 1, 1)
            for picture, place in zip(pictures, places, strict=True):
                picture[place] = self._fill[place]
        return pictures.permute(0, 3, 1, 2)


def window_image(
    image: Image.Image,
    experiment: Experiment,
    window: tuple[int, int],
    settings: OcclusionSettings,
) -> Image.Image:
    """Draw what the network was fed for one window.

    Args:
        image: the original, of any size and mode.
        experiment: "seen" or "hidden".
        window: (row, column) among the windows.
        settings: those of the experiment.

    Returns:
        RGB, the size of the window for `seen`, of the scaled image for `hidden`.
    """
    scaled = scale_down(image, settings.long_side)
    rectangle = windows_of(scaled, settings).rectangle(*window)
    if experiment == "seen":
        return scaled.crop(rectangle)
    painted = scaled.copy()
    fill = fill_image(scaled, settings.fill, settings.box)
    painted.paste(fill.crop(rectangle), rectangle)
    return painted


def _pixels(image: Image.Image, device: str) -> "torch.Tensor":
    import torch

    return torch.from_numpy(np.array(image)).to(device)
