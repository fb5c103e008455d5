import threading

import numpy as np
import pytest
import torch

from assets.methods.common.devices import ComputePlan
from assets.methods.models import stream
from assets.methods.models.forward import Network
from assets.methods.models.reading import reading_processes, reading_threads
from assets.methods.models.stream import rows_ahead, rows_in_threads, stream_rows
from support.devices import CARD, HAS_CARD, needs_card

SIDE = 2


class Means(torch.nn.Module):
    """The mean of each channel; ``largest`` is the batch that memory has room for."""

    def __init__(self, largest=64):
        super().__init__()
        self.largest, self.sizes = largest, []

    def forward(self, batch):
        self.sizes.append(len(batch))
        if len(batch) > self.largest:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return batch.mean(dim=(2, 3))


def read(image_id):
    return np.full((SIDE, SIDE, 3), int(image_id), dtype=np.uint8)


def prepare(squares):
    return torch.as_tensor(squares).float().permute(0, 3, 1, 2)


def ids(n):
    return [str(number) for number in range(n)]


def in_threads(module, image_ids, plan, read=read):
    return stream_rows(Network(module, plan, prepare), read, image_ids, SIDE, plan)


def ahead(module, image_ids, plan, read=read):
    """Stream as on an accelerator."""
    network = Network(module, plan, prepare)
    buffers, reader = stream._PlainBuffer, reading_threads
    return rows_ahead(network, read, image_ids, SIDE, plan, buffers, reader)


@pytest.mark.parametrize("ways", [in_threads, ahead])
@pytest.mark.parametrize("n", [1, 4, 5, 30, 31])
@pytest.mark.parametrize(("batch_size", "threads"), [(1, 1), (1, 3), (5, 1), (7, 3), (64, 2)])
def test_rows_come_in_the_order_of_the_photos(ways, n, batch_size, threads):
    plan = ComputePlan("cpu", batch_size, "float32", threads)
    rows = np.concatenate(list(ways(Means(), ids(n), plan)))
    assert rows[:, 0].tolist() == list(range(n))


@pytest.mark.parametrize("ways", [in_threads, ahead])
def test_no_photos_have_no_rows(ways):
    assert list(ways(Means(), [], ComputePlan("cpu", 4, "float32", 2))) == []


@pytest.mark.parametrize("ways", [in_threads, ahead])
def test_batches_that_fail_for_memory_are_run_again_in_halves(ways):
    module = Means(largest=3)
    rows = np.concatenate(list(ways(module, ids(21), ComputePlan("cpu", 8, "float32", 1))))
    assert rows[:, 0].tolist() == list(range(21))
    assert module.sizes[:2] == [8, 4]
    assert set(module.sizes[2:]) == {2}


@pytest.mark.parametrize("ways", [in_threads, ahead])
def test_what_a_photo_raises_comes_in_its_place(ways):
    def broken(image_id):
        if image_id == "9":
            raise KeyboardInterrupt
        return read(image_id)

    rows = ways(Means(), ids(20), ComputePlan("cpu", 4, "float32", 2), broken)
    assert len(next(rows)) == 4
    # Ahead of the network, a batch is returned when the next one has been launched.
    with pytest.raises(KeyboardInterrupt):
        list(rows)


@pytest.mark.parametrize("ways", [in_threads, ahead])
def test_photos_are_read_a_bounded_number_of_batches_ahead(ways):
    noted = []

    def note(image_id):
        noted.append(image_id)
        return read(image_id)

    rows = ways(Means(), ids(400), ComputePlan("cpu", 4, "float32", 2), note)
    next(rows)
    rows.close()
    assert len(noted) <= 4 * 4
    assert threading.active_count() < 10


def test_processes_read_when_photos_are_many_and_they_may_be_several():
    assert stream.reader_for(3999, threads=2) is reading_threads
    assert stream.reader_for(4000, threads=2) is reading_processes
    assert stream.reader_for(4000, threads=1) is reading_threads


def test_few_photos_are_shared_among_the_threads():
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        return np.zeros((len(batch), 1))

    assert sum(len(rows) for rows in rows_in_threads(run, ids(5), 32, 2)) == 5
    assert sorted(sizes) == [2, 3]


class TestOnACard:
    pytestmark = needs_card

    @pytest.mark.parametrize("n", [1, 8, 500, 501])
    def test_the_stream_gives_what_a_plain_loop_gives(self, n):
        random = np.random.default_rng(0)
        squares = {one: random.integers(0, 256, (64, 64, 3), np.uint8) for one in ids(n)}
        module = torch.nn.Sequential(
            torch.nn.Conv2d(3, 32, 5), torch.nn.ReLU(), torch.nn.Conv2d(32, 8, 3), Means()
        )
        plan = ComputePlan(CARD, 8, "float32", 4)
        network = Network(module, plan, lambda some: prepare(some).to(CARD))
        plain = [
            network(np.stack([squares[one] for one in ids(n)[start : start + 8]]))
            for start in range(0, n, 8)
        ]
        streamed = list(stream_rows(network, squares.get, ids(n), 64, plan))
        assert np.concatenate(streamed).tobytes() == np.concatenate(plain).tobytes()

    def test_pinned_memory_is_returned_in_order_while_the_card_is_busy(self):
        if not HAS_CARD:
            pytest.skip("only a card has pinned memory")
        plan = ComputePlan("cuda", 4, "float32", 4)
        buffers = []

        def buffer(shape, device):
            buffers.append(stream._CudaBuffer(shape, device))
            return buffers[-1]

        network = Network(Means(), plan, lambda some: prepare(some).to("cuda"))
        image_ids = [str(number % 256) for number in range(1000)]
        streamed = rows_ahead(network, read, image_ids, SIDE, plan, buffer, reading_threads)
        rows = np.concatenate(list(streamed))
        assert rows[:, 0].tolist() == [number % 256 for number in range(1000)]
        assert all(one._pinned.is_pinned() for one in buffers)
        assert len(buffers) == 4
