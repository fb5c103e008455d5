"""The grid of a collection that follows from its last map, and what has changed since."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from assets.config import GridConfig, StayConfig, TsneConfig
from assets.methods.common.errors import UserError
from assets.methods.common.progress import Progress
from assets.methods.layout.grid import GridShape
from assets.methods.layout.layout import LayoutSettings, Stay, lay_out
from assets.methods.layout.mosaic import MosaicPlan
from assets.methods.layout.projection.projection import LastPoints, ProjectionSettings, project
from assets.methods.layout.quality import neighbourhood_purity, random_purity
from assets.methods.layout.staying.changes_picture import draw_changes
from assets.methods.layout.staying.last_map import LastMap, too_much_changed
from assets.methods.layout.staying.staying import lay_out_again
from assets.results.photo_map import labels_of, layout_metrics, png
from assets.values import CHANGES, Embeddings, EncodedImage, GridAssignment

# What "near" means in the metrics, whatever the settings: rows and columns.
NEAR = 2
_FIRST = "It is the first one."
# What a map is made of, and how a sentence calls it.
_NETWORK, _PROJECTION, _GRID = "network", "projection", "grid"
_MADE_OF = {
    _NETWORK: "another network",
    _PROJECTION: "other settings of the projection",
    _GRID: "other settings of the grid",
}


@dataclass(frozen=True)
class Start:
    """The last map if a run starts from it; else why not, in a sentence."""

    last: GridAssignment | None
    why_not: str = ""


def last_points(
    last: GridAssignment | None, embeddings: Embeddings, config: TsneConfig
) -> LastPoints | None:
    """Return the points that the vectors of ``embeddings`` have on the last map, if they count.

    They do not where another network or projection made them.
    """
    made_of = {_NETWORK: embeddings.fingerprint, _PROJECTION: config.as_text()}
    if last is None or any(last.made_of.get(part) != text for part, text in made_of.items()):
        return None
    ids = embeddings.image_ids
    points = last.table.drop_duplicates("image_id").set_index("image_id")[["x", "y"]]
    found = points.reindex(ids)
    known = found.x.notna().to_numpy()
    held = not too_much_changed(list(points.index), ids, config.stay_settings())
    return LastPoints(np.where(known[:, np.newaxis], found.to_numpy(), 0.0), known, held)


def make_grid(
    shown: pd.DataFrame,
    embeddings: Embeddings,
    projection: str,
    config: GridConfig,
    last: GridAssignment | None,
    progress: Callable[[str], Progress],
) -> tuple[GridAssignment, np.ndarray]:
    """Lay out the photos that are ``shown``: from the last map where there is one that counts.

    Returns:
        The grid, and the distance (n,) of each photo from the place that was assigned to it; an
        unchanged map has none.
    """
    made_of = {
        _NETWORK: embeddings.fingerprint,
        _PROJECTION: projection,
        _GRID: config.as_text(),
        "apart": config.apart,
    }
    start = _start(last, made_of, config)
    names = _names(shown)
    if start.last is not None and sorted(names) == sorted(_names(start.last.table)):
        return _unchanged(start.last, shown, names), np.empty(0)
    points = shown[["x", "y"]].to_numpy()
    vectors = embeddings.of(list(shown.image_id))
    labels, settings = labels_of(shown), config.settings()
    if start.last is None:
        layout = lay_out(points, vectors, labels, settings, progress)
    else:
        known = _last_map(start.last)
        stay = config.stay_settings()
        layout = lay_out_again(names, points, vectors, known, labels, settings, stay, progress)
    table = shown.assign(row=layout.row, col=layout.col)
    changes = None
    stays: dict[str, Any] = {"anew": start.why_not, "fresh_dpq16": layout.quality.dpq16}
    if layout.stay is not None and start.last is not None:
        changes = _changes(table, start.last.table, layout.stay)
        stays = _stay_metrics(table, layout.stay)
    metrics = {**layout_metrics(layout), "stay": stays}
    grid = GridAssignment(table, layout.grid.columns, layout.grid.rows, metrics, made_of)
    grid = grid if changes is None else replace(grid, changes=changes)
    return grid, layout.displacement()


def fresh_quality(
    grid: GridAssignment, embeddings: Embeddings, progress: Callable[[str], Progress]
) -> dict[str, Any]:
    """Return the DPQ16 of a map, and that of one made anew of the same photos and settings.

    Raises:
        UserError: an earlier version made the map, and nothing says with which settings.
    """
    if not {_PROJECTION, _GRID} <= grid.made_of.keys():
        raise UserError("An earlier version of Tessera made this map: make it again first.")
    projection = ProjectionSettings(**json.loads(grid.made_of[_PROJECTION]))
    settings = LayoutSettings(**json.loads(grid.made_of[_GRID]))
    points = project(embeddings.vectors, projection, progress=progress("iterations"))
    ids = pd.Index(embeddings.image_ids)
    numbers = ids.get_indexer(pd.Index(grid.table.image_id))
    layout = lay_out(
        points[numbers], embeddings.vectors[numbers], settings=settings, progress=progress
    )
    shown, fresh = grid.metrics["quality"]["dpq16"], layout.quality.dpq16
    share = shown / fresh if shown is not None and fresh else None
    return {"dpq16": shown, "fresh_dpq16": fresh, "share_of_fresh": share}


def changes_picture(
    grid: GridAssignment, mosaic: Image.Image, plan: MosaicPlan
) -> dict[str, EncodedImage]:
    """Return the small picture of what has changed, as ``changes``; none for a first map."""
    if grid.changes.empty and not grid.metrics.get("stay", {}).get("known"):
        return {}
    new, gone, moved = (grid.changes[grid.changes.change == kind] for kind in CHANGES)
    inside = gone[gone.from_row.lt(grid.rows) & gone.from_col.lt(grid.columns)]
    drawn = draw_changes(
        mosaic,
        plan,
        new[["row", "col"]].to_numpy(np.int64),
        inside[["from_row", "from_col"]].to_numpy(np.int64),
        moved[["from_row", "from_col", "row", "col"]].to_numpy(np.int64),
        [
            f"{len(new):,} new, framed. {len(gone):,} gone, crossed out. {len(moved):,} moved: a "
            "line leads from where a photo was to a dot where it is."
        ],
    )
    return {"changes": png(drawn)}


def changes_sentence(stay: dict[str, Any]) -> str:
    """Return what the metrics ``stay`` of a map say, for the terminal."""
    if not stay:
        return ""
    if "known" not in stay:
        return anew_sentence(stay["anew"])
    parts = [
        f"Since the map before, {stay['added']:,} came and {stay['removed']:,} went; of the other "
        f"photos, {stay['kept_in_cell']:.0%} are in the same cell and {stay['within_2_cells']:.0%} "
        f"within {NEAR} cells"
    ]
    if stay["anew"]:
        parts.append(f"The map was made anew, and turned to fit: {stay['anew']}".rstrip("."))
    return ". ".join(parts)


def anew_sentence(why: str) -> str:
    """Return what the metric ``anew`` of a map says; "" for one that follows from its last one."""
    return why if why in ("", _FIRST) else f"The map was made anew: {why}"


def _start(last: GridAssignment | None, made_of: dict[str, Any], config: StayConfig) -> Start:
    if config.fresh:
        return Start(None, "It was asked for.")
    if config.apart:
        return Start(None, "It shows only some of the photos.")
    if not config.stay:
        return Start(None, "By its settings no photo has to stay.")
    if last is None:
        return Start(None, _FIRST)
    for part, what in _MADE_OF.items():
        if last.made_of.get(part) != made_of[part]:
            by = what if last.made_of else "an earlier version of Tessera"
            return Start(None, f"The last one was made with {by}.")
    return Start(last)


def _names(table: pd.DataFrame) -> list[str]:
    """Return a name for each row: the image_id, and a number behind further copies of an image."""
    number = table.groupby("image_id").cumcount()
    return [
        f"{image_id}.{copy}" if copy else image_id
        for image_id, copy in zip(table.image_id, number, strict=True)
    ]


def _last_map(grid: GridAssignment) -> LastMap:
    return LastMap(
        _names(grid.table),
        grid.table[["row", "col"]].to_numpy(np.int64),
        GridShape(grid.columns, grid.rows),
        grid.metrics["quality"]["dpq16"],
        grid.metrics["stay"]["fresh_dpq16"],
    )


def _unchanged(last: GridAssignment, shown: pd.DataFrame, names: list[str]) -> GridAssignment:
    """Return the last map with the uris and the labels of now."""
    cells = last.table.assign(name=_names(last.table)).set_index("name").loc[names, ["row", "col"]]
    table = shown.assign(row=cells.row.to_numpy(), col=cells.col.to_numpy())
    labels = labels_of(table)
    purity = {
        "neighbourhood_purity": neighbourhood_purity(
            table.row.to_numpy(), table.col.to_numpy(), labels.tolist()
        ),
        "random_purity": random_purity(labels.tolist()),
    }
    metrics = {**last.metrics, "quality": {**last.metrics["quality"], **purity}}
    return replace(last, table=table, metrics=metrics)


def _stay_metrics(table: pd.DataFrame, stay: Stay) -> dict[str, Any]:
    moves = table[["row", "col"]].to_numpy(np.int64)[stay.known] - stay.before[stay.known]
    lines, cells = np.abs(moves).max(axis=1, initial=0), np.hypot(*moves.T)
    known = len(moves)
    return {
        "anew": stay.anew,
        "added": len(table) - known,
        "removed": len(stay.gone),
        "known": known,
        "kept_in_cell": float((lines == 0).mean()) if known else 1.0,
        "within_2_cells": float((lines <= NEAR).mean()) if known else 1.0,
        "mean_move": float(cells.mean()) if known else 0.0,
        "largest_move": float(cells.max(initial=0.0)),
        "last_dpq16": stay.last_dpq16,
        "fresh_dpq16": stay.fresh_dpq16,
    }


def _changes(table: pd.DataFrame, last: pd.DataFrame, stay: Stay) -> pd.DataFrame:
    """Return a row for each photo that came, went or moved: see ``GridAssignment``."""
    now = table[["row", "col"]].to_numpy(np.int64)
    has_moved = stay.known & (now != stay.before).any(axis=1)
    parts = (
        (table[~stay.known], now[~stay.known], None),
        (last.iloc[stay.gone], None, stay.gone_cells),
        (table[has_moved], now[has_moved], stay.before[has_moved]),
    )
    rows = [_change(kind, *part) for kind, part in zip(CHANGES, parts, strict=True)]
    return pd.concat(rows, ignore_index=True)


def _change(
    kind: str, photos: pd.DataFrame, now: np.ndarray | None, before: np.ndarray | None
) -> pd.DataFrame:
    """Return the rows of one kind of change; places are (n, 2), or None where there are none."""
    nowhere = np.full((len(photos), 2), np.nan)
    places = np.hstack([nowhere if one is None else one for one in (now, before)])
    columns = ["row", "col", "from_row", "from_col"]
    return pd.concat(
        [
            pd.DataFrame({"change": kind, "image_id": photos.image_id, "uri": photos.uri}),
            pd.DataFrame(places, photos.index, columns).astype("Int64"),
            pd.Series(np.hypot(*(places[:, :2] - places[:, 2:]).T), photos.index, name="cells"),
        ],
        axis=1,
    )
