"""What is kept and shown of images that a deconvnet carried back to their pixels."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from assets.io_managers import npy_bytes
from assets.methods.attribution.deconvnet_figure import (
    DeconvnetTitle,
    draw_deconvnet_figure,
    signed_image,
)
from assets.methods.attribution.deconvnet_maps import DeconvnetMap, DeconvnetSettings, deconvnet_map
from assets.methods.models.classifier import Classifier
from assets.methods.photos.catalogue import CatalogueSettings
from assets.methods.photos.rejects import Reject
from assets.resources.tracking import TrackedRun
from assets.results.originals import check_any_read, read_chosen, rejects_table
from assets.results.photo_map import png
from assets.steps import Step
from assets.values import DeconvnetMaps, EncodedImage


@dataclass(frozen=True)
class Reconstruction:
    """The answer for one image: what the deconvnet found, and the figure that shows it."""

    found: DeconvnetMap
    figure: Image.Image


@dataclass(frozen=True)
class DeconvnetQuestion:
    """What is asked of an image; ``model`` is the classifier's name for people."""

    classifier: Classifier
    model: str
    class_name: str
    settings: DeconvnetSettings

    def answer(self, image: Image.Image, name: str) -> Reconstruction:
        """Run the deconvnet and draw what it found; ``name`` is what the figure calls the image."""
        found = deconvnet_map(image, self.classifier, self.class_name, self.settings)
        title = DeconvnetTitle(name, self.model)
        return Reconstruction(found, draw_deconvnet_figure(image, found, title))


@dataclass
class _Results:
    """What has been found so far, image by image."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    reconstructions: dict[str, np.ndarray] = field(default_factory=dict)
    figures: dict[str, EncodedImage] = field(default_factory=dict)


def reconstruct_originals(
    chosen: pd.DataFrame,
    question: DeconvnetQuestion,
    reading: CatalogueSettings,
    settings: dict[str, Any],
    log: Step,
) -> DeconvnetMaps:
    """Carry the images of ``chosen`` (image_id, uri, score) back at their own size, and log it all.

    A file that cannot be read any more is a reject. Raises UserError when none could be read.
    """
    results = _Results()
    progress = log.progress("images")
    for original in read_chosen(chosen, reading, results.rejects, log):
        answer = question.answer(original.picture, original.name)
        found, files = answer.found, reconstruction_files(answer)
        results.reconstructions[original.image_id] = found.reconstruction
        results.figures[original.image_id] = EncodedImage(files["figure.png"], ".png")
        rank = len(results.figures)
        results.rows.append(
            {
                "rank": rank,
                "image_id": original.image_id,
                "uri": original.uri,
                "score": original.score,
                "score_of_network": found.score,
                "changed_score": found.changed_score,
            }
        )
        log_reconstruction(log.run, original.folder, answer, files, rank)
        if rank == 1:
            log.thumbnail("highest", answer.figure)
        progress(original.number, len(chosen))
    check_any_read(len(results.figures), results.rejects)
    log.metrics({"images": len(results.figures), "rejected": len(results.rejects)})
    return DeconvnetMaps(
        pd.DataFrame(results.rows),
        rejects_table(results.rejects),
        results.reconstructions,
        results.figures,
        settings,
    )


def reconstruction_files(answer: Reconstruction) -> dict[str, bytes]:
    """Return what is kept of an image as files, by their names."""
    found = answer.found
    return {
        "figure.png": png(answer.figure).data,
        "reconstruction.npy": npy_bytes(found.reconstruction),
        "reconstruction.png": png(signed_image(found.reconstruction)).data,
        "changed.png": png(found.changed).data,
    }


def log_reconstruction(
    run: TrackedRun, name: str, answer: Reconstruction, files: dict[str, bytes], step: int
) -> None:
    """Log the files of an image, its figure and its scores as number ``step`` of a series."""
    found = answer.found
    run.metrics({"score": found.score, "changed_score": found.changed_score}, step)
    run.series_image("figure", answer.figure, step)
    for file, data in files.items():
        run.file(f"{name}/{file}", data)
