"""What a page knows of the photos: names, folders, dates, sizes, copies, labels."""

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from assets.methods.common.shown_text import printable, printable_uri, without_secrets
from assets.methods.photos.listing import WEB, protocol_of
from assets.methods.photos.local import local_path


@dataclass(frozen=True)
class Names:
    """The files of n photos, as a page shows them.

    ``names`` are what a person reads, ``folder_codes`` (n,) the places of their folders among
    ``folders``. A uri is its folder, a slash and its name, except for the places in ``uris``.
    """

    names: list[str]
    folders: list[str]
    folder_codes: np.ndarray
    uris: dict[int, str]


def name_files(uris: pd.Series) -> Names:
    """Divide uris into folders and names that can be shown.

    Secrets are hidden here, too: catalogues of homes before 0.2 have addresses as they were given.
    """
    folders, names, others = [], [], {}
    for place, uri in enumerate(map(without_secrets, uris)):
        folder, _, name = _in_words(uri).rpartition("/")
        folders.append(folder)
        names.append(name)
        whole = printable_uri(uri)
        if f"{folder}/{name}" != whole:
            others[place] = whole
    codes, distinct = pd.factorize(pd.Series(folders, dtype=object), sort=True)
    return Names(names, list(distinct), codes, others)


def without_common(folders: list[str]) -> list[str]:
    """Return folders without the folders that all of them are in."""
    parts = [folder.split("/") for folder in folders]
    common = 0
    while all(len(one) > common + 1 and one[common] == parts[0][common] for one in parts):
        common += 1
    return ["/".join(one[common:]) or "/" for one in parts]


def name_labels(labels: pd.Series) -> tuple[list[str], np.ndarray]:
    """Return the distinct labels as text that can be shown, and the place of each photo's among
    them, from 1; 0 for a photo without one."""
    codes, distinct = pd.factorize(labels.astype(object), sort=True)
    return [printable(str(one)) for one in distinct], codes + 1


def copies_of(images: pd.DataFrame) -> dict[str, list[str]]:
    """Return the uris of the files with the content of a photo, by image_id, where there are more
    than one."""
    copied = images[images.image_id.duplicated(keep=False)]
    return {
        str(image_id): [printable_uri(without_secrets(uri)) for uri in uris]
        for image_id, uris in copied.groupby("image_id").uri
    }


def near_groups_of(images: pd.DataFrame) -> dict[str, int]:
    """Number the groups of photos that are nearly the same, from 1, by image_id.

    Args:
        images: image_id and duplicate_of, as `mark_duplicates` gives them.
    """
    first_of: dict[str, str] = {}
    once = images.drop_duplicates("image_id")
    # A photo comes after the one that it resembles.
    for image_id, original in zip(once.image_id, once.duplicate_of, strict=True):
        if not pd.isna(original):
            first_of[image_id] = first_of.get(original, original)
    numbers = {first: number for number, first in enumerate(sorted(set(first_of.values())), 1)}
    return numbers | {image_id: numbers[first] for image_id, first in first_of.items()}


def taken_seconds(taken_at: pd.Series) -> np.ndarray:
    """Return the time of the camera's clock, in seconds since 1970; not a number if unknown."""
    clock = taken_at.astype("string").str.slice(0, len("2026-01-31T23:59:59"))
    when = pd.to_datetime(clock.astype(object), errors="coerce", format="ISO8601")
    seconds = when.to_numpy("datetime64[s]").astype("int64").astype("float64")
    return np.where(when.isna(), np.nan, seconds)


def _in_words(uri: str) -> str:
    """Return a uri as a person reads it: without a query, and a path without percent signs."""
    if protocol_of(uri) in WEB:
        return printable(urlsplit(uri)._replace(query="", fragment="").geturl())
    return printable(os.fsencode(local_path(uri)).decode("utf-8", "replace"))
