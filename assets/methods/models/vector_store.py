"""Vectors that were computed already, so that no photo is embedded or scored twice.

A folder a fingerprint, in it Parquet files called shards: columns image_id (string) and vector
(fixed-size list of float32). A shard appears whole and is never changed, so an interrupted run
keeps what it wrote and two runs may write side by side; an id in two shards has the same vector in
both.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from assets.methods.common.files import set_aside, written_whole
from assets.methods.common.progress import Progress

SHARD_SIZE = 128  # photos: about 15 s of work on two cores, which is what a killed run loses

# Maps n image_ids to their vectors (n, d) float32, and reports those that are done.
EmbedBatch = Callable[[list[str], Progress], np.ndarray]


class VectorStore:
    """Vectors by (fingerprint, image_id) in files under one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # A service asks again and again for the vectors of a few new photos: shards without them
        # need not be read again.
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

        Args:
            fingerprint: of all that decides a vector beside the image.
            image_ids: may name an id more than once.
            prepare: called once, if there are ids without a vector. What it returns is called with
                a shard of them at a time, which is stored before the next.
            progress: counts the ids computed, out of those that have to be.
        """
        vectors = self.find(fingerprint, image_ids)
        unseen = sorted(set(image_ids) - vectors.keys())
        if not unseen:
            return vectors, 0
        embed_batch = prepare()
        for start in range(0, len(unseen), SHARD_SIZE):
            shard = unseen[start : start + SHARD_SIZE]
            computed = embed_batch(shard, _from(start, len(unseen), progress))
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


def _from(start: int, in_all: int, progress: Progress) -> Progress:
    def report(done: int, total: int) -> None:
        progress(start + done, in_all)

    return report


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    width = column.type.list_size
    return column.combine_chunks().flatten().to_numpy().reshape(-1, width)
