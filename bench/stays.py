"""How far photos move when a map is made again, and what that costs in quality.

`--cases` maps 900 photos and then 9 more, 870 and 87 more, 150 and 10 more, 5 fewer, 1 replaced,
each beside a map made anew of the same photos; `--nights` adds 1 % and removes 0.5 % night after
night; `--large` maps many vectors that are scattered around those of SOURCE, then some more, and
these beside it anew, each in a process of its own. SOURCE is a folder of photos, or an .npy file of
vectors of unit length.
Run: python -m bench.stays SOURCE --cases 5 --nights 30 --large 50000 500
"""

import argparse
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assets.config import GridConfig
from assets.methods.common.devices import ComputeSettings
from assets.methods.layout.layout import Layout, lay_out
from assets.methods.layout.projection.projection import LastPoints, ProjectionSettings, project
from assets.methods.layout.staying.last_map import LastMap, StaySettings
from assets.methods.layout.staying.staying import lay_out_again
from assets.methods.models.backbones import DEFAULT_BACKBONE
from assets.methods.models.embedding import embed_unseen
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.catalogue import CatalogueSettings, catalogue_photos
from assets.methods.photos.photo_store import PhotoStore

# Photos before, new, gone.
CASES = ((900, 9, 0), (870, 87, 0), (150, 10, 0), (150, 0, 5), (150, 1, 1))
NEAR = 2
# Of vectors that are scattered around others: how far they lie at most from one towards another,
# and the least and the most of the difference of two others that is added.
_TOWARDS, _LEAST_ADDED, _MOST_ADDED = 0.5, 0.3, 0.9


@dataclass(frozen=True)
class Mapped:
    """A map of some of the vectors, by their numbers."""

    numbers: NDArray[np.int64]
    points: NDArray[np.float64]
    layout: Layout
    seconds: float

    @property
    def dpq16(self) -> float:
        """The DPQ16, which all but the smallest maps have."""
        return self.layout.quality.dpq16 or 0.0

    def as_last(self) -> LastMap:
        """Return what the next map starts from."""
        quality, stay = self.layout.quality, self.layout.stay
        cells = np.stack([self.layout.row, self.layout.col], axis=1).astype(np.int64)
        fresh = quality.dpq16 if stay is None else stay.fresh_dpq16
        return LastMap(
            [str(one) for one in self.numbers], cells, self.layout.grid, quality.dpq16, fresh
        )


def fresh_map(vectors: NDArray[np.float32], numbers: NDArray[np.int64]) -> Mapped:
    """Map some of the vectors anew."""
    begun = time.perf_counter()
    points = project(vectors[numbers], ProjectionSettings())
    layout = lay_out(points, vectors[numbers])
    return Mapped(numbers, points, layout, time.perf_counter() - begun)


def next_map(
    vectors: NDArray[np.float32],
    numbers: NDArray[np.int64],
    last: Mapped,
    settings: StaySettings,
) -> Mapped:
    """Map some of the vectors, starting from the last map."""
    begun = time.perf_counter()
    known = np.isin(numbers, last.numbers)
    points = np.zeros((len(numbers), 2))
    points[known] = last.points[np.searchsorted(last.numbers, numbers[known])]
    some = vectors[numbers]
    points = project(some, ProjectionSettings(), last=LastPoints(points, known))
    names = [str(one) for one in numbers]
    layout = lay_out_again(names, points, some, last.as_last(), stay=settings)
    return Mapped(numbers, points, layout, time.perf_counter() - begun)


def moves_of(mapped: Mapped) -> tuple[float, float, float, float]:
    """Return the shares of known photos in their cell and within two, the mean and largest move."""
    layout, stay = mapped.layout, mapped.layout.stay
    assert stay is not None
    moves = (np.stack([layout.row, layout.col], axis=1) - stay.before)[stay.known]
    lines, cells = np.abs(moves).max(axis=1), np.hypot(*moves.T)
    return (
        float((lines == 0).mean()),
        float((lines <= NEAR).mean()),
        float(cells.mean()),
        float(cells.max()),
    )


def compare(vectors: NDArray[np.float32], draws: int, settings: StaySettings) -> None:
    """Print a line for each case: medians over the draws."""
    print("before  new gone  in cell  within 2  mean  largest   DPQ16  of fresh  seconds  fresh")
    for before, new, gone in CASES:
        rows = []
        for draw in range(draws):
            order = np.random.default_rng(draw).permutation(len(vectors))
            last = fresh_map(vectors, np.sort(order[:before]))
            numbers = np.sort(order[gone : before + new])
            mapped, fresh = next_map(vectors, numbers, last, settings), fresh_map(vectors, numbers)
            share = mapped.dpq16 / fresh.dpq16
            rows.append((*moves_of(mapped), mapped.dpq16, share, mapped.seconds, fresh.seconds))
        kept, near, mean, largest, dpq16, share, seconds, anew = np.median(rows, axis=0)
        print(
            f"{before:>6} {new:>4} {gone:>4} {kept:>8.1%} {near:>9.1%} {mean:>5.2f} {largest:>8.2f}"
            f" {dpq16:>7.4f} {share:>9.4f} {seconds:>8.1f} {anew:>6.1f}",
            flush=True,
        )


def live(vectors: NDArray[np.float32], nights: int, settings: StaySettings) -> None:
    """Print a line for each night, and at the end the quality of a map made anew."""
    order = np.random.default_rng(0).permutation(len(vectors))
    shown, waiting = order[: round(0.7 * len(order))], order[round(0.7 * len(order)) :]
    last = fresh_map(vectors, np.sort(shown))
    print(f"night photos  grid     in cell  within 2   DPQ16    (first: {last.dpq16:.4f})")
    rng = np.random.default_rng(1)
    for night in range(1, nights + 1):
        n_new, n_gone = max(1, round(0.01 * len(shown))), round(0.005 * len(shown))
        gone = rng.choice(len(shown), n_gone, replace=False)
        shown = np.concatenate([np.delete(shown, gone), waiting[:n_new]])
        waiting = waiting[n_new:]
        last = next_map(vectors, np.sort(shown), last, settings)
        kept, near, _, _ = moves_of(last)
        grid, stay = last.layout.grid, last.layout.stay
        anew = f" anew: {stay.anew}" if stay is not None and stay.anew else ""
        size = f"{grid.columns} x {grid.rows}"
        line = f"{night:>5} {len(shown):>6}  {size:<8} {kept:>7.1%} {near:>9.1%}  {last.dpq16:.4f}"
        print(f"{line}{anew}", flush=True)
    fresh = fresh_map(vectors, np.sort(shown)).dpq16
    print(f"made anew: DPQ16 {fresh:.4f}, of which the last night has {last.dpq16 / fresh:.4f}")


@dataclass(frozen=True)
class Measured:
    """A map that was made in a process of its own, and what that took."""

    mapped: Mapped
    cpu_seconds: float
    peak_mib: float


def map_alone(
    file: Path, n: int, last: Mapped | None = None, settings: StaySettings | None = None
) -> Measured:
    """Map the first ``n`` vectors of a file, anew or from the last map, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, file, n, last, settings).result()


def _measured(file: Path, n: int, last: Mapped | None, settings: StaySettings | None) -> Measured:
    vectors, numbers = np.load(file), np.arange(n)
    begun = time.process_time()
    mapped = (
        fresh_map(vectors, numbers)
        if last is None
        else next_map(vectors, numbers, last, settings or StaySettings())
    )
    seconds = time.process_time() - begun
    return Measured(mapped, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)


def compare_large(
    vectors: NDArray[np.float32], before: int, new: int, settings: StaySettings
) -> None:
    """Print the time and the memory of a large map, of the next one, and of that made anew."""
    print("map               seconds  of CPU  peak MiB   DPQ16  trustworthiness: points")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "vectors.npy")
        np.save(file, scattered(vectors, before + new))

        def show(what: str, made: Measured) -> None:
            quality = made.mapped.layout.quality
            of_cells, of_points = quality.trustworthiness, quality.points_trustworthiness
            print(
                f"{what:<16} {made.mapped.seconds:>8.1f} {made.cpu_seconds:>7.1f} "
                f"{made.peak_mib:>9.0f} {made.mapped.dpq16:>7.4f} {of_cells or 0:>16.4f}"
                f"{of_points or 0:>8.4f}",
                flush=True,
            )

        last = map_alone(file, before)
        show(f"of {before:,}", last)
        held = map_alone(file, before + new, last.mapped, settings)
        show(f"and {new:,} more", held)
        kept, near, mean, largest = moves_of(held.mapped)
        print(f"in cell {kept:.1%}, within 2 {near:.1%}, mean {mean:.2f}, largest {largest:.2f}")
        anew = map_alone(file, before + new)
        show("made anew", anew)
    print(
        f"Of the map made anew: {held.mapped.seconds / anew.mapped.seconds:.3f} of the seconds, "
        f"{held.cpu_seconds / anew.cpu_seconds:.3f} of those of CPU, "
        f"{held.mapped.dpq16 / anew.mapped.dpq16:.4f} of DPQ16"
    )


def scattered(vectors: NDArray[np.float32], n: int, seed: int = 0) -> NDArray[np.float32]:
    """Return ``n`` vectors in groups around those of photos, of sizes that differ much.

    Each lies a part of the way from the photo of its group to another one, and off it by a part of
    the difference of two others: so it varies as photos do.
    """
    rng = np.random.default_rng(seed)
    sizes = rng.lognormal(size=len(vectors))
    photo = rng.choice(len(vectors), n, p=sizes / sizes.sum())
    other, one, another = rng.integers(0, len(vectors), (3, n))
    towards = rng.uniform(0, _TOWARDS, (n, 1)).astype(np.float32)
    added = rng.uniform(_LEAST_ADDED, _MOST_ADDED, (n, 1)).astype(np.float32)
    made = (1 - towards) * vectors[photo] + towards * vectors[other]
    made += added * (vectors[one] - vectors[another])
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def vectors_of(source: Path) -> NDArray[np.float32]:
    """Return the vectors of a file, or of the photos in a folder."""
    if source.is_file():
        vectors: NDArray[np.float32] = np.load(source)
        return vectors
    with tempfile.TemporaryDirectory() as home:
        store = PhotoStore(Path(home, "photos"))
        images = catalogue_photos(str(source), store, CatalogueSettings()).images
        ids = sorted(images.image_id.unique())
        stored = VectorStore(Path(home, "vectors"))
        compute = ComputeSettings()
        return embed_unseen(ids, store.open_working_copy, DEFAULT_BACKBONE, stored, compute).vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--cases", type=int, default=0, metavar="DRAWS")
    parser.add_argument("--nights", type=int, default=0)
    parser.add_argument("--large", type=int, nargs=2, metavar=("BEFORE", "NEW"))
    parser.add_argument("--price", type=float, default=GridConfig().move_price)
    parser.add_argument("--max-move", type=int, default=GridConfig().max_move)
    arguments = parser.parse_args()
    vectors = vectors_of(arguments.source)
    settings = StaySettings(arguments.max_move, arguments.price)
    if arguments.cases:
        compare(vectors, arguments.cases, settings)
    if arguments.nights:
        live(vectors, arguments.nights, settings)
    if arguments.large:
        before, new = arguments.large
        compare_large(vectors, before, new, settings)


if __name__ == "__main__":
    main()
