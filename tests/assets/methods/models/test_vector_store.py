import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from assets.methods.common.devices import ComputeSettings
from assets.methods.models import vector_store as vector_store
from assets.methods.models.backbones import DEFAULT_BACKBONE, Backbone, backbone_fingerprint
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.models.vector_store import VectorStore, embed_unseen
from assets.methods.photos.decode import DECODE_VERSION
from support.photos import NotedPhotos

KEY = f"tiny-float32-{DECODE_VERSION}"
CPU = ComputeSettings("cpu", threads=1)


class Means(torch.nn.Module):
    def forward(self, batch):
        return batch.mean(dim=(2, 3))


@pytest.fixture
def tiny(monkeypatch):
    """Put a network of three features in the place of every backbone, in shards of four."""
    numbers = Preprocessing(2, 2, (0.0,) * 3, (1.0,) * 3, "bicubic")
    backbone = Backbone(Means(), numbers, 3, "tiny")
    monkeypatch.setattr(vector_store, "load_backbone", lambda name: backbone)
    monkeypatch.setattr(vector_store, "backbone_fingerprint", lambda name: "tiny")
    monkeypatch.setattr(vector_store, "SHARD_SIZE", 4)


@pytest.fixture
def store(tmp_path):
    return VectorStore(tmp_path)


def coloured(image_id):
    """Draw a photo as blue as ten times its id."""
    return Image.new("RGB", (2, 2), (30, 40, 10 * int(image_id)))


Photos = partial(NotedPhotos, coloured)


def rows(ids):
    return np.array([[float(one), 1, 2] for one in ids], dtype=np.float32)


@settings(max_examples=25)
@given(
    data=st.data(),
    ids=st.lists(st.from_regex(r"[0-9]{1,6}", fullmatch=True), min_size=1, unique=True),
)
def test_what_is_appended_is_read_in_the_order_asked(tmp_path_factory, data, ids):
    store = VectorStore(tmp_path_factory.mktemp("store"))
    cut = data.draw(st.integers(1, len(ids)))
    for part in (ids[:cut], ids[cut:]):
        if part:
            store.append("a", part, rows(part))
    asked = data.draw(st.lists(st.sampled_from(ids), min_size=1))
    assert store.known_ids("a") == set(ids)
    read = store.read("a", asked)
    assert read.dtype == np.float32
    assert np.array_equal(read, rows(asked))


def test_fingerprints_are_apart(store):
    store.append("a", ["1"], rows(["1"]))
    assert store.known_ids("b") == set()
    assert store.find("b", ["1"]) == {}


def test_an_unknown_id_is_a_key_error(store):
    store.append("a", ["1"], rows(["1"]))
    with pytest.raises(KeyError, match="2"):
        store.read("a", ["1", "2"])


def test_an_id_in_two_shards_is_harmless(store):
    store.append("a", ["1", "2"], rows(["1", "2"]))
    store.append("a", ["2", "3"], rows(["2", "3"]))
    assert np.array_equal(store.read("a", ["3", "2", "1"]), rows(["3", "2", "1"]))


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
    assert store.known_ids("a") == {str(one) for one in range(40)}


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
    assert store.known_ids("a") == {"2"}


@pytest.mark.usefixtures("tiny")
def test_only_unseen_photos_are_computed(store):
    first, second = Photos(), Photos()
    told = []
    before = embed_unseen(list("312"), first, "tiny", store, CPU)
    after = embed_unseen(list("53142"), second, "tiny", store, CPU, lambda *tell: told.append(tell))
    assert (before.n_computed, after.n_computed) == (3, 2)
    assert first.loaded == list("123")
    assert second.loaded == list("45")
    assert told == [(1, 2), (2, 2)]
    assert after.vectors[[1, 2, 4]].tobytes() == before.vectors.tobytes()
    assert after.fingerprint == KEY


@pytest.mark.usefixtures("tiny")
def test_the_result_is_the_same_bytes_in_one_run_or_in_two(store, tmp_path):
    ids = list("0123456789")
    once = embed_unseen(ids, Photos(), "tiny", VectorStore(tmp_path / "other"), CPU)
    embed_unseen(ids[3:7], Photos(), "tiny", store, CPU)
    again = embed_unseen(ids, Photos(), "tiny", store, CPU)
    assert again.vectors.tobytes() == once.vectors.tobytes()
    assert embed_unseen(ids[::-1], Photos(), "tiny", store, CPU).n_computed == 0


@pytest.mark.usefixtures("tiny")
def test_a_copy_is_computed_once(store):
    photos = Photos()
    result = embed_unseen(["1", "1", "2"], photos, "tiny", store, CPU)
    assert photos.loaded == ["1", "2"]
    assert result.vectors.shape == (3, 3)


@pytest.mark.usefixtures("tiny")
def test_an_interrupted_run_continues_where_it_stopped(store):
    ids = list("0123456789")
    with pytest.raises(KeyboardInterrupt):
        embed_unseen(ids, Photos(broken={"9"}), "tiny", store, CPU)
    assert store.known_ids(KEY) == set("01234567")
    photos = Photos()
    assert embed_unseen(ids, photos, "tiny", store, CPU).n_computed == 2
    assert photos.loaded == ["8", "9"]


@pytest.mark.usefixtures("tiny")
def test_a_damaged_shard_is_computed_again(store, tmp_path):
    ids = list("01234567")
    before = embed_unseen(ids, Photos(), "tiny", store, CPU)
    next(tmp_path.glob(f"{KEY}/*.parquet")).write_bytes(b"nothing")
    after = embed_unseen(ids, Photos(), "tiny", store, CPU)
    assert after.n_computed == 4
    assert after.vectors.tobytes() == before.vectors.tobytes()


@pytest.mark.usefixtures("tiny")
def test_half_precision_is_kept_apart(store):
    half = ComputeSettings("cpu", threads=1, precision="bfloat16")
    embed_unseen(["1"], Photos(), "tiny", store, half)
    assert embed_unseen(["1"], Photos(), "tiny", store, CPU).n_computed == 1
    assert embed_unseen(["1"], Photos(), "tiny", store, half).n_computed == 0


@pytest.mark.process
def test_torch_is_not_imported_when_nothing_is_unseen(store, tmp_path):
    store.append(
        f"{backbone_fingerprint(DEFAULT_BACKBONE)}-float32-{DECODE_VERSION}", ["1"], rows(["1"])
    )
    program = f"""
import sys
from pathlib import Path
from assets.methods.photos.decode import DECODE_VERSION
from assets.methods.common.devices import ComputeSettings
from assets.methods.models.vector_store import VectorStore, embed_unseen
store = VectorStore(Path({str(tmp_path)!r}))
result = embed_unseen(["1"], None, {DEFAULT_BACKBONE!r}, store, ComputeSettings())
assert result.n_computed == 0
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
