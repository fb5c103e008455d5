"""The step that measures how many photos a second are decoded, embedded and scored."""

import time
from collections.abc import Callable
from typing import Any

import torch

from assets.methods.common.devices import ComputePlan, ComputeSettings
from assets.methods.models.backbones import DEFAULT_BACKBONE, load_backbone
from assets.methods.models.classifier_file import convert_open_nsfw, load_classifier
from assets.methods.models.embedding import embed, embed_unseen
from assets.methods.models.scoring import score_unseen
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.catalogue import CatalogueSettings, catalogue_photos
from assets.methods.photos.photo_store import PhotoStore
from bench.gpu.photos import write_large_photos
from bench.gpu.step import Context, peak_mebibytes, precisions, seconds
from bench.gpu.utilisation import Utilisation

NETWORKS = "Networks, images a second"
TOGETHER = "Decoding and embedding, photos a second"
REPEATS = 3


def measure(context: Context) -> None:
    """Decode large photos; embed and score their working copies from disk and from memory."""
    folder, sizes = context.folder, context.sizes
    write_large_photos(folder / "photos", sizes.n_files)
    store = PhotoStore(folder / "store")
    ids: list[str] = []

    def decode() -> None:
        settings = CatalogueSettings(workers=context.cores)
        ids.extend(catalogue_photos(str(folder / "photos"), store, settings).images["image_id"])

    with Utilisation() as watched:
        _rate("files decoded to working copies", decode, sizes.n_files, context, watched)
        embed_again = _embedding_from(ids, store, context)
        # The first run sets up what is set up once, such as a batch size.
        embed_again("first")
        for precision in precisions(context.device):
            what = f"working copies embedded, {precision}"
            _rate(what, lambda: embed_again("timed", precision), len(ids), context, watched)  # noqa: B023
    images = {one: store.open_working_copy(one) for one in ids[: sizes.n_images]}
    _networks(images, context)


def _embedding_from(ids: list[str], store: PhotoStore, context: Context) -> Callable[..., None]:
    def run(name: str, precision: str = "float32") -> None:
        settings = ComputeSettings(context.device, precision=precision, threads=context.cores)  # type: ignore[arg-type]
        vectors = VectorStore(context.folder / f"vectors-{name}")
        embed_unseen(ids, store.open_working_copy, DEFAULT_BACKBONE, vectors, settings)

    return run


def _rate(
    what: str, call: Callable[[], None], n: int, context: Context, watched: Utilisation
) -> None:
    started, elapsed = time.monotonic(), 0.0

    def timed() -> None:
        nonlocal elapsed
        elapsed = seconds(context.device, call)

    peak = peak_mebibytes(context.device, timed)
    context.findings.row(
        TOGETHER,
        what=what,
        photos=n,
        photos_a_second=round(n / elapsed, 1),
        peak_MiB=peak,
        GPU_percent=watched.since(started)["gpu_percent_mean"],
    )


def _networks(images: dict[str, Any], context: Context) -> None:
    """Measure by precision and batch size, from images in memory."""
    device, ids = context.device, list(images)
    nsfw = convert_open_nsfw(context.folder / "models")
    for precision in precisions(device):
        for size in context.sizes.batch_sizes:
            plan = ComputePlan(device, size, precision, context.cores)  # type: ignore[arg-type]
            backbone = load_backbone(DEFAULT_BACKBONE)
            alone = _network_alone(backbone.module, backbone.preprocessing.crop, plan)
            embed(images.__getitem__, ids[:size], backbone, plan)
            elapsed = 0.0

            def embed_all() -> None:
                nonlocal elapsed
                elapsed = seconds(device, lambda: embed(images.__getitem__, ids, backbone, plan))  # noqa: B023

            peak = peak_mebibytes(device, embed_all)
            classifier = load_classifier(nsfw, plan)

            def score(name: str, some: list[str]) -> None:
                store = VectorStore(context.folder / f"{name}-{plan.precision}-{plan.batch_size}")  # noqa: B023
                score_unseen(some, images.__getitem__, classifier, "nsfw", store)  # noqa: B023

            score("first", ids[:size])
            scoring = seconds(device, lambda: score("timed", ids))  # noqa: B023
            context.findings.row(
                NETWORKS,
                precision=precision,
                batch=size,
                embedded=round(len(ids) / elapsed, 1),
                scored=round(len(ids) / scoring, 1),
                network_of_embedding_alone=round(alone, 1),
                peak_MiB_embedding=peak,
            )
    context.findings.note(
        f"{len(ids)} working copies of 341 x 256 px in memory; embedded and scored include their "
        "preprocessing, the network alone reads one batch that is on the device already."
    )


def _network_alone(module: torch.nn.Module, crop: int, plan: ComputePlan) -> float:
    """Return images a second of the network itself, the most that feeding it well can reach."""
    device, precision = plan.device, plan.precision
    full = str(precision) in ("float32", "tf32")
    batch = torch.rand(plan.batch_size, 3, crop, crop).to(device).to(memory_format=torch.channels_last)
    module = module.to(device).to(memory_format=torch.channels_last)
    kind = torch.float32 if full else getattr(torch, precision)
    repeats = REPEATS if device == "cpu" else max(REPEATS, 2048 // plan.batch_size)

    def run() -> None:
        for _ in range(repeats):
            module(batch)

    flags = {"enabled": True, "benchmark": False, "deterministic": True}
    with (
        torch.inference_mode(),
        torch.autocast(device, kind, enabled=not full),
        torch.backends.cudnn.flags(**flags, allow_tf32=str(precision) == "tf32"),
    ):
        module(batch)
        return repeats * plan.batch_size / seconds(device, run)
