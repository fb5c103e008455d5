"""What is kept and shown of images that were looked into."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from assets.io_managers import npy_bytes
from assets.methods.attribution.explain import ExplainedImage, Question, explain_image
from assets.methods.attribution.occlusion_maps import Announcement
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.photos.catalogue import CatalogueSettings
from assets.methods.photos.rejects import Reject
from assets.resources.tracking import TrackedRun
from assets.results.originals import check_any_read, read_chosen, rejects_table
from assets.results.photo_map import png
from assets.steps import Step
from assets.values import EncodedImage, OcclusionMaps


@dataclass
class OcclusionResults:
    """What has been found out so far, image by image; pictures are kept as files are."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    window_scores: dict[str, np.ndarray] = field(default_factory=dict)
    overlays: dict[str, EncodedImage] = field(default_factory=dict)
    figures: dict[str, EncodedImage] = field(default_factory=dict)

    def add(
        self,
        image_id: str,
        uri: str,
        score: float,
        explained: ExplainedImage,
        files: dict[str, bytes],
    ) -> None:
        """Add an image with its files, whose ``score`` among its collection's is known."""
        self.figures[image_id] = EncodedImage(files["figure.png"], ".png")
        for experiment, found in explained.maps.items():
            key = f"{image_id}/{experiment}"
            self.maps[key] = found.values
            self.window_scores[key] = found.scores
            self.overlays[key] = EncodedImage(files[f"{experiment}.png"], ".png")
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
            self.rows.append(row | _metrics_of(experiment, explained))

    def value(self, settings: dict[str, Any]) -> OcclusionMaps:
        """Return it as the asset holds it; raises UserError when no image could be read."""
        check_any_read(len(self.figures), self.rejects)
        return OcclusionMaps(
            pd.DataFrame(self.rows),
            rejects_table(self.rejects),
            self.maps,
            self.window_scores,
            self.overlays,
            self.figures,
            settings,
        )


def _metrics_of(experiment: str, explained: ExplainedImage) -> dict[str, float]:
    prefix = f"{experiment}."
    return {
        name.removeprefix(prefix): metric
        for name, metric in explained.metrics.items()
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
    for original in read_chosen(chosen, reading, results.rejects, log):
        which = f"{original.name}, {original.number} of {len(chosen)}"
        announce = partial(_log_announcement, log, which)
        explained = explain_image(
            original.picture, original.name, question, store, announce, log.progress("windows")
        )
        files = explained_files(explained)
        results.add(original.image_id, original.uri, original.score, explained, files)
        rank = len(results.figures)
        log_explained(log.run, original.folder, explained, files, step=rank)
        if rank == 1:
            log.thumbnail("highest", explained.figure)
    return results


def log_explained(
    run: TrackedRun, name: str, explained: ExplainedImage, files: dict[str, bytes], step: int
) -> None:
    """Log the files of an image, its images and metrics as number ``step`` of a series."""
    run.metrics(explained.metrics, step)
    run.series_image("figure", explained.figure, step)
    for experiment, overlay in explained.overlays.items():
        run.series_image(experiment, overlay, step)
    for file, data in files.items():
        run.file(f"{name}/{file}", data)


def explained_files(explained: ExplainedImage) -> dict[str, bytes]:
    """Return what is kept of an image as files, by their names."""
    files = {"figure.png": png(explained.figure).data}
    for experiment, found in explained.maps.items():
        files[f"{experiment}.npy"] = npy_bytes(found.values)
        files[f"{experiment}.png"] = png(explained.overlays[experiment]).data
    return files


def _log_announcement(log: Step, which: str, announcement: Announcement) -> None:
    log.context.log.info(f"{which}: {announcement.sentence()}")
