"""What is kept and shown of images that were looked into."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from assets.figures import png
from assets.io_managers import npy_bytes
from assets.methods.cataloguing import CatalogueSettings
from assets.methods.errors import UserError
from assets.methods.explained_image import ExplainedImage, Question, explain_image
from assets.methods.explanation import Announcement
from assets.methods.local_files import local_path
from assets.methods.originals import read_original
from assets.methods.rejects import Reject, Rejected
from assets.methods.source_files import WEB, protocol_of
from assets.methods.window_scores import WindowScoreStore
from assets.resources.tracking import TrackedRun
from assets.settings import DeconvnetMapsConfig, OcclusionMapsConfig
from assets.steps import Step
from assets.values import OcclusionMaps, Picture


def choose_images(
    images: pd.DataFrame, scores: pd.DataFrame, config: OcclusionMapsConfig | DeconvnetMapsConfig
) -> pd.DataFrame:
    """Return the images to look into, the highest score first: image_id, uri and score.

    They are those that the configuration lists by image_id or uri, or else the highest scores.
    Raises UserError when an image of the list is not in the catalogue, or when images have no
    score: then the scores are older than the catalogue.
    """
    unique = images.drop_duplicates("image_id")
    ranked = unique[["image_id", "uri"]].merge(scores, on="image_id", how="left")
    n_missing = int(ranked.score.isna().sum())
    if n_missing:
        raise UserError(
            f"{n_missing:,} of {len(ranked):,} images have no score in nsfw_scores yet: "
            "materialise nsfw_scores first."
        )
    ranked = ranked.sort_values(["score", "image_id"], ascending=[False, True], ignore_index=True)
    if not config.images:
        return ranked.head(config.highest)
    by_name = dict(zip(images.uri, images.image_id, strict=True))
    by_name |= {image_id: image_id for image_id in images.image_id}
    unknown = [name for name in config.images if name not in by_name]
    if unknown:
        raise UserError(
            f"{unknown[0]} is not an image of this collection: name images by their image_id or "
            "their uri in raw_images."
        )
    wanted = {by_name[name] for name in config.images}
    return ranked[ranked.image_id.isin(wanted)].reset_index(drop=True)


@dataclass
class OcclusionResults:
    """What has been found out so far, image by image; pictures are kept as files are."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    window_scores: dict[str, np.ndarray] = field(default_factory=dict)
    overlays: dict[str, Picture] = field(default_factory=dict)
    figures: dict[str, Picture] = field(default_factory=dict)

    def add(
        self,
        image_id: str,
        uri: str,
        score: float,
        explained: ExplainedImage,
        files: dict[str, bytes],
    ) -> None:
        """Add an image with its files, whose ``score`` among its collection's is known."""
        self.figures[image_id] = Picture(files["figure.png"], ".png")
        for experiment, found in explained.maps.items():
            key = f"{image_id}/{experiment}"
            self.maps[key] = found.values
            self.window_scores[key] = found.scores
            self.overlays[key] = Picture(files[f"{experiment}.png"], ".png")
            row = {
                "rank": len(self.figures),
                "image_id": image_id,
                "uri": uri,
                "score": score,
                "score_at_full_size": explained.score,
                "experiment": experiment,
                "n_windows": found.windows.count,
                "n_computed": found.n_computed,
            }
            self.rows.append(row | _figures_of(experiment, explained))

    def value(self, settings: dict[str, Any]) -> OcclusionMaps:
        """Return it as the asset holds it; raises UserError when no image could be read."""
        if not self.figures:
            raise UserError(
                f"None of the {len(self.rejects)} images could be read again, the first because: "
                f"{self.rejects[0].detail}"
            )
        return OcclusionMaps(
            pd.DataFrame(self.rows),
            rejects_table(self.rejects),
            self.maps,
            self.window_scores,
            self.overlays,
            self.figures,
            settings,
        )


def _figures_of(experiment: str, explained: ExplainedImage) -> dict[str, float]:
    prefix = f"{experiment}."
    return {
        name.removeprefix(prefix): figure
        for name, figure in explained.figures.items()
        if name.startswith(prefix)
    }


def explain_originals(
    chosen: pd.DataFrame,
    question: Question,
    reading: CatalogueSettings,
    store: WindowScoreStore,
    log: Step,
) -> OcclusionResults:
    """Look into the images of ``chosen`` (image_id, uri, score) at their own size, and log it all.

    A file that cannot be read any more is a reject.
    """
    results = OcclusionResults()
    folders = folder_names(list(chosen.uri))
    columns = (chosen.image_id, chosen.uri, chosen.score)
    for number, (image_id, uri, score) in enumerate(zip(*columns, strict=True)):
        name = file_name(uri)
        try:
            image = read_original(uri, reading, image_id)
        except Rejected as rejected:
            results.rejects.append(Reject(uri, rejected.reason, rejected.detail))
            log.context.log.warning(f"{name} was left out: {rejected.detail}")
            continue
        announce = partial(_log_announcement, log, f"{name}, {number + 1} of {len(chosen)}")
        explained = explain_image(image, name, question, store, announce, log.progress("windows"))
        files = explained_files(explained)
        results.add(image_id, uri, float(score), explained, files)
        rank = len(results.figures)
        log_explained(log.run, folders[number], explained, files, step=rank)
        if rank == 1:
            log.thumbnail("highest", explained.figure)
    return results


def log_explained(
    run: TrackedRun, name: str, explained: ExplainedImage, files: dict[str, bytes], step: int
) -> None:
    """Log the files of an image, its pictures and figures as number ``step`` of a series."""
    run.figures(explained.figures, step)
    run.series_picture("figure", explained.figure, step)
    for experiment, overlay in explained.overlays.items():
        run.series_picture(experiment, overlay, step)
    for file, data in files.items():
        run.file(f"{name}/{file}", data)


def explained_files(explained: ExplainedImage) -> dict[str, bytes]:
    """Return what is kept of an image as files, by their names."""
    files = {"figure.png": png(explained.figure).data}
    for experiment, found in explained.maps.items():
        files[f"{experiment}.npy"] = npy_bytes(found.values)
        files[f"{experiment}.png"] = png(explained.overlays[experiment]).data
    return files


def file_name(uri: str) -> str:
    """Return the file's own name, as text that can be shown; of a web address without its query."""
    path = urlsplit(uri).path if protocol_of(uri) in WEB else local_path(uri)
    name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return os.fsencode(name).decode("utf-8", "replace")


def folder_names(uris: Sequence[str]) -> list[str]:
    """Return a folder's name for each uri: the file's own, made safe and, if need be, unique."""
    names: list[str] = []
    for uri in uris:
        stem = PurePath(file_name(uri)).stem
        safe = "".join(one if one.isalnum() or one in "-_." else "_" for one in stem).strip(".")
        base = name = safe[:80] or "image"
        number = 1
        while name in names:
            number += 1
            name = f"{base}-{number}"
        names.append(name)
    return names


def rejects_table(rejects: Iterable[Reject]) -> pd.DataFrame:
    """Return rejects as assets hold them: uri, reason, detail."""
    rows = [{**asdict(reject), "reason": reject.reason.value} for reject in rejects]
    return pd.DataFrame(rows, columns=["uri", "reason", "detail"], dtype="string")


def _log_announcement(log: Step, which: str, announcement: Announcement) -> None:
    log.context.log.info(f"{which}: {announcement.sentence()}")
