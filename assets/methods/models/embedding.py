"""From photos to vectors: the output of a network before its head, scaled to unit length.

The vector of a photo is the same bytes whatever the number of threads, the order of the photos and
the batch it came in; ``forward`` says how.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from assets.methods.common.devices import ComputePlan, ComputeSettings, Precision, plan_compute
from assets.methods.common.errors import UserError
from assets.methods.common.progress import Progress, silent
from assets.methods.models.backbones import Backbone, backbone_fingerprint, load_backbone
from assets.methods.models.photo_network import PhotoNetwork
from assets.methods.models.stream import Rows, reported
from assets.methods.models.vector_store import EmbedStream, VectorStore
from assets.methods.photos.decode import DECODE_VERSION


@dataclass(frozen=True)
class EmbeddingResult:
    """Vectors, (n, d) float32 of unit length, and how many of them were computed just now.

    ``fingerprint`` names everything but the image that decides a vector: the backbone, its weights
    and preprocessing, the precision, and the decoder.
    """

    vectors: np.ndarray
    n_computed: int
    fingerprint: str


def embed_unseen(
    image_ids: Sequence[str],
    load_image: Callable[[str], Image.Image],
    backbone: str,
    store: VectorStore,
    compute: ComputeSettings,
    progress: Progress = silent,
) -> EmbeddingResult:
    """Return the vectors of n >= 1 photos, computing and storing those the store lacks.

    With nothing to compute and the default backbone, torch is not imported.

    Args:
        image_ids: the photos, in the order of the result.
        load_image: returns the photo of an image_id; called from several threads.
        backbone: a name that ``load_backbone`` knows.
        store: where the vectors are kept; written to as the work goes on.
        compute: where to compute, and how much at a time.
        progress: counts the photos computed, out of those that the store lacks.

    Raises:
        UserError: as for ``load_backbone``, ``plan_compute`` and ``embed``.
    """
    key = vector_key(backbone, compute.precision)

    def prepare() -> EmbedStream:
        plan = plan_compute(compute)
        return partial(_stream, Embedder(load_backbone(backbone), plan), load_image)

    vectors, n_computed = store.complete_from_stream(key, image_ids, prepare, progress)
    stacked = np.stack([vectors[image_id] for image_id in image_ids])
    return EmbeddingResult(stacked, n_computed, key)


def vector_key(backbone: str, precision: Precision) -> str:
    """Return the fingerprint under which the vectors of a backbone are stored.

    Raises:
        UserError: as for ``load_backbone``.
    """
    return key_of_fingerprint(backbone_fingerprint(backbone), precision)


def key_of_fingerprint(fingerprint: str, precision: Precision) -> str:
    """Return the same for the fingerprint of a backbone that is loaded already."""
    # Another precision or another decoder gives other vectors, which must not pass for these.
    return f"{fingerprint}-{precision}-{DECODE_VERSION}"


def is_key_of(key: str, fingerprint: str) -> bool:
    """Return whether a key is that of a backbone with this fingerprint, in any precision."""
    return key.startswith(f"{fingerprint}-")


def embed(
    load_image: Callable[[str], Image.Image],
    image_ids: Sequence[str],
    backbone: Backbone,
    plan: ComputePlan,
    progress: Progress = silent,
) -> np.ndarray:
    """Embed photos.

    Args:
        load_image: returns the photo of an image_id; called from several threads.
        image_ids: the n photos.
        backbone: the network; it is moved to the plan's device.
        plan: where to compute, and how much at a time.
        progress: counts the photos.

    Returns:
        (n, d) float32, rows of unit length; a row is zero where the network gave all zeros.

    Raises:
        UserError: memory does not suffice even for one photo, or a vector is not finite.
    """
    none = np.empty((0, backbone.dimensions), dtype=np.float32)
    with closing(_stream(Embedder(backbone, plan), load_image, image_ids, progress)) as stream:
        return np.concatenate([none, *stream])


class Embedder:
    """A backbone on the plan's device; ``batch_size`` is the number of photos it is best given."""

    def __init__(self, backbone: Backbone, plan: ComputePlan) -> None:
        self._network = PhotoNetwork(backbone.module, backbone.preprocessing, plan)
        self.batch_size = self._network.plan.batch_size

    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Map n >= 1 photos to (n, d) float32; to be called in the threads of ``unsplit_pool``.

        Raises:
            UserError: as for ``embed``.
        """
        return _unit_length(self._network(images))

    def stream(self, load_image: Callable[[str], Image.Image], image_ids: Sequence[str]) -> Rows:
        """Yield the vectors of n photos, (some, d) float32 at a time, in their order.

        Raises:
            UserError: as for ``embed``.
        """
        with closing(self._network.stream(load_image, image_ids)) as stream:
            yield from map(_unit_length, stream)


def _stream(
    embedder: Embedder,
    load_image: Callable[[str], Image.Image],
    image_ids: Sequence[str],
    progress: Progress,
) -> Rows:
    with closing(embedder.stream(load_image, image_ids)) as stream:
        yield from reported(stream, len(image_ids), progress)


def _unit_length(vectors: np.ndarray) -> np.ndarray:
    if not np.isfinite(vectors).all():
        raise UserError(
            "The network gave numbers that are not finite: use float32, or other weights."
        )
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(norms == 0, 1, norms)).astype(np.float32)
