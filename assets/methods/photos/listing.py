"""The files of a source: what is known of each before it is read.

A file's ``uri`` is its identity. A local file's is its absolute path as plain text, whatever
characters are in it; if the path is not valid UTF-8, the percent-encoded ``file://`` URI. A remote
file's is its URL.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from assets.methods.photos.rejects import Reject

WEB = ("http", "https")
# The second form is a chain of addresses, as fsspec writes it: simplecache::s3://bucket/photos.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(?:://|::.*://)", re.DOTALL)
_SYSTEM_NAMES = {
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}


@dataclass(frozen=True)
class SourceFile:
    """A file that was found.

    ``stamp`` changes when the file does; None means unknown until it is read. ``n_bytes`` is None
    where the listing does not tell. ``label`` is the manifest's.
    """

    uri: str
    stamp: str | None
    n_bytes: int | None
    label: str | None = None


@dataclass(frozen=True)
class Listing:
    """What a source holds: files and rejects sorted by uri, and how many entries were ignored.

    Hidden and system files and folders are ignored; an ignored folder counts as one entry.
    """

    files: tuple[SourceFile, ...]
    rejects: tuple[Reject, ...]
    ignored: int


def protocol_of(text: str) -> str | None:
    """The protocol of a URL in lower case; None for a path."""
    match = _URL.match(text)
    return match.group(1).lower() if match else None


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is hidden or the system's own."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def sorted_listing(found: Iterable[SourceFile | Reject], ignored: int) -> Listing:
    """The listing of what was found, in any order."""
    entries = sorted(found, key=lambda entry: entry.uri)
    return Listing(
        files=tuple(entry for entry in entries if isinstance(entry, SourceFile)),
        rejects=tuple(entry for entry in entries if isinstance(entry, Reject)),
        ignored=ignored,
    )
