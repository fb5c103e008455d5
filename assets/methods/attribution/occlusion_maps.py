"""From an image and a classifier to the maps of the occlusion experiments."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from assets.methods.attribution.levels import Level, levels_of
from assets.methods.attribution.occlusion import (
    EXPERIMENTS,
    Experiment,
    OcclusionMap,
    OcclusionSettings,
    estimated_error,
    occlusion_map,
)
from assets.methods.attribution.scaled_windows import ScaledWindowImages
from assets.methods.attribution.window_images import WindowedImage, WindowImages
from assets.methods.attribution.window_store import (
    WindowScoreStore,
    is_score,
    window_score_key,
)
from assets.methods.common.errors import UserError
from assets.methods.common.parallel import unordered_map
from assets.methods.common.progress import Progress, silent
from assets.methods.models.classifier import (
    Classifier,
    Images,
    check_class,
    score_function,
)
from assets.methods.models.forward import is_out_of_memory, one_at_a_time, unsplit_pool
from assets.methods.models.one_model import (
    MOST_CONTROLS,
    ROUNDING,
    Control,
    ModelChangedError,
    WatchedClassifier,
    names_no_version,
    spread,
)
from assets.methods.models.preprocessing import square_of
from assets.methods.models.scaling import INTERPOLATIONS
from assets.methods.models.scoring import score_image
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
        may_stop: whether fewer may do, as a tolerance was given.
    """

    n_windows: int
    n_known: int
    seconds: float | None = None
    may_stop: bool = False

    def sentence(self) -> str:
        """Say it to a person."""
        if self.seconds is not None:
            n_left = _windows(self.n_windows - self.n_known)
            most = "at most " if self.may_stop else ""
            return f"expected: {most}{_duration(self.seconds)} for {n_left}."
        if self.n_known == self.n_windows:
            return f"{_windows(self.n_windows)}, all of them scored before."
        known = f", {self.n_known:,} of them scored before" if self.n_known else ""
        return f"{_windows(self.n_windows)}{known}."


@dataclass(frozen=True)
class MapsSoFar:
    """The maps of one image after a level, from the windows scored so far.

    Attributes:
        level: the number of the level, from 1.
        n_levels: how many there are.
        maps: those that are exact already, and estimates.
    """

    level: int
    n_levels: int
    maps: Mapping[Experiment, OcclusionMap]

    def sentence(self) -> str:
        """Say it to a person."""
        maps = self.maps.values()
        n_scored = sum(one.n_scored for one in maps)
        n_windows = _windows(sum(one.windows.count for one in maps))
        error = max(one.error or 0 for one in maps)
        return (
            f"level {self.level} of {self.n_levels}: {n_scored:,} of {n_windows}, estimated mean "
            f"error {error:.2g} of the map's range."
        )


def occlusion_maps(
    windowed: WindowedImage,
    classifier: Classifier,
    class_name: str,
    store: WindowScoreStore,
    experiments: Sequence[Experiment] = EXPERIMENTS,
    on_estimate: Callable[[WorkEstimate], None] = lambda estimate: None,
    progress: Progress = silent,
    *,
    tolerance: float | None = None,
    on_level: Callable[[MapsSoFar], object] | None = None,
) -> dict[Experiment, OcclusionMap]:
    """Map what ``classifier`` looks at in an image.

    With a tolerance or somebody who listens, windows are scored level by level. A map is finished
    when its estimated error is below the tolerance; without one, when it is exact. What an earlier
    call has scored beyond that is used. The exact map is the same either way.

    Scores are stored as they come: after an interruption of any kind the same call goes on from
    them, and for maps that are finished it runs no network. A remote classifier that names no
    version is asked again for some of them, before, meanwhile and at the end.

    Args:
        windowed: the image and its windows.
        classifier: called with batches of windows from as many threads as it has ``workers``.
        class_name: whose probability is mapped.
        store: where the scores are kept.
        experiments: which to run.
        on_estimate: called with the number of windows before any is scored, and once more with
            the time that they will take when a few of them are.
        progress: called with the number of windows scored now, and of all that were not known.
        tolerance: the estimated error below which a map may be, as ``OcclusionMap`` has it.
        on_level: called with the maps after each level that another one follows.

    Returns:
        The map of each experiment, of ``windowed.map_size``.

    Raises:
        ModelChangedError: another model answers than before; the same call then begins anew.
        UserError: the classifier has no such class, or gives what is no probability.
    """
    check_class(classifier.class_names, class_name)
    keys = {
        one: _key(windowed.scaled, windowed.settings, classifier, class_name, one)
        for one in experiments
    }
    scores = {one: store.open(key, windowed.windows.count) for one, key in keys.items()}
    watch = _watch if names_no_version(classifier) else _trust
    levels = levels_of(windowed.windows, windowed.settings.stride)
    if tolerance is None and on_level is None:
        levels = levels[-1:]
    with watch(windowed, classifier, class_name, store, scores) as asked:
        score = score_function(asked, class_name)
        runs = {
            one: _Run(_images(windowed, one, classifier), scores[one], levels, asked, score)
            for one in experiments
        }

        def maps() -> dict[Experiment, OcclusionMap]:
            return {one: run.map(one, windowed.map_size) for one, run in runs.items()}

        def listen(level: int) -> None:
            if on_level is not None:
                on_level(MapsSoFar(level + 1, len(levels), maps()))

        _score_unknown(list(runs.values()), asked, tolerance, on_estimate, progress, listen)
        for one, key in keys.items():
            store.finish(key, scores[one])
    return maps()


def whole_image_score(
    image: Image.Image,
    settings: OcclusionSettings,
    classifier: Classifier,
    class_name: str,
    store: WindowScoreStore,
) -> float:
    """Return P(``class_name``) of an image, RGB, as `score_unseen` gives it for these pixels.

    It is stored like the scores of its windows that ``settings`` place. A remote classifier that
    names no version is asked anew.

    Raises:
        UserError: as for ``occlusion_maps``.
    """
    check_class(classifier.class_names, class_name)
    key = _key(image, settings, classifier, class_name, "whole")
    known = store.open(key, count=1)
    if np.isnan(known[0]) or names_no_version(classifier):
        score = score_image(classifier, image, class_name)
        if not abs(score - known[0]) <= ROUNDING:
            known[:] = score
            store.finish(key, known)
    return float(known[0])


def fed_image(image: Image.Image, classifier: Classifier) -> Image.Image:
    """Return what the network reads of an RGB image: scaled and cropped, or all of a black box."""
    if isinstance(classifier, TorchClassifier):
        return Image.fromarray(square_of(image, classifier.preprocessing))
    return image


@contextmanager
def _trust(
    windowed: WindowedImage,
    classifier: Classifier,
    class_name: str,
    store: WindowScoreStore,
    scores: Mapping[Experiment, np.memmap],
) -> Iterator[Classifier]:
    """Yield the classifier, which itself finds out if another model answers."""
    yield classifier


@contextmanager
def _watch(
    windowed: WindowedImage,
    classifier: Classifier,
    class_name: str,
    store: WindowScoreStore,
    scores: Mapping[Experiment, np.memmap],
) -> Iterator[Classifier]:
    """Yield a classifier that is watched, and look before and afterwards if its model is the same.

    The controls are the whole image, and windows that have a score. If a model answers otherwise
    than before, all scores of the image are forgotten, and ModelChangedError is raised.
    """
    whole = _stored_or_asked(windowed, classifier, class_name, store)

    def watched() -> WatchedClassifier:
        controls = [_control(windowed.scaled, class_name, whole)]
        for experiment, known in scores.items():
            controls += _window_controls(windowed, class_name, experiment, known)
        return WatchedClassifier(classifier, controls)

    try:
        asked = watched()
        asked.check()
        yield asked
        watched().check()
    except ModelChangedError:
        for experiment in (*scores, "whole"):
            key = _key(windowed.scaled, windowed.settings, classifier, class_name, experiment)
            store.forget(key, 1 if experiment == "whole" else windowed.windows.count)
        raise


def _stored_or_asked(
    windowed: WindowedImage, classifier: Classifier, class_name: str, store: WindowScoreStore
) -> float:
    known = store.open(
        _key(windowed.scaled, windowed.settings, classifier, class_name, "whole"), count=1
    )[0]
    if np.isfinite(known):
        return float(known)
    return whole_image_score(windowed.scaled, windowed.settings, classifier, class_name, store)


def _window_controls(
    windowed: WindowedImage, class_name: str, experiment: Experiment, scores: np.memmap
) -> list[Control]:
    known, columns = np.flatnonzero(is_score(scores)), windowed.windows.shape[1]
    return [
        _control(
            windowed.window_image(experiment, (place // columns, place % columns)),
            class_name,
            float(scores[place]),
        )
        for place in known[spread(scores[known], MOST_CONTROLS)].tolist()
    ]


def _control(image: Image.Image, class_name: str, score: float) -> Control:
    import torch

    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return Control(tensor, {class_name: score})


def _key(
    image: Image.Image,
    settings: OcclusionSettings,
    classifier: Classifier,
    class_name: str,
    experiment: str,
) -> str:
    return window_score_key(
        image, classifier.fingerprint, class_name, experiment, settings, classifier.device
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
    tolerance: float | None,
    on_estimate: Callable[[WorkEstimate], None],
    progress: Progress,
    on_level: Callable[[int], None],
) -> None:
    """Score windows level by level until all runs are within the tolerance."""
    n_windows = sum(len(run.scores) for run in runs)
    n_unknown = sum(len(run.unknown) for run in runs)
    estimate = WorkEstimate(n_windows, n_windows - n_unknown, may_stop=tolerance is not None)
    on_estimate(estimate)

    def waiting() -> list[_Run]:
        return [run for run in runs if not run.is_within(tolerance)]

    if not waiting():
        return

    def report() -> None:
        progress(sum(run.n_computed for run in runs), n_unknown)

    with unsplit_pool(classifier.workers) as pool:
        seconds = sum(run.begin(pool) for run in waiting())
        on_estimate(replace(estimate, seconds=seconds))
        report()
        while left := waiting():
            level = min(run.n_levels for run in left)
            for run in left:
                if run.n_levels == level:
                    run.finish_level(pool, report)
            if waiting():
                on_level(level)
    # Whoever draws a bar has promised more windows than it took.
    progress(n_unknown, n_unknown)


class _Run:
    """One experiment on one image: the scores of its windows, and the windows without a score.

    A stored number that is no probability, such as NaN, is no score. ``unknown`` has the windows
    of the first level first; ``n_levels`` is how many levels have all their scores.
    """

    def __init__(
        self,
        images: WindowImages | ScaledWindowImages,
        scores: np.memmap,
        levels: Sequence[Level],
        classifier: Classifier,
        score: Callable[[Images], np.ndarray],
    ) -> None:
        self.scores = scores
        self.unknown, self._ends = _by_level(levels, ~is_score(scores))
        self.n_computed = 0
        self._levels, self._images, self._score = levels, images, score
        self._device, self._turn = classifier.device, one_at_a_time(classifier.device)
        self._workers, self._batch_size = classifier.workers, classifier.batch_size

    @property
    def n_levels(self) -> int:
        return sum(end <= self.n_computed for end in self._ends)

    def is_within(self, tolerance: float | None) -> bool:
        """Return whether the map is exact, or an estimate with less than the tolerated error."""
        if self.n_levels == len(self._levels):
            return True
        if tolerance is None or self.n_levels == 0:
            return False
        level = self._levels[self.n_levels - 1]
        return estimated_error(level, self._grid()) < tolerance

    def map(self, experiment: Experiment, size: tuple[int, int]) -> OcclusionMap:
        """Return the map of ``size`` (width, height) px by the finest level that has its scores."""
        level = self._levels[self.n_levels - 1]
        is_exact = self.n_levels == len(self._levels)
        return occlusion_map(
            experiment,
            level.windows,
            self._grid(),
            size,
            self.n_computed,
            None if is_exact else level,
        )

    def begin(self, pool: ThreadPoolExecutor) -> float:
        """Score the first few windows; return the seconds that all others should take."""
        # A worker's first call also pays for what is set up only once: it is not timed.
        self._compute(pool, self._workers, batch_size=1)
        before, started = self.n_computed, time.perf_counter()
        timed = min(max(_FEWEST_TIMED, self._batch_size), _MOST_TIMED)
        self._compute(pool, self._workers * timed, min(timed, self._batch_size))
        seconds = (time.perf_counter() - started) / max(1, self.n_computed - before)
        return seconds * (len(self.unknown) - self.n_computed)

    def finish_level(self, pool: ThreadPoolExecutor, report: Callable[[], None]) -> None:
        """Score all windows of the next level that are left, reporting after each batch."""
        left = self._ends[self.n_levels] - self.n_computed
        self._compute(pool, left, self._batch_size, report)

    def _grid(self) -> NDArray[np.float32]:
        return np.array(self.scores).reshape(self._levels[0].windows.shape)

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


def _by_level(
    levels: Sequence[Level], is_unknown: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], list[int]]:
    """Return the unknown windows, those of coarser levels first, and where each level ends."""
    order = np.concatenate([level.numbers for level in levels])
    _, first = np.unique(order, return_index=True)
    order = order[np.sort(first)]
    unknown = order[is_unknown[order]]
    return unknown, [int(is_unknown[level.numbers].sum()) for level in levels]
