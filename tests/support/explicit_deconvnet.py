"""The deconvnet step by step, without a backward pass: unpool, rectify, filter.

It proves ``deconvnet.deconvolve``, which is faster and takes any network; the tests compare them.
Importing this file imports torch: import it inside functions.

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
section 2.1. Each layer is run forward, keeping what its way back needs: the switches of a max-pool
or the size of what came in. A way back maps (1, channels, rows, columns) of the layer's output to
those of its input; biases have no part in it.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from assets.methods.models.open_nsfw_network import OpenNsfwNetwork

Way = Callable[[Tensor], Tensor]


def explicit_deconvnet(
    module: nn.Module, inputs: Tensor, signal: Tensor
) -> tuple[Tensor, NDArray[np.float32]]:
    """Run a network forward, and a signal of its output's shape back to the input.

    Args:
        module: in evaluation mode, an ``nn.Sequential`` (or several, nested) of Conv2d, ReLU,
            ReLU6, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, BatchNorm2d, Flatten, Linear, Dropout
            and Identity; or OpenNSFW's network.
        inputs: (1, c, h, w) float.
        signal: of the shape of the output; one-hot for one activation.

    Returns:
        The output, and the picture (c, h, w) float32.

    Raises:
        TypeError: there is another layer.
    """
    with torch.no_grad():
        output, back = _run(module, inputs)
        return output, back(signal)[0].float().numpy()


def _run(layer: nn.Module, given: Tensor) -> tuple[Tensor, Way]:
    """Return the layer's output, and its way back."""
    if isinstance(layer, nn.Sequential):
        return _chain(list(layer), given)
    if isinstance(layer, OpenNsfwNetwork):
        return _chain(_open_nsfw_steps(layer), given)
    if isinstance(layer, _Residual):
        return _residual(layer, given)
    if isinstance(layer, (nn.Identity, nn.Dropout)):
        return given, lambda signal: signal
    if isinstance(layer, nn.Flatten):
        return given.flatten(1), lambda signal: signal.reshape(given.shape)
    if isinstance(layer, (nn.ReLU, nn.ReLU6)):
        ceiling = 6.0 if isinstance(layer, nn.ReLU6) else torch.inf
        return given.clamp(0, ceiling), lambda signal: signal.clamp(min=0)
    if isinstance(layer, nn.Linear):
        return layer(given), lambda signal: signal @ layer.weight
    if isinstance(layer, nn.BatchNorm2d):
        return layer(given), lambda signal: signal * _scale(layer).view(-1, 1, 1)
    if isinstance(layer, nn.Conv2d):
        return layer(given), lambda signal: _transposed(layer, signal, given.shape)
    if isinstance(layer, nn.MaxPool2d):
        return _max_pool(layer, given)
    if isinstance(layer, (nn.AvgPool2d, nn.AdaptiveAvgPool2d)):
        output = layer(given)
        return output, lambda signal: _spread(layer, signal, given.shape)
    raise TypeError(f"the explicit deconvnet has no {type(layer).__name__}")


def _chain(layers: list[nn.Module], given: Tensor) -> tuple[Tensor, Way]:
    ways: list[Way] = []
    for layer in layers:
        given, way = _run(layer, given)
        ways.append(way)

    def back(signal: Tensor) -> Tensor:
        for way in reversed(ways):
            signal = way(signal)
        return signal

    return given, back


def _transposed(layer: nn.Conv2d, signal: Tensor, shape: torch.Size) -> Tensor:
    """Filter with the kernels transposed (section 2.1, "filtering")."""
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise TypeError("the explicit deconvnet has convolutions padded by numbers, with zeros")
    # Up to a stride's rows at the end were not needed for one more output.
    left_over = [
        side + 2 * padding - dilation * (kernel - 1) - 1 - stride * (outgoing - 1)
        for side, padding, dilation, kernel, stride, outgoing in zip(
            shape[2:],
            layer.padding,
            layer.dilation,
            layer.kernel_size,
            layer.stride,
            signal.shape[2:],
            strict=True,
        )
    ]
    return functional.conv_transpose2d(
        signal,
        layer.weight,
        stride=layer.stride,
        padding=layer.padding,
        output_padding=left_over,
        groups=layer.groups,
        dilation=layer.dilation,
    )


def _scale(layer: nn.BatchNorm2d) -> Tensor:
    if layer.running_var is None:
        raise TypeError("the explicit deconvnet has batch norm with running statistics")
    scale = (layer.running_var + layer.eps).rsqrt()
    return scale if layer.weight is None else scale * layer.weight


def _max_pool(layer: nn.MaxPool2d, given: Tensor) -> tuple[Tensor, Way]:
    output, switches = functional.max_pool2d(
        given,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.ceil_mode,
        return_indices=True,
    )

    def unpool(signal: Tensor) -> Tensor:
        places = torch.zeros_like(given).flatten(2)
        # Where windows overlap, two may have one maximum: their signals add up there. torch's
        # max_unpool2d would keep one of them.
        places.scatter_add_(2, switches.flatten(2), signal.flatten(2))
        return places.view(given.shape)

    return output, unpool


def _spread(
    layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d, signal: Tensor, shape: torch.Size
) -> Tensor:
    """Give each pixel of a window its share of the window's signal."""
    spread = signal.new_zeros(shape)
    rows, columns = (_windows(layer, axis, shape, signal.shape) for axis in (0, 1))
    for i, (upper, lower, height) in enumerate(rows):
        for j, (left, right, width) in enumerate(columns):
            share = signal[:, :, i, j] / (height * width)
            spread[:, :, upper:lower, left:right] += share[:, :, None, None]
    return spread


def _windows(
    layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d, axis: int, shape: torch.Size, outgoing: torch.Size
) -> list[tuple[int, int, int]]:
    """Return start, end and the length to divide by of an average pool's windows along an axis."""
    side, n = shape[2 + axis], outgoing[2 + axis]
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        edges = [(i * side // n, -(-(i + 1) * side // n)) for i in range(n)]
        return [(start, end, end - start) for start, end in edges]
    kernel, stride, padding = (
        value if isinstance(value, int) else value[axis]
        for value in (layer.kernel_size, layer.stride, layer.padding)
    )
    if layer.divisor_override is not None:
        raise TypeError("the explicit deconvnet has average pools that divide by their size")
    windows = []
    for start in range(-padding, -padding + n * stride, stride):
        end = min(start + kernel, side + padding)
        inside = max(start, 0), min(end, side)
        counted = end - start if layer.count_include_pad else inside[1] - inside[0]
        windows.append((*inside, counted))
    return windows


class _Residual(nn.Module):
    """One of OpenNSFW's blocks: what its branch and its shortcut give adds up."""

    def __init__(self, branch: nn.Sequential, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut


def _residual(block: _Residual, given: Tensor) -> tuple[Tensor, Way]:
    output, back = _run(block.branch, given)
    kept, back_kept = _run(block.shortcut, given)
    return output + kept, lambda signal: back(signal) + back_kept(signal)


def _open_nsfw_steps(network: OpenNsfwNetwork) -> list[nn.Module]:
    layers = dict(network.named_children())
    steps: list[nn.Module] = [network.conv_1, network.relu_1, network.pool1]
    for name in layers:
        block = name.removeprefix("relu_")
        if f"conv_{block}_branch2a" in layers:
            branch = nn.Sequential(
                layers[f"conv_{block}_branch2a"],
                layers[f"relu_{block}_branch2a"],
                layers[f"conv_{block}_branch2b"],
                layers[f"relu_{block}_branch2b"],
                layers[f"conv_{block}_branch2c"],
            )
            shortcut = layers.get(f"conv_{block}_proj_shortcut", nn.Identity())
            steps += [_Residual(branch, shortcut), layers[name]]
    return [*steps, network.pool, nn.Flatten(), network.fc_nsfw]
