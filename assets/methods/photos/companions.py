"""Files that accompany photos: data about them, short videos, and raw files beside their JPEG.

In a folder, a file is a companion if its name ends like text, data, a video or sound and it does
not begin as a photo does, whether or not the photo is there. A camera's raw file is one beside a
photo of the same name. A row of a manifest claims to be a photo and is never a companion.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import pandas as pd

from assets.methods.photos.listing import WEB, SourceFile, protocol_of

_PHOTOS = {
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png"),
    *(".tif", ".tiff", ".webp"),
}
_RAW = {
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc"),
    *(".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl"),
    *(".sr2", ".srf", ".srw", ".x3f"),
}
_ACCOMPANYING = {
    # Edits and facts of one photo, in the formats of photo services and editors.
    *(".aae", ".cos", ".dop", ".json", ".pp3", ".vrd", ".xml", ".xmp", ".yaml", ".yml"),
    *(".csv", ".htm", ".html", ".ini", ".log", ".md", ".tsv", ".txt", ".url"),
    *(".3gp", ".avi", ".lrv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"),
    *(".webm", ".wmv"),
    *(".aac", ".amr", ".m4a", ".mp3", ".ogg", ".wav"),
}
_COLUMNS = {"uri": "string", "belongs_to": "string"}
# A photo service numbers files of one name: IMG_1(1).jpg has the data IMG_1.jpg(1).json.
_NUMBERED = re.compile(r"(.*)(\(\d+\))", re.DOTALL)


def find_companions(files: Iterable[SourceFile]) -> dict[str, str | None]:
    """Return the uris of a folder's files whose names are those of companions.

    With each is the uri of the photo that it belongs to, or None where no such photo is there.
    """
    by_folder: dict[str, list[SourceFile]] = {}
    for file in files:
        by_folder.setdefault(file.uri.rpartition("/")[0], []).append(file)
    return dict(pair for inside in by_folder.values() for pair in _companions_in_folder(inside))


def is_named_raw(uri: str) -> bool:
    """Return whether the name of a file is that of a camera's raw file."""
    return _suffix(uri) in _RAW


def companions_table(companions: Iterable[tuple[str, str | None]] = ()) -> pd.DataFrame:
    """Return a row for each companion, in their order: uri, and belongs_to or null."""
    return pd.DataFrame(list(companions), columns=list(_COLUMNS)).astype(_COLUMNS)


def _companions_in_folder(files: list[SourceFile]) -> Iterator[tuple[str, str | None]]:
    photos = [file.uri for file in files if _suffix(file.uri) in _PHOTOS]
    owners = _by_name(photos)
    # Data may also be about a raw file, where that has no photo beside it.
    owners_or_raw = _by_name([file.uri for file in files if is_named_raw(file.uri)]) | owners
    for file in files:
        suffix = _suffix(file.uri)
        if suffix in _RAW:
            owner = owners.get(PurePosixPath(_name(file.uri)).stem)
            if owner is not None:
                yield file.uri, owner
        elif suffix in _ACCOMPANYING:
            names = _owner_names(PurePosixPath(_name(file.uri)).stem)
            found = (owners_or_raw[name] for name in names if name in owners_or_raw)
            yield file.uri, next(found, None)


def _by_name(uris: list[str]) -> dict[str, str]:
    """Return the uris by their name with and without suffix; the first of several has the stem."""
    by_stem: dict[str, str] = {}
    for uri in uris:
        by_stem.setdefault(PurePosixPath(_name(uri)).stem, uri)
    return by_stem | {_name(uri): uri for uri in uris}


def _owner_names(stem: str) -> Iterator[str]:
    """Yield the names that the photo of a companion may have, the longest first.

    IMG_1.jpg.supplemental-metadata has the photo IMG_1.jpg, and IMG_1.jpg(1) has IMG_1(1).jpg.
    """
    numbered = _NUMBERED.fullmatch(stem)
    plain, number = numbered.groups() if numbered else (stem, "")
    yield stem
    while plain:
        before, dot, suffix = plain.rpartition(".")
        yield f"{before}{number}.{suffix}" if dot else f"{plain}{number}"
        plain = before


def _name(uri: str) -> str:
    path = uri.partition("?")[0] if protocol_of(uri) in WEB else uri
    return path.rpartition("/")[2].casefold()


def _suffix(uri: str) -> str:
    return PurePosixPath(_name(uri)).suffix
