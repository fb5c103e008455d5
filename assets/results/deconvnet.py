"""Deconvnets of images: how they are drawn, and what is kept of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from assets.config import DeconvnetMapsConfig
from assets.io_managers import npy_bytes
from assets.methods.attribution.deconvnet_figure import draw_deconvnet_figure, signed_image
from assets.methods.attribution.deconvnet_maps import (
    DeconvnetMap,
    DeconvnetSettings,
    deconvnet_map,
)
from assets.methods.attribution.target import Target
from assets.methods.photos.catalogue import CatalogueSettings
from assets.methods.photos.rejects import Reject, rejects_table
from assets.results.originals import ImageResult, Original, chosen_results
from assets.results.photo_map import png
from assets.steps import Step
from assets.values import DeconvnetMaps, EncodedImage


@dataclass(frozen=True)
class DeconvnetResult(ImageResult):
    """What the deconvnet found in an image."""

    found: DeconvnetMap


def run_deconvnet(
    image: Image.Image,
    name: str,
    target: Target,
    settings: DeconvnetSettings,
    *,
    notes: Sequence[str] = (),
    foot: Sequence[str] = (),
) -> DeconvnetResult:
    """Run the deconvnet on an image and draw what it found.

    Args:
        image: of any size, shape and mode.
        name: what the figure calls the image.
        target: the class, of a ``TorchClassifier``.
        settings: where the deconvnet starts.
        notes: sentences on the image that its figure says, too.
        foot: lines at the bottom of the figure.

    Raises:
        UserError: as for ``deconvnet_map``.
    """
    found = deconvnet_map(image, target.classifier, target.class_name, settings)
    figure = draw_deconvnet_figure(image, found, name, target.model, notes=notes, foot=foot)
    files = {
        "figure.png": png(figure).data,
        "reconstruction.npy": npy_bytes(found.reconstruction),
        "reconstruction.png": png(signed_image(found.reconstruction)).data,
        "changed.png": png(found.changed).data,
    }
    metrics = {
        "score": found.score,
        "changed_score": found.changed_score,
        "noise_likeness.pixels": found.noise_likeness.pixels,
        "noise_likeness.strength": found.noise_likeness.strength,
    }
    return DeconvnetResult(metrics, {"figure": figure}, files, found)


def chosen_deconvnet_maps(
    chosen: pd.DataFrame,
    target: Target,
    config: DeconvnetMapsConfig,
    reading: CatalogueSettings,
    log: Step,
) -> DeconvnetMaps:
    """Run the deconvnet on the images of ``chosen`` (image_id, uri, score), and log it all.

    The images have their own size. A file that cannot be read any more is a reject. Raises
    UserError when none could be read.
    """
    settings, progress = config.settings(), log.progress("images")

    def run(original: Original) -> DeconvnetResult:
        result = run_deconvnet(
            original.image, original.name, target, settings, notes=original.figure_notes
        )
        progress(original.number, len(chosen))
        return result

    rows, rejects = [], list[Reject]()
    reconstructions, figures = dict[str, np.ndarray](), dict[str, EncodedImage]()
    for photo, result in chosen_results(chosen, reading, run, rejects, log, target):
        reconstructions[photo["image_id"]] = result.found.reconstruction
        figures[photo["image_id"]] = EncodedImage(result.files["figure.png"], ".png")
        scores = {
            "score_of_network": result.found.score,
            "changed_score": result.found.changed_score,
        }
        rows.append(photo | scores)
    return DeconvnetMaps(
        pd.DataFrame(rows).astype({"frame": "Int64"}),
        rejects_table(rejects),
        reconstructions,
        figures,
        {**config.model_dump(), **target.names},
    )
