"""The maps of what the model in use looks at, for the page of a collection."""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from assets.io_managers import FolderIOManager
from assets.methods.attribution.deconvnet_figure import signed_image
from assets.methods.attribution.heat_map import HeatMap, HeatMapSettings
from assets.methods.common.errors import UserError
from assets.methods.page.explained import LONG_SIDE, ExplainedPhoto, MapOfPhoto
from assets.methods.photos.animation import frame_id
from assets.methods.plotting.text import format_values
from assets.values import DeconvnetMaps, NsfwScores, OcclusionMaps

# Raise it whenever the pixels of a map change.
_VERSION = 1


def explained_photos(
    outputs: FolderIOManager, name: str, image_ids: Collection[str], scores: NsfwScores
) -> dict[str, ExplainedPhoto]:
    """Return the maps of photos of a collection, by image_id; those of the model of its scores.

    Maps of another model or of another class are left out, as are damaged ones.

    Args:
        outputs: reads the values of the home.
        name: of the collection.
        image_ids: of the photos that the page shows.
        scores: those of the collection.
    """
    wanted = set(image_ids)
    found: dict[str, tuple[str, str, list[MapOfPhoto]]] = {}
    for kept in (
        _read(outputs, OcclusionMaps, "occlusion_maps", name),
        _read(outputs, DeconvnetMaps, "deconvnet_maps", name),
    ):
        if kept is None or not _is_same_model(kept.provenance, scores):
            continue
        model = _model_in_words(kept.provenance)
        maps = _occlusion(kept) if isinstance(kept, OcclusionMaps) else _deconvnet(kept)
        for row, one in maps:
            if row["image_id"] in wanted:
                shown_id = row["image_id"]
                frame = row.get("frame")
                if not pd.isna(frame):
                    shown_id = frame_id(row["image_id"], int(frame))
                # What a second asset says of another frame is of another picture.
                known = found.setdefault(row["image_id"], (shown_id, model, []))
                if known[0] == shown_id:
                    known[2].append(one)
    return {
        image_id: ExplainedPhoto(shown_id, model, tuple(maps))
        for image_id, (shown_id, model, maps) in found.items()
    }


def _read(outputs: FolderIOManager, kind: type[Any], asset: str, name: str) -> Any:
    if not outputs.has_value(asset, name):
        return None
    try:
        return outputs.read(kind, asset, name)
    except UserError:
        # The checks of the asset tell of it; the page does without.
        return None


def _is_same_model(made: dict[str, Any], scores: NsfwScores) -> bool:
    fingerprint = scores.provenance.get("model_fingerprint", scores.fingerprint)
    return made.get("model_fingerprint") == fingerprint and made.get("class") == scores.class_name


def _model_in_words(made: dict[str, Any]) -> str:
    version = f", version {made['model_version']}" if made.get("model_version") else ""
    return f"{made['model']}{version}, fingerprint {made['model_fingerprint'][:16]}"


def _occlusion(kept: OcclusionMaps) -> Iterator[tuple[Mapping[Any, Any], MapOfPhoto]]:
    class_name = kept.provenance["class"]
    for row in kept.table.to_dict("records"):
        values = kept.maps[f"{row['image_id']}/{row['experiment']}"]
        low, high = format_values([float(values.min()), float(values.max())])
        # Older homes have no such column.
        is_exact = pd.isna(row.get("estimated_error"))
        estimate = "" if is_exact else " Estimated from a part of the windows."
        if row["experiment"] == "seen":
            level = None
            words = (
                f"Bright where a part alone looks like {class_name}: P({class_name}) of windows "
                f"cut out, from {low} to {high}.{estimate}"
            )
        else:
            level = 1 - float(row["read_score"])
            words = (
                f"Red where covering a part lowers P({class_name}), blue where it raises it, "
                f"white where it changes nothing.{estimate}"
            )
        draw = partial(_heat, values, level)
        yield row, MapOfPhoto(str(row["experiment"]), words, _digest(values, level), draw)


def _deconvnet(kept: DeconvnetMaps) -> Iterator[tuple[Mapping[Any, Any], MapOfPhoto]]:
    class_name = kept.provenance["class"]
    words = (
        f"What in the pixels speaks for {class_name}, carried back through the network: grey is "
        "nothing."
    )
    for row in kept.table.to_dict("records"):
        values = kept.reconstructions[str(row["image_id"])]
        draw = partial(signed_image, values)
        yield row, MapOfPhoto("deconvnet", words, _digest(values, None), draw, shows_photo=True)


def _heat(values: np.ndarray, level: float | None) -> Image.Image:
    """Draw a map in its colours, no larger than a page shows it."""
    rows, columns = values.shape
    shown = HeatMap(Image.new("RGB", (columns, rows)), values, HeatMapSettings(), level)
    scale = min(1.0, LONG_SIDE / max(rows, columns))
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    small = Image.fromarray(np.ascontiguousarray(values, np.float32)).resize(
        size, Image.Resampling.BILINEAR
    )
    return Image.fromarray(np.rint(shown.colours(np.asarray(small))).astype(np.uint8))


def _digest(values: np.ndarray, level: float | None) -> str:
    digest = hashlib.sha256(repr((_VERSION, values.shape, level, LONG_SIDE)).encode())
    digest.update(np.ascontiguousarray(values).data.cast("B"))
    return digest.hexdigest()
