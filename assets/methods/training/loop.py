"""The epochs of a training: steps down the gradient, validation, early stopping, checkpoints."""

import contextlib
import copy
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.common.progress import Progress
from assets.methods.training.checkpoint import Checkpoint
from assets.methods.training.settings import TrainingSettings
from assets.methods.training.sharded_gradient import SHARD_SIZE, Shard, ShardedGradient, autocast

if TYPE_CHECKING:
    import torch

_WARM_UP = 0.05  # of all steps
_BATCHES_AHEAD = 1  # prepared while the one before is worked on


@dataclass(frozen=True)
class Examples:
    """What a network is shown: n images with their labels and weights in the loss.

    Attributes:
        prepare: maps the places of some, and the epoch to augment them for (None leaves them as
            they are), to (some, ...) float32; called from several threads.
        labels: (n,) int64.
        weights: (n,) float32.
    """

    prepare: "Callable[[np.ndarray, int | None], torch.Tensor]"
    labels: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class EpochMetrics:
    """How an epoch went.

    Attributes:
        epoch: counted from 1.
        train_loss: mean over the epoch's images, augmented, while the weights changed.
        validation_loss: after the epoch. Both are cross-entropies weighted by class, in nats.
        validation_auc: area under the ROC curve, in [0, 1].
        learning_rate: of the last step.
        seconds: that the epoch took, its validation included.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    validation_auc: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Listeners:
    """Who is told of what: checkpoints to keep, epochs, and images seen out of those to be."""

    save: Callable[[Checkpoint], None]
    on_epoch: Callable[[EpochMetrics], None]
    progress: Progress


class TrainingLoop:
    """Trains a network of two classes.

    Args:
        module: maps what ``Examples`` give to logits (n, 2).
        draws: whether it draws random numbers while it is trained.
        train: the examples to learn from.
        validation: those by which the best epoch is chosen.
        settings: of these all but what says which network it is.
        plan: device and precision.
        pool: threads in which operations are not split.
    """

    def __init__(
        self,
        module: "torch.nn.Module",
        draws: bool,
        train: Examples,
        validation: Examples,
        settings: TrainingSettings,
        plan: ComputePlan,
        pool: ThreadPoolExecutor,
    ) -> None:
        import torch

        on_device = copy.deepcopy(module).to(plan.device)
        self._module = on_device.to(memory_format=torch.channels_last).train()
        self._train = train
        self._validation = validation
        self._settings = settings
        self._plan = plan
        self._pool = pool
        self._optimizer = _optimizer(self._module, settings.weight_decay)
        self._gradient = ShardedGradient(self._module, draws, plan, pool)
        self._steps_an_epoch = -(-len(train.labels) // settings.batch_size)
        self._reached = Checkpoint({}, {}, [], {})

    def run(
        self, resumed: Checkpoint | None, listeners: Listeners, checkpoint_seconds: float
    ) -> Checkpoint:
        """Train to the end, from the beginning or from a checkpoint.

        Args:
            resumed: what an earlier run saved; its training has not ended.
            listeners: who is told.
            checkpoint_seconds: between checkpoints inside an epoch; one follows each epoch.

        Returns:
            the last checkpoint.

        Raises:
            UserError: a loss is no longer finite, or memory does not suffice.
        """
        if resumed is not None:
            self._module.load_state_dict(resumed.weights)
            self._optimizer.load_state_dict(resumed.optimizer)
            self._reached = replace(resumed, weights={}, optimizer={})
        listeners = replace(listeners, progress=self._counted_from_here(listeners.progress))
        while not self._reached.has_ended:
            self._run_epoch(listeners, checkpoint_seconds)
        return self._reached

    def _run_epoch(self, listeners: Listeners, checkpoint_seconds: float) -> None:
        reached = self._reached
        saved = time.monotonic()
        begun = saved - reached.seconds
        for shards in self._batches(reached.epoch, reached.step):
            self._step(shards)
            reached.seconds = time.monotonic() - begun
            listeners.progress(*self._images_seen())
            is_last = reached.step == self._steps_an_epoch
            if not is_last and time.monotonic() - saved >= checkpoint_seconds:
                listeners.save(self._checkpoint())
                saved = time.monotonic()
        validation_loss, auc = self._validate()
        metrics = EpochMetrics(
            reached.epoch + 1,
            reached.loss_sum / reached.weight_sum,
            validation_loss,
            auc,
            self._rate(self._steps_an_epoch - 1),
            time.monotonic() - begun,
        )
        self._close_epoch(metrics)
        listeners.save(self._checkpoint())
        listeners.progress(*self._images_seen())
        listeners.on_epoch(metrics)

    def _step(self, shards: list[Shard]) -> None:
        reached = self._reached
        place = [self._settings.seed, reached.epoch, reached.step]
        seeds = np.random.SeedSequence(place).generate_state(len(shards))
        loss_sum = self._gradient(shards, [int(seed) for seed in seeds])
        if not math.isfinite(loss_sum):
            raise _diverged(reached.epoch + 1)
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(reached.step)
        self._optimizer.step()
        reached.step += 1
        reached.loss_sum += loss_sum
        reached.weight_sum += sum(float(shard.weights.sum()) for shard in shards)

    def _rate(self, step: int) -> float:
        """Return the learning rate of a step of this epoch."""
        done, settings = self._reached.epoch * self._steps_an_epoch, self._settings
        steps = settings.epochs * self._steps_an_epoch
        return learning_rate_at(done + step, steps, settings.highest_rate)

    def _close_epoch(self, metrics: EpochMetrics) -> None:
        reached, settings = self._reached, self._settings
        reached.history = [*reached.history, asdict(metrics)]
        lowest = min(reached.history, key=lambda epoch: epoch["validation_loss"])
        if lowest["epoch"] == metrics.epoch:
            reached.best_epoch = metrics.epoch
            reached.best_weights = self._weights()
        reached.epoch += 1
        reached.step = 0
        reached.loss_sum = reached.weight_sum = reached.seconds = 0.0
        in_vain = reached.epoch - reached.best_epoch
        stopped = bool(settings.patience) and in_vain >= settings.patience
        reached.has_ended = stopped or reached.epoch == settings.epochs

    def _batches(self, epoch: int, first: int) -> Iterator[list[Shard]]:
        """Yield the batches of an epoch from the ``first`` step on, prepared ahead."""
        order = np.random.default_rng([self._settings.seed, epoch]).permutation(
            len(self._train.labels)
        )
        waiting: deque[list[Future[Shard]]] = deque()
        # Batches of nearly one size: a last one of few images would move the weights as far.
        for batch in np.array_split(order, self._steps_an_epoch)[first:]:
            waiting.append([self._pool.submit(self._shard, part, epoch) for part in _parts(batch)])
            if len(waiting) > _BATCHES_AHEAD:
                yield self._joined(waiting.popleft())
        while waiting:
            yield self._joined(waiting.popleft())

    def _shard(self, places: np.ndarray, epoch: int) -> Shard:
        import torch

        train = self._train
        return Shard(
            train.prepare(places, epoch),
            torch.from_numpy(train.labels[places]),
            torch.from_numpy(train.weights[places]),
        )

    def _joined(self, prepared: "list[Future[Shard]]") -> list[Shard]:
        import torch

        shards = [future.result() for future in prepared]
        if self._plan.device == "cpu":
            return shards
        return [
            Shard(
                torch.cat([shard.images for shard in shards]),
                torch.cat([shard.labels for shard in shards]),
                torch.cat([shard.weights for shard in shards]),
            )
        ]

    def _validate(self) -> tuple[float, float]:
        """Return the loss and the area under the ROC curve."""
        import torch
        from sklearn.metrics import roc_auc_score

        examples, plan = self._validation, self._plan
        # Threads side by side on one accelerator gain nothing and multiply its memory.
        turn: contextlib.AbstractContextManager[object] = (
            contextlib.nullcontext() if plan.device == "cpu" else threading.Lock()
        )

        def margins(places: np.ndarray) -> np.ndarray:
            prepared = examples.prepare(places, None)
            with turn, torch.inference_mode(), autocast(plan):
                logits = self._module(prepared.to(plan.device)).double().cpu().numpy()
            return logits[:, 1] - logits[:, 0]

        self._module.eval()
        parts = _parts(np.arange(len(examples.labels)))
        margin = np.concatenate(list(self._pool.map(margins, parts)))
        self._module.train()
        # The cross-entropy of two logits depends on their difference alone.
        losses = np.logaddexp(0, np.where(examples.labels == 1, -margin, margin))
        if not np.isfinite(losses).all():
            raise _diverged(self._reached.epoch + 1)
        loss = np.average(losses, weights=examples.weights)
        return float(loss), float(roc_auc_score(examples.labels, margin))

    def _checkpoint(self) -> Checkpoint:
        if self._reached.has_ended:
            return self._reached
        return replace(
            self._reached, weights=self._weights(), optimizer=self._optimizer.state_dict()
        )

    def _weights(self) -> "dict[str, torch.Tensor]":
        state = self._module.state_dict()
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def _images_seen(self) -> tuple[int, int]:
        """Return how many images went through the network, and how many will have in all."""
        n_train, n_validation = len(self._train.labels), len(self._validation.labels)
        total = self._settings.epochs * (n_train + n_validation)
        reached = self._reached
        if reached.has_ended:
            return total, total
        in_epoch = reached.step * n_train // self._steps_an_epoch
        return reached.epoch * (n_train + n_validation) + in_epoch, total

    def _counted_from_here(self, progress: Progress) -> Progress:
        already, _ = self._images_seen()
        return lambda done, total: progress(done - already, total - already)


def learning_rate_at(step: int, steps: int, highest: float) -> float:
    """Return the learning rate of a step, counted from 0, of ``steps`` in all.

    It rises along a line during the first 5 % of the steps, then falls along half a cosine towards
    0 (Loshchilov and Hutter, "SGDR", 2017, equation 5, without restarts).
    """
    warm_up = math.ceil(_WARM_UP * steps)
    if step < warm_up:
        return highest * (step + 1) / warm_up
    return highest * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up))) / 2


def _optimizer(module: "torch.nn.Module", weight_decay: float) -> "torch.optim.Optimizer":
    import torch

    parameters = list(module.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [one for one in parameters if one.ndim > 1], "weight_decay": weight_decay},
        {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
    ]
    # Four times as fast as one operation after the other.
    return torch.optim.AdamW(groups, fused=True)


def _parts(places: np.ndarray) -> list[np.ndarray]:
    """Split into as few parts of one size, or one less, as shards allow."""
    return np.array_split(places, -(-len(places) // SHARD_SIZE))


def _diverged(epoch: int) -> UserError:
    return UserError(
        f"The loss is no longer finite in epoch {epoch}: use a lower learning rate, or the "
        "precision float32."
    )
