import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.models.forward import unsplit_pool
from assets.methods.training.sharded_gradient import Shard, ShardedGradient

PLAN = ComputePlan("cpu", 1, "float32", 1)


def shards_of(images, labels, weights, sizes):
    parts = (torch.split(one, sizes) for one in (images, labels, weights))
    return [Shard(*part) for part in zip(*parts, strict=True)]


# Images, labels and weights.
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def run(module, shards, workers=2, draws=False, steps=1):
    with unsplit_pool(workers) as pool:
        gradient = ShardedGradient(module, draws, PLAN, pool)
        return [gradient(shards, range(step, step + len(shards))) for step in range(steps)]


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(10, 3, 6, 6, generator=generator)
    labels = torch.randint(0, 2, (10,), generator=generator)
    return images, labels, torch.rand(10, generator=generator)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))


def test_weighted_loss_and_gradient_worked_out_by_hand():
    module = nn.Linear(1, 2)
    nn.init.zeros_(module.weight)
    nn.init.zeros_(module.bias)
    # Logits of 0 give both classes 1/2: a loss of ln 2, and a derivative of 1/2 less the label.
    images, labels = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0, 1, 0])
    weights = torch.tensor([1.0, 4.0, 1.0])
    (loss,) = run(module, shards_of(images, labels, weights, [2, 1]))
    assert loss == pytest.approx(6 * math.log(2))
    of_positive = (1 * 0.5 - 4 * 0.5 + 1 * 0.5) / 3
    assert module.bias.grad.tolist() == pytest.approx([-of_positive, of_positive])
    of_positive = (1 * 0.5 * 1 - 4 * 0.5 * 2 + 1 * 0.5 * 3) / 3
    assert module.weight.grad.ravel().tolist() == pytest.approx([-of_positive, of_positive])


@pytest.mark.parametrize("sizes", [[10], [5, 5], [4, 3, 3]])
def test_the_gradient_is_that_of_the_whole_batch(network, batch: Batch, sizes):
    images, labels, weights = batch
    whole = copy.deepcopy(network)
    losses = nn.functional.cross_entropy(whole(images), labels, reduction="none")
    (losses * weights).mean().backward()
    (loss,) = run(network, shards_of(*batch, sizes))
    assert loss == pytest.approx(float((losses * weights).sum().detach()))
    for sharded, parameter in zip(network.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(sharded.grad, parameter.grad)


def test_a_second_call_replaces_the_gradient(network, batch: Batch):
    shards = shards_of(*batch, [5, 5])
    run(network, shards)
    first = network[0].weight.grad.clone()
    run(network, shards, steps=2)
    assert torch.equal(network[0].weight.grad, first)


def test_an_unused_parameter_has_a_gradient_of_zero(network, batch: Batch):
    network.register_parameter("unused", nn.Parameter(torch.ones(2)))
    run(network, shards_of(*batch, [5, 5]))
    assert network.unused.grad.tolist() == [0, 0]


def test_batch_norm_keeps_the_mean_of_the_shards_statistics(batch: Batch):
    images, labels, weights = batch
    module = nn.Sequential(nn.BatchNorm2d(3), nn.AvgPool2d(6), nn.Flatten(), nn.Linear(3, 2))
    run(module, shards_of(images, labels, weights, [6, 4]))
    means = np.stack([part.mean(dim=(0, 2, 3)).numpy() for part in torch.split(images, [6, 4])])
    deviations = np.stack([part.var(dim=(0, 2, 3)).numpy() for part in torch.split(images, [6, 4])])
    # Momentum 0.1, from the initial 0 and 1.
    np.testing.assert_allclose(module[0].running_mean, 0.1 * means.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(
        module[0].running_var, 0.9 + 0.1 * deviations.mean(axis=0), atol=1e-6
    )
    assert module[0].num_batches_tracked == 1


def test_a_step_of_fewer_shards_leaves_no_shard_behind(batch: Batch):
    module = nn.Sequential(nn.BatchNorm2d(3), nn.AvgPool2d(6), nn.Flatten(), nn.Linear(3, 2))
    alone = copy.deepcopy(module)
    three, two = shards_of(*batch, [4, 3, 3]), shards_of(*batch, [5, 5])
    with unsplit_pool(2) as pool:
        kept = ShardedGradient(module, False, PLAN, pool)
        for shards in (three, two, three):
            kept(shards, range(3))
        for shards in (three, two, three):
            ShardedGradient(alone, False, PLAN, pool)(shards, range(3))
    for first, second in zip(module.buffers(), alone.buffers(), strict=True):
        assert torch.equal(first, second)


def test_a_constant_buffer_stays_as_it_is(network, batch: Batch):
    network.register_buffer("constant", torch.tensor([0.1, 1 / 3]))
    before = network.constant.clone()
    run(network, shards_of(*batch, [4, 3, 3]), steps=5)
    assert torch.equal(network.constant, before)


@pytest.mark.parametrize("draws", [False, True])
def test_the_number_of_threads_does_not_change_a_bit(batch: Batch, draws):
    gradients = []
    for workers in (1, 2, 4):
        torch.manual_seed(0)
        dropout = [nn.Dropout(0.5)] if draws else []
        module = nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Flatten(), *dropout, nn.Linear(256, 2)
        )
        losses = run(module, shards_of(*batch, [3, 3, 4]), workers, draws, steps=3)
        gradients.append([losses, *(one.grad.numpy().tobytes() for one in module.parameters())])
    assert gradients[0] == gradients[1] == gradients[2]
    assert (len(set(losses)) > 1) == draws


def test_bfloat16_is_near_to_float32(network, batch: Batch):
    shards = shards_of(*batch, [5, 5])
    (full,) = run(network, shards)
    with unsplit_pool(2) as pool:
        plan = ComputePlan("cpu", 1, "bfloat16", 2)
        half = ShardedGradient(network, False, plan, pool)(shards, range(2))
    assert half != full
    assert half == pytest.approx(full, rel=0.02)
    assert network[0].weight.grad.dtype == torch.float32


def test_too_little_memory_is_told_in_a_sentence(network, batch: Batch):
    class Full(nn.Module):
        def forward(self, images):
            raise torch.OutOfMemoryError("CUDA out of memory.")

    network.append(Full())
    with pytest.raises(UserError, match="does not suffice to train with this batch size"):
        run(network, shards_of(*batch, [5, 5]))
