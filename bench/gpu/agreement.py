"""The step that compares a device with the CPU, on the same photos, and with itself."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from assets.methods.attribution.occlusion import EXPERIMENTS, OcclusionSettings
from assets.methods.attribution.occlusion_maps import occlusion_maps
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.devices import ComputePlan, Precision
from assets.methods.layout.layout import lay_out
from assets.methods.layout.projection.projection import ProjectionSettings, project
from assets.methods.layout.projection.tsne import nearest_neighbours
from assets.methods.models.backbones import DEFAULT_BACKBONE, load_backbone
from assets.methods.models.classifier_file import convert_open_nsfw, load_classifier
from assets.methods.models.embedding import embed
from assets.methods.models.scoring import score_unseen
from assets.methods.models.torch_classifier import TorchClassifier
from assets.methods.models.vector_store import VectorStore
from bench.gpu.photos import Tiles, astronaut, read_tiles
from bench.gpu.step import Context, precisions

CLASS_NAME = "nsfw"
NEIGHBOURS = 8
BATCH_SIZE = 64
# What has to hold in float32; the other precisions are settings whose effect is stated.
LOWEST_COSINE = 0.9999
LARGEST_CHANGE = 1e-3
# A layout by another library is another layout: it has to be about as good.
LARGEST_LOSS = 0.03
VECTORS, SCORES, LAYOUTS, REPEATED = (
    "Vectors, against the CPU in float32",
    "P(nsfw) and occlusion maps, against the CPU in float32",
    "Layouts of the same vectors",
    "The same bytes from run to run",
)


def compare(context: Context) -> None:
    """Compare vectors, scores, maps and layouts with those of the CPU."""
    tiles = read_tiles(context.shared / "tiles", context.sizes.n_tiles)
    expected = _embed(tiles, "cpu", "float32", context)
    _compare_vectors(tiles, expected, context)
    _compare_scores(tiles, context)
    _compare_maps(context)
    _compare_layouts(tiles, expected, context)


def _plan(device: str, precision: Precision, context: Context) -> ComputePlan:
    size = BATCH_SIZE if device == "cuda" else 1
    return ComputePlan(device, size, precision, context.cores)


def _embed(tiles: Tiles, device: str, precision: Precision, context: Context) -> np.ndarray:
    # A new network each time: an earlier run may have left it elsewhere or in another format.
    backbone = load_backbone(DEFAULT_BACKBONE)
    load_image = tiles.images.__getitem__
    return embed(load_image, tiles.image_ids, backbone, _plan(device, precision, context))


def _compare_vectors(tiles: Tiles, expected: np.ndarray, context: Context) -> None:
    k = min(NEIGHBOURS, len(expected) - 1)
    neighbours, _ = nearest_neighbours(expected, k)
    for precision in precisions(context.device):
        vectors = _embed(tiles, context.device, precision, context)
        cosines = (vectors.astype(np.float64) * expected).sum(axis=1)
        found, _ = nearest_neighbours(vectors, k)
        kept = [len(np.intersect1d(*pair)) for pair in zip(neighbours, found, strict=True)]
        context.findings.row(
            VECTORS,
            precision=precision,
            photos=len(vectors),
            least_cosine=float(cosines.min()),
            median_cosine=float(np.median(cosines)),
            nearest_8_kept=sum(kept) / neighbours.size,
        )
        if precision == "float32" and cosines.min() < LOWEST_COSINE:
            context.findings.fail(
                f"The vectors' least cosine is {cosines.min():.6f}, below {LOWEST_COSINE}."
            )
        _compare_repeated(
            f"vectors, {precision}",
            vectors,
            partial(_embed, tiles, context.device, precision, context),
            context,
        )


def _classifier(device: str, precision: Precision, context: Context) -> TorchClassifier:
    plan = _plan(device, precision, context)
    return load_classifier(convert_open_nsfw(context.shared / "models"), plan)


def _scores(tiles: Tiles, classifier: TorchClassifier, folder: Path) -> np.ndarray:
    store, load_image = VectorStore(folder), tiles.images.__getitem__
    return score_unseen(tiles.image_ids, load_image, classifier, CLASS_NAME, store).scores


def _compare_scores(tiles: Tiles, context: Context) -> None:
    expected = _scores(tiles, _classifier("cpu", "float32", context), context.folder / "expected")
    for precision in precisions(context.device):
        classifier = _classifier(context.device, precision, context)
        scores = _scores(tiles, classifier, context.folder / f"scores-{precision}")
        _add_change("scores", precision, scores, expected, context)
        _compare_repeated(
            f"scores, {precision}",
            scores,
            partial(_scores, tiles, classifier, context.folder / f"again-{precision}"),
            context,
        )


def _compare_maps(context: Context) -> None:
    windowed = WindowedImage(
        astronaut(), OcclusionSettings(box=64, stride=context.sizes.compared_stride)
    )

    def maps(device: str, name: str) -> dict[str, np.ndarray]:
        classifier = _classifier(device, "float32", context)
        store = WindowScoreStore(context.folder / name)
        found = occlusion_maps(windowed, classifier, CLASS_NAME, store)
        return {experiment: found[experiment].scores for experiment in EXPERIMENTS}

    expected, found = maps("cpu", "windows-cpu"), maps(context.device, "windows")
    again = maps(context.device, "windows-again")
    for experiment in EXPERIMENTS:
        what = f"windows of {experiment}"
        _add_change(what, "float32", found[experiment], expected[experiment], context)
        _compare_repeated(what, found[experiment], partial(again.__getitem__, experiment), context)


def _add_change(
    what: str, precision: str, found: np.ndarray, expected: np.ndarray, context: Context
) -> None:
    change = np.abs(found.astype(np.float64) - expected)
    context.findings.row(
        SCORES,
        what=what,
        precision=precision,
        number=found.size,
        largest_change=float(change.max()),
        median_change=float(np.median(change)),
    )
    if precision == "float32" and change.max() > LARGEST_CHANGE:
        context.findings.fail(
            f"The largest change of {what} is {change.max():.1e}, above {LARGEST_CHANGE:.0e}."
        )


def _compare_layouts(tiles: Tiles, vectors: np.ndarray, context: Context) -> None:
    settings = ProjectionSettings(iterations=context.sizes.iterations)
    qualities = []
    for device in ("cpu", context.device):
        points = project(vectors, settings, device)
        quality = lay_out(points, vectors, tiles.labels).quality
        qualities.append(quality)
        context.findings.row(
            LAYOUTS,
            device=device,
            method="tsne",
            DPQ16=quality.dpq16,
            trustworthiness=quality.trustworthiness,
            trustworthiness_of_points=quality.points_trustworthiness,
            purity=quality.neighbourhood_purity,
        )
    _compare_repeated(
        "points of t-SNE", points, lambda: project(vectors, settings, context.device), context
    )
    for name in ("dpq16", "trustworthiness"):
        on_cpu, on_device = (getattr(quality, name) for quality in qualities)
        if on_device < on_cpu - LARGEST_LOSS:
            context.findings.fail(
                f"{name} is {on_device:.3f}, more than {LARGEST_LOSS} below the CPU's {on_cpu:.3f}."
            )


def _compare_repeated(
    what: str, found: np.ndarray, again: Callable[[], np.ndarray], context: Context
) -> None:
    other = again()
    same = found.tobytes() == other.tobytes()
    context.findings.row(
        REPEATED,
        what=what,
        same=same,
        largest_change=float(np.abs(found.astype(np.float64) - other).max()),
    )
    if not same:
        context.findings.fail(f"A second run gives other {what}.")
