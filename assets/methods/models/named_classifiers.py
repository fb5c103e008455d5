"""The classifiers that are found by a name.

| name | what it is |
|---|---|
| `efficientnet-lite0` | 1,000 ImageNet classes; in a package, nothing is downloaded |
| `skin-baseline` | `sfw` and `nsfw`, by skin and limbs as in 1996; nothing is downloaded |
| `timm:NAME` | with the published weights, downloaded by timm |
| `torchvision:NAME` | with the published weights, downloaded by torchvision |
| `PATH.safetensors` | a file of ``classifier_file`` |
| `python:package.module:attribute` | a function of the user's (``callable_classifier``) |
| `http://...`, `https://...` | a black box (``http_classifier``) |
"""

from pathlib import Path

from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.models import efficientnet_lite0
from assets.methods.models.architectures import (
    Architecture,
    class_names_of,
    download_architecture,
)
from assets.methods.models.callable_classifier import load_callable_classifier
from assets.methods.models.classifier import Classifier
from assets.methods.models.classifier_file import classifier_fingerprint, load_classifier
from assets.methods.models.http_classifier import HttpClassifier
from assets.methods.models.skin.baseline import SKIN_BASELINE, SkinBaseline
from assets.methods.models.torch_classifier import TorchClassifier


def load_named_classifier(name: str, plan: ComputePlan) -> Classifier:
    """Load the classifier called ``name``.

    Args:
        name: one of the names in the table at the top of this file.
        plan: where to compute, and how much at a time.

    Raises:
        UserError: there is no such classifier, or it cannot be had.
    """
    if name.startswith(("http://", "https://")):
        return HttpClassifier(name)
    if name.startswith("python:"):
        return load_callable_classifier(name)
    if name.endswith(".safetensors"):
        return load_classifier(Path(name), plan)
    if name == SKIN_BASELINE:
        return SkinBaseline(plan.threads)
    if name == efficientnet_lite0.NAME:
        packaged = Architecture(
            efficientnet_lite0.packaged_network(), efficientnet_lite0.PREPROCESSING
        )
        return _classifier(f"timm:{efficientnet_lite0.ARCHITECTURE}", packaged, plan)
    if ":" not in name:
        # The registry's models and the packaged one have names as well (``Models.load``).
        raise UserError(
            f"There is no network {name}: use models:/nsfw@champion, open_nsfw, "
            f"{SKIN_BASELINE}, {efficientnet_lite0.NAME}, timm:NAME, torchvision:NAME or a "
            "file NAME.safetensors."
        )
    return _classifier(name, download_architecture(name, classes=None), plan)


def _classifier(name: str, architecture: Architecture, plan: ComputePlan) -> TorchClassifier:
    module, preprocessing = architecture.module, architecture.preprocessing
    class_names = class_names_of(name, module)
    weights = {key: tensor.numpy() for key, tensor in module.state_dict().items()}
    fingerprint = classifier_fingerprint(name, weights, class_names, preprocessing)
    return TorchClassifier(module, preprocessing, class_names, fingerprint, plan)
