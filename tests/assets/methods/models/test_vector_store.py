import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.methods.common.progress import silent
from assets.methods.models import vector_store
from assets.methods.models.vector_store import VectorStore


@pytest.fixture
def store(tmp_path):
    return VectorStore(tmp_path)


def rows(ids):
    return np.array([[float(one), 1, 2] for one in ids], dtype=np.float32)


@settings(max_examples=25)
@given(
    data=st.data(),
    ids=st.lists(st.from_regex(r"[0-9]{1,6}", fullmatch=True), min_size=1, unique=True),
)
def test_what_is_appended_is_found(tmp_path_factory, data, ids):
    store = VectorStore(tmp_path_factory.mktemp("store"))
    cut = data.draw(st.integers(1, len(ids)))
    for part in (ids[:cut], ids[cut:]):
        if part:
            store.append("a", part, rows(part))
    asked = data.draw(st.lists(st.sampled_from(ids), min_size=1))
    assert store.find("a", ids).keys() == set(ids)
    found = store.find("a", asked)
    assert {vector.dtype for vector in found.values()} == {np.dtype(np.float32)}
    assert np.array_equal([found[one] for one in asked], rows(asked))


def test_fingerprints_are_apart(store):
    store.append("a", ["1"], rows(["1"]))
    assert store.find("b", ["1"]) == {}


def test_an_unknown_id_is_not_among_what_is_found(store):
    store.append("a", ["1"], rows(["1"]))
    assert list(store.find("a", ["1", "2"])) == ["1"]


def test_an_id_in_two_shards_is_harmless(store):
    store.append("a", ["1", "2"], rows(["1", "2"]))
    store.append("a", ["2", "3"], rows(["2", "3"]))
    found = store.find("a", ["3", "2", "1"])
    assert np.array_equal([found[one] for one in "321"], rows("321"))


def test_a_shard_without_what_is_looked_for_is_read_once(store, monkeypatch):
    store.append("a", ["1", "2"], rows(["1", "2"]))
    store.append("a", ["3"], rows(["3"]))
    store.find("a", ["1"])
    read, read_table = [], vector_store.pq.read_table
    monkeypatch.setattr(
        vector_store.pq,
        "read_table",
        lambda shard, **how: (read.append(shard), read_table(shard, **how))[1],
    )
    assert list(store.find("a", ["2", "4"])) == ["2"]
    assert len(read) == 1
    store.append("a", ["4"], rows(["4"]))
    assert sorted(store.find("a", ["2", "4"])) == ["2", "4"]


def test_many_may_append_at_once(store):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: store.append("a", [one], rows([one])), map(str, range(40))))
    ids = {str(one) for one in range(40)}
    assert store.find("a", ids).keys() == ids


@pytest.mark.parametrize("damage", ["cut short", "emptied", "overwritten within"])
def test_a_damaged_shard_is_moved_aside_with_a_warning(store, tmp_path, caplog, damage):
    store.append("a", ["1"], rows(["1"]))
    (shard,) = tmp_path.glob("a/*.parquet")
    store.append("a", ["2"], rows(["2"]))
    whole = shard.read_bytes()
    at = whole.index(rows(["1"]).tobytes())
    damaged = {
        "cut short": whole[: len(whole) // 2],
        "emptied": b"",
        "overwritten within": whole[:at] + b"\xff" + whole[at + 1 :],
    }
    shard.write_bytes(damaged[damage])
    with caplog.at_level(logging.WARNING):
        found = store.find("a", ["1", "2"])
    assert list(found) == ["2"]
    assert "cannot be read" in caplog.text
    assert shard.with_suffix(".corrupt").exists()
    assert list(store.find("a", ["1", "2"])) == ["2"]


def stored_shards(folder):
    return sorted(len(pq.read_table(shard)) for shard in folder.glob("a/*.parquet"))


def test_a_stream_is_stored_in_shards_of_a_second_or_more(store, tmp_path, monkeypatch):
    monkeypatch.setattr(vector_store, "SHARD_SIZE", 4)
    now = 0.0
    monkeypatch.setattr(vector_store.time, "monotonic", lambda: now)

    def stream(ids, progress):
        nonlocal now
        for start in range(0, len(ids), 2):
            now += 0.125 if start < 20 else 0.5
            yield rows(ids[start : start + 2])

    ids = [str(number) for number in range(10, 41)]
    vectors, n_new = store.complete_from_stream("a", ids, lambda: stream, silent)
    assert n_new == 31
    assert np.array_equal([vectors[one] for one in ids], rows(ids))
    # Eight pairs of 1/8 s, four of which two take 1/8 s, two of 1/2 s, and the rest.
    assert stored_shards(tmp_path) == [3, 4, 8, 16]


def test_what_is_stored_survives_a_stream_that_breaks_off(store, monkeypatch):
    monkeypatch.setattr(vector_store, "SHARD_SIZE", 4)
    monkeypatch.setattr(vector_store, "SHARD_SECONDS", 0)

    def stream(ids, progress):
        yield rows(ids[:3])
        yield rows(ids[3:6])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.complete_from_stream("a", list("123456789"), lambda: stream, silent)
    assert store.find("a", list("123456789")).keys() == set("123456")


def test_a_stream_is_closed_when_a_shard_cannot_be_stored(store, monkeypatch):
    closed = []

    def stream(ids, progress):
        try:
            yield rows(ids)
        finally:
            closed.append(True)

    def full(*parts):
        raise OSError("No space left on device")

    monkeypatch.setattr(store, "append", full)
    with pytest.raises(OSError, match="No space left"):
        store.complete_from_stream("a", ["1"], lambda: stream, silent)
    assert closed


def test_shards_with_numbers_that_are_not_finite_or_of_another_folder_are_computed_anew(
    tmp_path, caplog
):
    store = VectorStore(tmp_path)
    store.append("print", ["a"], np.array([[np.nan, 1]], np.float32))
    store.append("other", ["b"], np.ones((1, 2), np.float32))
    (other,) = (tmp_path / "other").iterdir()
    other.rename(tmp_path / "print" / other.name)
    assert store.find("print", ["a", "b"]) == {}
    assert "not finite" in caplog.text
    assert other.name in caplog.text


def test_shards_of_older_homes_without_a_digest_are_believed(tmp_path, caplog):
    store = VectorStore(tmp_path)
    store.append("print", ["a"], np.ones((1, 2), np.float32))
    (shard,) = (tmp_path / "print").iterdir()
    pq.write_table(pq.read_table(shard).replace_schema_metadata(None), shard)
    np.testing.assert_array_equal(store.find("print", ["a"])["a"], [1, 1])
    assert not caplog.records
