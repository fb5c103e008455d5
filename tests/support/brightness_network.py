"""A network that nobody trained and whose answer is known: the brightness of an image decides."""

import numpy as np
import torch
from PIL import Image

from assets.methods.models.plain_convnet import plain_convnet
from assets.methods.models.preprocessing import Preprocessing

ARCHITECTURE = "plain_convnet"
PREPROCESSING = Preprocessing(32, 32, (0.5,) * 3, (0.25,) * 3, "bilinear")


def brightness_weights(slope: float) -> dict[str, torch.Tensor]:
    """Weights whose second class has the logit ``slope`` * brightness, and the first 0.

    Every layer takes means, so that of an even grey what is above half of white arrives at the end:
    all that is darker is 0. A slope above 0 ranks bright over dark, below 0 the other way round,
    and 0 tells nothing from anything.
    """
    module = plain_convnet(2)
    with torch.no_grad():
        for layer in module:
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.fill_(1 / layer.weight[0].numel())
                layer.bias.zero_()
            if isinstance(layer, torch.nn.Linear):
                layer.weight.zero_()
                layer.weight[1] = slope / layer.in_features
                layer.bias.zero_()
    return module.state_dict()


def grey(level: int, number: int = 0) -> Image.Image:
    """An even grey but for one pixel, so that each ``number`` makes another picture of it."""
    pixels = np.full((32, 32, 3), level, np.uint8)
    pixels[0, 0] = number
    return Image.fromarray(pixels)
