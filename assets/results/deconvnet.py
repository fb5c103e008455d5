"""Deconvnets of images: how they are drawn, and what is kept of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
from assets.methods.attribution.target import Target, provenance_of
from assets.methods.models.provenance import Provenance
from assets.methods.photos.catalogue import CatalogueSettings
from assets.methods.photos.rejects import Reject, rejects_table
from assets.methods.plotting.blurring import draw_blurred
from assets.methods.plotting.png import png_bytes
from assets.results.originals import (
    ImageResult,
    Original,
    chosen_results,
    score_notes,
    size_in_px,
    sizes_in_words,
)
from assets.steps import Step
from assets.values import DeconvnetMaps, EncodedImage


@dataclass(frozen=True)
class DeconvnetResult(ImageResult):
    """What the deconvnet found in an image.

    ``metrics`` has the score, P(class) of the judged pixels; ``square_score``, that of the square
    that the deconvnet reads; and ``changed_score``, that of the square after a small step.
    """

    found: DeconvnetMap


def run_deconvnet(
    image: Image.Image,
    name: str,
    target: Target,
    settings: DeconvnetSettings,
    judged: Image.Image | None = None,
    *,
    size: tuple[int, int] | None = None,
    made: Provenance | None = None,
    notes: Sequence[str] = (),
    is_blurred: bool = False,
) -> DeconvnetResult:
    """Run the deconvnet on an image and draw what it found.

    Args:
        image: of any size, shape and mode. The maps have its size.
        name: what the figure calls the image.
        target: the class, of a ``TorchClassifier``.
        settings: where the deconvnet starts.
        judged: the pixels that have the image's score, which the deconvnet reads; None for the
            image itself.
        size: the file's own (width, height) in px, which reports name; None for the image's.
        made: the origin of the answers; by default they are asked for now.
        notes: sentences on the origin that the figure shows first.
        is_blurred: whether pictures show the image blurred; the reconstruction is the same.

    Raises:
        UserError: as for ``deconvnet_map``.
    """
    judged = image if judged is None else judged
    found = deconvnet_map(judged, target.classifier, target.class_name, settings, image.size)
    if judged.width != judged.height:
        square = "The deconvnet reads the working copy padded to a square"
        told = score_notes(found.class_name, found.score, square, found.square_score)
        notes = (*notes, *told)
    made = made or provenance_of(target, threshold=None)
    if is_blurred:
        image, found = draw_blurred(image), replace(found, changed=draw_blurred(found.changed))
    about = _about(size or image.size, found)
    foot = [*made.lines(), f"{sizes_in_words(about)}, then padded to a square"]
    figure = draw_deconvnet_figure(image, found, name, target.model, notes=notes, foot=foot)
    origin = {"image": name, **made.parts(), **about}
    files = {
        "figure.png": png_bytes(figure, origin),
        "reconstruction.npy": npy_bytes(found.reconstruction),
        "reconstruction.png": png_bytes(signed_image(found.reconstruction), origin),
        "changed.png": png_bytes(found.changed, origin),
    }
    metrics = {name: getattr(found, name) for name in ("score", "square_score", "changed_score")}
    metrics["noise_likeness.pixels"] = found.noise_likeness.pixels
    metrics["noise_likeness.strength"] = found.noise_likeness.strength
    return DeconvnetResult(metrics, {"figure": figure}, files, about, made, tuple(notes), found)


def chosen_deconvnet_maps(
    chosen: pd.DataFrame,
    target: Target,
    config: DeconvnetMapsConfig,
    reading: CatalogueSettings,
    log: Step,
    threshold: float | None = None,
    notes: Sequence[str] = (),
    blurred: Collection[str] = (),
) -> DeconvnetMaps:
    """Run the deconvnet on the images of ``chosen`` (image_id, uri, score), and log it all.

    A file that cannot be read any more is a reject. ``threshold`` is as for `Provenance`, and
    ``notes`` as for `run_deconvnet`; ``blurred`` are the image_ids of those that pictures show
    blurred. Raises UserError when none could be read.
    """
    settings, progress = config.settings(), log.progress("images")
    made = provenance_of(target, threshold)
    log.origin(made.parts())

    def run(original: Original) -> DeconvnetResult:
        result = run_deconvnet(
            original.image,
            original.name,
            target,
            settings,
            original.judged,
            size=original.size,
            made=made,
            notes=[*original.figure_notes, *notes],
            is_blurred=original.image_id in blurred,
        )
        progress(original.number, len(chosen))
        return result

    rows, rejects = [], list[Reject]()
    reconstructions, figures = dict[str, np.ndarray](), dict[str, EncodedImage]()
    for photo, result in chosen_results(chosen, reading, run, rejects, log, target):
        reconstructions[photo["image_id"]] = result.found.reconstruction
        figures[photo["image_id"]] = EncodedImage(result.files["figure.png"], ".png")
        scores = {
            "judged_score": result.found.score,
            "square_score": result.found.square_score,
            "changed_score": result.found.changed_score,
        }
        sizes = {
            f"{what}_{side}": length
            for what in ("image", "read")
            for side, length in result.about[f"{what}_size"].items()
        }
        rows.append(photo | scores | sizes)
    table = pd.DataFrame(rows).astype({"frame": "Int64"})
    log.table("deconvnet_maps.csv", table.assign(**made.parts()))
    return DeconvnetMaps(
        table,
        rejects_table(rejects),
        reconstructions,
        figures,
        {**config.model_dump(), **target.names},
        made.parts(),
        list(notes),
    )


def _about(size: tuple[int, int], found: DeconvnetMap) -> dict[str, Any]:
    return {"image_size": size_in_px(size), "read_size": size_in_px(found.read_size)}
