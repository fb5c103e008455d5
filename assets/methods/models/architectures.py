"""The networks of timm and torchvision, with their head or without.

No pickle from outside is ever executed: weights are safetensors, or are read with `weights_only`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.methods.common.errors import UserError
from assets.methods.models import efficientnet_lite0
from assets.methods.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch
    from torchvision.models import WeightsEnum


# What Tessera trains from scratch on small images (``plain_convnet``).
PLAIN_CONVNET = "plain_convnet"
_PLAIN_CONVNET_PREPROCESSING = Preprocessing(
    resize=112, crop=112, mean=(0.5,) * 3, std=(0.25,) * 3, interpolation="bilinear"
)


@dataclass(frozen=True)
class Architecture:
    """A torch module and what it reads.

    ``dropped`` names the layers of the head, which a checkpoint has, if the module is without it.
    """

    module: "torch.nn.Module"
    preprocessing: Preprocessing
    dropped: tuple[str, ...] = ()


def build_architecture(name: str, classes: int | None) -> Architecture:
    """Build `timm:NAME`, `torchvision:NAME` or `plain_convnet` with random weights.

    Args:
        name: of the network.
        classes: how many the head tells apart; 0 leaves the head out, None makes it fit the
            published weights. A plain convnet takes neither 0 nor None.

    Raises:
        UserError: there is no such network.
    """
    library, _, model = name.partition(":")
    if name == PLAIN_CONVNET and classes:
        from assets.methods.models.plain_convnet import plain_convnet

        return Architecture(plain_convnet(classes), _PLAIN_CONVNET_PREPROCESSING)
    if library == "timm":
        return _timm(model, classes, pretrained=False)
    if library == "torchvision":
        return _torchvision(model, classes)
    raise unknown_network(name)


def download_architecture(name: str, classes: int | None) -> Architecture:
    """Build `timm:NAME` or `torchvision:NAME` with its published weights.

    Args:
        name: of the network.
        classes: 0 leaves the head out, None keeps it.

    Raises:
        UserError: there is no such network, or the download failed.
    """
    library, _, model = name.partition(":")
    try:
        if library == "timm":
            return _timm(model, classes, pretrained=True)
        architecture = build_architecture(name, classes)
        # Not through torchvision's own `weights=`, which would unpickle whatever the file holds.
        weights = _torchvision_weights(model).get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"The weights of {name} could not be downloaded ({reason}); without a network use "
            f"{efficientnet_lite0.NAME}, whose weights come with Tessera, or a safetensors file."
        ) from error
    load_weights(architecture, weights, f"The weights of {name} do not fit it")
    return architecture


def load_weights(
    architecture: Architecture, weights: Mapping[str, "torch.Tensor"], misfit: str
) -> None:
    """Load a checkpoint into the module, without the layers that were dropped.

    Raises:
        UserError: names or shapes differ; the message begins with ``misfit``.
    """
    prefixes = tuple(f"{name}." for name in architecture.dropped)
    kept = {key: value for key, value in weights.items() if not key.startswith(prefixes)}
    try:
        architecture.module.load_state_dict(kept)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{misfit} ({reason}).") from error


def read_safetensors(file: Path, framework: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the tensors of a file, of torch ("pt") or NumPy ("np"), and its metadata.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise UserError(f"There is no weights file {file}.")
    try:
        with safe_open(file, framework=framework) as opened:
            tensors = {key: opened.get_tensor(key) for key in sorted(opened.keys())}
            return tensors, opened.metadata() or {}
    except SafetensorError as error:
        raise UserError(f"{file} is not a whole safetensors file ({error}).") from error


def class_names_of(name: str, module: "torch.nn.Module") -> tuple[str, ...]:
    """Return the names of the classes that the published weights of a network tell apart.

    Where ImageNet gives two classes one name ("crane"), the WordNet id follows in brackets.

    Raises:
        UserError: the network tells apart other classes than ImageNet's.
    """
    from timm.data import ImageNetInfo, infer_imagenet_subset

    library, _, model = name.partition(":")
    if library == "torchvision":
        names = _torchvision_weights(model).meta["categories"]
        return unique_names(names, ImageNetInfo().label_names())
    subset = infer_imagenet_subset(module)
    if subset is None:
        raise UserError(
            f"{name} does not classify into ImageNet's classes, and timm does not know the names "
            "of others: choose a network that was trained on ImageNet, or a classifier's file."
        )
    info = ImageNetInfo(subset)
    # The first of the synonyms ("tench, Tinca tinca"), as in torchvision.
    names = [lemmas.partition(",")[0] for lemmas in info.label_descriptions()]
    return unique_names(names, info.label_names())


def unique_names(names: Iterable[str], ids: Iterable[str]) -> tuple[str, ...]:
    """Return the names; one that occurs more than once is followed by its id in brackets."""
    pairs = list(zip(names, ids, strict=True))
    counts: dict[str, int] = {}
    for name, _ in pairs:
        counts[name] = counts.get(name, 0) + 1
    return tuple(name if counts[name] == 1 else f"{name} [{one_id}]" for name, one_id in pairs)


def unknown_network(name: str) -> UserError:
    """Return the error that says which names of networks there are."""
    return UserError(
        f"There is no network {name}: use {efficientnet_lite0.NAME}, timm:NAME, torchvision:NAME "
        "or a file NAME.safetensors."
    )


def _timm(model: str, classes: int | None, pretrained: bool) -> Architecture:
    import timm
    from timm.data import resolve_model_data_config

    if not timm.is_model(model):
        raise unknown_network(f"timm:{model}")
    # Passing None is not the same as leaving num_classes out.
    chosen: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    module: Any = timm.create_model(model, pretrained=pretrained, **chosen)
    config = resolve_model_data_config(module)
    crop = config["input_size"][-1]
    preprocessing = Preprocessing(
        resize=math.floor(crop / config["crop_pct"]),
        crop=crop,
        mean=config["mean"],
        std=config["std"],
        interpolation=config["interpolation"],
    )
    head = module.pretrained_cfg.get("classifier") or ()
    names = (head,) if isinstance(head, str) else tuple(head)
    return Architecture(module, preprocessing, names if classes == 0 else ())


def _torchvision(model: str, classes: int | None) -> Architecture:
    from torchvision import models

    weights = _torchvision_weights(model)
    published = len(weights.meta["categories"])
    module = models.get_model(model, weights=None, num_classes=classes or published)
    if hasattr(module, "transform_input"):
        # GoogLeNet and Inception were trained on other means: with this they undo ours.
        module.transform_input = True
    numbers = weights.transforms()
    preprocessing = Preprocessing(
        resize=numbers.resize_size[0],
        crop=numbers.crop_size[0],
        mean=tuple(numbers.mean),
        std=tuple(numbers.std),
        interpolation=numbers.interpolation.value,
    )
    dropped = (_remove_head(module, published),) if classes == 0 else ()
    return Architecture(module, preprocessing, dropped)


def _torchvision_weights(model: str) -> "WeightsEnum":
    from torchvision import models

    if model not in models.list_models(module=models):
        raise unknown_network(f"torchvision:{model}")
    return models.get_model_weights(model).DEFAULT


def _remove_head(module: "torch.nn.Module", classes: int) -> str:
    """Replace the last layer with one output a class by the identity; return its name."""
    import torch

    def outputs(layer: torch.nn.Module) -> int | None:
        # SqueezeNet classifies with a convolution.
        return getattr(layer, "out_features", None) or getattr(layer, "out_channels", None)

    name = [path for path, layer in module.named_modules() if outputs(layer) == classes][-1]
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, torch.nn.Identity())
    return name
