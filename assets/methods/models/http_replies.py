"""The replies of a classifier behind HTTP: their codes, their probabilities, and their model.

The services of Tessera say in each output which model answered, in `model.model_version`: its `id`,
and what it `reads` of an image. They take a field `working_copy` in the data of an image.
"""

import json
from dataclasses import dataclass
from typing import Any, TypeGuard

from PIL import Image

from assets.methods.common.fingerprints import digest_parts
from assets.methods.common.shown_text import printable
from assets.methods.models.preprocessing import Preprocessing

OK = 10000
FAILURE = 10020

_LONGEST_VERSION = 64
# Beyond this a reply does not say what a network reads.
_LARGEST_SIDE = 4096


class MalformedReplyError(Exception):
    """A reply is against the contract; it says how, as what the classifier does."""


@dataclass(frozen=True)
class NamedVersion:
    """The version of a model that a reply names; both are empty if it names none.

    ``id`` is what people call it, and ``unique`` tells it from others: a service that knows the
    fingerprint of its model may call one model by two names.
    """

    id: str = ""
    unique: str = ""

    def __str__(self) -> str:
        return f"version {self.id}" if self.id else "a model without a version"


def parsed(body: bytes) -> Any:
    """Return the value of a reply; None for what is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def code_of(reply: Any) -> int | None:
    """Return the code of a reply's or an output's status; None if there is none."""
    status = reply.get("status") if isinstance(reply, dict) else None
    code = status.get("code") if isinstance(status, dict) else None
    return code if isinstance(code, int) else None


def described(reply: Any) -> str:
    """Return the status of a reply or an output in words."""
    if code_of(reply) is None:
        return "it has no status"
    status = reply["status"]
    told = " ".join(str(status.get(part, "")) for part in ("description", "details"))
    return f"code {status['code']} {' '.join(told.split())[:200]}".strip()


def probabilities_of(output: Any) -> dict[str, float]:
    """Return the probabilities of an output by class name; raises MalformedReplyError."""
    try:
        concepts = output["data"]["concepts"]
        found = {concept["name"]: concept["value"] for concept in concepts}
    except (KeyError, TypeError) as error:
        raise MalformedReplyError("answered without data.concepts of name and value") from error
    if len(found) < len(concepts) or not found:
        raise MalformedReplyError("named a class twice, or none at all")
    for name, value in found.items():
        if not isinstance(name, str) or not _is_number(value):
            raise MalformedReplyError("answered with a class or a value of the wrong type")
    return found


def named_version(output: Any, header: str) -> NamedVersion:
    """Return the version of the model that gave an output.

    Args:
        output: of a reply.
        header: what the reply's header says of the version, empty if nothing.
    """
    version = _model_version(output)
    name = version.get("id")
    name = str(name) if isinstance(name, str | int) and not isinstance(name, bool) else header
    fingerprint = version.get("fingerprint")
    unique = fingerprint if isinstance(fingerprint, str) and fingerprint else name
    return NamedVersion(_short(name), unique)


def reading_of(output: Any) -> Preprocessing | None:
    """Return how the model that gave an output scales images; None if it does not say."""
    reads = _model_version(output).get("reads")
    if not isinstance(reads, dict):
        return None
    side, crop, stretch = reads.get("short_side"), reads.get("crop"), reads.get("stretch")
    interpolation = reads.get("interpolation")
    if not (_is_side(side) and _is_side(crop) and isinstance(stretch, bool)):
        return None
    if not (isinstance(interpolation, str) and interpolation.upper() in _FILTERS):
        return None
    return Preprocessing(side, crop, (0.0,) * 3, (1.0,) * 3, interpolation, stretch)


_FILTERS = {one.name for one in Image.Resampling}


def _model_version(output: Any) -> dict[str, Any]:
    model = output.get("model") if isinstance(output, dict) else None
    version = model.get("model_version") if isinstance(model, dict) else None
    return version if isinstance(version, dict) else {}


def _short(name: str) -> str:
    # It is shown in tables and figures.
    shown = printable(" ".join(name.split()))
    return shown if len(shown) <= _LONGEST_VERSION else digest_parts({"version": name})[:16]


def _is_side(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 < value <= _LARGEST_SIDE


def _is_number(value: Any) -> bool:
    # An integer of a thousand digits is JSON, too, but no float.
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**63)
