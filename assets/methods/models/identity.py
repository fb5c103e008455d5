"""Which model gave an answer."""

from dataclasses import dataclass

from assets.methods.common.shown_text import without_secrets


@dataclass(frozen=True)
class ModelIdentity:
    """What tells one model from another.

    Attributes:
        name: as the user asked for it, such as ``models:/nsfw@champion``.
        version: the version that the name stood for when the model was loaded, such as ``3``. It is
            empty where a model has no versions, and where the registry could not be asked.
        fingerprint: hex, of the weights, the classes and the preprocessing; two models with the
            same fingerprint give the same probabilities.
    """

    name: str
    version: str
    fingerprint: str

    def in_words(self) -> str:
        """Return all three, without the secrets that a URL may hold."""
        version = f" version {self.version}" if self.version else ""
        return f"{without_secrets(self.name)}{version}, fingerprint {self.fingerprint[:16]}"
