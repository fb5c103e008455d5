"""From photos to scores, each computed once."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from assets.methods.common.progress import Progress, silent
from assets.methods.models.classifier import (
    Classifier,
    PhotoClassifier,
    check_class,
    checked_probabilities,
    image_tensors,
)
from assets.methods.models.stream import Rows, reported, rows_in_threads
from assets.methods.models.vector_store import EmbedStream, VectorStore
from assets.methods.photos.decode import DECODE_VERSION


@dataclass(frozen=True)
class ScoringResult:
    """P(class), (n,) float32 in [0, 1], and how many photos were classified just now.

    ``fingerprint`` names everything but the image and the class that decides a score: the
    classifier and the decoder.
    """

    scores: np.ndarray
    n_computed: int
    fingerprint: str

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
    class_name: str,
    store: VectorStore,
    progress: Progress = silent,
) -> ScoringResult:
    """Return the scores of n photos, classifying and storing those the store lacks.

    The probabilities of all classes are stored, in the order of ``class_names``, so that another
    class costs nothing more. An interrupted run goes on from the last shard that it stored.

    Args:
        image_ids: the photos, in the order of the result.
        load_image: returns the photo of an image_id; called from several threads.
        classifier: fed the photos in batches, from as many threads as it allows.
        class_name: whose probability is the score.
        store: where the probabilities are kept; written to as the work goes on.
        progress: counts the photos classified, out of those that the store lacks.

    Raises:
        UserError: there is no such class, or an answer is no probability; and what the classifier
            raises.
    """
    check_class(classifier.class_names, class_name)
    key = f"{classifier.fingerprint}-{DECODE_VERSION}"

    def prepare() -> EmbedStream:
        return partial(_stream, load_image, classifier)

    known, n_computed = store.complete_from_stream(key, image_ids, prepare, progress)
    column = classifier.class_names.index(class_name)
    scores = np.array([known[image_id][column] for image_id in image_ids], dtype=np.float32)
    return ScoringResult(scores, n_computed, key)


def classify_photos(classifier: Classifier, images: Sequence[Image.Image]) -> np.ndarray:
    """Map n photos to (n, classes) float32 probabilities; to be called in ``unsplit_pool``.

    Raises:
        UserError: an answer is no probability; and what the classifier raises.
    """
    return _checked(classifier, _probabilities(classifier, images))


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
