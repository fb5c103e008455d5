"""Pictures of many requests, gathered into the batches that a network is best given."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from PIL import Image

from assets.methods.models.forward import unsplit_pool

MAX_WAITING = 1024
# A batch takes the network tens of milliseconds, full or not.
GATHER_SECONDS = 0.005


class Busy(Exception):  # noqa: N818 - a matter of load, not an error of the program
    """So many pictures wait already that no more are taken."""


@dataclass(frozen=True, eq=False)
class BatchModel:
    """What answers pictures in batches.

    ``answer`` maps 1 to ``batch_size`` pictures to an array with a row for each; it is called from
    several threads.
    """

    name: str
    batch_size: int
    answer: Callable[[Sequence[Image.Image]], np.ndarray]


@dataclass(frozen=True)
class _Job:
    number: int
    model: BatchModel
    load: Callable[[], Image.Image]
    answer: Future[np.ndarray] = field(default_factory=Future)


class Batcher:
    """Threads that open pictures and have models answer them, as many at once as a batch holds.

    One and the same thread opens the pictures of a batch and runs the network, and all models share
    the threads: so there are never more at work than there are cores.

    Args:
        threads: how many batches are worked on at once.
        on_batch: told of each batch the model's name and the number of pictures.
        max_waiting: more pictures than that are not taken.
        gather_seconds: how long a batch that is not full is held back for more.
    """

    def __init__(
        self,
        threads: int,
        on_batch: Callable[[str, int], object],
        max_waiting: int = MAX_WAITING,
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        self._threads = threads
        self._on_batch = on_batch
        self._max_waiting = max_waiting
        self._gather_seconds = gather_seconds
        self._numbers = count()
        self._waiting: dict[BatchModel, deque[_Job]] = {}
        self._n_waiting = 0
        self._closed = False
        self._changed = threading.Condition()
        # Two that gather at once would share out what each of them waits for.
        self._gathering = threading.Lock()
        self._pool = ExitStack()

    def start(self) -> None:
        """Start the threads; what was submitted before is worked on from now."""
        pool = self._pool.enter_context(unsplit_pool(self._threads))
        for _ in range(self._threads):
            pool.submit(self._work)

    def submit(self, model: BatchModel, load: Callable[[], Image.Image]) -> Future[np.ndarray]:
        """Have ``model`` answer the picture that ``load`` opens.

        Returns:
            The picture's row of the answer, or what ``load`` or the model raised. What is cancelled
            before its turn is not opened.

        Raises:
            Busy: too many pictures wait, or the batcher is closed.
        """
        with self._changed:
            if self._closed or self._n_waiting >= self._max_waiting:
                raise Busy(f"{self._n_waiting:,} pictures are waiting for a model already.")
            job = _Job(next(self._numbers), model, load)
            self._waiting.setdefault(model, deque()).append(job)
            self._n_waiting += 1
            self._changed.notify_all()
        return job.answer

    def close(self) -> None:
        """Cancel what waits, and return when the batches that are being worked on have ended."""
        with self._changed:
            self._closed = True
            for jobs in self._waiting.values():
                for job in jobs:
                    job.answer.cancel()
            self._waiting.clear()
            self._n_waiting = 0
            self._changed.notify_all()
        self._pool.close()

    def _work(self) -> None:
        while jobs := self._gathered():
            self._answer(jobs)

    def _gathered(self) -> list[_Job]:
        """Wait for a batch; empty once the batcher is closed."""
        with self._gathering, self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting)
            if self._closed:
                return []
            model = min(self._waiting, key=lambda model: self._waiting[model][0].number)
            jobs, size = self._waiting[model], model.batch_size
            self._changed.wait_for(
                lambda: self._closed or len(jobs) >= size, timeout=self._gather_seconds
            )
            if self._closed:
                return []
            batch = [jobs.popleft() for _ in range(min(size, len(jobs)))]
            self._n_waiting -= len(batch)
            if not jobs:
                del self._waiting[model]
            return batch

    def _answer(self, jobs: list[_Job]) -> None:
        model = jobs[0].model
        opened = [(job, image) for job in jobs if (image := _opened(job)) is not None]
        if not opened:
            return
        try:
            self._on_batch(model.name, len(opened))
            rows = model.answer([image for _, image in opened])
            answered = list(zip(opened, rows, strict=True))
        except Exception as error:
            for job, _ in opened:
                job.answer.set_exception(error)
            return
        for (job, _), row in answered:
            job.answer.set_result(row)


def _opened(job: _Job) -> Image.Image | None:
    """The picture; None if nobody waits for it any more, or what was raised has been passed on."""
    if not job.answer.set_running_or_notify_cancel():
        return None
    try:
        return job.load()
    except Exception as error:
        job.answer.set_exception(error)
        return None
