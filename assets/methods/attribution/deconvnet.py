"""From an activation back to the pixels that made it: the deconvnet.

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
section 2.1. One activation is kept and sent back through the network: a max-pool puts the signal
where its maximum was (the switches), a ReLU keeps what is positive of it, and a convolution
filters it with its kernels transposed. Unpooling with switches and filtering with transposed
kernels are what a backward pass does, so only the ReLU has to be another one (``rectification``).
The tests have a version without a backward pass, which writes each step out: its results are the
same.

Batch norm in evaluation mode is a scale, and average pooling a filter. Other parts, such as the
gates of squeeze-and-excitation, pass the signal as they pass a gradient.

On the way back only the switches come from the image. Below the start, a network without max-pools
gives the same reconstruction for every image (Springenberg et al., "Striving for Simplicity", 2015,
section 3.4), and one with a single early max-pool, such as OpenNSFW's, differs in detail only. What
does come from the image is which activation is the strongest, and where.
"""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.errors import UserError

if TYPE_CHECKING:
    import torch

# Left, upper, right and lower edge in px of a network's input. They are exact, so that a region
# does not overlap a cell that begins where it ends.
Region = tuple[Fraction, Fraction, Fraction, Fraction]


@dataclass(frozen=True)
class Activation:
    """One activation of a layer that gives (1, channels, rows, columns).

    Attributes:
        layer: the module's dotted name.
        channel: from 0, as ``row`` and ``column``.
        value: of the activation, for the image that was given.
        contribution: value x gradient of the class's logit; None if no class was asked for.
    """

    layer: str
    channel: int
    row: int
    column: int
    value: float
    contribution: float | None = None


def deconvolve(
    module: "torch.nn.Module", inputs: "torch.Tensor", start: int | Activation
) -> NDArray[np.float32]:
    """Send one unit from ``start`` back to the input.

    The paper sends the activation itself, which gives the same result times the activation's value.

    Args:
        module: in evaluation mode; maps (1, c, h, w) to logits (1, classes). It is left as it is.
        inputs: (1, c, h, w) float, on the module's device.
        start: the index of a class, whose logit it is; or an activation, of which ``layer``,
            ``channel``, ``row`` and ``column`` count. Of a layer that runs several times, the last.

    Returns:
        (c, h, w) float32, signed, in the units of the inputs.

    Raises:
        UserError: the network has no ReLU or other activation functions, there is no such layer or
            activation, or the layer gives no map of channels.
    """
    import torch

    from assets.methods.attribution.rectification import Rectification

    # What works in place must not touch the caller's inputs.
    pixels = inputs.detach().clone().requires_grad_()
    with torch.enable_grad(), Rectification() as rectification:
        if isinstance(start, Activation):
            features, _ = _features(module, pixels, start.layer)
            signal = _element(features, start)
        else:
            signal = module(pixels * 1)[0, start]
    if not rectification.n_met:
        raise UserError(
            "This network has no ReLU, at which a deconvnet rectifies: choose a network whose "
            "activations are ReLU or ReLU6."
        )
    return torch.autograd.grad(signal, pixels)[0][0].float().cpu().numpy()


def strongest_activations(
    module: "torch.nn.Module",
    inputs: "torch.Tensor",
    layer: str,
    n: int,
    class_index: int | None = None,
    region: Region | None = None,
) -> list[Activation]:
    """Find the strongest activation of each channel of a layer, and of those the ``n`` strongest.

    With a class, strongest is what adds most to its logit: activation x gradient of the logit, the
    gradient being the ordinary one. Without, it is the largest activation. Only what is above zero
    counts, so there may be fewer than n. Equals come in the order of channels, rows, columns.

    Args:
        module: in evaluation mode; maps (1, c, h, w) to logits (1, classes).
        inputs: (1, c, h, w) float, on the module's device.
        layer: the dotted name of a module that gives (1, channels, rows, columns).
        n: how many at most.
        class_index: of the class.
        region: of the inputs. Only places count whose cell overlaps it, the layer's (rows, columns)
            being a grid of equal cells over the inputs; all do if none overlaps, or without it.

    Raises:
        UserError: there is no such layer, or it gives no map of channels.
    """
    import torch

    with torch.enable_grad():
        features, logits = _features(module, inputs.detach().clone().requires_grad_(), layer)
        values = strengths = features[0].detach()
        if class_index is not None:
            strengths = values * torch.autograd.grad(logits[0, class_index], features)[0][0]
    if region is not None:
        strengths = _within(strengths, region, inputs.shape[2], inputs.shape[3])
    columns = values.shape[2]
    best = strengths.flatten(1).max(dim=1)
    places = best.indices.cpu().numpy()
    by_channel = best.values.float().cpu().numpy()
    order = np.argsort(-by_channel, kind="stable")[:n]
    return [
        Activation(
            layer,
            int(channel),
            *divmod(int(places[channel]), columns),
            float(values[channel].flatten()[places[channel]]),
            None if class_index is None else float(by_channel[channel]),
        )
        for channel in order
        if by_channel[channel] > 0
    ]


def _within(strengths: "torch.Tensor", region: Region, height: int, width: int) -> "torch.Tensor":
    """Put places of (channels, rows, columns) outside a region of (height, width) below all."""
    import torch

    left, upper, right, lower = region
    rows = _overlapping(strengths.shape[1], upper / height, lower / height)
    columns = _overlapping(strengths.shape[2], left / width, right / width)
    within = torch.full_like(strengths, -math.inf)
    within[:, rows, columns] = strengths[:, rows, columns]
    return within if within[:, rows, columns].numel() else strengths


def _overlapping(n: int, start: Fraction, end: Fraction) -> slice:
    """Return which of ``n`` equal cells from 0 to 1 share more than an edge with a range."""
    return slice(max(math.floor(start * n), 0), max(math.ceil(end * n), 0))


def has_switches(module: "torch.nn.Module") -> bool:
    """Return whether a network has a max-pool.

    Without one its reconstructions depend on no image.
    """
    from torch import nn

    pools = (nn.MaxPool2d, nn.AdaptiveMaxPool2d)
    return any(isinstance(layer, pools) for layer in module.modules())


def convolutional_layers(
    module: "torch.nn.Module", inputs: "torch.Tensor"
) -> dict[str, tuple[int, int, int]]:
    """Return the (channels, rows, columns) that layers give, by name, in the order they run in.

    They are the convolutions and ReLUs whose output is a map of channels.
    """
    import torch
    from torch import nn

    shapes: dict[str, tuple[int, int, int]] = {}
    layers = {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.ReLU, nn.ReLU6))
    }
    with torch.no_grad(), _outputs(layers) as seen:
        module(inputs.clone())
    for name, output in seen:
        if output.ndim == 4:
            # Of a layer that runs several times, the last counts.
            shapes.pop(name, None)
            shapes[name] = (output.shape[1], output.shape[2], output.shape[3])
    return shapes


def last_layer(module: "torch.nn.Module", inputs: "torch.Tensor") -> str:
    """Return the last layer that still has places, whose activations are closest to the class.

    It is the last ReLU that gives more than one place, or the last convolution if no ReLU does.

    Raises:
        UserError: there is neither.
    """
    from torch import nn

    placed = [
        name
        for name, (_, rows, columns) in convolutional_layers(module, inputs).items()
        if rows * columns > 1
    ]
    rectified = [name for name in placed if not isinstance(module.get_submodule(name), nn.Conv2d)]
    if not placed:
        raise UserError(
            "This network has no convolution whose output has several places: choose another "
            "network, or name a layer."
        )
    return (rectified or placed)[-1]


def activation_at(
    module: "torch.nn.Module", inputs: "torch.Tensor", layer: str, place: Sequence[int]
) -> Activation:
    """Return the activation at a place: (channel, row, column), from 0.

    Raises:
        UserError: there is no such layer or place, or the layer gives no map of channels.
    """
    import torch

    channel, row, column = place
    asked = Activation(layer, channel, row, column, value=0.0)
    with torch.no_grad():
        features, _ = _features(module, inputs.clone(), layer)
    return Activation(layer, channel, row, column, float(_element(features, asked)))


def _features(
    module: "torch.nn.Module", inputs: "torch.Tensor", layer: str
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return what a layer gives, (1, channels, rows, columns), and the logits."""
    import torch

    layers = dict(module.named_modules())
    if layer not in layers:
        raise UserError(_unknown_layer(layer, list(convolutional_layers(module, inputs.detach()))))
    with _outputs({layer: layers[layer]}) as seen:
        # What works in place must not touch the inputs.
        logits = module(inputs * 1)
    output = seen[-1][1] if seen else None
    if not isinstance(output, torch.Tensor) or output.ndim != 4:
        raise UserError(
            f"The layer {layer} gives no map of channels: choose a convolution or its ReLU."
        )
    return output, logits


@contextmanager
def _outputs(layers: "Mapping[str, torch.nn.Module]") -> Iterator[list[tuple[str, Any]]]:
    """Yield a list to which each layer adds its name and output whenever it has run."""
    import torch

    seen: list[tuple[str, Any]] = []

    def listener(name: str) -> Callable[..., Any]:
        def listen(layer: "torch.nn.Module", given: Any, output: Any) -> Any:
            seen.append((name, output))
            # What follows may work in place, and must not change what was seen.
            return output.clone() if isinstance(output, torch.Tensor) else output

        return listen

    hooks = [layer.register_forward_hook(listener(name)) for name, layer in layers.items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _element(features: "torch.Tensor", asked: Activation) -> "torch.Tensor":
    place, shape = (asked.channel, asked.row, asked.column), tuple(features.shape[1:])
    if any(not 0 <= index < length for index, length in zip(place, shape, strict=True)):
        raise UserError(
            f"The layer {asked.layer} has no activation at channel, row, column {place}: it has "
            f"{shape[0]:,} channels of {shape[1]:,} x {shape[2]:,}, counted from 0."
        )
    return features[0][place]


def _unknown_layer(layer: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(layer, known, n=3) or [one for one in known if layer in one]
    if near:
        hint = f"did you mean {' or '.join(near[:3])}?"
    elif known:
        hint = f"the network's convolutions run from {known[0]} to {known[-1]}."
    else:
        hint = "the network has no convolution."
    return f"There is no layer {layer}: {hint}"
