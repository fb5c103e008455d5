"""The gradient of a batch, from shards of it that threads compute in parallel.

No operation is split over threads and the shards' gradients are summed in their order, so the
number of threads changes the speed and never a bit of the result (``forward`` explains why). It is
also faster than threads inside an operation, which wait for each other: 327 images/s instead of 195
for timm's test_resnet at 112 px on two idle cores, 66 instead of 13 on two busy cores.

Batch norm reads a shard at a time, as in training on several accelerators and in "ghost batch norm"
(Hoffer et al., "Train longer, generalize better", 2017, algorithm 1); its running statistics are
the mean over the shards. On an accelerator the whole batch is one shard.
"""

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.models.forward import autocast

if TYPE_CHECKING:
    import torch

SHARD_SIZE = 8  # images on the CPU; sixteen are no faster


class Shard(NamedTuple):
    """Some images of a batch: (n, ...) float32, (n,) int64 labels and (n,) float32 weights."""

    images: "torch.Tensor"
    labels: "torch.Tensor"
    weights: "torch.Tensor"


class ShardedGradient:
    """Writes the gradient of a weighted cross-entropy into the parameters of a network.

    Args:
        module: maps (n, ...) float32 to logits (n, classes); on the plan's device.
        draws: whether the module draws random numbers; its shards then run one after the other,
            because all threads share one generator.
        plan: device and precision.
        pool: threads that do not split operations (``forward.unsplit_pool``).
    """

    def __init__(
        self, module: "torch.nn.Module", draws: bool, plan: ComputePlan, pool: ThreadPoolExecutor
    ) -> None:
        self._copies = [module]
        self._parameters = list(module.parameters())
        self._draws = draws
        self._plan = plan
        self._pool = pool

    def __call__(self, shards: Sequence[Shard], seeds: Sequence[int]) -> float:
        """Set the gradient of sum(weight * cross-entropy) / images.

        Args:
            shards: of one batch.
            seeds: one per shard, for networks that draw random numbers.

        Returns:
            sum(weight * cross-entropy) over the batch.

        Raises:
            UserError: memory does not suffice.
        """
        while len(self._copies) < len(shards):
            self._copies.append(_with_own_buffers(self._copies[0]))
        copies = self._copies[: len(shards)]
        images = sum(len(shard.labels) for shard in shards)
        run = map if self._draws else self._pool.map
        losses, gradients = zip(*run(self._run, copies, shards, seeds), strict=True)
        for parameter, parts in zip(self._parameters, zip(*gradients, strict=True), strict=True):
            gradient = parts[0] / images
            for part in parts[1:]:
                gradient.add_(part, alpha=1 / images)
            parameter.grad = gradient
        _average_buffers(copies, self._copies)
        return float(sum(losses))

    def _run(
        self, module: "torch.nn.Module", shard: Shard, seed: int
    ) -> "tuple[float, tuple[torch.Tensor, ...]]":
        import torch

        plan = self._plan
        if self._draws:
            torch.manual_seed(seed)
        try:
            with autocast(plan):
                logits = module(shard.images.to(plan.device))
            labels, weights = shard.labels.to(plan.device), shard.weights.to(plan.device)
            losses = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")
            loss = (losses * weights).sum()
            return loss.item(), torch.autograd.grad(loss, self._parameters, materialize_grads=True)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"Memory on {plan.device} does not suffice to train with this batch size: use a "
                "smaller one, or train the head alone."
            ) from error


def _with_own_buffers(module: "torch.nn.Module") -> "torch.nn.Module":
    """Return a copy that shares the parameters."""
    shared: dict[int, Any] = {id(parameter): parameter for parameter in module.parameters()}
    return copy.deepcopy(module, shared)


def _average_buffers(
    used: "Sequence[torch.nn.Module]", copies: "Sequence[torch.nn.Module]"
) -> None:
    """Give all copies the mean buffers of the used ones; integers are those of the first."""
    import torch

    with torch.no_grad():
        for buffers in zip(*(module.buffers() for module in copies), strict=True):
            first = buffers[0]
            if len(used) > 1 and first.is_floating_point():
                # Differences, so that a buffer that no shard changed keeps every bit.
                first += sum(buffer - first for buffer in buffers[1 : len(used)]) / len(used)
            for buffer in buffers[1:]:
                buffer.copy_(first)
