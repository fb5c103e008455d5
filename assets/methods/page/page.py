"""A page of a map: tiles, data and the scripts of the browser, in one folder.

The order of photos in the data is that of their cells, row by row. A part of the data is in one
file ``data/PART.js``, or in ``data/PART-0.js``, ``data/PART-1.js`` ... for so many photos each.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distribution
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from assets.methods.common.progress import Progress, silent
from assets.methods.common.shown_text import printable
from assets.methods.page.changes import MapChanges, changes_fields
from assets.methods.page.explained import ExplainedPhoto, put_maps
from assets.methods.page.facts import (
    copies_of,
    name_files,
    name_labels,
    near_groups_of,
    taken_seconds,
    without_common,
)
from assets.methods.page.folder import PageFolder
from assets.methods.page.landmarks import (
    Naming,
    PlacedPhotos,
    find_landmarks,
    landmarks_source,
)
from assets.methods.page.likeness import (
    N_NEIGHBOURS,
    encode_vectors,
    likeness_source,
    nearest_photos,
)
from assets.methods.page.scripts import data_script, fields_of, smallest_type
from assets.methods.page.tiles import (
    TILE,
    Pyramid,
    draw_cell,
    encode_tile,
    plan_pyramid,
    write_tiles,
)
from assets.methods.page.versions import versions_of, with_versions
from assets.methods.photos.labels import is_identifier
from assets.methods.plotting.blurring import BLUR_ABOVE, LoadImage, are_blurred

INDEX = "index.html"

_BROWSER = Path(__file__).parent / "browser"
_LEAFLET = ("leaflet.js", "leaflet.css")
_CLEAR_SIDE = 256  # px
# Photos in a file of names, ids or neighbours.
_PHOTOS_A_FILE = 65_536
# Likeness to a photo is shown for so many photos; for more, the nearest ones alone.
MOST_WITH_CODES = 200_000
_LARGEST = np.iinfo(np.uint16).max
_NO_SCORE = _LARGEST
_CODES = "data/codes.js"
_LANDMARKS = "data/landmarks.js"


@dataclass(frozen=True)
class PageSettings:
    """How a page is made.

    Photos with a score above ``blur_above`` are drawn grey and blurred; None blurs none. With
    ``clear`` the page also has each of these as it is, to be looked at on request. ``landmarks``
    are groups of like photos, with a photo and a name each.
    """

    blur_above: float | None = BLUR_ABOVE
    clear: bool = True
    landmarks: bool = True


@dataclass(frozen=True)
class PageContents:
    """What a page shows.

    layout: image_id, uri, label, x, y, row, col; a photo may be in it twice. images: those of a
    `Catalogue`. vectors: (n, d) float32 of unit length, in the order of ``layout``; None if
    likeness is not shown. scores: image_id and score, P(``score_name``); None if there are none.
    classes: returns what a network takes photos for, by their vectors (n, d): names, and the place
    of each photo's among them; None where it tells nothing. ``classes_of`` stands for that network.
    changes: what led to the maps of the collection that are kept; None if nobody keeps them.
    explained: by image_id, the maps of what the model of the scores looks at.
    """

    title: str
    columns: int
    rows: int
    layout: pd.DataFrame
    images: pd.DataFrame
    vectors: np.ndarray | None = None
    scores: pd.DataFrame | None = None
    score_name: str = ""
    explained: Mapping[str, ExplainedPhoto] = field(default_factory=dict)
    classes: Callable[[np.ndarray], Naming | None] | None = None
    classes_of: str = ""
    changes: Sequence[MapChanges] | None = None


@dataclass(frozen=True)
class PageReport:
    """How many files and bytes a page has, how many were written anew, and blurred photos.

    ``recall`` is the share of the ten nearest photos that the codes of the page find; None where it
    has no codes.
    """

    files: int
    bytes: int
    written: int
    blurred: int
    recall: float | None


def write_page(
    folder: Path,
    contents: PageContents,
    load_image: LoadImage,
    settings: PageSettings | None = None,
    progress: Progress = silent,
    threads: int | None = None,
) -> PageReport:
    """Write a page into ``folder``; what is there already is not made again.

    Args:
        folder: may hold an earlier page.
        contents: what it shows.
        load_image: returns the working copy of an image_id, RGB; called from several threads.
        settings: how it is made.
        progress: counts the tiles.
        threads: that draw; None takes one per processor.
    """
    settings = settings or PageSettings()
    photos = _photos_in_order(contents, settings)
    pyramid = plan_pyramid(contents.columns, contents.rows, len(photos))
    page = PageFolder(folder)
    with page.filled():
        write_tiles(page, photos, pyramid, load_image, progress, threads)
        _put_clear_photos(page, photos, load_image, settings)
        likeness = _put_likeness(page, contents, photos)
        if settings.landmarks:
            _put_landmarks(page, contents, photos)
        maps = put_maps(page, photos, contents.explained, load_image, settings.clear)
        if maps:
            page.put(_data_file("maps"), data_script("maps", {"maps": maps}))
        for name, data in _data(contents, photos):
            page.put(_data_file(name), data)
        known = likeness | {"explained": sorted(maps)} | versions_of(page.files, pyramid)
        fields = known | _map_fields(contents, photos, pyramid, settings)
        page.put(_data_file("map"), data_script("map", fields))
        for name, file in _browser_files():
            page.put(name, file.read_bytes())
        page.put(INDEX, with_versions((_BROWSER / INDEX).read_text("utf-8"), page.files).encode())
    return PageReport(
        files=len(page.files),
        bytes=page.n_bytes,
        written=page.n_written,
        blurred=int(photos.is_blurred.sum()),
        recall=likeness.get("recall"),
    )


def _photos_in_order(contents: PageContents, settings: PageSettings) -> pd.DataFrame:
    """Return the layout, row by row of the grid, with score, is_blurred and its former place."""
    photos = contents.layout.assign(place=np.arange(len(contents.layout)))
    if contents.scores is None:
        photos["score"] = np.nan
    else:
        scores = contents.scores[["image_id", "score"]].drop_duplicates("image_id")
        photos = photos.merge(scores, on="image_id", how="left")
    photos["is_blurred"] = are_blurred(photos.score, settings.blur_above)
    return photos.sort_values(["row", "col"], ignore_index=True)


def _put_clear_photos(
    page: PageFolder, photos: pd.DataFrame, load_image: LoadImage, settings: PageSettings
) -> None:
    if not settings.clear:
        return
    for image_id in photos.image_id[photos.is_blurred].unique():
        name = f"clear/{image_id}.jpg"
        source = f"{image_id}/{_CLEAR_SIDE}"
        if not page.keeps(name, source):
            page.put(name, encode_tile(draw_cell(load_image(image_id), _CLEAR_SIDE)), source)


def _put_likeness(page: PageFolder, contents: PageContents, photos: pd.DataFrame) -> dict[str, Any]:
    """Put the nearest photos and the codes in, and return what the page has to know of them.

    For many photos they take minutes, so they are not found again for the same vectors.
    """
    if contents.vectors is None or len(photos) < 2:
        return {"codes": False, "neighbours": False}
    vectors = contents.vectors[photos.place.to_numpy()]
    source = likeness_source(vectors)
    n_files = ceil(len(photos) / _PHOTOS_A_FILE)
    files = [_data_file(f"neighbours-{number}") for number in range(n_files)]
    if not all(page.keeps(file, source) for file in files):
        nearest = nearest_photos(vectors, N_NEIGHBOURS).astype(np.uint32)
        for name, data in _in_files("neighbours", len(photos), {"nearest": nearest}):
            page.put(_data_file(name), data, source)
    about = {"codes": False, "neighbours": min(N_NEIGHBOURS, len(photos) - 1)}
    if len(photos) > MOST_WITH_CODES:
        return about
    if not page.keeps(_CODES, source):
        page.put(_CODES, data_script("codes", vars(encode_vectors(vectors))), source)
    recall = fields_of((page.folder / _CODES).read_bytes())["recall"]
    return about | {"codes": True, "recall": recall}


def _put_landmarks(page: PageFolder, contents: PageContents, photos: pd.DataFrame) -> None:
    """Put the landmarks in, unless those of the same photos are there."""
    points, _, _ = _points(photos)
    vectors = points.astype(np.float32)
    if contents.vectors is not None:
        vectors = contents.vectors[photos.place.to_numpy()]
    placed = PlacedPhotos(
        vectors,
        photos[["row", "col"]].to_numpy(np.int64),
        points.astype(np.int64),
        photos.is_blurred.to_numpy(bool),
        contents.columns,
        contents.rows,
    )
    classes = contents.classes if contents.vectors is not None else None
    namings = _namings(photos)
    source = landmarks_source(placed, namings, contents.classes_of if classes else "")
    if not page.keeps(_LANDMARKS, source):
        found = find_landmarks(placed, namings, lambda: classes(vectors) if classes else None)
        found["names"] = [printable(name) for name in found["names"]]
        page.put(_LANDMARKS, data_script("landmarks", found), source)


def _namings(photos: pd.DataFrame) -> list[Naming]:
    """Return what photos may be called by: their labels, and their folders."""
    namings = []
    if photos.label.notna().any() and not is_identifier(photos.label):
        labels, codes = name_labels(photos.label)
        namings.append((labels, codes.astype(np.int64) - 1))
    names = name_files(photos.uri)
    if len(names.folders) > 1:
        namings.append((without_common(names.folders), names.folder_codes.astype(np.int64)))
    return namings


def _data(contents: PageContents, photos: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each script of data that is not needed at once."""
    names = name_files(photos.uri)
    yield "facts", data_script("facts", _facts(contents, photos, names))
    if contents.changes:
        yield "changes", data_script("changes", changes_fields(contents.changes, photos.image_id))
    ids = np.frombuffer(bytes.fromhex("".join(photos.image_id)), np.uint8).reshape(len(photos), -1)
    yield from _in_files("ids", len(photos), {"ids": ids})
    yield from _in_files("names", len(photos), {"names": names.names})


def _map_fields(
    contents: PageContents, photos: pd.DataFrame, pyramid: Pyramid, settings: PageSettings
) -> dict[str, Any]:
    """Return what the page reads at once."""
    labels, label_codes = None, None
    if photos.label.notna().any() and not is_identifier(photos.label):
        labels, codes = name_labels(photos.label)
        label_codes = smallest_type(codes)
    scaled, lowest, spread = _points(photos)
    cells = (photos.row * contents.columns + photos.col).to_numpy(np.uint32)
    return {
        "title": printable(contents.title),
        "photos": len(photos),
        "columns": contents.columns,
        "rows": contents.rows,
        "tile": TILE,
        "coarsest": pyramid.coarsest,
        "deepest": pyramid.deepest,
        "photosAFile": _PHOTOS_A_FILE,
        "cells": cells,
        "x": scaled[:, 0],
        "y": scaled[:, 1],
        "lowest": lowest.tolist(),
        "spread": spread,
        "scores": None if contents.scores is None else _score_column(photos.score.to_numpy(float)),
        "scoreName": printable(contents.score_name),
        "labels": labels,
        "labelCodes": label_codes,
        "blurAbove": settings.blur_above,
        "blurred": np.flatnonzero(photos.is_blurred).tolist(),
        "clear": settings.clear,
        "landmarks": settings.landmarks,
        "changes": bool(contents.changes),
    }


def _points(photos: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, float]:
    """Return x and y as whole numbers, uint16 (n, 2), the lowest of each, and how far they go."""
    points = photos[["x", "y"]].to_numpy(np.float64)
    lowest, spread = points.min(axis=0), np.ptp(points, axis=0).max() or 1.0
    return np.rint((points - lowest) / spread * _LARGEST).astype(np.uint16), lowest, float(spread)


def _score_column(scores: np.ndarray) -> np.ndarray:
    steps = np.rint(np.nan_to_num(scores).clip(0, 1) * (_NO_SCORE - 1))
    return np.where(np.isnan(scores), _NO_SCORE, steps).astype(np.uint16)


def _facts(contents: PageContents, photos: pd.DataFrame, names: Any) -> dict[str, Any]:
    """Return what the page reads when a person first looks at a photo."""
    images = contents.images
    once = images.drop_duplicates("image_id").set_index("image_id").reindex(photos.image_id)
    groups = near_groups_of(images)
    copies = copies_of(images)
    of_photo = [copies.get(image_id, []) for image_id in photos.image_id]
    is_label = photos.label.notna()
    return {
        "folders": names.folders,
        "folderCodes": smallest_type(names.folder_codes),
        "uris": names.uris,
        "widths": once.width.fillna(0).to_numpy(np.uint32),
        "heights": once.height.fillna(0).to_numpy(np.uint32),
        "bytes": once.n_bytes.fillna(0).to_numpy(np.float64),
        "taken": taken_seconds(once.taken_at),
        "groups": np.array([groups.get(one, 0) for one in photos.image_id], np.uint32),
        "copies": {place: uris for place, uris in enumerate(of_photo) if uris},
        # Those that name single photos, which are no colours.
        "labels": {
            int(place): printable(str(photos.label.iloc[place]))
            for place in np.flatnonzero(is_label if is_identifier(photos.label) else False)
        },
    }


def _in_files(part: str, n_photos: int, fields: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    for number, begin in enumerate(range(0, n_photos, _PHOTOS_A_FILE)):
        some = {name: field[begin : begin + _PHOTOS_A_FILE] for name, field in fields.items()}
        yield f"{part}-{number}", data_script(f"{part}-{number}", some)


def _data_file(name: str) -> str:
    return f"data/{name}.js"


def _browser_files() -> Iterator[tuple[str, Path]]:
    """Yield the names and the paths of the files that every page has, but for its index."""
    for file in sorted(_BROWSER.iterdir()):
        if file.name != INDEX:
            yield f"page/{file.name}", file
    package = distribution("XStatic-Leaflet")
    for name in _LEAFLET:
        yield f"leaflet/{name}", Path(str(package.locate_file(f"xstatic/pkg/leaflet/data/{name}")))
    yield "leaflet/LICENSE", Path(__file__).parent / "leaflet_licence.txt"
