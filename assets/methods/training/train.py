"""Training a classifier of two classes from labelled photos: its head, or the whole network.

On the CPU the same photos, labels, settings and seed give the same weights to the last bit,
whatever the number of threads and the order of the photos, and also if the training was killed and
continued. Another version of torch or another kind of processor may change the last bits; on an
accelerator each run may.
"""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from assets.methods.common.devices import ComputePlan, ComputeSettings, plan_compute
from assets.methods.common.errors import UserError
from assets.methods.common.fingerprints import digest_parts, digest_weights
from assets.methods.common.progress import Progress, silent
from assets.methods.models.classifier import classify_arrays
from assets.methods.models.classifier_file import (
    ClassifierDescription,
    load_classifier,
    save_classifier,
)
from assets.methods.models.forward import Network, rows_in_batches, unsplit_pool
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.models.reference_images import reference_images
from assets.methods.models.torch_classifier import CPU_BATCH_SIZE
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.decode import DECODE_VERSION
from assets.methods.training.checkpoint import load_checkpoint, save_checkpoint
from assets.methods.training.loop import EpochMetrics, Examples, Listeners, TrainingLoop
from assets.methods.training.settings import ClassWeights, TrainingSettings
from assets.methods.training.squares import MEMORY_BYTES, SquareImages, augment_lightly
from assets.methods.training.starting_network import (
    StartingNetwork,
    head_of,
    start_network,
    without_head,
)

if TYPE_CHECKING:
    import torch

# Raise it whenever the same photos and settings end in other weights.
_CODE_VERSION = 1

_LIBRARIES = ("numpy", "pillow", "timm", "torch", "torchvision")


@dataclass(frozen=True)
class LabelledImages:
    """n photos, each once, and (n,) bool: whether they belong to the positive class."""

    image_ids: list[str]
    is_positive: np.ndarray

    def __post_init__(self) -> None:
        if self.is_positive.shape != (len(self.image_ids),):
            raise UserError(
                f"There are {len(self.image_ids):,} images and labels of shape "
                f"{self.is_positive.shape}: each image needs one."
            )
        if len(set(self.image_ids)) < len(self.image_ids):
            raise UserError("An image is listed twice: list each once, with one label.")

    def in_order(self) -> "LabelledImages":
        """Return the same, sorted by image_id."""
        places = sorted(range(len(self.image_ids)), key=self.image_ids.__getitem__)
        ids = [self.image_ids[place] for place in places]
        return LabelledImages(ids, self.is_positive[places].astype(bool))


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier as it was after its best epoch.

    Attributes:
        weights: state dict of the whole network, on the CPU.
        architecture: its name in ``classifier_file``.
        preprocessing: how photos become its input.
        class_names: negative, positive; in the order of the logits.
        history: the metrics of all epochs.
        best_epoch: the one with the lowest validation loss, counted from 1.
        n_resumed: epochs of an earlier run.
    """

    weights: "dict[str, torch.Tensor]"
    architecture: str
    preprocessing: Preprocessing
    class_names: tuple[str, str]
    history: list[EpochMetrics]
    best_epoch: int
    n_resumed: int


def train_classifier(
    train: LabelledImages,
    validation: LabelledImages,
    class_names: tuple[str, str],
    load_image: Callable[[str], Image.Image],
    settings: TrainingSettings,
    folder: Path,
    plan: ComputePlan,
    progress: Progress = silent,
    on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None,
    checkpoint_seconds: float = 60.0,
) -> TrainedClassifier:
    """Train a classifier, or continue where an earlier run was killed.

    ``folder`` keeps one checkpoint, written after each epoch and every ``checkpoint_seconds``. A
    training that has ended is returned from it. For a head alone the folder also keeps the
    features, which trainings with other settings use too.

    Args:
        train: the photos to learn from.
        validation: other photos, by which the best epoch is chosen.
        class_names: negative, positive.
        load_image: returns the photo of an image_id; called from several threads.
        settings: the choices of the training.
        folder: of the checkpoint; for one training at a time.
        plan: device, precision and threads; on the CPU its batch size is not used.
        progress: called with the images that went through the network, and how many will.
        on_epoch: called with each epoch, those of an earlier run first.
        checkpoint_seconds: how much work a kill can cost.

    Raises:
        UserError: there are too few photos, the network is not available or cannot be trained so,
            memory does not suffice, or the loss is no longer finite.
    """
    train, validation = train.in_order(), validation.in_order()
    _check(train, validation, class_names, plan)
    with _seeded(settings.seed), unsplit_pool(plan.threads) as pool:
        start = start_network(settings.base, settings.pretrained, settings.input_side, class_names)
        head = head_of(start, settings.base) if settings.trained == "head" else ""
        key = _fingerprint(train, validation, class_names, settings, plan, start)
        found = load_checkpoint(folder, key)
        earlier = [EpochMetrics(**epoch) for epoch in found.history] if found else []
        for metrics in earlier:
            on_epoch(metrics)
        if found is None or not found.has_ended:
            ids = [*train.image_ids, *validation.image_ids]
            # A head alone is trained on features, so that each photo is read once.
            memory = 0 if head else MEMORY_BYTES
            images = SquareImages(load_image, ids, start.preprocessing, memory)
            if head:
                store = VectorStore(folder / "features")
                features = _features(start, head, images, settings, plan, pool, store, progress)
                prepare, progress = partial(_prepare_features, features, settings), silent
            else:
                prepare = partial(_prepare_squares, images, settings)
            loop = TrainingLoop(
                start.module.get_submodule(head),
                start.draws and not head,
                *_examples(prepare, train, validation, settings.class_weights),
                settings,
                plan,
                pool,
            )
            listeners = Listeners(partial(save_checkpoint, folder, key), on_epoch, progress)
            found = loop.run(found, listeners, checkpoint_seconds)
    prefix = f"{head}." if head else ""
    weights = {f"{prefix}{name}": tensor for name, tensor in found.best_weights.items()}
    return TrainedClassifier(
        {**start.module.state_dict(), **weights},
        start.architecture,
        start.preprocessing,
        class_names,
        [EpochMetrics(**epoch) for epoch in found.history],
        found.best_epoch,
        len(earlier),
    )


def save_trained(trained: TrainedClassifier, path: Path) -> ClassifierDescription:
    """Write a trained classifier to one file, with its scores of the reference images.

    Raises:
        UserError: a score is not finite.
    """
    parts = (trained.weights, trained.architecture, trained.class_names, trained.preprocessing)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        without_scores = Path(folder) / path.name
        save_classifier(without_scores, *parts)
        scores = _reference_scores(without_scores, trained.class_names[1])
    return save_classifier(path, *parts, scores)


def _prepare_squares(
    images: SquareImages, settings: TrainingSettings, places: np.ndarray, epoch: int | None
) -> "torch.Tensor":
    """Return some photos as a network reads them, (some, 3, crop, crop), augmented in an epoch."""
    squares = images.squares(places)
    if epoch is None or settings.augmentation == "none":
        return images.batch(squares)
    generators = (np.random.default_rng([settings.seed, epoch, place]) for place in places)
    return images.batch(map(augment_lightly, squares, generators))


def _prepare_features(
    features: "torch.Tensor", settings: TrainingSettings, places: np.ndarray, epoch: int | None
) -> "torch.Tensor":
    """Return the features of some photos, in an epoch those of a random half mirrored."""
    import torch

    rows, n_variants = torch.from_numpy(places), features.shape[1]
    if epoch is None or n_variants == 1:
        return features[rows, 0]
    generators = (np.random.default_rng([settings.seed, epoch, place]) for place in places)
    return features[rows, torch.tensor([one.integers(n_variants) for one in generators])]


def _features(
    start: StartingNetwork,
    head: str,
    images: SquareImages,
    settings: TrainingSettings,
    plan: ComputePlan,
    pool: ThreadPoolExecutor,
    store: VectorStore,
    progress: Progress,
) -> "torch.Tensor":
    """Return what the head reads of each photo, and of its mirror image if training augments.

    The shape is (n, 1 or 2, features), float32. ``store`` keeps the rows for other trainings.
    """
    import torch

    body = without_head(start.module, head)
    mirrored = settings.augmentation == "light"
    key = digest_parts(
        {
            "weights": _digest(body),
            "architecture": start.architecture,
            "preprocessing": start.preprocessing.as_parts(),
            "mirrored": mirrored,
            "device": plan.device,
            "precision": plan.precision,
            "decode_version": DECODE_VERSION,
            "code_version": _CODE_VERSION,
        }
    )
    size = CPU_BATCH_SIZE if plan.device == "cpu" else settings.batch_size
    network = Network(body, replace(plan, batch_size=size), images.batch)
    place_of = {image_id: place for place, image_id in enumerate(images.image_ids)}

    def run(batch: list[str]) -> np.ndarray:
        squares = list(images.squares(place_of[image_id] for image_id in batch))
        features = [network(squares)]
        if mirrored:
            features.append(network([ImageOps.mirror(square) for square in squares]))
        return np.hstack(features)

    def compute(image_ids: list[str], progress: Progress) -> np.ndarray:
        return rows_in_batches(pool, run, image_ids, size, progress)

    found, _ = store.complete(key, images.image_ids, lambda: compute, progress)
    rows = torch.from_numpy(np.stack([found[image_id] for image_id in images.image_ids]))
    return rows.view(len(rows), 1 + mirrored, -1)


def _examples(
    prepare: "Callable[[np.ndarray, int | None], torch.Tensor]",
    train: LabelledImages,
    validation: LabelledImages,
    kind: ClassWeights,
) -> tuple[Examples, Examples]:
    """Return the examples of both splits; ``prepare`` finds those of validation after train's."""
    weights = class_weights(train.is_positive, kind)

    def examples(first: int, images: LabelledImages) -> Examples:
        labels = images.is_positive.astype(np.int64)
        return Examples(
            lambda places, epoch: prepare(first + places, epoch), labels, weights[labels]
        )

    return examples(0, train), examples(len(train.image_ids), validation)


def class_weights(is_positive: np.ndarray, kind: ClassWeights) -> np.ndarray:
    """Return the weights of the negative and the positive class, (2,) float32.

    "balanced" is n / (2 n_class), scikit-learn's heuristic. The mean over all images is 1.
    """
    if kind == "none":
        return np.ones(2, dtype=np.float32)
    counts = np.array([np.sum(~is_positive), np.sum(is_positive)])
    return (len(is_positive) / (2 * counts)).astype(np.float32)


def _check(
    train: LabelledImages,
    validation: LabelledImages,
    class_names: tuple[str, str],
    plan: ComputePlan,
) -> None:
    if plan.precision == "float16":
        raise UserError("Small gradients vanish in float16: train in bfloat16 or float32.")
    if len(set(class_names)) < 2:
        raise UserError(f"Both classes are called {class_names[0]}: give each its own name.")
    for name, images in (("train", train), ("validation", validation)):
        for class_name, wanted in zip(class_names, (False, True), strict=True):
            if wanted not in images.is_positive:
                raise UserError(
                    f"The split {name} has no image of the class {class_name}: label some, or "
                    "split the images anew."
                )
    shared = set(train.image_ids) & set(validation.image_ids)
    if shared:
        raise UserError(
            f"{len(shared):,} images are in both splits, train and validation: leave each in one."
        )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's generators, and restore their state at the end."""
    import torch

    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def _fingerprint(
    train: LabelledImages,
    validation: LabelledImages,
    class_names: tuple[str, str],
    settings: TrainingSettings,
    plan: ComputePlan,
    start: StartingNetwork,
) -> str:
    return digest_parts(
        {
            "images": [
                [images.image_ids, images.is_positive.tolist()] for images in (train, validation)
            ],
            "class_names": list(class_names),
            "settings": asdict(settings),
            "device": plan.device,
            "precision": plan.precision,
            "architecture": start.architecture,
            "preprocessing": start.preprocessing.as_parts(),
            "weights": _digest(start.module),
            "decode_version": DECODE_VERSION,
            "libraries": {name: version(name) for name in _LIBRARIES},
            "code_version": _CODE_VERSION,
        }
    )


def _digest(module: "torch.nn.Module") -> str:
    return digest_weights({name: one.numpy() for name, one in module.state_dict().items()})


def _reference_scores(path: Path, class_name: str) -> dict[str, dict[str, float]]:
    plan = plan_compute(ComputeSettings(device="cpu"), CPU_BATCH_SIZE)
    images = reference_images()
    scores = classify_arrays(load_classifier(path, plan), list(images.values()))[class_name]
    return {name: {class_name: float(score)} for name, score in zip(images, scores, strict=True)}
