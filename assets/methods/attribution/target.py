"""Whose probability is attributed to the parts of an image."""

from dataclasses import dataclass

from assets.methods.models.classifier import Classifier


@dataclass(frozen=True)
class Target:
    """A class of a classifier; ``model`` is the classifier's name for people."""

    classifier: Classifier
    model: str
    class_name: str

    @property
    def names(self) -> dict[str, str]:
        """The model and the class, as they stand in settings and parameters."""
        return {"model": self.model, "class_name": self.class_name}
