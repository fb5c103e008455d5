import multiprocessing
from pathlib import Path

import numpy as np
import pytest

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
