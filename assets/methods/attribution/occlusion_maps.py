"""From an image and a classifier to the maps of the occlusion experiments."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from assets.methods.attribution.occlusion import (
    EXPERIMENTS,
    Experiment,
    OcclusionMap,
    OcclusionSettings,
    occlusion_map,
    scale_down,
    windows_of,
)
from assets.methods.attribution.window_images import WindowImages
from assets.methods.attribution.window_store import WindowScoreStore, window_score_key
from assets.methods.common.progress import Progress, silent
from assets.methods.models.classifier import Classifier, Images, score_function
from assets.methods.models.forward import unsplit_pool

# So many windows a worker are timed: fewer say too little of the thousands to come, and whoever
# waits for the estimate should not wait for a large batch of a slow classifier.
_FEWEST_TIMED, _MOST_TIMED = 4, 16

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Announcement:
    """What the experiments on one image will take.

    Attributes:
        n_windows: windows of all experiments.
        n_known: those among them that an earlier run has scored.
        seconds: expected for those still to be scored, going by the first few; None before these
            are scored.
    """

    n_windows: int
    n_known: int
    seconds: float | None = None

    def sentence(self) -> str:
        """Say it to a person."""
        if self.seconds is not None:
            n_left = _windows(self.n_windows - self.n_known)
            return f"expected: {_duration(self.seconds)} for {n_left}."
        if self.n_known == self.n_windows:
            return f"{_windows(self.n_windows)}, all of them scored before."
        known = f", {self.n_known:,} of them scored before" if self.n_known else ""
        return f"{_windows(self.n_windows)}{known}."


def ignore(announcement: Announcement) -> None:
    """Listen to nothing: the default of ``explain``."""


def explain(
    image: Image.Image,
    classifier: Classifier,
    class_name: str,
    settings: OcclusionSettings,
    store: WindowScoreStore,
    experiments: Sequence[Experiment] = EXPERIMENTS,
    announce: Callable[[Announcement], None] = ignore,
    progress: Progress = silent,
) -> dict[Experiment, OcclusionMap]:
    """Map what ``classifier`` looks at in ``image``.

    Scores are stored as they come: after an interruption of any kind the same call goes on from
    them, and for maps that are finished it runs no network.

    Args:
        image: of any size and mode, upright.
        classifier: fed batches of windows from as many threads as it has ``workers``.
        class_name: whose probability is mapped.
        settings: how windows are laid and painted.
        store: where the scores are kept.
        experiments: which to run.
        announce: told how many windows there are before any is scored, and once more how long
            they will take when a few of them are.
        progress: told of the windows scored now, out of all that were not known.

    Returns:
        The map of each experiment.

    Raises:
        UserError: the classifier has no such class, or gives what is no probability.
    """
    scaled = scale_down(image, settings.long_side)
    windows = windows_of(scaled, settings)
    score = score_function(classifier, class_name)
    runs = {}
    for experiment in experiments:
        key = window_score_key(scaled, classifier.fingerprint, class_name, experiment, settings)
        images = WindowImages(scaled, experiment, settings, classifier.device)
        runs[experiment] = _Run(images, store.open(key, windows.count), classifier, score)
    _score_unknown(list(runs.values()), classifier, announce, progress)
    return {
        experiment: occlusion_map(
            experiment,
            windows,
            np.array(run.scores).reshape(windows.shape),
            image.size,
            run.n_computed,
        )
        for experiment, run in runs.items()
    }


def _windows(n: int) -> str:
    return f"{n:,} window{'' if n == 1 else 's'}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _score_unknown(
    runs: Sequence["_Run"],
    classifier: Classifier,
    announce: Callable[[Announcement], None],
    progress: Progress,
) -> None:
    n_windows = sum(len(run.scores) for run in runs)
    n_unknown = sum(len(run.left) for run in runs)
    announce(Announcement(n_windows, n_windows - n_unknown))
    if n_unknown == 0:
        return

    def report() -> None:
        progress(sum(run.n_computed for run in runs), n_unknown)

    with unsplit_pool(classifier.workers) as pool:
        seconds = sum(run.begin(pool) for run in runs)
        announce(Announcement(n_windows, n_windows - n_unknown, seconds))
        report()
        for run in runs:
            run.finish(pool, report)


class _Run:
    """One experiment on one image: the scores of its windows, and the windows left to score.

    A score that is no probability, such as NaN, is none.
    """

    def __init__(
        self,
        images: WindowImages,
        scores: np.memmap,
        classifier: Classifier,
        score: Callable[[Images], np.ndarray],
    ) -> None:
        self.scores = scores
        self.left = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
        self.n_computed = 0
        self._images, self._score = images, score
        self._workers, self._batch_size = classifier.workers, classifier.batch_size

    def begin(self, pool: ThreadPoolExecutor) -> float:
        """Score the first few windows; return the seconds that the others should take."""
        # A worker's first call also pays for what is set up only once: it is not timed.
        self._advance(pool, self._workers, batch_size=1)
        before, started = self.n_computed, time.perf_counter()
        timed = min(max(_FEWEST_TIMED, self._batch_size), _MOST_TIMED)
        self._advance(pool, self._workers * timed, batch_size=min(timed, self._batch_size))
        seconds = time.perf_counter() - started
        return seconds * len(self.left) / max(1, self.n_computed - before)

    def finish(self, pool: ThreadPoolExecutor, report: Callable[[], None]) -> None:
        """Score all windows that are left, reporting after each batch."""
        self._advance(pool, len(self.left), report=report)
        self.scores.flush()

    def _advance(
        self,
        pool: ThreadPoolExecutor,
        n: int,
        batch_size: int | None = None,
        report: Callable[[], None] = lambda: None,
    ) -> None:
        chosen, self.left = self.left[:n], self.left[n:]
        size = batch_size or self._batch_size
        batches = (chosen[start : start + size] for start in range(0, len(chosen), size))
        # As many again as are computed stand ready, so that no worker is ever idle.
        for batch, scores in _completed(pool, self._score_batch, batches, 2 * self._workers):
            self.scores[batch] = scores
            self.n_computed += len(batch)
            report()

    def _score_batch(self, numbers: NDArray[np.intp]) -> np.ndarray:
        return self._score(self._images.batch(numbers))


def _completed(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterator[T], at_most: int
) -> Iterator[tuple[T, R]]:
    """Yield each item with its result as they come, with ``at_most`` in the pool at a time."""
    submitted: dict[Future[R], T] = {}
    while True:
        for item in islice(items, at_most - len(submitted)):
            submitted[pool.submit(work, item)] = item
        if not submitted:
            return
        done = wait(submitted, return_when=FIRST_COMPLETED).done
        # Those that failed come last, so that no result is lost to the failure of another.
        for future in sorted(done, key=lambda one: one.exception() is not None):
            yield submitted.pop(future), future.result()
