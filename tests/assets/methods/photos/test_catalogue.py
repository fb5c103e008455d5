import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from assets.methods.common.errors import UserError
from assets.methods.photos import catalogue as cataloguing
from assets.methods.photos import decode as decoding
from assets.methods.photos import source as sources
from assets.methods.photos.catalogue import (
    Catalogue,
    CatalogueSettings,
    Decoder,
    catalogue_photos,
    noted_photos,
    read_original_file,
)
from assets.methods.photos.decode import decode_image, image_id
from assets.methods.photos.download import Fetched, FetchLimits
from assets.methods.photos.opened_file import DecodeLimits
from assets.methods.photos.photo_store import PhotoStore
from assets.methods.photos.rejects import Reason, Rejected
from support.odd_files import sound_files
from support.photos import FORMATS, encoded, photo, png_bomb, scene
from support.sources import write

SETTINGS = CatalogueSettings(workers=2)
IMAGE_COLUMNS = [
    *("image_id", "uri", "width", "height", "format", "n_bytes"),
    *("taken_at", "phash", "duplicate_of", "label", "note"),
]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> PhotoStore:
    return PhotoStore(tmp_path / "store")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Collects what is decoded."""
    seen: list[bytes] = []

    def decode(data: bytes, limits: DecodeLimits) -> decoding.DecodedPhoto:
        seen.append(data)
        return decoding.decode(data, limits)

    monkeypatch.setattr(cataloguing, "decode", decode)
    return seen


def fill(folder: Path, n_photos: int) -> None:
    for seed in range(n_photos):
        (folder / f"{seed:03}.png").write_bytes(photo(seed=seed))


def accounts_for_everything(catalogue: Catalogue) -> None:
    kinds = (catalogue.images, catalogue.rejects, catalogue.companions)
    uris = [uri for kind in kinds for uri in kind["uri"]]
    assert len(uris) == catalogue.n_found
    assert len(set(uris)) == len(uris)
    in_order = catalogue.images.sort_values(["image_id", "uri"], ignore_index=True)
    pd.testing.assert_frame_equal(catalogue.images, in_order)
    assert catalogue.rejects["uri"].is_monotonic_increasing


def test_every_format_and_every_reason(photos, store, monkeypatch):
    for image_format in FORMATS:
        (photos / f"good.{image_format.lower()}").write_bytes(photo(image_format))
    bad = {
        "empty.jpg": (b"", Reason.EMPTY),
        "note.txt": (b"hello", Reason.NOT_AN_IMAGE),
        "cut.jpg": (photo("JPEG")[:300], Reason.TRUNCATED),
        "drawing.svg": (b"<svg/>", Reason.UNSUPPORTED),
        "bomb.png": (png_bomb(60_000, 60_000), Reason.TOO_LARGE),
        "heavy.png": (bytes(200_001), Reason.TOO_LARGE),
        "dot.png": (photo(width=2, height=2), Reason.TOO_SMALL),
    }
    for name, (data, _) in bad.items():
        (photos / name).write_bytes(data)
    (photos / "gone.jpg").symlink_to(photos / "nowhere")
    os.mkfifo(photos / "pipe.jpg")
    rows = [path.name for path in photos.iterdir()] + ["https://example.com/a.jpg"]
    manifest = photos / "m.csv"
    pd.DataFrame({"uri": rows}).to_csv(manifest, index=False)

    def fetch(url: str, limits: FetchLimits, known_stamp: str | None) -> Fetched:
        raise Rejected(Reason.DOWNLOAD_FAILED, "The server answered 404.")

    monkeypatch.setattr(sources, "fetch", fetch)
    settings = replace(SETTINGS, fetch=FetchLimits(max_bytes=200_000))
    catalogue = catalogue_photos(str(manifest), store, settings)
    accounts_for_everything(catalogue)
    assert sorted(catalogue.images["format"]) == sorted(FORMATS)
    assert catalogue.n_found == len(rows)
    assert catalogue.n_decoded == len(FORMATS)
    names = catalogue.rejects["uri"].map(os.path.basename)
    reasons = catalogue.rejects.set_index(names)["reason"].to_dict()
    assert reasons == {
        **{name: reason.value for name, (_, reason) in bad.items()},
        "gone.jpg": "unreadable",
        "pipe.jpg": "unsupported",
        "a.jpg": "download failed",
    }
    assert set(reasons.values()) == {reason.value for reason in Reason} - {Reason.NOT_FOLLOWED}


def test_the_tables(photos, store):
    fill(photos, 3)
    catalogue = catalogue_photos(str(photos), store, SETTINGS)
    assert list(catalogue.images.columns) == IMAGE_COLUMNS
    assert list(catalogue.rejects.columns) == ["uri", "reason", "detail"]
    assert {name: str(dtype) for name, dtype in catalogue.images.dtypes.items()} == {
        name: "int64" if name in ("width", "height", "n_bytes") else "string"
        for name in IMAGE_COLUMNS
    }
    assert {str(dtype) for dtype in catalogue.rejects.dtypes} == {"string"}
    assert catalogue.images["taken_at"].isna().all()
    accounts_for_everything(catalogue)


@pytest.mark.parametrize("n_photos", [1, 2, 3, 5, 10, 17, 65])
def test_any_number_of_photos(photos, store, n_photos):
    fill(photos, n_photos)
    catalogue = catalogue_photos(str(photos), store, SETTINGS)
    assert len(catalogue.images) == catalogue.n_decoded == n_photos


def test_fifty_copies_are_decoded_once(photos, store, decoded):
    for number in range(50):
        (photos / f"{number:02}.png").write_bytes(photo())
    catalogue = catalogue_photos(str(photos), store, replace(SETTINGS, workers=8))
    assert len(decoded) == catalogue.n_decoded == 1
    assert catalogue.images["image_id"].nunique() == 1
    assert catalogue.images["duplicate_of"].isna().tolist() == [True] + [False] * 49


def test_near_duplicates_are_marked(photos, store):
    (photos / "a.png").write_bytes(photo())
    (photos / "b.jpg").write_bytes(encoded(scene(), "JPEG", quality=90))
    (photos / "c.png").write_bytes(photo(seed=1))
    images = catalogue_photos(str(photos), store, SETTINGS).images
    assert images["duplicate_of"].notna().sum() == 1
    exact_only = catalogue_photos(str(photos), store, replace(SETTINGS, near_distance=0)).images
    assert exact_only["duplicate_of"].notna().sum() <= 1


def test_the_second_time_nothing_is_read(photos, store, monkeypatch):
    fill(photos, 5)
    (photos / "note.txt").write_bytes(b"hello")
    first = catalogue_photos(str(photos), store, SETTINGS)
    monkeypatch.setattr(sources, "read_local", None)
    second = catalogue_photos(str(photos), store, SETTINGS)
    assert second.n_decoded == 0
    pd.testing.assert_frame_equal(first.images, second.images)
    pd.testing.assert_frame_equal(first.rejects, second.rejects)


def test_only_what_is_new_is_decoded(photos, store, decoded):
    fill(photos, 5)
    catalogue_photos(str(photos), store, SETTINGS)
    decoded.clear()
    (photos / "new.png").write_bytes(photo(seed=100))
    (photos / "002.png").write_bytes(photo(seed=200))
    (photos / "copy.png").write_bytes(photo(seed=1))
    (photos / "000.png").rename(photos / "renamed.png")
    catalogue = catalogue_photos(str(photos), store, SETTINGS)
    assert Counter(decoded) == Counter([photo(seed=100), photo(seed=200)])
    assert catalogue.n_decoded == 2
    assert catalogue.n_found == 7


def test_a_deleted_working_copy_is_made_again(photos, store):
    fill(photos, 3)
    images = catalogue_photos(str(photos), store, SETTINGS).images
    path = store.working_copy_path(images["image_id"][1])
    before = path.read_bytes()
    path.unlink()
    assert catalogue_photos(str(photos), store, SETTINGS).n_decoded == 1
    assert path.read_bytes() == before


def test_other_limits_decide_anew(photos, store):
    (photos / "wide.png").write_bytes(photo(width=100, height=20))
    (photos / "square.png").write_bytes(photo(width=50, height=50))
    catalogue_photos(str(photos), store, SETTINGS)
    strict = replace(SETTINGS, decode=DecodeLimits(min_side=30))
    catalogue = catalogue_photos(str(photos), store, strict)
    assert catalogue.rejects["reason"].tolist() == ["too small"]
    assert catalogue_photos(str(photos), store, SETTINGS).n_decoded == 0


def test_what_an_earlier_version_refused_is_tried_once_more(photos, store, decoded):
    fill(photos, 2)
    (photos / "odd.jpg").write_bytes(sound_files()["no-end-marker.jpg"])
    (photos / "note.jpg").write_bytes(b"hello")
    catalogue_photos(str(photos), store, SETTINGS)
    database = store.folder / "photos.sqlite"
    with closing(sqlite3.connect(database)) as connection, connection:
        # As the version before the second decoder left it.
        connection.execute("DROP TABLE notes")
        connection.execute("PRAGMA user_version = 0")
        connection.execute("DELETE FROM images WHERE width = 300")
        connection.execute(
            "UPDATE files SET image_id = NULL, reason = 'truncated', detail = 'It ends.'"
            " WHERE uri LIKE '%odd.jpg'"
        )
    decoded.clear()
    for n_tried in (2, 0):
        catalogue = catalogue_photos(str(photos), store, SETTINGS)
        assert len(catalogue.images) == 3
        assert len(decoded) == n_tried
        decoded.clear()
    assert catalogue.rejects["reason"].tolist() == ["not an image"]


def test_what_had_to_be_guessed_is_noted_and_stays_so(photos, store):
    fill(photos, 2)
    (photos / "grey.png").write_bytes(sound_files()["grey-12-bits.png"])
    for n_decoded in (3, 0):
        catalogue = catalogue_photos(str(photos), store, SETTINGS)
        noted = noted_photos(catalogue)
        assert noted["uri"].tolist() == [str(photos / "grey.png")]
        assert "4,095 as white" in noted["note"][0]
        assert catalogue.n_decoded == n_decoded
    earlier = replace(catalogue, images=catalogue.images.drop(columns="note"))
    assert len(noted_photos(earlier)) == 0


def test_a_new_version_of_the_decoder_decodes_anew(photos, store, monkeypatch):
    fill(photos, 2)
    catalogue_photos(str(photos), store, SETTINGS)
    monkeypatch.setattr(cataloguing, "DECODE_VERSION", decoding.DECODE_VERSION + 1)
    assert catalogue_photos(str(photos), store, SETTINGS).n_decoded == 2


def test_permanent_rejects_are_remembered_and_transient_ones_tried_again(
    photos, store, decoded, monkeypatch
):
    fill(photos, 1)
    (photos / "note.jpg").write_bytes(b"hello")
    (photos / "later.png").write_bytes(photo(seed=9))
    read = sources.read_local

    def failing(file: sources.SourceFile, max_bytes: int) -> Fetched:
        if "later" in file.uri:
            raise Rejected(Reason.UNREADABLE, "The disk is asleep.")
        return read(file, max_bytes)

    with monkeypatch.context() as patch:
        patch.setattr(sources, "read_local", failing)
        first = catalogue_photos(str(photos), store, SETTINGS)
    assert sorted(first.rejects["reason"]) == ["not an image", "unreadable"]
    decoded.clear()
    second = catalogue_photos(str(photos), store, SETTINGS)
    assert second.rejects["reason"].tolist() == ["not an image"]
    assert decoded == [photo(seed=9)]


def test_workers_and_order_do_not_matter(photos, tmp_path, monkeypatch):
    fill(photos, 20)
    for seed in range(5):
        (photos / f"copy{seed}.png").write_bytes(photo(seed=seed))
        (photos / f"bad{seed}.txt").write_bytes(b"x")
    expected = catalogue_photos(str(photos), PhotoStore(tmp_path / "0"), SETTINGS)
    listing = sources.list_source(str(photos))
    turned = replace(listing, files=listing.files[::-1])
    monkeypatch.setattr(cataloguing, "list_source", lambda *_: turned)
    for workers in (1, 7):
        store = PhotoStore(tmp_path / str(workers))
        found = catalogue_photos(str(photos), store, CatalogueSettings(workers=workers))
        pd.testing.assert_frame_equal(found.images, expected.images)
        pd.testing.assert_frame_equal(found.rejects, expected.rejects)
        assert found.n_decoded == expected.n_decoded == 20


def test_labels_are_the_manifests(photos, store):
    fill(photos, 2)
    manifest = photos / "m.csv"
    manifest.write_text("uri,label\n000.png,cat\n001.png,\n")
    by_name = catalogue_photos(str(manifest), store, SETTINGS).images.set_index("uri")["label"]
    assert by_name[str(photos / "000.png")] == "cat"
    assert by_name.isna().sum() == 1
    manifest.write_text("uri,label\n000.png,dog\n001.png,\n")
    again = catalogue_photos(str(manifest), store, SETTINGS)
    assert again.n_decoded == 0
    assert again.images["label"].dropna().tolist() == ["dog"]


def test_downloads_ask_whether_something_has_changed(photos, store, monkeypatch, decoded):
    manifest = photos / "m.csv"
    manifest.write_text("uri\nhttps://example.com/a.png\nhttps://example.com/plain.png\n")
    asked = []

    def fetch(url: str, limits: FetchLimits, known_stamp: str | None) -> Fetched:
        asked.append((url.rpartition("/")[2], known_stamp))
        if url.endswith("plain.png"):
            return Fetched(photo(seed=1), None)
        return Fetched(None if known_stamp else photo(), 'etag "1"')

    monkeypatch.setattr(sources, "fetch", fetch)
    first = catalogue_photos(str(manifest), store, SETTINGS)
    second = catalogue_photos(str(manifest), store, SETTINGS)
    assert sorted(asked[:2]) == [("a.png", None), ("plain.png", None)]
    assert sorted(asked[2:]) == [("a.png", 'etag "1"'), ("plain.png", None)]
    assert (first.n_decoded, second.n_decoded, len(decoded)) == (2, 0, 2)
    pd.testing.assert_frame_equal(first.images, second.images)


def test_a_remote_folder(store):
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/catalogued/a.png", photo())
    filesystem.pipe("/catalogued/b.txt", b"hello")
    catalogue = catalogue_photos("memory://catalogued", store, SETTINGS)
    assert catalogue.images["uri"].tolist() == ["memory:///catalogued/a.png"]
    assert catalogue.companions["uri"].tolist() == ["memory:///catalogued/b.txt"]
    assert catalogue.n_found == 2


def test_progress(photos, store):
    fill(photos, 12)
    told = []
    catalogue_photos(str(photos), store, SETTINGS, lambda done, total: told.append((done, total)))
    assert told == [(done, 12) for done in range(1, 13)]


def test_few_photos_are_in_flight(photos, store, monkeypatch):
    fill(photos, 30)
    flying = 0
    most = 0
    lock = threading.Lock()
    read = cataloguing.read_if_changed

    def counting(*args: object) -> Fetched:
        nonlocal flying, most
        with lock:
            flying += 1
            most = max(most, flying)
        time.sleep(0.002)
        try:
            return read(*args)
        finally:
            with lock:
                flying -= 1

    monkeypatch.setattr(cataloguing, "read_if_changed", counting)
    catalogue_photos(str(photos), store, replace(SETTINGS, workers=3))
    assert most <= 3


def test_a_manifest_of_one_file_that_is_no_photo(photos, store):
    (photos / "a.jpg").write_bytes(b"hello")
    manifest = photos / "photos.csv"
    manifest.write_text("uri\na.jpg\n")
    with pytest.raises(UserError) as caught:
        catalogue_photos(str(manifest), store, SETTINGS)
    assert str(caught.value) == (
        f"{photos / 'a.jpg'} is not a readable photo (not an image): The file does not begin like "
        "any kind of image."
    )


def test_no_readable_photo(photos, store):
    (photos / "a.jpg").write_bytes(b"hello")
    (photos / "b.jpg").write_bytes(b"hello")
    (photos / "c.jpg").write_bytes(b"")
    (photos / "d.txt").write_bytes(b"hello")
    (photos / ".hidden").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        catalogue_photos(str(photos), store, SETTINGS)
    assert str(caught.value) == (
        f"None of the 3 files in {photos} is a readable photo (1 empty, 2 not an image; 1 only"
        " accompany photos; 1 hidden or system entries were ignored). For example"
        f" {photos}/a.jpg: The file does not begin like any kind of image."
    )


def test_companions_alone(photos, store):
    (photos / "a.json").write_bytes(b"{}")
    with pytest.raises(UserError) as caught:
        catalogue_photos(str(photos), store, SETTINGS)
    assert str(caught.value) == f"There are no photos in {photos}; 1 only accompany photos."


def test_nothing_at_all(photos, store):
    with pytest.raises(UserError) as caught:
        catalogue_photos(str(photos), store, SETTINGS)
    assert str(caught.value) == f"There are no files in {photos}."


def test_bugs_are_not_hidden(photos, store, monkeypatch):
    fill(photos, 3)

    def broken(data: bytes, limits: DecodeLimits) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cataloguing, "decode", broken)
    with pytest.raises(ZeroDivisionError):
        catalogue_photos(str(photos), store, SETTINGS)


def test_what_was_decoded_before_the_catalogue_is_not_decoded_again(photos, store):
    fill(photos, 3)
    with store.records(SETTINGS.fingerprint()) as records:
        decoder = Decoder(records, SETTINGS.decode)
        for path in [*photos.iterdir(), *photos.iterdir()]:
            assert decoder.decode(path.read_bytes()).format
        with pytest.raises(Rejected):
            decoder.decode(b"hallo")
    assert decoder.n_decoded == 3
    assert catalogue_photos(str(photos), store, SETTINGS).n_decoded == 0


INTERRUPTED = """
import signal, sys, time
# A shell's background job, as a run of CI may be, ignores SIGINT, and so would this process.
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from assets.methods.photos import catalogue as cataloguing
from assets.methods.photos.photo_store import PhotoStore
decode = cataloguing.decode
def slow(data, limits):
    time.sleep(0.05)
    return decode(data, limits)
cataloguing.decode = slow
say = lambda done, total: print(done, flush=True)
settings = cataloguing.CatalogueSettings(workers=2)
cataloguing.catalogue_photos(sys.argv[1], PhotoStore(Path(sys.argv[2])), settings, say)
"""


@pytest.mark.process
def test_what_was_decoded_before_an_interrupt_stays(photos, store):
    fill(photos, 200)
    command = [sys.executable, "-c", INTERRUPTED, str(photos), str(store.folder)]
    root = Path(cataloguing.__file__).parents[3]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.stdout.readline() != "10\n":
            pass
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in complaint
    again = catalogue_photos(str(photos), store, SETTINGS)
    assert 0 < again.n_decoded <= 190


def read_at_own_size(uri, settings, expected_id=None):
    return decode_image(read_original_file(uri, settings, expected_id), settings.decode)


def refused(uri, settings=SETTINGS, expected_id=None):
    with pytest.raises(Rejected) as caught:
        read_at_own_size(str(uri), settings, expected_id)
    return caught.value


@pytest.fixture
def large(tmp_path):
    """A photo larger than any working copy, and its file."""
    picture = scene(900, 500)
    return picture, write(tmp_path / "large.png", encoded(picture))


def test_a_photo_comes_back_at_its_own_size(large):
    picture, file = large
    found = read_at_own_size(str(file), SETTINGS, image_id(file.read_bytes()))
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
            found = read_at_own_size(row.uri, SETTINGS, row.image_id)
            assert found.size == (row.width, row.height)
    assert read_at_own_size(str(photos / "turned.jpg"), SETTINGS).size == (300, 700)


def test_transparency_and_palettes_become_rgb(tmp_path):
    clear = Image.new("RGBA", (20, 10), (255, 0, 0, 0))
    file = write(tmp_path / "clear.png", encoded(clear))
    assert read_at_own_size(str(file), SETTINGS).mode == "RGB"
    file = write(tmp_path / "palette.gif", encoded(scene(20, 10), "GIF"))
    assert read_at_own_size(str(file), SETTINGS).mode == "RGB"


def test_a_file_uri_is_the_path_it_stands_for(large):
    picture, file = large
    assert read_at_own_size(f"file://{file}", SETTINGS).size == picture.size


def test_a_file_that_has_changed_is_not_taken_for_the_photo(large):
    _, file = large
    before = image_id(file.read_bytes())
    file.write_bytes(encoded(scene(900, 500, seed=1)))
    rejected = refused(file, expected_id=before)
    assert rejected.reason is Reason.UNREADABLE
    assert rejected.detail == ("The file has changed since it was catalogued: catalogue it again.")
    # Nobody expects anything of a file that was named on the command line.
    assert read_at_own_size(str(file), SETTINGS).size == (900, 500)


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
    few_bytes = replace(SETTINGS, fetch=FetchLimits(max_bytes=100))
    few_pixels = replace(SETTINGS, decode=DecodeLimits(max_pixels=1000))
    large_only = replace(SETTINGS, decode=DecodeLimits(min_side=600))
    assert refused(file, few_bytes).reason is Reason.TOO_LARGE
    assert refused(file, few_pixels).reason is Reason.TOO_LARGE
    assert refused(file, large_only).reason is Reason.TOO_SMALL
    bomb = write(tmp_path / "bomb.png", png_bomb(60_000, 60_000))
    assert refused(bomb).reason is Reason.TOO_LARGE


def test_a_private_address_is_not_asked():
    assert refused("http://127.0.0.1:9/cat.png").reason is Reason.DOWNLOAD_FAILED


# Animations


def animated(n: int = 12, blank: int = 1) -> bytes:
    frames = [Image.new("RGB", (64, 48), (255, 255, 255 - number)) for number in range(blank)]
    frames += [scene(seed=seed) for seed in range(n - blank)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)


def catalogued(photos: Path, store: PhotoStore, frames: int | None = 8) -> Catalogue:
    return catalogue_photos(str(photos), store, replace(SETTINGS, frames=frames))


def test_frames_of_an_animation_are_stored(photos, store):
    (photos / "moving.gif").write_bytes(animated())
    (photos / "still.gif").write_bytes(photo("GIF"))
    found = catalogued(photos, store)
    assert (found.n_decoded, found.frames) == (2, 8)
    (moving,) = found.images[found.images.uri.str.contains("moving")].image_id
    (still,) = found.images[found.images.uri.str.contains("still")].image_id
    known = store.animations(found.images.image_id)
    assert list(known) == [moving]
    assert known[moving].shown == 1
    numbers = [frame.number for frame in known[moving].chosen(8)]
    assert numbers == [0, 1, 2, 3, 5, 6, 8, 9, 11]
    assert store.shown_ids([still, moving]) == {still: still, moving: f"{moving}-1"}
    shown = store.open_working_copy(f"{moving}-1")
    assert shown.tobytes() == store.open_working_copy(moving).tobytes()
    assert {store.open_working_copy(f"{moving}-{number}").size for number in numbers} == {(64, 48)}


def test_other_numbers_of_frames_are_added_to_those_that_are_stored(photos, store):
    (photos / "moving.gif").write_bytes(animated(20))
    (photos / "plain.png").write_bytes(photo())
    assert catalogued(photos, store, 3).n_decoded == 2
    assert catalogued(photos, store, 3).n_decoded == 0
    assert catalogued(photos, store, 8).n_decoded == 1
    for frames in (3, 8, 1):
        assert catalogued(photos, store, frames).n_decoded == 0
    assert catalogued(photos, store, None).n_decoded == 1
    assert catalogued(photos, store, 7).n_decoded == 0


def test_a_store_of_the_version_before_decodes_nothing_but_animations(
    photos, store, decoded, monkeypatch
):
    for image_format in FORMATS:
        (photos / f"plain.{image_format.lower()}").write_bytes(photo(image_format))
    moving = animated()
    (photos / "moving.gif").write_bytes(moving)
    catalogued(photos, store)
    before = store.open_working_copy(image_id(moving))
    # The version before kept the first frame, and knew nothing of others.
    with store.records(SETTINGS.fingerprint()) as records:
        records._connection.execute("DELETE FROM frame_counts")
    shutil.rmtree(store.folder / "frames")
    Image.new("RGB", (64, 48), "white").save(store.working_copy_path(image_id(moving)))
    decoded.clear()
    assert catalogued(photos, store).n_decoded == 1
    assert decoded == [moving]
    assert store.open_working_copy(image_id(moving)).tobytes() == before.tobytes()
    # The files were looked at once.
    monkeypatch.setattr(cataloguing, "frames_in", pytest.fail)
    assert catalogued(photos, store).n_decoded == 0


def test_an_animation_that_was_cleared_or_interrupted_is_decoded_again(photos, store):
    moving = animated()
    (photos / "moving.gif").write_bytes(moving)
    catalogued(photos, store)
    (store.folder / "frames" / image_id(moving)[:2] / image_id(moving) / "animation.json").unlink()
    assert catalogued(photos, store).n_decoded == 1
    assert store.animation(image_id(moving)).has(8)


def test_a_damaged_animation_is_decoded_once(photos, store):
    whole = animated(20)
    (photos / "cut.gif").write_bytes(whole[: len(whole) // 2])
    assert catalogued(photos, store).n_decoded == 1
    assert catalogued(photos, store).n_decoded == 0
