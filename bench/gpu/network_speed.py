"""The step that measures how many photos a second are decoded, embedded and scored."""

import json
import time
from collections.abc import Callable
from functools import partial

import torch
from PIL import Image

from assets.methods.common.devices import ComputePlan, ComputeSettings, Precision
from assets.methods.models.backbones import DEFAULT_BACKBONE, load_backbone
from assets.methods.models.classifier_file import convert_open_nsfw, load_classifier
from assets.methods.models.embedding import embed, embed_unseen
from assets.methods.models.scoring import score_unseen
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.catalogue import CatalogueSettings, catalogue_photos
from assets.methods.photos.photo_store import PhotoStore
from bench.gpu.photos import write_large_photos
from bench.gpu.step import Context, measured, precisions
from bench.gpu.utilisation import Utilisation

NETWORKS = "Networks, images a second"
TOGETHER = "Decoding and embedding, photos a second"
FEW = 64


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
        ids = _under_more_names(store, ids, sizes.n_embedded)
        embed_again = _embedding_from(store, context)
        for precision in precisions(context.device):
            # The first run sets up what is set up once, such as the batch size.
            embed_again(f"first-{precision}", ids[:FEW], precision)
            what = f"working copies embedded, {precision}"
            _rate(
                what,
                partial(embed_again, f"timed-{precision}", ids, precision),
                len(ids),
                context,
                watched,
            )
    _batch_sizes(context)
    images = {one: store.open_working_copy(one) for one in ids[: sizes.n_images]}
    _networks(images, context)


def _under_more_names(store: PhotoStore, image_ids: list[str], n: int) -> list[str]:
    """Return n image_ids, the further ones of working copies that are stored once more."""
    further = [f"{number:08x}" for number in range(n - len(image_ids))]
    for number, image_id in enumerate(further):
        original = store.open_working_copy(image_ids[number % len(image_ids)])
        store.keep_working_copy(image_id, original)
    return [*image_ids, *further]


def _embedding_from(store: PhotoStore, context: Context) -> Callable[..., None]:
    def run(name: str, image_ids: list[str], precision: Precision) -> None:
        settings = ComputeSettings(
            context.device,
            precision=precision,
            threads=context.cores,
            batch_sizes=context.folder / "batch_sizes.json",
        )
        vectors = VectorStore(context.folder / f"vectors-{name}")
        embed_unseen(image_ids, store.open_working_copy, DEFAULT_BACKBONE, vectors, settings)

    return run


def _rate(
    what: str, call: Callable[[], None], n: int, context: Context, watched: Utilisation
) -> None:
    started = time.monotonic()
    found = measured(context.device, call)
    context.findings.row(
        TOGETHER,
        what=what,
        photos=n,
        photos_a_second=n / found.seconds,
        peak_MiB=found.peak_mebibytes,
        GPU_percent=watched.since(started)["gpu_percent_mean"],
    )


def _batch_sizes(context: Context) -> None:
    file = context.folder / "batch_sizes.json"
    for key, entry in (json.loads(file.read_text()) if file.exists() else {}).items():
        rates = entry["images_per_second"].items()
        context.findings.row(
            "Batch sizes that were measured and kept",
            of=key,
            batch=entry["batch_size"],
            images_a_second_by_batch=", ".join(f"{size}: {rate:,}" for size, rate in rates),
        )


def _networks(images: dict[str, Image.Image], context: Context) -> None:
    """Measure by precision and batch size, from images in memory."""
    for precision in precisions(context.device):
        for size in context.sizes.batch_sizes:
            _network(images, ComputePlan(context.device, size, precision, context.cores), context)
    context.findings.note(
        f"{len(images)} working copies of 341 x 256 px in memory; embedded and scored include "
        "their preprocessing."
    )
    if context.device == "cuda":
        context.findings.note("The network alone reads one batch that is on the card already.")


def _network(images: dict[str, Image.Image], plan: ComputePlan, context: Context) -> None:
    ids, load_image = list(images), images.__getitem__
    backbone = load_backbone(DEFAULT_BACKBONE)
    classifier = load_classifier(convert_open_nsfw(context.shared / "models"), plan)
    store = VectorStore(context.folder / f"probabilities-{plan.precision}-{plan.batch_size}")
    # The CPU's threads each run a batch of their own, which has no counterpart here.
    alone = (
        None
        if plan.device == "cpu"
        else _network_alone(backbone.module, backbone.preprocessing.crop, plan)
    )
    # The first batch of each sets up what is set up once.
    few, others = ids[: plan.batch_size], ids[plan.batch_size :] or ids
    embed(load_image, few, backbone, plan)
    embedding = measured(plan.device, lambda: embed(load_image, ids, backbone, plan))
    score_unseen(few, load_image, classifier, "nsfw", store)
    scoring = measured(
        plan.device, lambda: score_unseen(others, load_image, classifier, "nsfw", store)
    )
    context.findings.row(
        NETWORKS,
        precision=plan.precision,
        batch=plan.batch_size,
        embedded=len(ids) / embedding.seconds,
        scored=len(others) / scoring.seconds,
        network_of_embedding_alone=alone,
        peak_MiB_embedding=embedding.peak_mebibytes,
        peak_MiB_scoring=scoring.peak_mebibytes,
    )


def _network_alone(module: torch.nn.Module, crop: int, plan: ComputePlan) -> float:
    """Return images a second of the network itself, the most that feeding it well can reach."""
    device, is_full = plan.device, plan.precision in ("float32", "tf32")
    batch = torch.rand(plan.batch_size, 3, crop, crop).to(memory_format=torch.channels_last)
    batch = batch.to(device)
    module = module.to(device).to(memory_format=torch.channels_last)
    repeats = max(3, 2048 // plan.batch_size)

    def run() -> None:
        for _ in range(repeats):
            module(batch)

    kind = torch.float32 if is_full else getattr(torch, plan.precision)
    is_tf32 = plan.precision == "tf32"
    with (
        torch.inference_mode(),
        torch.autocast(device, kind, enabled=not is_full),
        torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=is_tf32
        ),
    ):
        module(batch)
        return repeats * plan.batch_size / measured(device, run).seconds
