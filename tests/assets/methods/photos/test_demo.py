import hashlib
import socket

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from assets.methods.photos.demo import N_TILES, TILE_SIDE, write_demo_collection
from assets.methods.photos.source import list_source


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", None)
        return write_demo_collection(tmp_path_factory.mktemp("demo") / "photos")


def test_the_manifest_is_a_source(demo):
    listing = list_source(str(demo))
    assert len(listing.files) == N_TILES == 1024
    assert listing.rejects == ()


def test_the_labels_are_balanced(demo):
    counts = pd.read_csv(demo)["label"].value_counts()
    assert len(counts) == 16
    assert set(counts) == {64}


def test_the_tiles_differ_and_show_something(demo):
    paths = [demo.parent / name for name in pd.read_csv(demo)["uri"]]
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in paths}) == N_TILES
    for path in paths:
        with Image.open(path) as image:
            assert image.size == (TILE_SIDE, TILE_SIDE)
            assert np.asarray(image).std() > 2, path.name


def test_a_complete_collection_is_left_alone(demo):
    before = {path: path.stat().st_mtime_ns for path in demo.parent.iterdir()}
    assert write_demo_collection(demo.parent) == demo
    assert {path: path.stat().st_mtime_ns for path in demo.parent.iterdir()} == before


def test_an_incomplete_collection_is_completed(demo):
    gone = [demo, demo.parent / "cat_000.jpg", demo.parent / "retina_063.jpg"]
    before = {path: path.read_bytes() for path in gone}
    kept = demo.parent / "cat_001.jpg"
    written = kept.stat().st_mtime_ns
    for path in gone:
        path.unlink()
    write_demo_collection(demo.parent)
    assert {path: path.read_bytes() for path in gone} == before
    assert kept.stat().st_mtime_ns == written


def test_a_tile_that_was_changed_is_cut_again(demo, caplog):
    tile = demo.parent / "cat_000.jpg"
    before = tile.read_bytes()
    tile.write_bytes((demo.parent / "cat_001.jpg").read_bytes())
    write_demo_collection(demo.parent)
    assert tile.read_bytes() == before
    assert str(tile) in caplog.text
