"""Whose probability is attributed to the parts of an image."""

from dataclasses import dataclass

from assets.methods.common.timestamps import now_to_the_second
from assets.methods.models.classifier import Classifier
from assets.methods.models.identity import ModelIdentity
from assets.methods.models.one_model import identity_now
from assets.methods.models.provenance import Provenance, tessera_version
from assets.methods.models.torch_classifier import TorchClassifier


@dataclass(frozen=True)
class Target:
    """A class of a classifier, and which model the classifier was when it was loaded."""

    classifier: Classifier
    loaded: ModelIdentity
    class_name: str

    @property
    def identity(self) -> ModelIdentity:
        """Which model the classifier is; a remote one may be replaced after it was loaded."""
        return identity_now(self.classifier, self.loaded)

    @property
    def model(self) -> str:
        """The classifier's name for people, as it was asked for."""
        return self.loaded.name

    @property
    def names(self) -> dict[str, str]:
        """The model and the class, as they stand in settings and parameters."""
        return {"model": self.model, "class_name": self.class_name}


def provenance_of(target: Target, threshold: float | None) -> Provenance:
    """Return the origin of what a target answers from now on; ``threshold`` as in `Provenance`."""
    classifier = target.classifier
    known = classifier.preprocessing if isinstance(classifier, TorchClassifier) else None
    return Provenance(
        target.identity,
        target.class_name,
        threshold,
        known.in_words() if known else "",
        now_to_the_second(),
        tessera_version(),
    )
