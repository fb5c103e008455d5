"""Whose probability is attributed to the parts of an image."""

from dataclasses import dataclass

from assets.methods.models.classifier import Classifier
from assets.methods.models.identity import ModelIdentity


@dataclass(frozen=True)
class Target:
    """A class of a classifier, and which model the classifier is."""

    classifier: Classifier
    identity: ModelIdentity
    class_name: str

    @property
    def model(self) -> str:
        """The classifier's name for people, as it was asked for."""
        return self.identity.name

    @property
    def names(self) -> dict[str, str]:
        """The model and the class, as they stand in settings and parameters."""
        return {"model": self.model, "class_name": self.class_name}
