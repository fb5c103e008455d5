"""What would have to change in an image for it to look more like a class.

The answer is the gradient of the class's log-odds by the pixels: the direction in which they rise
most for the smallest change. Source: Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional
Networks", 2014, section 3, which takes the gradient of the class's score instead.

The reconstruction of a deconvnet is no such direction, because it drops what is negative at each
ReLU. The gradient is the network's answer, not a person's: a small step along it looks like grain
and may change the score a lot.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    import torch

# The length of a step in grey levels: the root of the mean square over pixels and channels.
LARGEST_STEP = 2.0
_N_HALVINGS = 6


def log_odds(module: "torch.nn.Module", inputs: "torch.Tensor", class_index: int) -> "torch.Tensor":
    """Return log(P / (1 - P)) of a class, a float64 scalar.

    Unlike P it never saturates. It is the class's logit minus the logarithm of the sum of the
    others' exponentials, for two classes the difference of their logits.

    Args:
        module: in evaluation mode; maps (1, c, h, w) to logits (1, classes), of 2 classes or more.
        inputs: (1, c, h, w) float, on the module's device.
        class_index: of the class.
    """
    import torch

    # What works in place must not touch the inputs. MPS has no float64.
    logits = module(inputs * 1)[0].cpu().double()
    others = torch.cat([logits[:class_index], logits[class_index + 1 :]])
    return logits[class_index] - torch.logsumexp(others, dim=0)


def log_odds_gradient(
    module: "torch.nn.Module", inputs: "torch.Tensor", class_index: int
) -> NDArray[np.float32]:
    """Return the gradient of ``log_odds`` by the inputs, (c, h, w) float32."""
    import torch

    pixels = inputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        odds = log_odds(module, pixels, class_index)
    return torch.autograd.grad(odds, pixels)[0][0].float().cpu().numpy()


def step_along(
    image: Image.Image,
    direction: NDArray[np.float32],
    odds_of: Callable[[Image.Image], float],
) -> Image.Image:
    """Change an image a little in a direction in which the odds rise.

    The step is ``LARGEST_STEP`` grey levels, root mean square, or half of it and so on: the first
    that raises the odds of the image as it is after rounding to grey levels.

    Args:
        image: RGB.
        direction: (h, w, 3), of any length.
        odds_of: maps an image of the same size to what shall rise.

    Returns:
        RGB; the image itself if no step raises the odds, as where the direction is zero.
    """
    length = float(np.sqrt(np.square(direction, dtype=np.float64).mean()))
    if length == 0:
        return image
    before, pixels = odds_of(image), np.asarray(image, dtype=np.float32)
    for halvings in range(_N_HALVINGS):
        step = LARGEST_STEP / 2**halvings / length
        stepped = np.rint(pixels + step * direction).clip(0, 255).astype(np.uint8)
        changed = Image.fromarray(stepped)
        if odds_of(changed) > before:
            return changed
    return image
