import time

import pytest
import torch

from assets.methods.common.devices import ComputePlan
from assets.methods.models.forward import Network, unsplit_pool


class Sums(torch.nn.Module):
    def __init__(self, largest=64):
        super().__init__()
        self.largest, self.sizes = largest, []

    def forward(self, batch):
        self.sizes.append(len(batch))
        if len(batch) > self.largest:
            raise MemoryError
        return batch.sum(dim=(2, 3))


def prepare(images):
    return torch.stack(list(images)).float()


def images(n):
    return [torch.full((3, 2, 2), number) for number in range(n)]


@pytest.mark.parametrize("n", [1, 4, 5])
def test_images_come_back_in_order_from_batches_of_one_size(n):
    module = Sums()
    found = Network(module, ComputePlan("cpu", 4, "float32", 1), prepare)(images(n))
    assert found[:, 0].tolist() == [4 * number for number in range(n)]
    assert set(module.sizes) == {4}


def test_what_is_prepared_shrinks_with_the_batches():
    prepared = []

    def counted(some):
        prepared.append(len(some))
        return prepare(some)

    Network(Sums(largest=2), ComputePlan("cpu", 4, "float32", 1), counted)(images(4))
    assert prepared == [4, 2, 2]


def test_the_pool_drops_what_has_not_begun_when_the_body_raises():
    waiting = []

    def run_until_the_next_is_cancelled():
        while not (waiting and waiting[0].cancelled()):
            time.sleep(0.001)

    def interrupted():
        with unsplit_pool(1) as pool:
            pool.submit(run_until_the_next_is_cancelled)
            waiting.append(pool.submit(print))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert waiting[0].cancelled()


def test_the_settings_of_torch_return():
    threads, deterministic = torch.get_num_threads(), torch.backends.cudnn.deterministic
    with unsplit_pool(2) as pool:
        assert pool._max_workers == 2
        assert pool.submit(torch.get_num_threads).result() == 1
        assert torch.backends.cudnn.deterministic
    assert (torch.get_num_threads(), torch.backends.cudnn.deterministic) == (threads, deterministic)
