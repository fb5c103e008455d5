import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.models.backbones import DEFAULT_BACKBONE, Backbone, load_backbone
from assets.methods.models.embedding import embed
from assets.methods.models.preprocessing import Preprocessing

SMALL = Preprocessing(2, 2, (0.0,) * 3, (1.0,) * 3, "bicubic")


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


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("precision", "nearness"), [("float32", 0.9999), ("float16", 0.99)])
def test_cuda_gives_what_the_cpu_gives(photos, precision, nearness):
    backbone = load_backbone(DEFAULT_BACKBONE)
    ids = list(photos)
    on_cpu = embed(photos.get, ids, backbone, plan())
    on_cuda = embed(photos.get, ids, backbone, ComputePlan("cuda", 4, precision, 2))
    assert (on_cpu * on_cuda).sum(axis=1).min() > nearness
