from contextlib import closing
from pathlib import Path

import pytest

from assets.methods.common.errors import UserError
from assets.methods.photos.source import list_source, listing_digest
from assets.resources.collections import INPUTS_SOURCE, Collection, CollectionRegistry
from assets.resources.input_store import InputImage, InputStore, NewInput
from assets.resources.photos import Photos, inputs_folder


def post(home: Path, *contents: str) -> None:
    with closing(InputStore(inputs_folder(home, "app"))) as store:
        pictures = [InputImage(content.encode(), "PNG", 4, 3) for content in contents]
        store.add([NewInput(picture=each, concepts=(("cat", 1.0),)) for each in pictures], 100)


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    registry = CollectionRegistry(tmp_path)
    registry.add(Collection("app", INPUTS_SOURCE, {"mosaic": {"tile": 32}}))
    registry.add(Collection("album", "/photos"))
    return Photos(home=str(tmp_path))


def test_other_sources_are_as_they_were_added(photos):
    assert photos.collection("album") == Collection("album", "/photos")


def test_the_inputs_of_an_app_are_a_manifest_of_what_is_there_now(photos, tmp_path):
    post(tmp_path, "a", "b")
    collection = photos.collection("app")
    assert collection.settings == {"mosaic": {"tile": 32}}
    listing = list_source(collection.source)
    assert sorted(Path(file.uri).read_bytes() for file in listing.files) == [b"a", b"b"]
    assert {file.label for file in listing.files} == {"cat"}
    again = list_source(photos.collection("app").source)
    assert listing_digest(again) == listing_digest(listing)
    post(tmp_path, "c")
    assert len(list_source(photos.collection("app").source).files) == 3


def test_an_app_without_inputs_says_how_to_post_some(photos):
    with pytest.raises(UserError, match="The collection app has no photos: post some"):
        photos.collection("app")
