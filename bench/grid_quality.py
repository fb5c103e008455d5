"""DPQ16 of the grid beside that of FLAS, medians of five seeds, on random colours and on photos.

FLAS is the package vc-flas, which is no dependency: install it where this runs, or its lines are
left out. The vectors of a folder of photos are kept in --vectors, outside the repository.
Run: python -m bench.grid_quality --vectors FOLDER [--demo] [folder of photos ...]
"""

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from assets.methods.layout.grid import choose_grid
from assets.methods.layout.layout import LayoutSettings, lay_out
from assets.methods.layout.projection.projection import ProjectionSettings, project
from assets.methods.layout.quality import LayoutQuality, layout_quality

SEEDS = range(5)
COLOURS = 1_024
RADIUS_DECAYS = (0.93, 0.97, 0.99)  # of FLAS: 0.93 is its default, larger ones are better and slow
VectorsOfSeed = Callable[[int], np.ndarray]


def colours(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(COLOURS, 3)).astype(np.float32)


def same_for_all_seeds(vectors: np.ndarray, seed: int) -> np.ndarray:
    return vectors


def photo_vectors(folder: Path, kept: Path, most: int | None = None) -> np.ndarray:
    """Return the vectors of the first photos of a folder by name, computed once."""
    file = kept / f"{folder.resolve().name}.npy"
    if not file.exists():
        from assets.methods.common.devices import ComputeSettings, plan_compute
        from assets.methods.models.backbones import load_backbone
        from assets.methods.models.embedding import embed
        from assets.methods.photos.decode import DecodeLimits, decode

        names = sorted(path.name for path in folder.iterdir() if path.suffix in {".jpg", ".png"})
        vectors = embed(
            lambda name: decode((folder / name).read_bytes(), DecodeLimits()).working_copy,
            names[:most],
            load_backbone("efficientnet-lite0"),
            plan_compute(ComputeSettings(device="cpu")),
        )
        kept.mkdir(parents=True, exist_ok=True)
        np.save(file, vectors)
    return np.load(file)


def demo_vectors(kept: Path) -> np.ndarray:
    from assets.methods.photos.demo import write_demo_collection

    with tempfile.TemporaryDirectory() as folder:
        tiles = Path(folder) / "demo"
        write_demo_collection(tiles)
        return photo_vectors(tiles, kept)


def ours(vectors: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Return DPQ16, trustworthiness and the seconds of grid and refinement."""
    points = project(vectors, ProjectionSettings(seed=seed))
    started = time.perf_counter()
    layout = lay_out(points, vectors, settings=LayoutSettings(seed=seed))
    return scores(layout.quality, time.perf_counter() - started)


def flas(radius_decay: float, vectors: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Return the same of FLAS, which starts from a random arrangement."""
    import vc_flas

    started = time.perf_counter()
    shape = choose_grid(len(vectors))
    grid = vc_flas.Grid.from_features(vectors, size=(shape.rows, shape.columns))
    arrangement = vc_flas.flas(grid, wrap=False, radius_decay=radius_decay, seed=seed)
    seconds = time.perf_counter() - started
    cells = np.asarray(arrangement.sorting)
    rows, columns = np.nonzero(cells >= 0)
    row, col = np.empty((2, len(vectors)), dtype=np.int64)
    row[cells[rows, columns]], col[cells[rows, columns]] = rows, columns
    return scores(layout_quality(row, col, vectors), seconds)


def scores(quality: LayoutQuality, seconds: float) -> tuple[float, float, float]:
    if quality.dpq16 is None or quality.trustworthiness is None:
        raise ValueError("too few vectors, or all of them equal")
    return quality.dpq16, quality.trustworthiness, seconds


def report(name: str, vectors: VectorsOfSeed) -> None:
    methods: dict[str, Callable[[np.ndarray, int], tuple[float, float, float]]]
    methods = {"Tessera": ours}
    if importlib.util.find_spec("vc_flas"):
        for decay in RADIUS_DECAYS:
            methods[f"FLAS {decay}"] = partial(flas, decay)
    for method, lay in methods.items():
        results = np.array([lay(vectors(seed), seed) for seed in SEEDS])
        dpq16, trustworthiness, seconds = np.median(results, axis=0)
        print(
            f"{name:>16} {method:>10} {dpq16:>7.4f} {results[:, 0].min():.4f}-"
            f"{results[:, 0].max():.4f} {trustworthiness:>16.4f} {seconds:>6.1f}",
            flush=True,
        )


def sources(arguments: argparse.Namespace) -> Iterator[tuple[str, VectorsOfSeed]]:
    yield "random colours", colours
    if arguments.demo:
        yield "demo", partial(same_for_all_seeds, demo_vectors(arguments.vectors))
    for folder in arguments.folders:
        photos = photo_vectors(folder, arguments.vectors, arguments.most)
        yield folder.name, partial(same_for_all_seeds, photos)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--most", type=int, help="photos of a folder")
    arguments = parser.parse_args()
    ours(colours(0), 0)  # compiles
    print(f"{'photos':>16} {'method':>10} {'DPQ16':>7} {'range':>13} trustworthiness {'s':>6}")
    for name, vectors in sources(arguments):
        report(name, vectors)


if __name__ == "__main__":
    main()
