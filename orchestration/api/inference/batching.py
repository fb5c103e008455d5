"""Dynamic batching: images of many requests are answered in batches by a network."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count, islice
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from assets.methods.models.forward import unsplit_pool
from orchestration.api.contract import throttled

MAX_WAITING = 1024
RETRY_AFTER_SECONDS = 5
# A batch takes the network tens of milliseconds, whether it is full or not.
GATHER_SECONDS = 0.005

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class BatchModel:
    """A model that is called with batches.

    ``predict`` maps 1 to ``batch_size`` images to an array with a row for each; several threads
    call it.
    """

    name: str
    batch_size: int
    predict: Callable[[Sequence[Image.Image]], np.ndarray]


@dataclass(frozen=True)
class _Job:
    number: int
    model: BatchModel
    load: Callable[[], Sequence[Image.Image]]
    choose: Callable[[np.ndarray], np.ndarray]
    answer: Future[np.ndarray] = field(default_factory=Future)


class Batcher:
    """Threads that load images and run models on them, in batches.

    The same thread loads the images of a batch and runs the network, and all models share the
    threads. So there are never more busy threads than ``threads``.

    Args:
        threads: how many batches run at once.
        on_batch: called with the model's name and the number of images of each batch.
        max_waiting: how many images may wait.
        gather_seconds: how long a batch that is not full waits for more images.
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
        # Two threads that gather at once would each get a part of a batch.
        self._gathering = threading.Lock()
        self._pool = ExitStack()

    def start(self) -> None:
        """Start the threads; what was submitted before is answered, too."""
        pool = self._pool.enter_context(unsplit_pool(self._threads))
        for _ in range(self._threads):
            pool.submit(self._work)

    def submit(self, model: BatchModel, load: Callable[[], Image.Image]) -> Future[np.ndarray]:
        """Call ``model`` with the image that ``load`` returns.

        Returns:
            The image's row of the output, or what ``load`` or the model raised. An image whose
            future was cancelled in time is not loaded.

        Raises:
            ApiError: too many images wait, or the batcher is closed.
        """
        return self._submit(model, lambda: [load()], itemgetter(0))

    def submit_frames(
        self, model: BatchModel, load: Callable[[], Sequence[Image.Image]]
    ) -> Future[np.ndarray]:
        """Do what ``submit`` does with several images, which wait as one.

        Returns:
            A row of the output for each of the images.
        """
        return self._submit(model, load, lambda rows: rows)

    def _submit(
        self,
        model: BatchModel,
        load: Callable[[], Sequence[Image.Image]],
        choose: Callable[[np.ndarray], np.ndarray],
    ) -> Future[np.ndarray]:
        with self._changed:
            if self._closed or self._n_waiting >= self._max_waiting:
                raise throttled(
                    f"{self._n_waiting:,} images are waiting for a model. Try again later.",
                    RETRY_AFTER_SECONDS,
                )
            job = _Job(next(self._numbers), model, load, choose)
            self._waiting.setdefault(model, deque()).append(job)
            self._n_waiting += 1
            self._changed.notify_all()
        return job.answer

    def close(self) -> None:
        """Cancel what waits, and return when the running batches have ended."""
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
        while jobs := self._gather():
            self._run(jobs)

    def _gather(self) -> list[_Job]:
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

    def _run(self, jobs: list[_Job]) -> None:
        model = jobs[0].model
        loaded = [(job, images) for job in jobs if (images := _load(job)) is not None]
        try:
            rows = self._predict(model, [image for _, images in loaded for image in images])
            for job, images in loaded:
                job.answer.set_result(job.choose(np.stack(list(islice(rows, len(images))))))
        except Exception as error:
            for job, _ in loaded:
                if not job.answer.done():
                    job.answer.set_exception(error)

    def _predict(self, model: BatchModel, images: Sequence[Image.Image]) -> Iterator[np.ndarray]:
        """Yield a row for each image; the frames of animations make more than one batch."""
        for begin in range(0, len(images), model.batch_size):
            batch = images[begin : begin + model.batch_size]
            self._on_batch(model.name, len(batch))
            yield from [row for _, row in zip(batch, model.predict(batch), strict=True)]


def _load(job: _Job) -> Sequence[Image.Image] | None:
    """Return the images; None if the future was cancelled, or got what ``load`` raised."""
    if not job.answer.set_running_or_notify_cancel():
        return None
    try:
        return job.load()
    except Exception as error:
        job.answer.set_exception(error)
        return None


async def gather_or_cancel(calls: Sequence[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Await all calls; when one raises, cancel the others and raise the same."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        raise
