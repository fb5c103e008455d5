"""The reasons for which a photo is left out, each with a sentence for people."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum

import pandas as pd

_DTYPES = {"uri": "string", "reason": "string", "detail": "string"}


class Reason(StrEnum):
    """The reasons for which a file is rejected."""

    EMPTY = "empty"
    NOT_AN_IMAGE = "not an image"
    TRUNCATED = "truncated"
    UNSUPPORTED = "unsupported"
    TOO_LARGE = "too large"
    TOO_SMALL = "too small"
    UNREADABLE = "unreadable"
    NOT_FOLLOWED = "link not followed"
    DOWNLOAD_FAILED = "download failed"


class Rejected(Exception):  # noqa: N818 - a verdict on a photo, not an error of the program
    """A photo cannot be used; ``detail`` is a sentence that a person understands."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Reject:
    """A file (or folder) that was found and cannot be used."""

    uri: str
    reason: Reason
    detail: str


def rejects_table(rejects: Iterable[Reject]) -> pd.DataFrame:
    """Return a row for each reject, in their order: uri, reason, detail."""
    rows = [asdict(reject) for reject in rejects]
    return pd.DataFrame(rows, columns=list(_DTYPES)).astype(_DTYPES)
