"""Vectors that were computed already, so that no photo is embedded or scored twice.

A folder a fingerprint, in it Parquet files called shards: columns image_id (string) and vector
(fixed-size list of float32). A shard appears whole and is never changed, so an interrupted run
keeps what it wrote and two runs may write side by side; an id in two shards has the same vector in
both. The metadata of a shard has the SHA-256 of its folder's name, ids and vectors: one that is
damaged or belongs into another folder is set aside, and its photos are computed anew.
"""

import hashlib
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from assets.methods.common.checksums import DamagedFileError
from assets.methods.common.files import set_aside, written_whole
from assets.methods.common.progress import Progress

# What a killed run loses: photos, seconds on two cores; and where they come faster, a second.
SHARD_SIZE = 128
SHARD_SECONDS = 1.0

_DIGEST = b"tessera.sha256"

# Maps n image_ids to their vectors (n, d) float32, and reports those that are done.
EmbedBatch = Callable[[list[str], Progress], np.ndarray]
# Yields the same vectors, (some, d) at a time and in the order of the ids.
EmbedStream = Callable[[list[str], Progress], Generator[np.ndarray, None, None]]


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
                table = _read_shard(shard)
            except (DamagedFileError, OSError, KeyError, pa.ArrowException) as error:
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

        def prepare_stream() -> EmbedStream:
            return partial(_in_shards, prepare())

        return self._complete(fingerprint, image_ids, prepare_stream, progress, 0.0)

    def complete_from_stream(
        self,
        fingerprint: str,
        image_ids: Sequence[str],
        prepare: Callable[[], EmbedStream],
        progress: Progress,
    ) -> tuple[dict[str, np.ndarray], int]:
        """Do what ``complete`` does with vectors that come in a stream.

        Args:
            fingerprint: of all that decides a vector beside the image.
            image_ids: may name an id more than once.
            prepare: called once, if there are ids without a vector. What it returns is called once
                with all of them, and its vectors are stored in shards as they come.
            progress: counts the ids computed, out of those that have to be.
        """
        return self._complete(fingerprint, image_ids, prepare, progress, SHARD_SECONDS)

    def _complete(
        self,
        fingerprint: str,
        image_ids: Sequence[str],
        prepare: Callable[[], EmbedStream],
        progress: Progress,
        seconds: float,
    ) -> tuple[dict[str, np.ndarray], int]:
        vectors = self.find(fingerprint, image_ids)
        unseen = sorted(set(image_ids) - vectors.keys())
        if not unseen:
            return vectors, 0
        embed = prepare()
        # Closed at once, the stream gives up what it has begun when a shard cannot be stored.
        with closing(embed(unseen, progress)) as stream:
            remaining = iter(unseen)
            for computed in _shards_of(stream, seconds):
                shard = list(islice(remaining, len(computed)))
                self.append(fingerprint, shard, computed)
                vectors.update(zip(shard, computed, strict=True))
        return vectors, len(unseen)

    def forget(self, fingerprint: str) -> None:
        """Move all vectors of ``fingerprint`` to a folder that nobody reads."""
        folder = self._folder / fingerprint
        aside = folder.with_name(f"{fingerprint}.former-{uuid.uuid4().hex[:8]}")
        # Another process may have moved it first.
        with suppress(FileNotFoundError):
            folder.rename(aside)

    def unused(self, is_used: Callable[[str], bool]) -> Iterator[Path]:
        """Yield the files that hold vectors of no photo in use, and what ``forget`` has set aside.

        ``is_used`` is asked about each id. A file that cannot be read is left to ``find``.
        """
        yield from sorted(self._folder.glob("*.former-*"))
        for shard in sorted(self._folder.glob("*/[!.]*.parquet")):
            if ".former-" in shard.parent.name:
                continue
            try:
                ids = pq.read_table(shard, columns=["image_id"])["image_id"].to_pylist()
            except (OSError, KeyError, pa.ArrowException):
                continue
            if not any(map(is_used, ids)):
                yield shard

    def append(self, fingerprint: str, image_ids: Sequence[str], vectors: np.ndarray) -> None:
        """Add n vectors, (n, d) float32, as one shard."""
        flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
        column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        ids = pa.array(image_ids, type=pa.string())
        table = pa.table({"image_id": ids, "vector": column})
        table = table.replace_schema_metadata({_DIGEST: _digest(fingerprint, table)})
        with written_whole(self._folder / fingerprint / f"{uuid.uuid4().hex}.parquet") as beside:
            pq.write_table(
                table, beside, compression="none", use_dictionary=False, write_page_checksum=True
            )


def _in_shards(
    embed_batch: EmbedBatch, image_ids: list[str], progress: Progress
) -> Generator[np.ndarray, None, None]:
    for start in range(0, len(image_ids), SHARD_SIZE):
        shard = image_ids[start : start + SHARD_SIZE]
        yield embed_batch(shard, _from(start, len(image_ids), progress))


def _shards_of(stream: Iterable[np.ndarray], seconds: float) -> Iterator[np.ndarray]:
    """Yield the rows of a stream in shards of ``SHARD_SIZE`` that took at least ``seconds``."""
    parts: list[np.ndarray] = []
    n_rows, begun = 0, time.monotonic()
    for part in stream:
        parts.append(part)
        n_rows += len(part)
        if n_rows >= SHARD_SIZE and time.monotonic() - begun >= seconds:
            yield np.concatenate(parts)
            parts, n_rows, begun = [], 0, time.monotonic()
    if parts:
        yield np.concatenate(parts)


def _from(start: int, in_all: int, progress: Progress) -> Progress:
    def report(done: int, total: int) -> None:
        progress(start + done, in_all)

    return report


def _read_shard(shard: Path) -> pa.Table:
    """Read a shard. Raises DamagedFileError, or what Arrow raises."""
    table = pq.read_table(shard, page_checksum_verification=True)
    if not pa.types.is_fixed_size_list(table.schema.field("vector").type):
        raise DamagedFileError("it has no vectors")
    if not np.isfinite(_matrix(table["vector"])).all():
        raise DamagedFileError("a number is not finite")
    # Homes that are older than the digests have the checksums of Parquet's pages.
    digest = (table.schema.metadata or {}).get(_DIGEST)
    if digest is not None and digest != _digest(shard.parent.name, table):
        raise DamagedFileError("it does not have the content that was written")
    return table


def _digest(fingerprint: str, table: pa.Table) -> bytes:
    digest = hashlib.sha256(fingerprint.encode())
    digest.update("\n".join(table["image_id"].to_pylist()).encode())
    digest.update(np.ascontiguousarray(_matrix(table["vector"])).data)
    return digest.hexdigest().encode()


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    width = column.type.list_size
    return column.combine_chunks().flatten().to_numpy().reshape(-1, width)
