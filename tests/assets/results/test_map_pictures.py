"""The pictures of a map are drawn again only if they show something else."""

import uuid
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from assets.generations import current_in, make_current
from assets.io_managers import save
from assets.methods.layout.mosaic import MosaicSettings
from assets.methods.photos.catalogue import catalogue_photos
from assets.resources.collections import Collection, CollectionRegistry
from assets.resources.photos import Photos
from assets.results import photo_map
from assets.results.map_pictures import MapPictures, map_pictures
from assets.values import GridAssignment, Mosaic
from support.calls import count_calls

NAME = "birds"
SETTINGS = MosaicSettings(tile=20)


@pytest.fixture
def photos(home: Path, photo_folder) -> Photos:
    CollectionRegistry(home).add(Collection(NAME, str(photo_folder(4))))
    return Photos(home=str(home))


@pytest.fixture
def grid(photos: Photos) -> GridAssignment:
    images = catalogue_photos(photos.collection(NAME).source, photos.store).images
    table = images[["image_id", "uri", "label"]].assign(
        x=np.arange(4.0), y=[0.0, 2.0, 1.0, 3.0], row=[0, 0, 1, 1], col=[0, 1, 0, 1]
    )
    return GridAssignment(table, 2, 2, {})


def pictures(
    photos: Photos, grid: GridAssignment, settings=SETTINGS, blurred: frozenset[str] = frozenset()
) -> MapPictures:
    return map_pictures(grid, settings, photos, NAME, blurred, lambda done, total: None)


def keep(photos: Photos, drawn: MapPictures, settings=SETTINGS) -> Path:
    """Make pictures those of the last mosaic, and return the folder of its value."""
    folder, generation = Path(photos.home, "outputs", "mosaic", NAME), uuid.uuid4().hex
    fields = {"more": drawn.more, "enlarged": drawn.enlarged, "drawn_of": drawn.drawn_of}
    save(Mosaic(drawn.mosaic, drawn.figure, asdict(settings), **fields), folder / generation)
    make_current(folder, generation)
    return folder / str(current_in(folder))


def test_the_same_map_is_drawn_once_and_its_pictures_are_the_same(photos, grid, monkeypatch):
    first = pictures(photos, grid)
    keep(photos, first)

    counts = count_calls(monkeypatch, photo_map.draw_mosaic, photo_map.draw_four_panels)
    again = pictures(photos, grid)
    assert counts == {}
    assert replace(again, image=first.image) == first
    # It is read from a JPEG, and the first was drawn.
    assert again.image().size == first.image().size


def others(grid: GridAssignment) -> dict[str, dict]:
    swapped = grid.table.assign(row=[1, 0, 0, 1])
    moved = grid.table.assign(x=[0.0, 1.0, 2.0, 4.0])
    labelled = grid.table.assign(label=["a", "a", "b", "b"])
    return {
        "cells": {"grid": replace(grid, table=swapped)},
        "points": {"grid": replace(grid, table=moved)},
        "labels": {"grid": replace(grid, table=labelled)},
        "size": {"grid": replace(grid, rows=3)},
        "settings": {"settings": replace(SETTINGS, background="red")},
        "blurred": {"blurred": frozenset(grid.table.image_id[:1])},
        # Whether the originals of large tiles are there is looked at each time.
        "large": {"settings": replace(SETTINGS, tile=300)},
    }


@pytest.mark.parametrize(
    "what", ["cells", "points", "labels", "size", "settings", "blurred", "large"]
)
def test_whatever_the_pictures_show_is_drawn_again_if_it_is_another(
    photos, grid, monkeypatch, what
):

    changed = others(grid)[what]
    if what == "large":
        keep(photos, pictures(photos, grid, **changed), changed["settings"])
    else:
        keep(photos, pictures(photos, grid))
    counts = count_calls(monkeypatch, photo_map.draw_mosaic)
    pictures(photos, **{"grid": grid, **changed})
    assert counts == {"draw_mosaic": 1}


def test_a_blurred_photo_that_is_not_on_the_map_changes_nothing(photos, grid):
    assert pictures(photos, grid).drawn_of == pictures(photos, grid, blurred={"f" * 64}).drawn_of


def test_pictures_that_are_damaged_are_drawn_again(photos, grid):
    first = pictures(photos, grid)
    value = keep(photos, first)
    (value / "mosaic.jpg").write_bytes(b"damaged")
    assert pictures(photos, grid).mosaic == first.mosaic
