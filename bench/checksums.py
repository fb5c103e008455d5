"""What the checksums of files cost in a run in which nothing is new.

Makes photos of noise, their working copies, vectors, points and values, and then does what a
repeated run does with them: catalogue, find vectors and points, read values, open every working
copy for the mosaic. Each is timed with the checksums and with reading alone.
Run: python -m bench.checksums 1000 20000
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image

from assets import io_managers
from assets.methods.common.checksums import SEAL_BYTES
from assets.methods.layout.projection import projection
from assets.methods.layout.projection.projection import ProjectionSettings, ProjectionStore
from assets.methods.models import vector_store
from assets.methods.models.vector_store import SHARD_SIZE, VectorStore
from assets.methods.photos import photo_store
from assets.methods.photos.catalogue import catalogue_photos
from assets.methods.photos.photo_store import PhotoStore
from assets.values import Embeddings, EncodedImage, Mosaic

DIMENSIONS = 1280
# A mosaic of 1,024 tiles of 96 px has 5 MB.
MOSAIC_BYTES_PER_PHOTO = 5000


@contextmanager
def without_checksums() -> Iterator[None]:
    """Read files as they were read before there were checksums."""

    def is_there(store: PhotoStore, image_id: str) -> bool:
        return store.working_copy_path(image_id).is_file()

    def read(path: Path, key: str) -> tuple[bytes, bool]:
        return path.read_bytes()[:-SEAL_BYTES], True

    def read_jpeg(path: Path, image_id: str) -> tuple[bytes, bool]:
        return path.read_bytes(), True

    def read_shard(shard: Path) -> object:
        return vector_store.pq.read_table(shard, page_checksum_verification=True)

    with ExitStack() as stack:
        for owner, name, replacement in (
            (PhotoStore, "has_working_copy", is_there),
            (photo_store, "_read_jpeg", read_jpeg),
            (photo_store, "fault_in", lambda connection: None),
            (photo_store.Records, "_row", _row_alone),
            (projection, "read_sealed", read),
            (vector_store, "_read_shard", read_shard),
            (io_managers, "_check", lambda folder: None),
        ):
            stack.enter_context(patch.object(owner, name, replacement))
        yield


def _row_alone(records: photo_store.Records, table: str, **keys: str) -> tuple[object, ...] | None:
    where = " AND ".join(f"{column} = ?" for column in keys)
    query = f"SELECT * FROM {table} WHERE {where}"
    with records._lock:
        row = records._connection.execute(query, tuple(keys.values())).fetchone()
    return None if row is None else tuple(row[:-1])


def make_home(home: Path, n: int) -> tuple[np.ndarray, list[str]]:
    """Make a home of n photos; return their vectors and ids."""
    source, random = home / "source", np.random.default_rng(0)
    source.mkdir(parents=True)
    for number in range(n):
        pixels = random.integers(0, 256, (24, 32, 3), np.uint8)
        Image.fromarray(pixels).resize((320, 240)).save(source / f"{number:06}.jpg", quality=90)
    ids = sorted(catalogue_photos(str(source), PhotoStore(home / "photos")).images.image_id)
    vectors = random.normal(size=(n, DIMENSIONS)).astype(np.float32)
    store = VectorStore(home / "vectors")
    for start in range(0, n, SHARD_SIZE):
        part = slice(start, start + SHARD_SIZE)
        store.append("print", ids[part], vectors[part])
    project(home, vectors)
    io_managers.save(Embeddings.from_arrays(ids, vectors, "print", 0), home / "embeddings")
    drawn = EncodedImage(random.bytes(MOSAIC_BYTES_PER_PHOTO * n), ".jpg")
    io_managers.save(Mosaic(drawn, drawn, {}), home / "mosaic")
    return vectors, ids


def project(home: Path, vectors: np.ndarray) -> None:
    """Find or make the points."""
    settings, store = ProjectionSettings("pca"), ProjectionStore(home / "points")
    projection.project_unless_known(vectors, settings, "cpu", store)


def steps(home: Path, vectors: np.ndarray, ids: list[str]) -> dict[str, Callable[[], object]]:
    """Return what a repeated run does, by name."""
    store = PhotoStore(home / "photos")
    return {
        "catalogue": lambda: catalogue_photos(str(home / "source"), store),
        "vectors": lambda: VectorStore(home / "vectors").find("print", ids),
        "points": lambda: project(home, vectors),
        "values": lambda: (
            io_managers.load(Embeddings, home / "embeddings"),
            io_managers.load(Mosaic, home / "mosaic"),
        ),
        "open all working copies": lambda: [store.open_working_copy(one) for one in ids],
    }


def seconds_of(step: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that a step takes, and those of all processors."""
    begun, worked = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - begun, time.process_time() - worked


def _print(name: str, seconds: np.ndarray) -> None:
    print(f"{name:24}", *(f"{one:8.3f}" for one in seconds), flush=True)


def main() -> int:
    """Print a table for each number of photos."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("photos", type=int, nargs="+", help="Number of photos.")
    parser.add_argument("--times", type=int, default=3, help="The fastest of so many counts.")
    arguments = parser.parse_args()
    for n in arguments.photos:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            vectors, ids = make_home(home, n)
            total = np.zeros(4)
            print(f"{n:,} photos: seconds, and those of all processors; with and without")
            for name, step in steps(home, vectors, ids).items():
                # They take turns, so that what else the machine does slows both down.
                found = []
                for _ in range(arguments.times):
                    checked = seconds_of(step)
                    with without_checksums():
                        alone = seconds_of(step)
                    found.append((checked[0], alone[0], checked[1], alone[1]))
                best = np.min(found, axis=0)
                total += best
                _print(name, best)
            _print("all", total)
    return 0


if __name__ == "__main__":
    sys.exit(main())
