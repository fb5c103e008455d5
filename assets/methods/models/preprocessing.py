"""From photos to what a network was trained to read: scaled, cropped and normalised pixels."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from assets.methods.models.scaling import scale_images

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects of its input: sizes in px, mean and deviation of channels in [0, 1].

    The short side is scaled to ``resize`` (with ``stretch`` both sides are, which may change the
    proportions), then a square of ``crop`` is cut from the centre. ``interpolation`` names one of
    Pillow's resampling filters in lower case, such as "bicubic". ``channels`` is the order that the
    network reads, and the order of ``mean`` and ``std``.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    stretch: bool = False
    channels: Literal["RGB", "BGR"] = "RGB"

    def scaled_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) that an image is scaled to before it is cropped."""
        if self.stretch:
            return self.resize, self.resize
        short = min(width, height)
        # Rounded down, as torchvision's Resize does.
        return int(self.resize * width / short), int(self.resize * height / short)

    def in_words(self) -> str:
        """Return what is read of an image, such as "short side 256 px bicubic, centre 224 px"."""
        scaled = "stretched to" if self.stretch else "short side"
        words = [f"{scaled} {self.resize} px {self.interpolation}"]
        if not (self.stretch and self.crop == self.resize):
            words.append(f"centre {self.crop} px")
        if self.channels != "RGB":
            words.append(self.channels)
        return ", ".join(words)

    def as_parts(self) -> dict[str, Any]:
        """Return the fields for a fingerprint.

        Fields that came later are left out where they have their default, so that older
        fingerprints stay what they were.
        """
        parts = dataclasses.asdict(self)
        for name, default in (("stretch", False), ("channels", "RGB")):
            if parts[name] == default:
                del parts[name]
        return parts


def preprocess(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """Scale, crop and normalise an image.

    The rounding is torchvision's ``Resize`` and ``CenterCrop``, with which most networks were
    evaluated.

    Args:
        image: a photo of any size and mode.
        preprocessing: the numbers of the network.

    Returns:
        (crop, crop, 3) float32, channels in the network's order.
    """
    square = square_of(image, preprocessing)
    mean, std = _mean_and_std(preprocessing)
    ordered = square if preprocessing.channels == "RGB" else square[..., ::-1]
    return (ordered.astype(np.float32) - mean) / std


def square_of(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """Scale and crop an image of any size and mode to (crop, crop, 3) uint8 RGB."""
    small = scaled(image.convert("RGB"), preprocessing)
    return np.asarray(_centre(small, preprocessing.crop))


def scaled(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Return an image, RGB, of the size that the network's square is cut from."""
    size = preprocessing.scaled_size(*image.size)
    if size == image.size:
        return image
    return image.resize(size, Image.Resampling[preprocessing.interpolation.upper()])


def normalisation(
    preprocessing: Preprocessing, device: str
) -> "Callable[[np.ndarray | torch.Tensor], torch.Tensor]":
    """Return a function that normalises squares on ``device``.

    It maps n squares of ``square_of``, (n, crop, crop, 3) uint8 in memory or on the device, to
    (n, 3, crop, crop) float32 with the channels last in memory: the numbers of ``preprocess``.
    """
    import torch

    # They stay on the device: a copy for each batch would wait for the batch before.
    mean, std = (torch.from_numpy(one).to(device) for one in _mean_and_std(preprocessing))

    def normalise(squares: "np.ndarray | torch.Tensor") -> "torch.Tensor":
        pixels = torch.as_tensor(squares).to(device)
        ordered = pixels if preprocessing.channels == "RGB" else pixels.flip(-1)
        return ordered.float().sub_(mean).div_(std).permute(0, 3, 1, 2)

    return normalise


def preprocess_batch(
    images: "torch.Tensor | Sequence[torch.Tensor]", preprocessing: Preprocessing
) -> "torch.Tensor":
    """Scale, crop and normalise images where they are.

    The numbers are those of ``preprocess``, bit for bit: on an accelerator the last bit of a
    division may differ. On the CPU, images whose channels are last in memory save a copy. Alone and
    in a batch an image gives the same numbers.

    Args:
        images: (n, 3, h, w) uint8 RGB, or n >= 1 of (3, h, w) of any sizes.
        preprocessing: the numbers of the network.

    Returns:
        (n, 3, crop, crop) float32 on the device of the images, channels in the network's order.

    Raises:
        UserError: on an accelerator, the interpolation is neither bilinear nor bicubic.
    """
    import torch

    if images[0].device.type == "cpu":
        # Not torch's own scaling of uint8: its coarser weights move one pixel in 500 by a grey
        # level, and that moves a score of OpenNSFW by up to 8e-4.
        arrays = [preprocess(to_pillow(image), preprocessing) for image in images]
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
    if isinstance(images, torch.Tensor):
        return _preprocess_tensor(images, preprocessing)
    return torch.cat([_preprocess_tensor(image[None], preprocessing) for image in images])


def to_pillow(image: "torch.Tensor") -> Image.Image:
    """Return the image of a tensor (3, h, w) uint8; without a copy if its channels are last."""
    return Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy()))


@lru_cache(maxsize=8)
def _mean_and_std(preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """Return both as (crop, crop, 3) float32: a number a channel would take eight times as long."""
    shape = (preprocessing.crop, preprocessing.crop, 3)
    mean, std = (
        np.broadcast_to(np.asarray(numbers, dtype=np.float32) * 255, shape).copy()
        for numbers in (preprocessing.mean, preprocessing.std)
    )
    return mean, std


def _centre(image: Image.Image, side: int) -> Image.Image:
    left, upper = _margin(image.width, side), _margin(image.height, side)
    return image.crop((left, upper, left + side, upper + side))


def _margin(length: int, side: int) -> int:
    return round((length - side) / 2)


def _preprocess_tensor(images: "torch.Tensor", preprocessing: Preprocessing) -> "torch.Tensor":
    """``preprocess`` in torch, for any device: (n, 3, h, w) uint8 to (n, 3, crop, crop) float32."""
    width, height = preprocessing.scaled_size(images.shape[3], images.shape[2])
    resized = images
    if images.shape[2:] != (height, width):
        resized = scale_images(images, height, width, preprocessing.interpolation)
    side = preprocessing.crop
    left, upper = _margin(width, side), _margin(height, side)
    square = resized[:, :, upper : upper + side, left : left + side].float()
    ordered = square if preprocessing.channels == "RGB" else square.flip(1)
    mean = square.new_tensor(preprocessing.mean).view(3, 1, 1) * 255
    std = square.new_tensor(preprocessing.std).view(3, 1, 1) * 255
    return (ordered - mean) / std
