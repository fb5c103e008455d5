"""From an image and a classifier to the maps of the occlusion experiments."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from assets.methods.attribution.occlusion import (
    EXPERIMENTS,
    Experiment,
    OcclusionMap,
    occlusion_map,
)
from assets.methods.attribution.scaled_windows import ScaledWindowImages
from assets.methods.attribution.window_images import WindowedImage, WindowImages
from assets.methods.attribution.window_store import WindowScoreStore, window_score_key
from assets.methods.common.errors import UserError
from assets.methods.common.parallel import unordered_map
from assets.methods.common.progress import Progress, silent
from assets.methods.models.classifier import (
    Classifier,
    Images,
    checked_probabilities,
    classify_arrays,
    score_function,
)
from assets.methods.models.forward import is_out_of_memory, one_at_a_time, unsplit_pool
from assets.methods.models.preprocessing import square_of
from assets.methods.models.scaling import INTERPOLATIONS
from assets.methods.models.torch_classifier import TorchClassifier

# The windows per worker that are timed: fewer say too little of the thousands to come, and more
# would make the user of a slow classifier wait for the estimate.
_FEWEST_TIMED, _MOST_TIMED = 4, 16


@dataclass(frozen=True)
class WorkEstimate:
    """How much work the experiments on one image are.

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


def occlusion_maps(
    windowed: WindowedImage,
    classifier: Classifier,
    class_name: str,
    store: WindowScoreStore,
    experiments: Sequence[Experiment] = EXPERIMENTS,
    on_estimate: Callable[[WorkEstimate], None] = lambda estimate: None,
    progress: Progress = silent,
) -> dict[Experiment, OcclusionMap]:
    """Map what ``classifier`` looks at in an image.

    Scores are stored as they come: after an interruption of any kind the same call goes on from
    them, and for maps that are finished it runs no network.

    Args:
        windowed: the image and its windows.
        classifier: called with batches of windows from as many threads as it has ``workers``.
        class_name: whose probability is mapped.
        store: where the scores are kept.
        experiments: which to run.
        on_estimate: called with the number of windows before any is scored, and once more with
            the time that they will take when a few of them are.
        progress: called with the number of windows scored now, and of all that were not known.

    Returns:
        The map of each experiment, of the image's own size.

    Raises:
        UserError: the classifier has no such class, or gives what is no probability.
    """
    score = score_function(classifier, class_name)
    runs = {}
    for experiment in experiments:
        key = _key(windowed, classifier, class_name, experiment)
        images = _images(windowed, experiment, classifier)
        scores = store.open(key, windowed.windows.count)
        runs[experiment] = _Run(images, scores, classifier, score)
    _score_unknown(list(runs.values()), classifier, on_estimate, progress)
    return {
        experiment: occlusion_map(
            experiment,
            windowed.windows,
            np.array(run.scores).reshape(windowed.windows.shape),
            windowed.image.size,
            run.n_computed,
        )
        for experiment, run in runs.items()
    }


def whole_image_score(
    windowed: WindowedImage, classifier: Classifier, class_name: str, store: WindowScoreStore
) -> float:
    """Return P(``class_name``) of the scaled image as it is, which is stored like the windows'."""
    key = _key(windowed, classifier, class_name, "whole")
    known = store.open(key, count=1)
    if np.isnan(known[0]):
        scores = classify_arrays(classifier, [np.array(windowed.scaled)])[class_name]
        known[:] = checked_probabilities(scores, class_name)
        known.flush()
    return float(known[0])


def fed_image(image: Image.Image, classifier: Classifier) -> Image.Image:
    """Return what the network reads of an RGB image: scaled and cropped, or all of a black box."""
    if isinstance(classifier, TorchClassifier):
        return Image.fromarray(square_of(image, classifier.preprocessing))
    return image


def _key(windowed: WindowedImage, classifier: Classifier, class_name: str, experiment: str) -> str:
    return window_score_key(
        windowed.scaled,
        classifier.fingerprint,
        class_name,
        experiment,
        windowed.settings,
        classifier.device,
    )


def _images(
    windowed: WindowedImage, experiment: Experiment, classifier: Classifier
) -> WindowImages | ScaledWindowImages:
    """Choose how the windows' images are built; both ways give the network the same numbers."""
    device = classifier.device
    if not isinstance(classifier, TorchClassifier):
        return WindowImages(windowed, experiment, device)
    numbers = classifier.preprocessing
    # On the CPU, Pillow scales a small window faster, and has more filters.
    is_large = experiment == "hidden" and min(windowed.scaled.size) > numbers.resize
    if device == "cpu" and not (is_large and numbers.interpolation in INTERPOLATIONS):
        return WindowImages(windowed, experiment, device)
    return ScaledWindowImages(windowed, experiment, device, numbers)


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
    on_estimate: Callable[[WorkEstimate], None],
    progress: Progress,
) -> None:
    n_windows = sum(len(run.scores) for run in runs)
    n_unknown = sum(len(run.unknown) for run in runs)
    on_estimate(WorkEstimate(n_windows, n_windows - n_unknown))
    if n_unknown == 0:
        return

    def report() -> None:
        progress(sum(run.n_computed for run in runs), n_unknown)

    with unsplit_pool(classifier.workers) as pool:
        seconds = sum(run.begin(pool) for run in runs)
        on_estimate(WorkEstimate(n_windows, n_windows - n_unknown, seconds))
        report()
        for run in runs:
            run.finish(pool, report)


class _Run:
    """One experiment on one image: the scores of its windows, and the windows without a score.

    A stored number that is no probability, such as NaN, is no score.
    """

    def __init__(
        self,
        images: WindowImages | ScaledWindowImages,
        scores: np.memmap,
        classifier: Classifier,
        score: Callable[[Images], np.ndarray],
    ) -> None:
        self.scores = scores
        self.unknown = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
        self.n_computed = 0
        self._images, self._score = images, score
        self._device, self._turn = classifier.device, one_at_a_time(classifier.device)
        self._workers, self._batch_size = classifier.workers, classifier.batch_size

    def begin(self, pool: ThreadPoolExecutor) -> float:
        """Score the first few windows; return the seconds that the others should take."""
        # A worker's first call also pays for what is set up only once: it is not timed.
        self._compute(pool, self._workers, batch_size=1)
        before, started = self.n_computed, time.perf_counter()
        timed = min(max(_FEWEST_TIMED, self._batch_size), _MOST_TIMED)
        self._compute(pool, self._workers * timed, min(timed, self._batch_size))
        seconds = (time.perf_counter() - started) / max(1, self.n_computed - before)
        return seconds * (len(self.unknown) - self.n_computed)

    def finish(self, pool: ThreadPoolExecutor, report: Callable[[], None]) -> None:
        """Score all windows that are left, reporting after each batch."""
        self._compute(pool, len(self.unknown), self._batch_size, report)
        self.scores.flush()

    def _compute(
        self,
        pool: ThreadPoolExecutor,
        n: int,
        batch_size: int,
        report: Callable[[], None] = lambda: None,
    ) -> None:
        chosen = self.unknown[self.n_computed :][:n]
        batches = (
            chosen[start : start + batch_size] for start in range(0, len(chosen), batch_size)
        )
        # As many again as are computed stand ready, so that no worker is ever idle.
        for batch, scores in unordered_map(pool, self._score_batch, batches, 2 * self._workers):
            self.scores[batch] = scores
            self.n_computed += len(batch)
            report()

    def _score_batch(self, numbers: NDArray[np.intp]) -> np.ndarray:
        try:
            with self._turn:
                images = self._images.batch(numbers)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(numbers) == 1:
                raise UserError(
                    f"Memory on {self._device} does not suffice for the image of a window: let "
                    "images be scaled down to a smaller long_side, or use another device."
                ) from error
        else:
            return self._score(images)
        # After the error is gone, and with it what it holds on to.
        return np.concatenate([self._score_batch(half) for half in np.array_split(numbers, 2)])
