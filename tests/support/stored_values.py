"""Small sound values of every asset, and for each check a fault in one of them."""

import dataclasses
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from assets.generations import current_in, make_current, note_origin
from assets.io_managers import ORIGIN, FolderIOManager, load, save
from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.layout.mosaic import MosaicSettings, draw_mosaic, encode_mosaic, plan_mosaic
from assets.methods.models.classifier import classify_arrays
from assets.methods.models.classifier_file import (
    describe_classifier,
    load_classifier,
    save_classifier,
)
from assets.methods.models.reference_images import reference_images
from assets.methods.models.torch_classifier import CPU_BATCH_SIZE
from assets.methods.photos.catalogue import Catalogue
from assets.methods.photos.labels import LabelledData
from assets.results.training import CHAMPION_OF_BEFORE, NEW
from assets.values import (
    DeconvnetMaps,
    Embeddings,
    EncodedImage,
    GridAssignment,
    Mosaic,
    NsfwEvaluation,
    NsfwModel,
    NsfwScores,
    NsfwTraining,
    OcclusionMaps,
)
from support.brightness_network import ARCHITECTURE, PREPROCESSING, brightness_weights

SIDE = 6
ASSIGNMENT = {"solver": "lapjv", "cost": 1.0, "gap": 0.0, "certified": True}
IDS = [f"{number:064x}" for number in range(1, SIDE * SIDE + 1)]
WIDTH, HEIGHT = 9, 6
SPLITS, CLASSES = ("train", "validation", "test"), ("sfw", "nsfw")
# Of a permutation of the cells whose DPQ16 is 0.
WORST_SEED = 9
PICTURE = EncodedImage(b"", ".png")


def photo(image_id: str) -> Image.Image:
    """Return the working copy of an image, which looks like no other's."""
    number = int(image_id, 16)
    return Image.new("RGB", (32, 32), (number * 37 % 256, number * 91 % 256, number * 151 % 256))


def champion_file(folder: Path) -> Path:
    """Write a classifier that knows its own answers to the reference images."""
    file, images = folder / "brightness.safetensors", reference_images()
    weights = brightness_weights(1.0)
    save_classifier(file, weights, ARCHITECTURE, CLASSES, PREPROCESSING)
    plan = plan_compute(ComputeSettings(device="cpu"), CPU_BATCH_SIZE)
    scores = classify_arrays(load_classifier(file, plan), list(images.values()))["nsfw"]
    known = {name: {"nsfw": float(score)} for name, score in zip(images, scores, strict=True)}
    save_classifier(file, weights, ARCHITECTURE, CLASSES, PREPROCESSING, known)
    return file


def sound_values(champion: Path) -> dict[str, Any]:
    """Return a value of each asset in which no check finds a fault.

    ``champion`` is the file of the classifier that is in use.
    """
    row, col = np.divmod(np.arange(len(IDS), dtype=np.int32), SIDE)
    vectors = np.stack([row / SIDE, col / SIDE, np.ones(len(IDS))], axis=1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    images = pd.DataFrame({"image_id": IDS, "uri": [f"/photos/{i}.png" for i in IDS]})
    images = images.assign(width=WIDTH, height=HEIGHT, label="sfw").astype({"label": "string"})
    images["duplicate_of"] = pd.array([None] * len(IDS), dtype="string")
    rejects = pd.DataFrame(columns=["uri", "reason", "detail"], dtype="string")
    grid = images[["image_id", "uri", "label"]].assign(x=0.0, y=0.0, row=row, col=col)
    settings = MosaicSettings(tile=16)
    drawn = draw_mosaic(photo, grid, plan_mosaic(SIDE, SIDE, settings))
    known = describe_classifier(champion)
    return {
        "raw_images": Catalogue(images, rejects, len(IDS), len(IDS)),
        "embeddings": Embeddings.from_arrays(IDS, vectors, "print", len(IDS)),
        "tsne_2d": pd.DataFrame({"image_id": IDS, "x": np.arange(len(IDS), dtype=float), "y": 0.0}),
        "grid_assignment": GridAssignment(grid, SIDE, SIDE, {"assignment": dict(ASSIGNMENT)}),
        "mosaic": Mosaic(
            EncodedImage(encode_mosaic(drawn, settings), ".jpg"),
            PICTURE,
            dataclasses.asdict(settings),
        ),
        "nsfw_model": NsfwModel(
            "1",
            champion.name,
            known.fingerprint,
            list(known.class_names),
            dataclasses.asdict(known.preprocessing),
        ),
        "nsfw_scores": NsfwScores(
            pd.DataFrame({"image_id": IDS, "score": np.full(len(IDS), 0.5, np.float32)}),
            "models:/nsfw@champion",
            "nsfw",
            known.fingerprint,
            0,
        ),
        "occlusion_maps": _occlusion_maps(),
        "deconvnet_maps": DeconvnetMaps(
            pd.DataFrame({"image_id": IDS[:1], "uri": ["/photos/a.png"]}),
            rejects,
            {IDS[0]: np.ones((HEIGHT, WIDTH, 3), np.float32)},
            {},
            {},
        ),
        "labelled_images": _labelled_images(),
        "nsfw_training": _training(known.fingerprint),
        "nsfw_evaluation": _evaluation(),
    }


def _occlusion_maps() -> OcclusionMaps:
    key = f"{IDS[0]}/seen"
    table = pd.DataFrame({"image_id": IDS[:1], "uri": ["/photos/a.png"], "experiment": ["seen"]})
    windows = np.array([[0.2, 0.8]], np.float32)
    rejects = pd.DataFrame(columns=["uri"], dtype="string")
    maps = {key: np.full((HEIGHT, WIDTH), 0.5, np.float32)}
    return OcclusionMaps(table, rejects, maps, {key: windows}, {}, {}, {})


def _labelled_images() -> LabelledData:
    number = np.arange(len(IDS))
    images = pd.DataFrame(
        {
            "image_id": IDS,
            "uri": [f"/photos/{i}.png" for i in IDS],
            "label": np.take(CLASSES, number % 2),
            "split": np.take(SPLITS, number // 2 % 3),
        },
        dtype="string",
    )
    findings = pd.DataFrame(columns=["row", "uri", "reason", "detail", "left_out"])
    types = {"row": "int64", "uri": "string", "reason": "string", "detail": "string"}
    return LabelledData(images, findings.astype({**types, "left_out": "bool"}), (), CLASSES)


def _training(fingerprint: str) -> NsfwTraining:
    comparison = pd.DataFrame(
        {"model": [NEW, CHAMPION_OF_BEFORE], "version": ["2", "1"], "auc": [0.95, 0.9]}
    ).assign(auc_low=[0.9, 0.8], auc_high=0.99)
    history = pd.DataFrame({"epoch": [1]})
    return NsfwTraining(
        history, comparison, "new", fingerprint, "2", "champion", "It is better.", 1
    )


def _evaluation() -> NsfwEvaluation:
    metrics = pd.DataFrame(
        [("m", "auc", 1.0, 0.8, 1.0), ("m", "n", 4.0, np.nan, np.nan)],
        columns=["model", "metric", "value", "low", "high"],
    )
    scores = pd.DataFrame({"image_id": IDS[:4], "score": [0.1, 0.2, 0.8, 0.9], "model": "m"})
    scores["label"] = ["sfw", "sfw", "nsfw", "nsfw"]
    none = pd.DataFrame({"model": pd.Series(dtype="string")})
    return NsfwEvaluation(
        "nsfw", ["m"], ["f"], metrics, _slices(), none, none, scores, PICTURE, {}, [], {}
    )


def _slices() -> pd.DataFrame:
    rates = {"false_positive_rate": 0.5, "false_positive_rate_low": 0.1}
    slices = pd.DataFrame([{"model": "m", "slice": "s", "value": "v", "n": 4, **rates}])
    counts = {"n_negative": 2, "n_positive": 0, "n_flagged": 0}
    return slices.assign(false_positive_rate_high=0.9, **counts)


@dataclass(frozen=True)
class PlantedFault:
    """A fault in the value of one asset, which one check has to find, and what it says then."""

    check: str
    asset: str
    plant: Callable[[Any], Any]
    told: str
    severity: str = "error"


def _with(value: Any, **changes: Any) -> Any:
    return dataclasses.replace(value, **changes)


def _cell(table: pd.DataFrame, number: int, /, **cells: Any) -> pd.DataFrame:
    changed = table.copy()
    for column, content in cells.items():
        changed.loc[number, column] = content
    return changed


def _with_long_vector(value: Embeddings) -> Embeddings:
    return with_vector(value, value.vectors[3] * 2)


def with_vector(value: Embeddings, vector: Any) -> Embeddings:
    """Return the same vectors but for the fourth."""
    vectors = value.vectors.copy()
    vectors[3] = vector
    return Embeddings.from_arrays(value.image_ids, vectors, value.fingerprint, 0)


def _shuffled(value: GridAssignment) -> GridAssignment:
    order = np.random.default_rng(WORST_SEED).permutation(len(value.table))
    cells = value.table[["row", "col"]].to_numpy()[order]
    return _with(value, table=value.table.assign(row=cells[:, 0], col=cells[:, 1]))


def _with_copy(value: Catalogue) -> Catalogue:
    copy = value.images.iloc[[0]].assign(
        uri="/photos/copy.png", label="nsfw", duplicate_of=value.images.image_id[0]
    )
    images = pd.concat([value.images, copy], ignore_index=True)
    return _with(value, images=images, n_found=value.n_found + 1)


def _with_rejects(value: Catalogue) -> Catalogue:
    n = 2 * len(value.images)
    rejects = pd.DataFrame({"uri": [f"/photos/{i}.txt" for i in range(n)]}).assign(
        reason="not an image", detail=""
    )
    return _with(value, rejects=rejects, n_found=value.n_found + n)


def _found(value: LabelledData, reason: str) -> LabelledData:
    rows = {"row": range(1, 5), "uri": "u", "reason": reason, "detail": "", "left_out": True}
    return _with(value, findings=pd.DataFrame(rows))


def _straddling(value: LabelledData) -> LabelledData:
    twice = value.images.iloc[[0]].assign(split="test")
    return _with(value, images=pd.concat([value.images, twice], ignore_index=True))


def _by_first_key(value: Any, field: str, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    arrays = getattr(value, field)
    return _with(value, **{field: {name: change(array) for name, array in arrays.items()}})


# One for each check; those of an asset can be planted together.
FAULTS = (
    PlantedFault(
        "every_file_is_accounted_for",
        "raw_images",
        lambda value: _with(value, n_found=value.n_found + 1),
        "1 in none of them",
    ),
    PlantedFault("few_files_are_rejected", "raw_images", _with_rejects, "files are rejected"),
    PlantedFault(
        "copies_have_one_label", "raw_images", _with_copy, "1 exact copies have another", "warn"
    ),
    PlantedFault("vectors_are_sound", "embeddings", _with_long_vector, "1 not of unit length"),
    PlantedFault(
        "coordinates_are_finite",
        "tsne_2d",
        lambda value: _cell(value, 2, x=np.inf),
        "1 of 36 points are not finite",
    ),
    PlantedFault("layout_beats_random_placement", "grid_assignment", _shuffled, "DPQ16"),
    PlantedFault(
        "assignment_is_a_bijection",
        "grid_assignment",
        lambda value: _with(value, table=_cell(value.table, 0, row=1, col=1)),
        "1 in a cell that is taken",
    ),
    PlantedFault(
        "gap_is_within_its_promise",
        "grid_assignment",
        lambda value: _with(value, metrics={"assignment": ASSIGNMENT | {"gap": 0.5}}),
        "gap 0.5 of the sum of squared distances, promised 1e-06",
    ),
    PlantedFault(
        "tiles_are_the_photos_of_the_layout",
        "mosaic",
        lambda value: _with(value, mosaic=_grey(value)),
        "sampled tiles show another photo",
    ),
    PlantedFault(
        "model_gives_its_known_answers",
        "nsfw_model",
        lambda value: _with(value, fingerprint="another"),
        "the alias names another model",
    ),
    PlantedFault(
        "scores_are_probabilities",
        "nsfw_scores",
        lambda value: _with(value, table=_cell(value.table, 4, score=1.5)),
        "36 scores, 1 outside [0, 1]",
    ),
    PlantedFault(
        "maps_are_sound",
        "occlusion_maps",
        lambda value: _by_first_key(value, "maps", lambda array: array * np.nan),
        "1 maps, 1 unsound (/photos/a.png: seen is not finite)",
    ),
    PlantedFault(
        "reconstructions_are_sound",
        "deconvnet_maps",
        lambda value: _by_first_key(value, "reconstructions", np.zeros_like),
        "1 unsound (/photos/a.png: is blank)",
    ),
    PlantedFault("no_image_is_in_two_splits", "labelled_images", _straddling, "37 images, 1 twice"),
    PlantedFault(
        "labels_do_not_contradict",
        "labelled_images",
        lambda value: _found(value, "label conflict"),
        "4 rows are left out",
        "warn",
    ),
    PlantedFault(
        "few_rows_are_left_out",
        "labelled_images",
        lambda value: _found(value, "label conflict"),
        "rows are left out (a few",
        "warn",
    ),
    PlantedFault(
        "champion_is_no_worse",
        "nsfw_training",
        lambda value: _with(value, comparison=_cell(value.comparison, 0, auc=0.5)),
        "champion: It is better.",
    ),
    PlantedFault(
        "labels_are_not_swapped",
        "nsfw_training",
        lambda value: _with(value, label_doubt="Labels swapped?"),
        "Labels swapped?",
        "warn",
    ),
    PlantedFault(
        "figures_lie_in_their_intervals",
        "nsfw_evaluation",
        lambda value: _with(value, metrics=_cell(value.metrics, 1, value=np.inf)),
        "1 not finite or outside",
    ),
    PlantedFault(
        "auc_follows_from_the_scores",
        "nsfw_evaluation",
        lambda value: _with(value, scores=_cell(value.scores, 0, score=0.85)),
        "largest difference 2.5e-01",
    ),
)


def faulty_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with all faults, but that of the model, which collections share."""
    for fault in FAULTS:
        if fault.asset != "nsfw_model":
            values = {**values, fault.asset: fault.plant(values[fault.asset])}
    return values


def _grey(value: Mosaic) -> EncodedImage:
    settings = MosaicSettings(**value.settings)
    plan = plan_mosaic(SIDE, SIDE, settings)
    grey = Image.new("RGB", (plan.width, plan.height), "grey")
    return EncodedImage(encode_mosaic(grey, settings), ".jpg")


def store(files: FolderIOManager, asset: str, partition: str, value: Any) -> None:
    """Store a value as a run that has ended well has left it."""
    folder, generation = Path(files.base_folder, asset, partition), uuid.uuid4().hex
    save(value, folder / generation)
    note_origin(folder / generation, "a run")
    make_current(folder, generation)


def plant(files: FolderIOManager, asset: str, partition: str, change: Callable[[Any], Any]) -> None:
    """Change a stored value in place; its checksums are right, and its origin stays."""
    folder = Path(files.base_folder, asset, partition)
    generation = folder / str(current_in(folder))
    origin = generation / ORIGIN
    kept = origin.read_bytes() if origin.exists() else None
    value = change(load(VALUE_TYPES[asset], generation))
    for file in sorted(generation.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    save(value, generation)
    if kept is not None:
        origin.write_bytes(kept)


VALUE_TYPES: dict[str, type[Any]] = {
    "raw_images": Catalogue,
    "embeddings": Embeddings,
    "tsne_2d": pd.DataFrame,
    "grid_assignment": GridAssignment,
    "mosaic": Mosaic,
    "nsfw_model": NsfwModel,
    "nsfw_scores": NsfwScores,
    "occlusion_maps": OcclusionMaps,
    "deconvnet_maps": DeconvnetMaps,
    "labelled_images": LabelledData,
    "nsfw_training": NsfwTraining,
    "nsfw_evaluation": NsfwEvaluation,
}
