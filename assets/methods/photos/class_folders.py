"""Folders of classes: folder/class/photo.jpg, or folder/split/class/photo.jpg."""

import os
from collections.abc import Iterable

import pandas as pd

from assets.methods.photos.listing import Listing, SourceFile, protocol_of
from assets.methods.photos.local import local_path
from assets.methods.photos.rejects import Reject
from assets.methods.photos.splits import split_name

_COLUMNS = ("uri", "label", "split")


def class_folder_rows(listing: Listing, root: str) -> pd.DataFrame:
    """Return the rows of a manifest of everything below a folder, as strings, indexed from 1.

    Column label is the name of the topmost folder that a file lies in, whatever folders are below
    it. A topmost folder that is called like a split, and has folders itself, is column split, and
    the folder below it is the label. What is missing is null.

    Args:
        listing: the files of the folder.
        root: the absolute path of the folder, or its URL.
    """
    entries: list[SourceFile | Reject] = [*listing.files, *listing.rejects]
    entries.sort(key=lambda entry: entry.uri)
    folders = [_folders(entry.uri, root) for entry in entries]
    splits = _split_folders(folders)
    rows = []
    for entry, names in zip(entries, folders, strict=True):
        is_split = bool(names) and names[0] in splits
        split, classes = (names[0], names[1:]) if is_split else (None, names)
        rows.append((entry.uri, classes[0] if classes else None, split))
    return pd.DataFrame(rows, pd.RangeIndex(1, len(rows) + 1), _COLUMNS, dtype="string")


def _split_folders(folders: Iterable[list[str]]) -> set[str]:
    # A folder of photos called train may be one of the classes train, car and plane.
    return {names[0] for names in folders if len(names) > 1 and split_name(names[0])}


def _folders(uri: str, root: str) -> list[str]:
    """Return the names of the folders from ``root`` to a file."""
    if protocol_of(uri) in (None, "file"):
        below = os.path.relpath(local_path(uri), root)
        below = os.fsencode(below).decode("utf-8", "replace")
    else:
        # A store may write its addresses with another protocol, or more slashes, than its user.
        path, folder = (url.partition("://")[2].strip("/") for url in (uri, root))
        below = path.removeprefix(folder).lstrip("/")
    return below.split("/")[:-1]
