"""The epochs of a training: gradient steps, validation, early stopping, checkpoints."""

import copy
import math
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
from assets.methods.models.forward import autocast, one_at_a_time
from assets.methods.training.checkpoint import Checkpoint
from assets.methods.training.settings import TrainingSettings
from assets.methods.training.sharded_gradient import SHARD_SIZE, Shard, ShardedGradient

if TYPE_CHECKING:
    import torch

_WARM_UP = 0.05  # of all steps
_BATCHES_AHEAD = 1  # prepared while the threads work on the one before


@dataclass(frozen=True)
class Examples:
    """The n images that a network is trained or validated on.

    Attributes:
        prepare: maps the places of some images, and the epoch to augment them for (None leaves
            them as they are), to (some, ...) float32; called from several threads.
        labels: (n,) int64.
        weights: (n,) float32, in the loss.
    """

    prepare: "Callable[[np.ndarray, int | None], torch.Tensor]"
    labels: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class EpochMetrics:
    """The metrics of an epoch.

    Attributes:
        epoch: counted from 1.
        train_loss: mean over the epoch's images, augmented, while the weights changed.
        validation_loss: after the epoch. Both are cross-entropies weighted by class, in nats.
        validation_auc: area under the ROC curve, in [0, 1].
        learning_rate: of the last step.
        seconds: duration of the epoch, its validation included.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    validation_auc: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Listeners:
    """Callbacks: for checkpoints, for epochs, and for the images that have been processed."""

    save: Callable[[Checkpoint], None]
    on_epoch: Callable[[EpochMetrics], None]
    progress: Progress


class TrainingLoop:
    """Trains a copy of a network of two classes.

    Args:
        module: maps what ``Examples`` give to logits (n, 2).
        draws: whether the module draws random numbers while it is trained.
        train: the examples to learn from.
        validation: the examples by which the best epoch is chosen.
        settings: all of them but those that choose the network.
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
        self._state = Checkpoint({}, {}, [], {})

    def run(
        self, resumed: Checkpoint | None, listeners: Listeners, checkpoint_seconds: float
    ) -> Checkpoint:
        """Train to the end, from the beginning or from a checkpoint.

        Args:
            resumed: a checkpoint of an earlier run, whose training has not ended.
            listeners: the callbacks.
            checkpoint_seconds: between checkpoints inside an epoch; one follows each epoch.

        Returns:
            the last checkpoint.

        Raises:
            UserError: a loss is no longer finite, or memory does not suffice.
        """
        if resumed is not None:
            self._module.load_state_dict(resumed.weights)
            self._optimizer.load_state_dict(resumed.optimizer)
            self._state = replace(resumed, weights={}, optimizer={})
        n_resumed, n_images = self._images_seen()

        def report() -> None:
            listeners.progress(self._images_seen()[0] - n_resumed, n_images - n_resumed)

        while not self._state.has_ended:
            self._run_epoch(listeners, report, checkpoint_seconds)
        return self._state

    def _run_epoch(
        self, listeners: Listeners, report: Callable[[], None], checkpoint_seconds: float
    ) -> None:
        state = self._state
        saved = time.monotonic()
        started = saved - state.seconds
        for shards in self._batches(state.epoch, state.step):
            self._step(shards)
            state.seconds = time.monotonic() - started
            report()
            is_last = state.step == self._steps_an_epoch
            if not is_last and time.monotonic() - saved >= checkpoint_seconds:
                listeners.save(self._checkpoint())
                saved = time.monotonic()
        train_loss, rate = state.loss_sum / state.weight_sum, self._rate(state.step - 1)
        validation_loss, auc = self._validate()
        seconds = time.monotonic() - started
        metrics = EpochMetrics(state.epoch + 1, train_loss, validation_loss, auc, rate, seconds)
        self._end_epoch(metrics)
        listeners.save(self._checkpoint())
        report()
        listeners.on_epoch(metrics)

    def _batches(self, epoch: int, first: int) -> Iterator[list[Shard]]:
        """Yield the batches of an epoch from the step ``first`` on, prepared ahead."""
        order = np.random.default_rng([self._settings.seed, epoch]).permutation(
            len(self._train.labels)
        )
        waiting: deque[list[Future[Shard]]] = deque()
        # The batches have nearly one size: a small last one would move the weights as far.
        for batch in np.array_split(order, self._steps_an_epoch)[first:]:
            waiting.append([self._pool.submit(self._shard, part, epoch) for part in _parts(batch)])
            if len(waiting) > _BATCHES_AHEAD:
                yield self._results(waiting.popleft())
        while waiting:
            yield self._results(waiting.popleft())

    def _shard(self, places: np.ndarray, epoch: int) -> Shard:
        import torch

        train = self._train
        labels, weights = (torch.from_numpy(one[places]) for one in (train.labels, train.weights))
        return Shard(train.prepare(places, epoch), labels, weights)

    def _results(self, prepared: "list[Future[Shard]]") -> list[Shard]:
        import torch

        shards = [future.result() for future in prepared]
        if self._plan.device == "cpu":
            return shards
        return [Shard(*map(torch.cat, zip(*shards, strict=True)))]

    def _step(self, shards: list[Shard]) -> None:
        state = self._state
        place = [self._settings.seed, state.epoch, state.step]
        seeds = np.random.SeedSequence(place).generate_state(len(shards))
        loss_sum = self._gradient(shards, [int(seed) for seed in seeds])
        if not math.isfinite(loss_sum):
            raise self._diverged()
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(state.step)
        self._optimizer.step()
        state.step += 1
        state.loss_sum += loss_sum
        state.weight_sum += sum(float(shard.weights.sum()) for shard in shards)

    def _rate(self, step: int) -> float:
        """Return the learning rate of a step of this epoch."""
        done, settings = self._state.epoch * self._steps_an_epoch, self._settings
        steps = settings.epochs * self._steps_an_epoch
        return learning_rate_at(done + step, steps, settings.highest_rate)

    def _validate(self) -> tuple[float, float]:
        """Return the loss and the area under the ROC curve."""
        import torch
        from sklearn.metrics import roc_auc_score

        examples, plan = self._validation, self._plan
        turn = one_at_a_time(plan.device)

        def margins(places: np.ndarray) -> np.ndarray:
            prepared = examples.prepare(places, None)
            with turn, torch.inference_mode(), autocast(plan):
                logits = self._module(prepared.to(plan.device)).cpu().double().numpy()
            return logits[:, 1] - logits[:, 0]

        self._module.eval()
        parts = _parts(np.arange(len(examples.labels)))
        margin = np.concatenate(list(self._pool.map(margins, parts)))
        self._module.train()
        # The cross-entropy of two logits depends on their difference alone.
        losses = np.logaddexp(0, np.where(examples.labels == 1, -margin, margin))
        if not np.isfinite(losses).all():
            raise self._diverged()
        loss = np.average(losses, weights=examples.weights)
        return float(loss), float(roc_auc_score(examples.labels, margin))

    def _end_epoch(self, metrics: EpochMetrics) -> None:
        state, settings = self._state, self._settings
        state.history = [*state.history, asdict(metrics)]
        best = min(state.history, key=lambda epoch: epoch["validation_loss"])
        if best["epoch"] == metrics.epoch:
            state.best_epoch, state.best_weights = metrics.epoch, self._weights()
        state.epoch += 1
        state.step = 0
        state.loss_sum = state.weight_sum = state.seconds = 0.0
        has_stopped = 0 < settings.patience <= state.epoch - state.best_epoch
        state.has_ended = has_stopped or state.epoch == settings.epochs

    def _checkpoint(self) -> Checkpoint:
        if self._state.has_ended:
            return self._state
        optimizer = self._optimizer.state_dict()
        return replace(self._state, weights=self._weights(), optimizer=optimizer)

    def _weights(self) -> "dict[str, torch.Tensor]":
        state = self._module.state_dict()
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def _images_seen(self) -> tuple[int, int]:
        """Return how many images have gone through the network, and how many will have in all."""
        n_train, n_validation, state = (
            len(self._train.labels),
            len(self._validation.labels),
            self._state,
        )
        n_images = self._settings.epochs * (n_train + n_validation)
        if state.has_ended:
            return n_images, n_images
        in_epoch = state.step * n_train // self._steps_an_epoch
        return state.epoch * (n_train + n_validation) + in_epoch, n_images

    def _diverged(self) -> UserError:
        return UserError(
            f"The loss is no longer finite in epoch {self._state.epoch + 1}: use a lower learning "
            "rate, or the precision float32."
        )


def learning_rate_at(step: int, steps: int, highest: float) -> float:
    """Return the learning rate of a step, counted from 0, of ``steps`` in all.

    It rises linearly during the first 5 % of the steps, then falls along half a cosine towards 0
    (Loshchilov and Hutter, "SGDR", 2017, equation 5, without restarts).
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
    # Fused, a step takes a quarter of the time.
    return torch.optim.AdamW(groups, fused=True)


def _parts(places: np.ndarray) -> list[np.ndarray]:
    """Split into the fewest parts of at most SHARD_SIZE, whose sizes differ by at most one."""
    return np.array_split(places, -(-len(places) // SHARD_SIZE))
