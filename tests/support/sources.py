"""Sources made on the spot, and what is asked of them."""

import os
from pathlib import Path

import pytest

from assets.methods.common.errors import UserError
from assets.methods.photos.download import FetchLimits
from assets.methods.photos.source import Listing, list_source

LIMITS = FetchLimits(max_bytes=1000)

# Names of files that a careless program would take for something else.
NAMES = [
    "with\nnewline.jpg",
    "-rf",
    "quote'\".jpg",
    "100%.jpg",
    "%41.jpg",
    "a b",
    "ünï",
    "http:",
    "#?",
]


def write(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(listing: Listing, folder: Path) -> list[str]:
    return [os.path.relpath(file.uri, folder) for file in listing.files]


def refused(source: str) -> str:
    with pytest.raises(UserError) as caught:
        list_source(source)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message
