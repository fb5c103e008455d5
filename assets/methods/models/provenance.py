"""What an answer says of its origin: which model was asked, for what, by which software and when.

A score that goes to a colleague or to a regulator is worth as much as what is known of its origin.
Tables, reports, figures and replies take the names of the parts from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from assets import DISTRIBUTION
from assets.methods.common.shown_text import without_secrets
from assets.methods.models.identity import ModelIdentity


@lru_cache
def tessera_version() -> str:
    """Return the version of the installed package."""
    return version(DISTRIBUTION)


@dataclass(frozen=True)
class Provenance:
    """The origin of scores.

    Attributes:
        identity: the model, and its version at that time.
        class_name: the class whose probability was asked for; None where all classes answer.
        threshold: the score from which on an image counts as flagged; None where nothing is
            flagged.
        preprocessing: in words, what the network reads of an image; empty for a black box.
        made_at: when the answers were asked for, ISO 8601 in UTC to the second.
        tessera_version: of this package.
    """

    identity: ModelIdentity
    class_name: str | None
    threshold: float | None
    preprocessing: str
    made_at: str
    tessera_version: str

    def parts(self) -> dict[str, str | float]:
        """Return the names and values, as they stand in tables, reports, tags and replies.

        What is None is left out.
        """
        parts = {
            "model": without_secrets(self.identity.name),
            "model_version": self.identity.version,
            "model_fingerprint": self.identity.fingerprint,
            "class": self.class_name,
            "threshold": self.threshold,
            "preprocessing": self.preprocessing,
            "made_at": self.made_at,
            "tessera_version": self.tessera_version,
        }
        return {name: part for name, part in parts.items() if part is not None}

    @classmethod
    def of_parts(cls, parts: Mapping[str, Any]) -> "Provenance":
        """Return the origin that has these parts."""
        name, version_, fingerprint = (
            parts[name] for name in ("model", "model_version", "model_fingerprint")
        )
        return cls(
            ModelIdentity(name, version_, fingerprint),
            parts.get("class"),
            parts.get("threshold"),
            parts["preprocessing"],
            parts["made_at"],
            parts["tessera_version"],
        )

    def lines(self) -> list[str]:
        """Return the same for the foot of a figure, in two lines."""
        asked = "" if self.class_name is None else f"; P({self.class_name})"
        flagged = "" if self.threshold is None else f", flagged from {self.threshold:g}"
        return [
            f"model {self.identity.in_words()}{asked}{flagged}",
            f"{self.preprocessing + '; ' if self.preprocessing else ''}{self.made_at}, "
            f"tessera {self.tessera_version}",
        ]
