"""The vectors that are already known, so that no photo is embedded twice.

A folder a fingerprint, in it Parquet files called shards: columns image_id (string) and vector
(fixed-size list of float32). A shard appears whole and is never changed, so an interrupted run
keeps what it wrote and two runs may write side by side; an id in two shards has the same vector in
both.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from assets.methods.common.devices import ComputeSettings, Precision, plan_compute
from assets.methods.common.files import set_aside, written_whole
from assets.methods.common.progress import Progress, silent
from assets.methods.models.backbones import backbone_fingerprint, load_backbone
from assets.methods.models.embedding import embed
from assets.methods.photos.decode import DECODE_VERSION

SHARD_SIZE = 128  # photos: about 15 s of work on two cores, which is what a killed run loses

# Maps some of the ids to their vectors (n, d) float32, telling of those that are done.
EmbedBatch = Callable[[list[str], Progress], np.ndarray]


class VectorStore:
    """Vectors by (fingerprint, image_id) in files under one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # A service asks again and again for the vectors of a few new photos.
        self._ids_of_shards: dict[Path, frozenset[str]] = {}

    def find(self, fingerprint: str, image_ids: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the vectors, (d,) float32 each, of those of ``image_ids`` that have one."""
        wanted = set(image_ids)
        found: dict[str, np.ndarray] = {}
        # Names that begin with a dot are shards that somebody is still writing.
        for shard in sorted((self._folder / fingerprint).glob("[!.]*.parquet")):
            if self._ids_of_shards.get(shard, wanted).isdisjoint(wanted):
                continue
            try:
                table = pq.read_table(shard, page_checksum_verification=True)
            except (OSError, pa.ArrowException) as error:
                set_aside(shard, f"cannot be read ({error})")
                continue
            ids = table["image_id"].to_pylist()
            self._ids_of_shards[shard] = frozenset(ids)
            # Not Arrow's is_in, which hashes all that is wanted anew for each shard.
            rows = table.filter([one in wanted for one in ids])
            found.update(zip(rows["image_id"].to_pylist(), _matrix(rows["vector"]), strict=True))
        return found

    def complete(
        self,
        fingerprint: str,
        image_ids: Sequence[str],
        prepare: Callable[[], EmbedBatch],
        progress: Progress,
    ) -> tuple[dict[str, np.ndarray], int]:
        """Return the vectors, (d,) float32, of all of ``image_ids``, and how many are new.

        ``prepare`` is called once if there are ids that have none, and what it returns with a
        shard of them at a time, which is stored before the next. ``progress`` is told of the ids
        computed, out of those that have to be.
        """
        vectors = self.find(fingerprint, image_ids)
        unseen = sorted(set(image_ids) - vectors.keys())
        if not unseen:
            return vectors, 0
        compute = prepare()
        for start in range(0, len(unseen), SHARD_SIZE):
            shard = unseen[start : start + SHARD_SIZE]
            computed = compute(shard, _from(start, len(unseen), progress))
            self.append(fingerprint, shard, computed)
            vectors.update(zip(shard, computed, strict=True))
        return vectors, len(unseen)

    def append(self, fingerprint: str, image_ids: Sequence[str], vectors: np.ndarray) -> None:
        """Add n vectors, (n, d) float32, as one shard."""
        flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
        column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        ids = pa.array(image_ids, type=pa.string())
        table = pa.table({"image_id": ids, "vector": column})
        with written_whole(self._folder / fingerprint / f"{uuid.uuid4().hex}.parquet") as beside:
            pq.write_table(
                table, beside, compression="none", use_dictionary=False, write_page_checksum=True
            )


@dataclass(frozen=True)
class EmbeddingResult:
    """Vectors, (n, d) float32 of unit length, and how many of them were computed just now.

    ``fingerprint`` names all that decides a vector beside the image: the backbone, its weights and
    preprocessing, the precision, and the decoder.
    """

    vectors: np.ndarray
    n_computed: int
    fingerprint: str


def vector_key(backbone: str, precision: Precision) -> str:
    """Return the fingerprint under which the vectors of a backbone are stored.

    Raises:
        UserError: as for ``load_backbone``.
    """
    # Another precision or another decoder gives other vectors, which must not pass for these.
    return f"{backbone_fingerprint(backbone)}-{precision}-{DECODE_VERSION}"


def embed_unseen(
    image_ids: Sequence[str],
    load_image: Callable[[str], Image.Image],
    backbone: str,
    store: VectorStore,
    compute: ComputeSettings,
    progress: Progress = silent,
) -> EmbeddingResult:
    """Return the vectors of n >= 1 photos, computing and storing those the store lacks.

    With nothing to compute and the default backbone, torch is not even imported.

    Args:
        image_ids: the photos, in the order of the result.
        load_image: returns the photo of an image_id; called from several threads.
        backbone: a name that ``load_backbone`` knows.
        store: where the vectors are kept; written to as the work goes on.
        compute: where to compute, and how much at a time.
        progress: told of the photos computed, out of those that have to be.

    Raises:
        UserError: as for ``load_backbone``, ``plan_compute`` and ``embed``.
    """
    key = vector_key(backbone, compute.precision)

    def prepare() -> EmbedBatch:
        plan, network = plan_compute(compute), load_backbone(backbone)
        return lambda shard, report: embed(load_image, shard, network, plan, report)

    vectors, n_computed = store.complete(key, image_ids, prepare, progress)
    stacked = np.stack([vectors[image_id] for image_id in image_ids])
    return EmbeddingResult(stacked, n_computed, key)


def _from(start: int, in_all: int, progress: Progress) -> Progress:
    def report(done: int, total: int) -> None:
        progress(start + done, in_all)

    return report


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    width = column.type.list_size
    return column.combine_chunks().flatten().to_numpy().reshape(-1, width)
