"""The values of assets that are not plain tables."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from assets.methods.common.errors import UserError
from assets.methods.page.changes import CAME, MOVED, WENT

# The parts of a `Provenance`; empty in homes of before.
Parts = dict[str, Any]

# Metadata of a field that was renamed, or has renamed columns: their names in older homes.
FORMER_NAME = "former_name"
FORMER_COLUMNS = "former_columns"
# Of the column of tsne_2d that names the network, by its fingerprint, which has placed a photo.
NETWORK_COLUMN = "network"
# Where each photo of a mosaic lies: the columns of ``Mosaic.places``.
PLACE_COLUMNS = ("image_id", "x", "y", "row", "col", NETWORK_COLUMN)
# The empty columns of ``NsfwTraining.references``.
REFERENCE_COLUMNS = {
    "model": pd.Series(dtype=object),
    "place": pd.Series(dtype=object),
    "auc": pd.Series(dtype=float),
    "auc_low": pd.Series(dtype=float),
    "auc_high": pd.Series(dtype=float),
}


# What can have become of a photo, in the column ``change``.
CHANGES = (CAME, WENT, MOVED)
# The empty columns of ``GridAssignment.changes``.
CHANGE_COLUMNS = {
    "change": pd.Series(dtype=object),
    "image_id": pd.Series(dtype=object),
    "uri": pd.Series(dtype=object),
    **{place: pd.Series(dtype="Int64") for place in ("row", "col", "from_row", "from_col")},
    "cells": pd.Series(dtype=float),
}


@dataclass(frozen=True)
class Embeddings:
    """A table of image_id and vector, a fixed-size list of float32; one row per image."""

    table: pa.Table
    fingerprint: str
    n_computed: int

    @classmethod
    def from_arrays(
        cls, image_ids: list[str], vectors: np.ndarray, fingerprint: str, n_computed: int
    ) -> "Embeddings":
        """Store ``vectors``, (n, d) float32, with rows in the order of ``image_ids``."""
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
    """The cell of each photo, and the metrics of the layout.

    ``table`` has image_id, uri, label, x, y, row, col: x and y are the coordinates of tsne_2d, row
    and col count from the upper left corner. Where a network has placed the photos, its fingerprint
    is in the column ``network``. ``made_of`` names the network and the settings; maps
    of older homes have none, and another run does not start from them. ``changes`` has a row for
    each photo that came, went or moved since the map before: change, image_id, uri, row, col,
    from_row, from_col (where it was, in this grid) and cells, the distance; a first map has none.
    """

    table: pd.DataFrame
    columns: int
    rows: int
    metrics: dict[str, Any] = field(metadata={FORMER_NAME: "figures"})
    made_of: dict[str, Any] = field(default_factory=dict)
    changes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(CHANGE_COLUMNS))


@dataclass(frozen=True)
class EncodedImage:
    """The bytes of an image file, and its suffix (``.jpg``, ``.png``)."""

    data: bytes
    suffix: str


@dataclass(frozen=True)
class Mosaic:
    """The mosaic, the four-panel figure, and the settings of the mosaic.

    ``shrunk`` says in a sentence why the tiles are smaller than in the settings, and ``enlarged``
    which could not be drawn from originals. ``more`` has the small picture ``changes`` of what has
    changed since the map before, and ``number`` is that of the map among those that are kept; a
    first map has no such picture, and one that is not kept no number. ``places`` has image_id, x,
    y, row and col of each photo, and ``network`` as in ``GridAssignment``; older homes have none.
    ``page`` has the parts of the `PageReport` if there is a page, which is no part of the value: it
    is kept in one folder, and brought up to date there. ``blurred`` has the image_id of each photo
    that is drawn blurred, and ``all_blurred`` says in a sentence why all are, where nobody knows
    which are to be. ``drawn_of`` is a digest of what the pictures show: for the same they are not
    drawn again.
    """

    mosaic: EncodedImage
    figure: EncodedImage
    settings: dict[str, Any]
    shrunk: str | None = None
    enlarged: str | None = None
    more: dict[str, EncodedImage] = field(default_factory=dict)
    number: int | None = None
    places: pd.DataFrame = field(default_factory=pd.DataFrame, compare=False)
    page: dict[str, Any] | None = None
    blurred: list[str] = field(default_factory=list)
    all_blurred: str | None = None
    drawn_of: str = ""


@dataclass(frozen=True)
class NsfwModel:
    """The version of the NSFW model that is the champion.

    ``version`` is empty when the registry could not be reached. ``weights`` is a file name, and
    ``fingerprint`` identifies the weights and the preprocessing.
    """

    version: str
    weights: str
    fingerprint: str
    class_names: list[str]
    preprocessing: dict[str, Any]


@dataclass(frozen=True)
class NsfwScores:
    """The scores of a model: ``table`` has image_id and score, P(class_name) in [0, 1].

    Of animations it also has ``frame``, the number from 0 of the frame with this score, the highest
    of those that were scored; ``seconds``, when the frame is shown, if the file says it; and
    ``note``, a sentence if not all of the animation could be read.
    """

    table: pd.DataFrame
    model: str
    class_name: str
    fingerprint: str
    n_computed: int
    provenance: Parts = field(default_factory=dict)


@dataclass(frozen=True)
class OcclusionMaps:
    """The occlusion maps of some images of a collection, the highest scores first.

    ``table`` has a row per image and experiment: rank, image_id, uri, score (from nsfw_scores),
    frame (of an animation, from 0), judged_score (of the model and the class that were asked, which
    may be others, for the same pixels; older homes have none), read_score (of the pixels on which
    the windows lie), experiment, the metrics of its map, how many of its windows were scored, the
    estimated error of a map for which some were not, and where its strongest window lies
    (``placed_columns``). ``maps`` (rows, columns of the image, or of the largest map if the image
    is larger, float32), ``window_scores`` (rows, columns of windows, float32; NaN where a window
    was not scored) and ``overlays`` have the key ``IMAGE_ID/EXPERIMENT``, ``figures`` have
    ``IMAGE_ID``. ``rejects`` are the images whose file can no longer be read. ``sheet`` has the
    pages of a sheet of all images, by their number from 1; none in older homes. ``notes`` are
    sentences on the origin of the maps, such as that the scores are of another version.
    """

    table: pd.DataFrame = field(metadata={FORMER_COLUMNS: {"score_at_full_size": "read_score"}})
    rejects: pd.DataFrame
    maps: dict[str, np.ndarray]
    window_scores: dict[str, np.ndarray]
    overlays: dict[str, EncodedImage]
    figures: dict[str, EncodedImage]
    settings: dict[str, Any]
    provenance: Parts = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sheet: dict[str, EncodedImage] = field(default_factory=dict)


@dataclass(frozen=True)
class DeconvnetMaps:
    """The deconvnet reconstructions of some images of a collection, the highest scores first.

    ``table`` has a row per image: rank, image_id, uri, score (from nsfw_scores), frame (of an
    animation, from 0), judged_score (as in ``OcclusionMaps``), square_score (of the square that the
    deconvnet reads), changed_score (of the square after a small step). ``reconstructions`` (as
    large as maps, 3; float32) and ``figures`` have the key ``IMAGE_ID``; ``rejects`` and ``notes``
    are as in ``OcclusionMaps``.
    """

    table: pd.DataFrame = field(metadata={FORMER_COLUMNS: {"score_of_network": "square_score"}})
    rejects: pd.DataFrame
    reconstructions: dict[str, np.ndarray]
    figures: dict[str, EncodedImage]
    settings: dict[str, Any]
    provenance: Parts = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class NsfwTraining:
    """A trained version of the NSFW model, its comparison with the champion, and its alias.

    ``history`` has a row per epoch. ``comparison`` has a row for the new version and one for the
    champion that it was compared with: model, version, auc, auc_low, auc_high on the same test set,
    model_fingerprint; the champion's AUC is null where it does not have the positive class.
    ``reason`` says why the version got its ``alias``. When the registry could not be reached, both
    ``version`` and ``alias`` are empty. ``label_doubt`` says which labels may be swapped; empty if
    none seem to be. ``references`` has the AUC of the models that knew the class before, in each
    split and slice: model, place, auc, auc_low, auc_high. Older homes have neither.
    """

    history: pd.DataFrame
    comparison: pd.DataFrame
    weights: str
    fingerprint: str
    version: str
    alias: str
    reason: str
    best_epoch: int
    label_doubt: str = ""
    references: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(REFERENCE_COLUMNS))
    provenance: Parts = field(default_factory=dict)


@dataclass(frozen=True)
class NsfwEvaluation:
    """The evaluation of models on labelled images.

    Every table has the columns model and class, the classes of the model that stand for
    ``positive``, joined by a plus sign. ``metrics``: metric, value, low, high. ``slices``: the
    columns of ``Evaluation.slices``. ``curves``: curve (roc or precision_recall), threshold, x, y.
    ``reliability``: scaled (bool), and the columns of ``reliability_table``. ``scores``: image_id,
    uri, label, split, score, frame (as in `NsfwScores`). ``worst`` has a contact sheet for each
    model, by its number in ``models``. ``classes`` are the classes in the order of ``models``, and
    empty in an older home, where every model has the class ``positive``; nor do its tables have the
    column class. ``provenance`` is in the order of ``models``.
    """

    positive: str
    models: list[str]
    fingerprints: list[str]
    metrics: pd.DataFrame = field(
        metadata={FORMER_NAME: "figures", FORMER_COLUMNS: {"figure": "metric"}}
    )
    slices: pd.DataFrame = field(
        metadata={
            FORMER_COLUMNS: {"low": "false_positive_rate_low", "high": "false_positive_rate_high"}
        }
    )
    curves: pd.DataFrame
    reliability: pd.DataFrame
    scores: pd.DataFrame
    figure: EncodedImage
    worst: dict[str, EncodedImage]
    notes: list[str]
    settings: dict[str, Any]
    provenance: list[Parts] = field(default_factory=list)
    classes: tuple[list[str], ...] = ()


def points_table(image_ids: list[str], points: np.ndarray, projection: str) -> pd.DataFrame:
    """Return points (n, 2) as a table: image_id, x, y, and the settings that made all of them."""
    columns = {"image_id": image_ids, "x": points[:, 0], "y": points[:, 1]}
    return pd.DataFrame(columns | {"projection": projection})


def projection_of(points: pd.DataFrame) -> str:
    """Return the settings that made a table of points; empty in homes of before."""
    return str(points.projection.iloc[0]) if "projection" in points else ""


def with_points(photos: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Return the photos with the x and y of their image_id, in the order of the photos.

    Raises UserError when a photo has no point, because the points are older than the photos.
    """
    joined = photos.merge(points[["image_id", "x", "y"]], on="image_id", how="left")
    n_missing = int(joined.x.isna().sum())
    if n_missing:
        raise UserError(
            f"{n_missing:,} of {len(photos):,} photos have no point in tsne_2d yet: materialise "
            "embeddings and tsne_2d first."
        )
    return joined
