"""From photos to scores, each computed once."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
from PIL import Image

from assets.methods.common.errors import UserError
from assets.methods.common.progress import Progress, silent
from assets.methods.models.classifier import (
    Classifier,
    PhotoClassifier,
    check_class,
    checked_probabilities,
    image_tensors,
)
from assets.methods.models.forward import unsplit_pool
from assets.methods.models.one_model import (
    MOST_CONTROLS,
    Control,
    ModelChangedError,
    WatchedClassifier,
    names_no_version,
    spread,
)
from assets.methods.models.stream import Rows, reported, rows_in_threads
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.animation import Animation, Frame
from assets.methods.photos.decode import DECODE_VERSION, decode_frames, frames_in
from assets.methods.photos.opened_file import DecodeLimits
from assets.methods.photos.photo_store import as_stored

_log = logging.getLogger(__name__)

# The probabilities of a thousand classes, each rounded to float32, may add up to this much above 1.
_ROUNDING_OF_SUMS = 1e-4


@dataclass(frozen=True)
class ScoringResult:
    """P(class), (n,) float32 in [0, 1], and how many photos were classified just now.

    ``highest_ids`` are the ids that have these scores: the image_ids, and of animations the frames.
    ``fingerprint`` names everything but the image and the class that decides a score: the
    classifier and the decoder.
    """

    scores: np.ndarray
    n_computed: int
    fingerprint: str
    highest_ids: list[str]

    def metrics(self) -> dict[str, float]:
        """Return how many photos were scored, and how their scores are spread."""
        return {
            "images": len(self.scores),
            "scored_anew": self.n_computed,
            "highest_score": float(self.scores.max()),
            "median": float(np.median(self.scores)),
            "share_above_half": float((self.scores > 0.5).mean()),
        }


def score_unseen(
    image_ids: Sequence[str],
    load_image: Callable[[str], Image.Image],
    classifier: Classifier,
    class_name: str | Sequence[str],
    store: VectorStore,
    progress: Progress = silent,
    ids_of: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> ScoringResult:
    """Return the scores of n photos, classifying and storing those the store lacks.

    The score of an animation is the highest of its frames. The probabilities of all classes are
    stored, in the order of ``class_names``, so that another class costs nothing more. An
    interrupted run goes on from the last shard that it stored.

    Args:
        image_ids: the photos, in the order of the result.
        load_image: returns the photo of an image_id; called from several threads.
        classifier: fed the photos in batches, from as many threads as it allows.
        class_name: whose probability is the score. Those of several classes, one at least, are
            added up; each class counts once.
        store: where the probabilities are kept; written to as the work goes on.
        progress: counts the photos and frames classified, out of those that the store lacks.
        ids_of: the ids of the frames that are scored, by the image_id of their animation;
            ``load_image`` takes them. What is not in it is scored by its image_id.

    Raises:
        ModelChangedError: another model answers than before. What was stored is of the former one.
        UserError: there is no such class, or an answer is no probability, or the probabilities of
            classes that do not exclude each other add up to more than 1; and what the classifier
            raises.
    """
    class_names = (class_name,) if isinstance(class_name, str) else tuple(dict.fromkeys(class_name))
    for name in class_names:
        check_class(classifier.class_names, name)
    key = f"{classifier.fingerprint}-{DECODE_VERSION}"
    scored = {image_id: ids_of.get(image_id, (image_id,)) for image_id in image_ids}
    unseen = set[str]()

    def stream(ids: list[str], progress: Progress) -> Rows:
        unseen.update(ids)
        yield from _stream(load_image, asked, ids, progress)
        if isinstance(asked, WatchedClassifier):
            asked.check()

    ids = [one for image_id in image_ids for one in scored[image_id]]
    asked = _asked(classifier, load_image, ids, key, store)
    known, _ = store.complete_from_stream(key, ids, lambda: stream, progress)
    columns = [classifier.class_names.index(name) for name in class_names]
    summed = {id_: float(known[id_][columns].sum(dtype=np.float64)) for id_ in known}
    highest = [max(scored[one], key=summed.__getitem__) for one in image_ids]
    scores = _checked_sums(np.array([summed[one] for one in highest]), class_names)
    n_computed = sum(not unseen.isdisjoint(ids) for ids in scored.values())
    return ScoringResult(scores, n_computed, key, highest)


def _asked(
    classifier: Classifier,
    load_image: Callable[[str], Image.Image],
    ids: Sequence[str],
    key: str,
    store: VectorStore,
) -> Classifier:
    """Return the classifier, watched if only its answers tell whether it is still the same.

    If it answers otherwise than is stored, what is stored is forgotten.
    """
    if not names_no_version(classifier):
        return classifier
    stored = store.find(key, ids)
    known = sorted(stored)
    places = spread(np.array([stored[one][0] for one in known]), MOST_CONTROLS)
    controls = [
        Control(
            image_tensors(classifier, [np.array(load_image(known[place]).convert("RGB"))])[0],
            dict(zip(classifier.class_names, stored[known[place]].tolist(), strict=True)),
        )
        for place in places
    ]
    watched = WatchedClassifier(classifier, controls)
    try:
        watched.check()
    except ModelChangedError as changed:
        _log.warning("%s: %d scores of the former model are not used.", changed.change, len(known))
        store.forget(key)
        return WatchedClassifier(classifier)
    return watched


def classify_photos(classifier: Classifier, images: Sequence[Image.Image]) -> np.ndarray:
    """Map n photos to (n, classes) float32 probabilities; to be called in ``unsplit_pool``.

    Raises:
        UserError: an answer is no probability; and what the classifier raises.
    """
    return _checked(classifier, _probabilities(classifier, images))


def score_image(classifier: Classifier, image: Image.Image, class_name: str) -> float:
    """Return P(``class_name``) of one image, RGB, as ``score_unseen`` gives it for these pixels.

    Raises:
        UserError: as for ``score_unseen``.
    """
    check_class(classifier.class_names, class_name)
    with unsplit_pool(classifier.workers) as pool:
        (row,) = pool.submit(classify_photos, classifier, [image]).result()
    return float(row[classifier.class_names.index(class_name)])


def highest_frame(
    data: bytes,
    limits: DecodeLimits,
    wanted: int | None,
    classifier: Classifier,
    class_name: str,
) -> tuple[Frame, Animation] | None:
    """Return the frame of an animation with the highest score; None for what is no animation.

    Args:
        data: the file.
        limits: those of ``decode``.
        wanted: how many frames are scored, spread over the whole length; None for all.
        classifier: fed the working copies of the frames.
        class_name: whose probability is the score.

    Raises:
        Rejected: the file cannot be read.
        UserError: as for ``score_unseen``.
    """
    check_class(classifier.class_names, class_name)
    if frames_in(data, limits) == 1:
        return None
    column = classifier.class_names.index(class_name)
    waiting: list[tuple[Frame, Image.Image]] = []
    found: list[tuple[float, Frame]] = []

    def classify() -> None:
        rows = pool.submit(classify_photos, classifier, [image for _, image in waiting]).result()
        scores = rows[:, column].tolist()
        found.extend(zip(scores, (frame for frame, _ in waiting), strict=True))
        waiting.clear()

    def keep(frame: Frame, working_copy: Image.Image) -> None:
        waiting.append((frame, as_stored(working_copy)))
        if len(waiting) == classifier.batch_size:
            classify()

    with unsplit_pool(classifier.workers) as pool:
        animation = decode_frames(data, limits, wanted, keep)
        if waiting:
            classify()
    chosen = animation.chosen(wanted)
    _, highest = max(
        (one for one in found if one[1] in chosen), key=lambda one: (one[0], -one[1].number)
    )
    return highest, animation


def _checked_sums(sums: np.ndarray, class_names: tuple[str, ...]) -> np.ndarray:
    """Return added probabilities as scores, (n,) float32 in [0, 1]."""
    if len(sums) and sums.max() > 1 + _ROUNDING_OF_SUMS:
        raise UserError(
            f"The probabilities of {' + '.join(class_names)} add up to {sums.max():.4g} for an "
            "image: they can be added up only where an image has one class alone, as after a "
            "softmax."
        )
    return np.clip(sums, 0, 1).astype(np.float32)


def _probabilities(classifier: Classifier, images: Sequence[Image.Image]) -> np.ndarray:
    if isinstance(classifier, PhotoClassifier):
        return classifier.classify_photos(images)
    arrays = [np.array(image.convert("RGB")) for image in images]
    answer = classifier.classify(image_tensors(classifier, arrays))
    return np.stack([answer[name] for name in classifier.class_names], axis=1)


def _checked(classifier: Classifier, probabilities: np.ndarray) -> np.ndarray:
    columns = zip(classifier.class_names, probabilities.T, strict=True)
    return np.stack([checked_probabilities(column, name) for name, column in columns], axis=1)


def _stream(
    load_image: Callable[[str], Image.Image],
    classifier: Classifier,
    image_ids: list[str],
    progress: Progress,
) -> Rows:
    """Yield (some, classes) float32 at a time."""

    def work(batch: Sequence[str]) -> np.ndarray:
        return _probabilities(classifier, [load_image(one) for one in batch])

    if isinstance(classifier, PhotoClassifier):
        stream = classifier.stream(load_image, image_ids)
    else:
        stream = rows_in_threads(work, image_ids, classifier.batch_size, classifier.workers)
    with closing(stream):
        checked = map(partial(_checked, classifier), stream)
        yield from reported(checked, len(image_ids), progress)
