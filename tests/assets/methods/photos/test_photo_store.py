import multiprocessing
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from assets.methods.common.checksums import SEAL_BYTES
from assets.methods.common.errors import UserError
from assets.methods.photos.decode import decode, image_id
from assets.methods.photos.opened_file import DecodeLimits
from assets.methods.photos.photo_store import KnownFile, KnownImage, PhotoStore
from assets.methods.photos.rejects import Reason, Rejected
from support.photos import photo


def keep(store: PhotoStore, seed: int, settings: str = "s") -> KnownImage:
    data = photo(seed=seed)
    with store.records(settings) as records:
        image = records.keep_image(image_id(data), len(data), decode(data, DecodeLimits()))
        records.keep_file(f"/{seed}.png", KnownFile("stamp", image))
    return image


def test_what_is_kept_is_found_again(tmp_path):
    store = PhotoStore(tmp_path / "store")
    image = keep(store, 1)
    with PhotoStore(tmp_path / "store").records("s") as records:
        assert records.image(image.image_id) == image
        assert records.file("/1.png") == KnownFile("stamp", image)
        assert records.file("/2.png") is None
        assert records.image("0" * 64) is None


def test_the_working_copy(tmp_path):
    store = PhotoStore(tmp_path)
    image = keep(store, 1)
    path = store.working_copy_path(image.image_id)
    assert path == tmp_path / "working_copies" / image.image_id[:2] / f"{image.image_id}.jpg"
    working_copy = store.open_working_copy(image.image_id)
    assert (working_copy.mode, working_copy.size) == ("RGB", (64, 48))
    original = decode(photo(seed=1), DecodeLimits()).working_copy
    difference = np.asarray(working_copy).astype(int) - np.asarray(original)
    assert np.abs(difference).mean() < 2
    with pytest.raises(FileNotFoundError):
        store.open_working_copy("0" * 64)


def test_rejects_are_kept(tmp_path):
    store = PhotoStore(tmp_path)
    with store.records("s") as records:
        records.keep_file("/a", KnownFile(None, Rejected(Reason.TRUNCATED, "It ends early.")))
        known = records.file("/a")
    assert known is not None
    assert known.stamp is None
    assert isinstance(known.verdict, Rejected)
    assert (known.verdict.reason, known.verdict.detail) == (Reason.TRUNCATED, "It ends early.")


def test_a_missing_working_copy_is_forgotten(tmp_path):
    store = PhotoStore(tmp_path)
    image = keep(store, 1)
    store.working_copy_path(image.image_id).unlink()
    with store.records("s") as records:
        assert records.image(image.image_id) is None
        assert records.file("/1.png") is None


def test_other_settings_know_nothing(tmp_path):
    store = PhotoStore(tmp_path)
    image = keep(store, 1, "one")
    with store.records("other") as records:
        assert records.image(image.image_id) is None
        assert records.file("/1.png") is None
    keep(store, 1, "other")
    with store.records("one") as records:
        assert records.image(image.image_id) == image


def keep_many(folder: Path, first: int) -> None:
    for seed in range(first, first + 20):
        keep(PhotoStore(folder), seed)


@pytest.mark.process
def test_two_processes_at_once(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    # The ranges overlap, so that both write the same photos too.
    processes = [spawn.Process(target=keep_many, args=(tmp_path, first)) for first in (0, 10)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    with PhotoStore(tmp_path).records("s") as records:
        assert all(records.file(f"/{seed}.png") for seed in range(30))


def test_working_copies_without_a_seal_are_given_one_when_they_are_read(tmp_path, caplog):
    store = PhotoStore(tmp_path)
    image = keep(store, 1)
    path = store.working_copy_path(image.image_id)
    sealed = path.read_bytes()
    # As homes that are older than the seals hold it.
    path.write_bytes(sealed[:-SEAL_BYTES])
    assert store.has_working_copy(image.image_id)
    store.open_working_copy(image.image_id)
    assert path.read_bytes() == sealed
    assert not caplog.records
    path.write_bytes(sealed[: -SEAL_BYTES - 9])
    assert not store.has_working_copy(image.image_id)
    assert path.with_suffix(".corrupt").exists()


def test_a_working_copy_that_is_damaged_is_named_and_set_aside(tmp_path, caplog):
    store = PhotoStore(tmp_path)
    image, other = keep(store, 1), keep(store, 2)
    path = store.working_copy_path(image.image_id)
    path.write_bytes(store.working_copy_path(other.image_id).read_bytes())
    with pytest.raises(UserError, match=f"{image.image_id} is missing or was damaged"):
        store.open_working_copy(image.image_id)
    assert str(path) in caplog.text
    with store.records("s") as records:
        assert records.file("/1.png") is None
        assert records.file("/2.png") == KnownFile("stamp", other)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE images SET width = width + 1",
        "UPDATE images SET phash = ''",
        "UPDATE files SET image_id = image_id || '0'",
        "UPDATE images SET checksum = NULL",
    ],
)
def test_a_record_that_was_changed_is_not_believed(tmp_path, caplog, change):
    store = PhotoStore(tmp_path)
    keep(store, 1)
    with closing(sqlite3.connect(tmp_path / "photos.sqlite", isolation_level=None)) as connection:
        connection.execute(change)
    with store.records("s") as records:
        assert records.file("/1.png") is None
    assert "photos.sqlite is damaged" in caplog.text


def test_the_records_of_an_older_home_are_believed(tmp_path, caplog):
    store = PhotoStore(tmp_path)
    image = keep(store, 1)
    with closing(sqlite3.connect(tmp_path / "photos.sqlite", isolation_level=None)) as connection:
        for table in ("files", "images", "frame_counts", "notes"):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN checksum")
    for _ in range(2):
        with store.records("s") as records:
            assert records.file("/1.png") == KnownFile("stamp", image)
    assert not caplog.records
