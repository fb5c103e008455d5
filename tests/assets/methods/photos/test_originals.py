import dataclasses

import numpy as np
import pytest
from PIL import Image

from assets.methods.photos.catalogue import CatalogueSettings, catalogue_photos
from assets.methods.photos.decode import DecodeLimits, image_id
from assets.methods.photos.download import FetchLimits
from assets.methods.photos.originals import read_original
from assets.methods.photos.photo_store import PhotoStore
from assets.methods.photos.rejects import Reason, Rejected
from support.photos import encoded, png_bomb, scene
from support.sources import write

SETTINGS = CatalogueSettings()


def refused(uri, settings=SETTINGS, expected_id=None):
    with pytest.raises(Rejected) as caught:
        read_original(str(uri), settings, expected_id)
    return caught.value


@pytest.fixture
def large(tmp_path):
    """A photo larger than any working copy, and its file."""
    picture = scene(900, 500)
    return picture, write(tmp_path / "large.png", encoded(picture))


def test_a_photo_comes_back_at_its_own_size(large):
    picture, file = large
    found = read_original(str(file), SETTINGS, image_id(file.read_bytes()))
    assert found.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found), np.asarray(picture))


def test_every_photo_of_a_catalogue_has_the_size_it_says(tmp_path, memory):
    turned = Image.Exif()
    turned[0x0112] = 6
    photos = tmp_path / "photos"
    write(photos / "upright.png", encoded(scene(700, 300)))
    write(photos / "turned.jpg", encoded(scene(700, 300, seed=1), "JPEG", exif=turned))
    write(photos / "a b%20é.webp", encoded(scene(40, 30, seed=2), "WEBP"))
    memory.pipe("/bucket/remote.png", encoded(scene(600, 310, seed=3)))
    for source in (str(photos), "memory://bucket"):
        catalogue = catalogue_photos(source, PhotoStore(tmp_path / "store"))
        assert len(catalogue.images) > 0
        for row in catalogue.images.itertuples():
            found = read_original(row.uri, SETTINGS, row.image_id)
            assert found.size == (row.width, row.height)
    assert read_original(str(photos / "turned.jpg"), SETTINGS).size == (300, 700)


def test_transparency_and_palettes_become_rgb(tmp_path):
    clear = Image.new("RGBA", (20, 10), (255, 0, 0, 0))
    file = write(tmp_path / "clear.png", encoded(clear))
    assert read_original(str(file), SETTINGS).mode == "RGB"
    file = write(tmp_path / "palette.gif", encoded(scene(20, 10), "GIF"))
    assert read_original(str(file), SETTINGS).mode == "RGB"


def test_a_file_uri_is_the_path_it_stands_for(large):
    picture, file = large
    assert read_original(f"file://{file}", SETTINGS).size == picture.size


def test_a_file_that_has_changed_is_not_taken_for_the_photo(large):
    _, file = large
    before = image_id(file.read_bytes())
    file.write_bytes(encoded(scene(900, 500, seed=1)))
    rejected = refused(file, expected_id=before)
    assert rejected.reason is Reason.UNREADABLE
    assert rejected.detail == ("The file has changed since it was catalogued: catalogue it again.")
    # Nobody expects anything of a file that was named on the command line.
    assert read_original(str(file), SETTINGS).size == (900, 500)


def test_what_cannot_be_read_is_rejected_with_a_reason(tmp_path, memory):
    folder = tmp_path / "folder"
    folder.mkdir()
    text = write(tmp_path / "notes.txt", b"These are notes and no picture at all.")
    half = write(tmp_path / "half.png", encoded(scene(300, 300))[:2000])
    assert refused(tmp_path / "gone.png").reason is Reason.UNREADABLE
    assert refused(folder).reason is Reason.UNREADABLE
    assert refused(text).reason is Reason.NOT_AN_IMAGE
    assert refused(half).reason is Reason.TRUNCATED
    assert refused(write(tmp_path / "empty.png", b"")).reason is Reason.EMPTY
    assert refused("memory://bucket/gone.png").reason is Reason.DOWNLOAD_FAILED


def test_the_limits_of_the_collection_hold_for_its_originals(tmp_path, large):
    _, file = large
    few_bytes = dataclasses.replace(SETTINGS, fetch=FetchLimits(max_bytes=100))
    few_pixels = dataclasses.replace(SETTINGS, decode=DecodeLimits(max_pixels=1000))
    large_only = dataclasses.replace(SETTINGS, decode=DecodeLimits(min_side=600))
    assert refused(file, few_bytes).reason is Reason.TOO_LARGE
    assert refused(file, few_pixels).reason is Reason.TOO_LARGE
    assert refused(file, large_only).reason is Reason.TOO_SMALL
    bomb = write(tmp_path / "bomb.png", png_bomb(60_000, 60_000))
    assert refused(bomb).reason is Reason.TOO_LARGE


def test_a_private_address_is_not_asked():
    assert refused("http://127.0.0.1:9/cat.png").reason is Reason.DOWNLOAD_FAILED
