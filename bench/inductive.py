"""How well the networks of DrLIM and triplet place photos, fitted and new ones, beside t-SNE.

    python -m bench.inductive VECTORS.npy --group 5 --held-out 500 --out FOLDER

VECTORS.npy holds unit vectors (n, d), of which each `--group` in a row are of one photograph (such
as crops of it): whole photographs are held out. Writes results.json and planes.png into FOLDER. The
trustworthiness is that of the 8 nearest points among all; t-SNE is given all vectors.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np

from assets.methods.layout.network_quality import grid_quality
from assets.methods.layout.projection.projection import ProjectionSettings, fit_inductive, project
from assets.methods.layout.quality import points_trustworthiness

Result = TypeVar("Result")
METHODS = ("tsne", "drlim", "triplet")
LABELLED = 10  # photographs whose vectors are drawn in colour


@click.command()
@click.argument("vectors", type=click.Path(exists=True, path_type=Path))
@click.option("--group", default=1, show_default=True, help="Vectors of one photograph.")
@click.option("--held-out", default=500, show_default=True, help="Vectors that are held out.")
@click.option("--method", multiple=True, default=METHODS, help="Some of the methods.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for results.")
def main(vectors: Path, group: int, held_out: int, method: tuple[str, ...], out: Path) -> None:
    """Measure the projections of VECTORS."""
    data = np.load(vectors)
    photographs = np.arange(len(data)) // group
    drawn = np.random.default_rng(0).permutation(photographs.max() + 1)[: held_out // group]
    is_held_out = np.isin(photographs, drawn)
    out.mkdir(parents=True, exist_ok=True)
    results, planes = {}, {}
    for one in method:
        planes[one], results[one] = measure(one, data, is_held_out)
        click.echo(f"{one}: {results[one]}")
        (out / "results.json").write_text(json.dumps(results, indent=2))
    draw(planes, is_held_out, photographs, out / "planes.png")


def measure(
    method: str, data: np.ndarray, is_held_out: np.ndarray
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the points (n, 2) of a method, and its metrics."""
    settings = ProjectionSettings(method)
    new_photo = {}
    if settings.is_inductive:
        network, training = timed(lambda: fit_inductive(data[~is_held_out], settings))
        points = network.place(data)
        one = data[is_held_out][:1]
        new_photo["seconds_a_new_photo"] = min(
            timed(lambda: network.place(one))[1]["seconds"] for _ in range(20)
        )
    else:
        points, training = timed(lambda: project(data, settings))
    rng = np.random.default_rng(0)
    metrics: dict[str, Any] = {**training, **new_photo}
    for part, numbers in (
        ("fitted", rng.permutation(np.flatnonzero(~is_held_out))[:1_000]),
        ("held_out", np.flatnonzero(is_held_out)),
    ):
        metrics[f"trustworthiness_{part}"] = points_trustworthiness(points, data, numbers)
        metrics[f"dpq16_{part}"] = grid_quality(points[numbers], data[numbers])
    return points, metrics


def timed(work: Callable[[], Result]) -> tuple[Result, dict[str, float]]:
    """Return a result, and the seconds that it took on the clock and on processors."""
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, {
        "seconds": time.perf_counter() - clock,
        "processor_seconds": time.process_time() - processor,
    }


def draw(
    planes: dict[str, np.ndarray], is_held_out: np.ndarray, photographs: np.ndarray, path: Path
) -> None:
    """Draw the planes side by side: fitted vectors, held-out ones, and some photographs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = (7 * len(planes), 7.4)
    figure, (axes,) = pyplot.subplots(1, len(planes), figsize=size, squeeze=False)
    shown = np.unique(photographs[is_held_out])[:LABELLED]
    for axis, (method, points) in zip(axes, planes.items(), strict=True):
        axis.scatter(*points[~is_held_out].T, s=3, c="#c8c8c8", label="fitted")
        axis.scatter(*points[is_held_out].T, s=5, c="#555555", label="held out")
        for number, photograph in enumerate(shown):
            of_one = points[photographs == photograph]
            axis.scatter(*of_one.T, s=45, color=f"C{number}", edgecolors="white", linewidths=0.6)
        axis.set_title(f"{method}: {LABELLED} held-out photographs in colour")
        axis.set_xticks([])
        axis.set_yticks([])
    axes[0].legend(loc="lower left")
    figure.tight_layout()
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
