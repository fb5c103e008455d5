"""The tiles of a page: every photo in its cell, at several sizes, cut from the working copies.

Zoom z shows cells of 2^z px. The tiles of the deepest zoom are drawn from the photos, each other
one from the four below it: there is never one huge picture.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from math import ceil, floor, log2
from pathlib import Path

import pandas as pd
from PIL import Image, ImageOps

from assets.methods.common.devices import usable_cores
from assets.methods.common.parallel import unordered_map
from assets.methods.common.progress import Progress, silent
from assets.methods.page.folder import PageFolder
from assets.methods.plotting.blurring import LoadImage, draw_blurred

TILE = 512  # px

# Raise it whenever the pixels of a tile change.
_VERSION = 1
_QUALITY = 82
# Below the marks of the page nothing of it is seen.
_EMPTY = (128, 128, 128)
# The deepest zoom by the number of photos: larger cells would be more files than they are worth.
_DEEPEST = ((25_000, 8), (150_000, 7), (600_000, 6))
_DEEPEST_OF_MORE = 5

# Column and row of a tile.
Place = tuple[int, int]


@dataclass(frozen=True)
class Pyramid:
    """A grid, and the zooms at which its tiles are drawn, from ``coarsest`` to ``deepest``."""

    columns: int
    rows: int
    coarsest: int
    deepest: int

    def places(self, zoom: int) -> Iterator[Place]:
        """Yield the places of all tiles of a zoom, row by row."""
        across, down = (ceil(cells * 2**zoom / TILE) for cells in (self.columns, self.rows))
        yield from ((x, y) for y, x in product(range(down), range(across)))


def plan_pyramid(columns: int, rows: int, n_photos: int) -> Pyramid:
    """Choose the zooms: at the coarsest one tile holds the whole grid."""
    deepest = next((zoom for most, zoom in _DEEPEST if n_photos <= most), _DEEPEST_OF_MORE)
    coarsest = min(deepest, floor(log2(TILE / max(columns, rows))))
    return Pyramid(columns, rows, coarsest, deepest)


def write_tiles(
    page: PageFolder,
    cells: pd.DataFrame,
    pyramid: Pyramid,
    load_image: LoadImage,
    progress: Progress = silent,
    threads: int | None = None,
) -> None:
    """Write the tiles whose photos changed.

    Args:
        page: the folder of the page.
        cells: columns image_id, row, col, and is_blurred (bool): whether to draw the photo grey and
            blurred.
        pyramid: from ``plan_pyramid`` for the grid of the cells.
        load_image: returns the photo of an image_id, RGB; called from several threads.
        progress: counts the tiles.
        threads: that draw; None takes one per processor.
    """
    zooms = range(pyramid.deepest, pyramid.coarsest - 1, -1)
    n_tiles = sum(1 for zoom in zooms for _ in pyramid.places(zoom))
    n_done = 0
    sources: dict[Place, str] = {}
    n_threads = threads or usable_cores()
    with ThreadPoolExecutor(n_threads, thread_name_prefix="tiles") as pool:
        for zoom in zooms:
            draw: Callable[[Place], str | None] = (
                _DeepestTiles(page, cells, zoom, load_image)
                if zoom == pyramid.deepest
                else _UpperTiles(page, zoom, sources)
            )
            drawn = unordered_map(pool, draw, pyramid.places(zoom), 2 * n_threads)
            sources = {}
            for place, source in drawn:
                if source is not None:
                    sources[place] = source
                n_done += 1
                progress(n_done, n_tiles)


def tile_name(zoom: int, place: Place) -> str:
    """Return the name of a tile's file."""
    return f"tiles/{zoom}/{place[0]}-{place[1]}.jpg"


def draw_cell(photo: Image.Image, side: int, is_blurred: bool = False) -> Image.Image:
    """Cut the centre square out of a photo, RGB, and scale it, or draw it blurred."""
    if not is_blurred:
        return ImageOps.fit(photo, (side, side), Image.Resampling.LANCZOS)
    return draw_blurred(photo, (side, side))


def encode_tile(tile: Image.Image) -> bytes:
    """Return a tile, RGB, as the content of its file: the same bytes for the same tile."""
    file = io.BytesIO()
    tile.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue()


class _DeepestTiles:
    """Draws the tiles of the deepest zoom."""

    def __init__(
        self, page: PageFolder, cells: pd.DataFrame, zoom: int, load_image: LoadImage
    ) -> None:
        self._page, self._zoom, self._load_image = page, zoom, load_image
        self._side = 2**zoom
        per_tile = TILE // self._side
        self._cells: dict[Place, list[tuple[int, int, str, bool]]] = {}
        columns = (cells[name] for name in ("row", "col", "image_id", "is_blurred"))
        for row, col, image_id, is_blurred in zip(*columns, strict=True):
            inside = (int(row % per_tile), int(col % per_tile), str(image_id), bool(is_blurred))
            place = (int(col // per_tile), int(row // per_tile))
            self._cells.setdefault(place, []).append(inside)

    def __call__(self, place: Place) -> str | None:
        """Draw a tile unless it is there, and return the digest of what is in it, if anything."""
        cells = sorted(self._cells.get(place, []))
        if not cells:
            return None
        pieces = (
            (draw_cell(self._load_image(image_id), self._side, is_blurred), (col, row))
            for row, col, image_id, is_blurred in cells
        )
        return _put_tile(self._page, self._zoom, place, [self._side, cells], pieces)


class _UpperTiles:
    """Draws the tiles of a zoom from those of the next deeper one, with these ``sources``."""

    def __init__(self, page: PageFolder, zoom: int, sources: dict[Place, str]) -> None:
        self._page, self._zoom, self._sources = page, zoom, sources

    def __call__(self, place: Place) -> str | None:
        """Draw a tile unless it is there, and return the digest of what is in it, if anything."""
        parts = {
            (right, down): (2 * place[0] + right, 2 * place[1] + down)
            for down, right in product((0, 1), (0, 1))
        }
        below = [self._sources.get(part) for part in parts.values()]
        if not any(below):
            return None
        pieces = (
            (_half(self._page.folder / tile_name(self._zoom + 1, part)), inside)
            for inside, part in parts.items()
            if part in self._sources
        )
        return _put_tile(self._page, self._zoom, place, below, pieces)


def _put_tile(
    page: PageFolder,
    zoom: int,
    place: Place,
    made_of: object,
    pieces: Iterable[tuple[Image.Image, Place]],
) -> str:
    """Put a tile in unless it is there, and return the digest of what it is made of.

    ``pieces`` are squares of one size and their column and row in the tile; they are only drawn if
    the tile is.
    """
    name, source = tile_name(zoom, place), _digest(made_of)
    if not page.keeps(name, source):
        tile = Image.new("RGB", (TILE, TILE), _EMPTY)
        for piece, (column, row) in pieces:
            tile.paste(piece, (column * piece.width, row * piece.height))
        page.put(name, encode_tile(tile), source)
    return source


def _half(file: Path) -> Image.Image:
    """Read a tile at half its size, which a JPEG gives without being decoded at its own."""
    half = (TILE // 2, TILE // 2)
    with Image.open(file, formats=["JPEG"]) as tile:
        tile.draft("RGB", half)
        return tile.convert("RGB").resize(half, Image.Resampling.BOX)


def _digest(of: object) -> str:
    return hashlib.sha256(json.dumps([_VERSION, _QUALITY, TILE, of]).encode()).hexdigest()
