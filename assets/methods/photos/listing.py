"""The files of a source, before they are read.

The ``uri`` of a file is its identity: the absolute path of a local file as plain text, or the
percent-encoded ``file://`` URI if the path is not valid UTF-8; the URL of a remote file, with
passwords and tokens hidden.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from assets.methods.common.shown_text import without_secrets
from assets.methods.photos.rejects import Reject

WEB = ("http", "https")
# The second form is a chain of addresses in fsspec's notation: simplecache::s3://bucket/photos.
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

    ``stamp`` changes when the file does, and is None if it is not known before reading. ``n_bytes``
    is None if it is not known. ``label`` is the label in a manifest. ``address`` is the URL that is
    asked for the file if it holds a secret: it is neither stored nor shown.
    """

    uri: str
    stamp: str | None
    n_bytes: int | None
    label: str | None = None
    address: str | None = field(default=None, repr=False)

    @property
    def location(self) -> str:
        """The uri or address that the file is read from."""
        return self.address or self.uri


@dataclass(frozen=True)
class Listing:
    """The files and rejects of a source, sorted by uri, and the number of ignored entries.

    Hidden and system files and folders are ignored; an ignored folder counts as one entry. The
    entries of a manifest claim to be photos, whatever their names.
    """

    files: tuple[SourceFile, ...]
    rejects: tuple[Reject, ...]
    ignored: int
    is_manifest: bool = False


def protocol_of(text: str) -> str | None:
    """Return the protocol of a URL in lower case; None for a path."""
    match = _URL.match(text)
    return match.group(1).lower() if match else None


def remote_file(
    url: str, stamp: str | None = None, n_bytes: int | None = None, label: str | None = None
) -> SourceFile:
    """Return the file at ``url``, whose identity is the URL without secrets."""
    uri = without_secrets(url)
    return SourceFile(uri, stamp, n_bytes, label, None if uri == url else url)


def is_ignored(name: str) -> bool:
    """Return whether a file or folder with this name is hidden or made by a system."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def sorted_listing(
    found: Iterable[SourceFile | Reject], ignored: int, is_manifest: bool = False
) -> Listing:
    """Return the listing of files and rejects that come in any order."""
    entries = sorted(found, key=lambda entry: entry.uri)
    return Listing(
        files=tuple(entry for entry in entries if isinstance(entry, SourceFile)),
        rejects=tuple(entry for entry in entries if isinstance(entry, Reject)),
        ignored=ignored,
        is_manifest=is_manifest,
    )
