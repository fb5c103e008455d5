"""The step that measures t-SNE, with up to 60,000 points."""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.devices import ComputePlan
from assets.methods.layout.projection.pca import principal_components
from assets.methods.layout.projection.tsne import tsne
from assets.methods.models.backbones import DEFAULT_BACKBONE, load_backbone
from assets.methods.models.embedding import embed
from bench.gpu.photos import read_tiles
from bench.gpu.step import Context, measured

PERPLEXITY = 30.0
COMPONENTS = 50
NEIGHBOURS = 8


def measure(context: Context) -> None:
    """Time t-SNE, and draw the largest embedding as a scatter."""
    device, sizes = context.device, context.sizes
    tiles = read_tiles(context.shared / "tiles", sizes.n_tiles)
    plan = ComputePlan(device, 64 if device == "cuda" else 1, "float32", context.cores)
    vectors = embed(
        tiles.images.__getitem__, tiles.image_ids, load_backbone(DEFAULT_BACKBONE), plan
    )
    components = principal_components(vectors, COMPONENTS)
    _, classes = np.unique(tiles.labels, return_inverse=True)
    # What is set up once is not timed.
    tsne(components, perplexity=5, iterations=30, seed=0, device=device)
    for n in sizes.points:
        data, kinds = points_between(components, classes, n)
        fit = partial(
            tsne, data, perplexity=PERPLEXITY, iterations=sizes.iterations, seed=0, device=device
        )
        found = measured(device, fit)
        finite = bool(np.isfinite(found.result).all())
        context.findings.row(
            f"t-SNE, {sizes.iterations} iterations, perplexity {PERPLEXITY:g}",
            points=n,
            seconds=found.seconds,
            peak_MiB=found.peak_mebibytes,
            neighbours_of_the_same_photograph=_same_share(found.result, kinds) if finite else None,
        )
        if not finite:
            context.findings.fail(f"t-SNE of {n:,} points gave numbers that are not finite.")
        elif context.draws:
            _draw(found.result, kinds, context.out / "tsne.png")
    context.findings.note(
        f"Points lie between the vectors of two tiles of one photograph, {len(vectors)} tiles of "
        f"{len(set(tiles.labels))} photographs in all; the last column is the share of the "
        f"{NEIGHBOURS} nearest points in the plane, and is "
        f"{1 / len(set(tiles.labels)):.0%} at random."
    )


def points_between(
    components: NDArray[np.float64], classes: NDArray[np.int64], n: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return ``n`` points, each between two random points of one class, and their classes."""
    rng = np.random.default_rng(0)
    one = rng.integers(len(components), size=n)
    members = {kind: np.flatnonzero(classes == kind) for kind in np.unique(classes)}
    other = np.array([rng.choice(members[kind]) for kind in classes[one]])
    share = rng.uniform(0, 0.5, size=(n, 1))
    return (1 - share) * components[one] + share * components[other], classes[one]


def _same_share(points: NDArray[np.float64], kinds: NDArray[np.int64]) -> float:
    from scipy.spatial import KDTree

    _, nearest = KDTree(points).query(points, NEIGHBOURS + 1, workers=-1)
    return float((kinds[nearest[:, 1:]] == kinds[:, np.newaxis]).mean())


def _draw(points: NDArray[np.float64], kinds: NDArray[np.int64], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 12), dpi=100, layout="constrained")
    axes = figure.subplots()
    size = 2 if len(points) > 5_000 else 12
    axes.scatter(points[:, 0], points[:, 1], c=kinds, s=size, cmap="tab20", linewidths=0)
    axes.set_title(f"t-SNE of {len(points):,} points, coloured by photograph")
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    figure.savefig(path)
