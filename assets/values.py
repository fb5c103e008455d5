"""What passes from asset to asset, beside plain tables."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from assets.methods.common.errors import UserError

# What homes written before a field or a column was renamed call it.
FORMER_NAME = "former_name"
FORMER_COLUMNS = "former_columns"


@dataclass(frozen=True)
class Embeddings:
    """One vector an image: a table of image_id and vector (fixed-size list of float32)."""

    table: pa.Table
    fingerprint: str
    n_computed: int

    @classmethod
    def from_arrays(
        cls, image_ids: list[str], vectors: np.ndarray, fingerprint: str, n_computed: int
    ) -> "Embeddings":
        """Hold float32 ``vectors`` (n, d), the rows in the order of ``image_ids``."""
        column = pa.FixedSizeListArray.from_arrays(
            pa.array(np.ascontiguousarray(vectors, np.float32).ravel()), vectors.shape[1]
        )
        table = pa.table({"image_id": pa.array(image_ids, pa.string()), "vector": column})
        return cls(table, fingerprint, n_computed)

    @property
    def image_ids(self) -> list[str]:
        """The image_id of each row."""
        return self.table["image_id"].to_pylist()

    @property
    def vectors(self) -> np.ndarray:
        """The vectors, float32 (n, d)."""
        column = self.table["vector"].combine_chunks()
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)

    def of(self, image_ids: list[str]) -> np.ndarray:
        """Return the vectors (len(image_ids), d) of ``image_ids``, in that order."""
        row_of = {image_id: row for row, image_id in enumerate(self.image_ids)}
        return self.vectors[[row_of[image_id] for image_id in image_ids]]


@dataclass(frozen=True)
class GridAssignment:
    """Each photo's cell: a table of image_id, uri, label, x, y, row, col; and the layout's metrics.

    x and y are the coordinates of tsne_2d, row and col count from the upper left corner.
    """

    table: pd.DataFrame
    columns: int
    rows: int
    metrics: dict[str, Any] = field(metadata={FORMER_NAME: "figures"})


@dataclass(frozen=True)
class EncodedImage:
    """An encoded picture and the suffix of its file (``.jpg``, ``.png``)."""

    data: bytes
    suffix: str


@dataclass(frozen=True)
class Mosaic:
    """The mosaic, the four-panel figure, and the settings that the mosaic was drawn with.

    ``shrunk`` says in a sentence why the tiles are smaller than the settings ask for.
    """

    mosaic: EncodedImage
    figure: EncodedImage
    settings: dict[str, Any]
    shrunk: str | None = None


@dataclass(frozen=True)
class NsfwModel:
    """The NSFW model in use: a version in the registry, and what tells its scores from others'.

    ``version`` is empty when the registry could not be reached; ``weights`` is the file's name.
    """

    version: str
    weights: str
    fingerprint: str
    class_names: list[str]
    preprocessing: dict[str, Any]


@dataclass(frozen=True)
class NsfwScores:
    """P(class) of each image: a table of image_id and score, in [0, 1]; and who gave them."""

    table: pd.DataFrame
    model: str
    class_name: str
    fingerprint: str
    n_computed: int


@dataclass(frozen=True)
class OcclusionMaps:
    """What the model looks at in some images of a collection, the highest scores first.

    ``table`` has a row an image and experiment: rank, image_id, uri, score (that of nsfw_scores),
    score_at_full_size, experiment, and the metrics of its map. ``maps`` (rows, columns of the
    image, float32), ``window_scores`` (rows, columns of windows, float32) and ``overlays`` have the
    key ``IMAGE_ID/EXPERIMENT``, ``figures`` have ``IMAGE_ID``. ``rejects`` are the images whose
    file could not be read any more.
    """

    table: pd.DataFrame
    rejects: pd.DataFrame
    maps: dict[str, np.ndarray]
    window_scores: dict[str, np.ndarray]
    overlays: dict[str, EncodedImage]
    figures: dict[str, EncodedImage]
    settings: dict[str, Any]


@dataclass(frozen=True)
class DeconvnetMaps:
    """What makes the network answer so, in some images of a collection, the highest scores first.

    ``table`` has a row an image: rank, image_id, uri, score (that of nsfw_scores),
    score_of_network, changed_score. ``reconstructions`` (rows, columns of the image, 3; float32)
    and ``figures`` have the key ``IMAGE_ID``; ``rejects`` are as in ``OcclusionMaps``.
    """

    table: pd.DataFrame
    rejects: pd.DataFrame
    reconstructions: dict[str, np.ndarray]
    figures: dict[str, EncodedImage]
    settings: dict[str, Any]


@dataclass(frozen=True)
class NsfwTraining:
    """A version of the NSFW model that was trained, and what became of it.

    ``history`` has a row an epoch. ``comparison`` has a row for the new version and one for the
    champion of before: model, version, auc, auc_low, auc_high on the same test set; the champion's
    are null where it cannot be asked. ``alias`` is what the version was given, and ``reason`` why;
    ``version`` is empty when the registry could not be reached.
    """

    history: pd.DataFrame
    comparison: pd.DataFrame
    weights: str
    fingerprint: str
    version: str
    alias: str
    reason: str
    best_epoch: int


@dataclass(frozen=True)
class NsfwEvaluation:
    """What models are worth on labelled images.

    ``metrics``: model, metric, value, low, high. ``slices``: model and the columns of
    ``Evaluation.slices``. ``curves``: model, curve (roc or precision_recall), threshold, x, y.
    ``reliability``: model, scaled (bool), and the columns of ``reliability_table``. ``scores``:
    image_id, uri, label, split, model, score. ``worst`` has a contact sheet a model, by its number
    in ``models``.
    """

    positive: str
    models: list[str]
    fingerprints: list[str]
    metrics: pd.DataFrame = field(
        metadata={FORMER_NAME: "figures", FORMER_COLUMNS: {"figure": "metric"}}
    )
    slices: pd.DataFrame
    curves: pd.DataFrame
    reliability: pd.DataFrame
    scores: pd.DataFrame
    figure: EncodedImage
    worst: dict[str, EncodedImage]
    notes: list[str]
    settings: dict[str, Any]


def with_points(photos: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Return the photos with the x and y of their image_id, in the order of the photos.

    Raises UserError when a photo has no point: then the points are older than the photos.
    """
    joined = photos.merge(points, on="image_id", how="left")
    n_missing = int(joined.x.isna().sum())
    if n_missing:
        raise UserError(
            f"{n_missing:,} of {len(photos):,} photos have no point in tsne_2d yet: materialise "
            "embeddings and tsne_2d first."
        )
    return joined
