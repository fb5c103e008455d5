import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from assets.methods.common.devices import ComputePlan, ComputeSettings
from assets.methods.common.errors import UserError
from assets.methods.models import embedding, vector_store
from assets.methods.models.backbones import (
    DEFAULT_BACKBONE,
    Backbone,
    backbone_fingerprint,
    load_backbone,
)
from assets.methods.models.embedding import embed, embed_unseen
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.decode import DECODE_VERSION
from support.devices import CARD, HAS_CARD, needs_card
from support.photos import NotedPhotos

SMALL = Preprocessing(2, 2, (0.0,) * 3, (1.0,) * 3, "bicubic")
KEY = f"fingerprint-float32-{DECODE_VERSION}"
CPU = ComputeSettings("cpu", threads=1)


class Means(torch.nn.Module):
    """The mean of each channel; ``largest`` is the batch that memory has room for."""

    def __init__(self, largest=64, error=None):
        super().__init__()
        self.largest = largest
        self.error = error or MemoryError()
        self.sizes, self.threads = [], []

    def forward(self, batch):
        self.sizes.append(len(batch))
        self.threads.append(torch.get_num_threads())
        if len(batch) > self.largest:
            raise self.error
        return batch.mean(dim=(2, 3))


class Constant(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, batch):
        return torch.full((len(batch), 3), self.value)


def backbone_of(module):
    return Backbone(module, SMALL, 3, "fingerprint")


def plan(batch_size=1, threads=1):
    return ComputePlan("cpu", batch_size, "float32", threads)


def shade(image_id):
    """Return a photo whose channels are 30, 40 and the id."""
    return Image.new("RGB", (4, 2), (30, 40, int(image_id)))


Photos = partial(NotedPhotos, shade)


@pytest.fixture
def tiny(monkeypatch):
    """Put a network of three features in the place of every backbone, in shards of four."""
    monkeypatch.setattr(embedding, "load_backbone", lambda name: backbone_of(Means()))
    monkeypatch.setattr(embedding, "backbone_fingerprint", lambda name: "fingerprint")
    monkeypatch.setattr(vector_store, "SHARD_SIZE", 4)
    monkeypatch.setattr(vector_store, "SHARD_SECONDS", 0)


@pytest.fixture
def store(tmp_path):
    return VectorStore(tmp_path)


def expected(ids):
    rows = np.array([[30, 40, int(one)] for one in ids], dtype=np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def default():
    return load_backbone(DEFAULT_BACKBONE)


@pytest.fixture(scope="module")
def photos():
    chelsea = Image.fromarray(data.chelsea())
    return {f"{i:02d}": chelsea.crop((20 * i, 0, 20 * i + 240, 240)) for i in range(10)}


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("threads", [1, 4])
def test_vectors_are_the_networks_output_at_unit_length(batch_size, threads):
    ids = ["0", "7", "0", "255", "120"]
    vectors = embed(shade, ids, backbone_of(Means()), plan(batch_size, threads))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected(ids), atol=1e-6)
    assert vectors[0] == pytest.approx([0.6, 0.8, 0])


def test_no_photos_give_no_vectors():
    assert embed(shade, [], backbone_of(Means()), plan()).shape == (0, 3)


def test_all_batches_have_one_size():
    module = Means()
    embed(shade, list("12345"), backbone_of(module), plan(batch_size=4))
    assert module.sizes == [4, 4]


def test_progress_counts_photos_in_growing_order():
    heard = []
    embed(shade, list("12345"), backbone_of(Means()), plan(2, 3), lambda *told: heard.append(told))
    assert heard == [(2, 5), (4, 5), (5, 5)]


def test_operations_are_not_split_over_threads_and_the_setting_returns():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        module = Means()
        embed(shade, list("12345678"), backbone_of(module), plan(threads=3))
        assert set(module.threads) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_vector_is_the_same_bytes_in_any_company(default, photos, batch_size):
    ids = list(photos)
    shuffled = [ids[i] for i in np.random.default_rng(0).permutation(len(ids))]
    alone = dict(zip(ids, embed(photos.get, ids, default, plan(batch_size)), strict=True))
    for chosen, threads in ((ids, 2), (shuffled, 3), (shuffled[:3], 2), (ids[4:5], 1)):
        vectors = embed(photos.get, chosen, default, plan(batch_size, threads))
        for image_id, vector in zip(chosen, vectors, strict=True):
            assert vector.tobytes() == alone[image_id].tobytes()


def test_the_default_networks_vectors_have_unit_length(default, photos):
    vectors = embed(photos.get, list(photos)[:2], default, plan())
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)


def test_a_zero_vector_stays_zero():
    vectors = embed(shade, ["1"], backbone_of(Constant(0.0)), plan())
    assert vectors.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_refused(value):
    with pytest.raises(UserError, match="not finite"):
        embed(shade, ["1"], backbone_of(Constant(value)), plan())


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"),
        RuntimeError("MPS backend out of memory"),
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
    ],
)
def test_batches_are_halved_until_memory_suffices(error):
    module = Means(largest=3, error=error)
    ids = [str(i) for i in range(20)]
    vectors = embed(shade, ids, backbone_of(module), plan(batch_size=8))
    np.testing.assert_allclose(vectors, expected(ids), atol=1e-6)
    assert module.sizes == [8, 4] + 10 * [2]


def test_threads_that_run_out_of_memory_together_halve_once():
    module = Means(largest=4)
    ids = [str(i) for i in range(64)]
    vectors = embed(shade, ids, backbone_of(module), plan(batch_size=8, threads=8))
    np.testing.assert_allclose(vectors, expected(ids), atol=1e-6)
    assert set(module.sizes) == {8, 4}


def test_no_memory_for_one_photo_is_told_in_a_sentence():
    with pytest.raises(UserError, match="does not suffice for a single photo"):
        embed(shade, list("123"), backbone_of(Means(largest=0)), plan(batch_size=4))


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    module = Means(largest=0, error=RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        embed(shade, list("123"), backbone_of(module), plan(batch_size=4))
    assert module.sizes == [4]


def test_bfloat16_is_near_to_float32(default, photos):
    ids = list(photos)[:2]
    full = embed(photos.get, ids, default, plan())
    half = embed(photos.get, ids, default, ComputePlan("cpu", 1, "bfloat16", 1))
    assert 0.99 < (full * half).sum(axis=1).min() < 1


def on_card(batch_size, precision="float32", threads=4):
    if not HAS_CARD and precision in ("float16", "tf32"):
        pytest.skip(f"the CPU does not compute in {precision}")
    return ComputePlan(CARD, batch_size, precision, threads)


class TestOnACard:
    pytestmark = needs_card

    @pytest.mark.parametrize(
        ("precision", "nearness"),
        [("float32", 0.99999), ("tf32", 0.9999), ("float16", 0.999), ("bfloat16", 0.99)],
    )
    def test_vectors_are_near_to_those_of_the_cpu(self, photos, precision, nearness):
        card = on_card(4, precision)
        on_cpu = embed(photos.get, list(photos), load_backbone(DEFAULT_BACKBONE), plan())
        found = embed(photos.get, list(photos), load_backbone(DEFAULT_BACKBONE), card)
        assert (on_cpu * found).sum(axis=1).min() > nearness

    @pytest.mark.parametrize("precision", ["float32", "tf32", "float16", "bfloat16"])
    def test_vectors_are_the_same_bytes_from_run_to_run(self, photos, precision):
        card = on_card(4, precision)
        # Another network ran before, another number of threads reads, the photos are others too.
        first = embed(photos.get, list(photos), load_backbone(DEFAULT_BACKBONE), card)
        again = embed(
            photos.get,
            list(photos)[::-1],
            load_backbone(DEFAULT_BACKBONE),
            on_card(4, precision, 1),
        )
        assert again[::-1].tobytes() == first.tobytes()

    def test_memory_that_does_not_suffice_is_met_with_smaller_batches(self, photos):
        if not HAS_CARD:
            pytest.skip("the CPU's memory has no fraction")
        backbone = load_backbone(DEFAULT_BACKBONE)
        ids = [f"{number % len(photos):02d}" for number in range(300)]
        expected = embed(photos.get, ids, backbone, on_card(16))
        torch.cuda.empty_cache()
        total = torch.cuda.mem_get_info()[1]
        # 300 images at 112 x 112 px in 96 channels of float32 are 1.4 GB for one layer alone.
        allowed = torch.cuda.memory_reserved() + 700 * 2**20
        torch.cuda.set_per_process_memory_fraction(allowed / total)
        try:
            sizes = []
            backbone.module.register_forward_pre_hook(lambda _, batch: sizes.append(len(batch[0])))
            found = embed(photos.get, ids, backbone, on_card(300))
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
            torch.cuda.empty_cache()
        assert sizes[0] == 300
        assert min(sizes) < 300
        assert (found * expected).sum(axis=1).min() > 0.99999


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
    assert store.find(KEY, ids).keys() == set("01234567")
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
    key = f"{backbone_fingerprint(DEFAULT_BACKBONE)}-float32-{DECODE_VERSION}"
    store.append(key, ["1"], np.zeros((1, 3)))
    program = f"""
import sys
from pathlib import Path
from assets.methods.photos.decode import DECODE_VERSION
from assets.methods.common.devices import ComputeSettings
from assets.methods.models.embedding import embed_unseen
from assets.methods.models.vector_store import VectorStore
store = VectorStore(Path({str(tmp_path)!r}))
result = embed_unseen(["1"], None, {DEFAULT_BACKBONE!r}, store, ComputeSettings())
assert result.n_computed == 0
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
