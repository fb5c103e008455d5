"""Occlusion maps of images: how they are drawn, and what is kept of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from assets.config import OcclusionMapsConfig
from assets.io_managers import npy_bytes
from assets.methods.attribution.heat_map import draw_overlay
from assets.methods.attribution.occlusion import (
    Experiment,
    OcclusionMap,
    occlusion_metrics,
    strongest_window,
)
from assets.methods.attribution.occlusion_figure import FigureTitle, Panel, draw_occlusion_figure
from assets.methods.attribution.occlusion_maps import (
    WorkEstimate,
    fed_image,
    occlusion_maps,
    whole_image_score,
)
from assets.methods.attribution.target import Target
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.progress import Progress, silent
from assets.methods.models.classifier import Classifier
from assets.methods.photos.catalogue import CatalogueSettings
from assets.methods.photos.rejects import Reject, rejects_table
from assets.results.originals import ImageResult, Original, chosen_results
from assets.results.photo_map import png
from assets.steps import Step
from assets.values import EncodedImage, OcclusionMaps

_LABELS = {
    "seen": "P({}), window cut out",
    "hidden": "1 - P({}), window painted over",
}


@dataclass(frozen=True)
class OcclusionResult(ImageResult):
    """What the experiments found in an image, by experiment.

    ``metrics`` has the score, P(class) of the whole image, and each map's, such as ``seen.mean``;
    ``images`` has the figure and each map's overlay.
    """

    maps: dict[Experiment, OcclusionMap]


def run_occlusion(
    image: Image.Image,
    name: str,
    target: Target,
    config: OcclusionMapsConfig,
    store: WindowScoreStore,
    on_estimate: Callable[[WorkEstimate], None] = lambda estimate: None,
    progress: Progress = silent,
    *,
    notes: Sequence[str] = (),
    foot: Sequence[str] = (),
) -> OcclusionResult:
    """Run the experiments on an image and draw what they found.

    Args:
        image: of any size and mode, upright.
        name: what the figure calls the image.
        target: whose probability is mapped.
        config: how the maps are computed and drawn.
        store: where the scores of windows are kept.
        on_estimate: as for ``occlusion_maps``.
        progress: as for ``occlusion_maps``.
        notes: sentences on the image that its figure says, too.
        foot: lines at the bottom of the figure and of the overlays.

    Raises:
        UserError: a setting means nothing, the classifier has no such class, or it gives what is
            no probability.
    """
    settings, drawing = config.occlusion(), config.drawing()
    class_name = target.class_name
    windowed = WindowedImage(image, settings)
    maps = occlusion_maps(
        windowed,
        target.classifier,
        class_name,
        store,
        config.experiments(),
        on_estimate,
        progress,
    )
    score = whole_image_score(windowed, target.classifier, class_name, store)
    windows = windowed.windows
    title = FigureTitle(
        name=name,
        class_name=class_name,
        model=target.model,
        score=score,
        box=max(windows.height, windows.width),
        stride=settings.stride,
        fill=settings.fill,
        n_windows=windows.count,
        read_size=windowed.scaled.size,
    )
    classifier = target.classifier
    panels = {experiment: _panel(windowed, found, classifier) for experiment, found in maps.items()}
    figure = draw_occlusion_figure(
        windowed.image,
        panels.get("seen"),
        panels.get("hidden"),
        drawing,
        title,
        whole=fed_image(windowed.scaled, classifier),
        notes=notes,
        foot=foot,
    )
    metrics, images, files = {"score": score}, {"figure": figure}, {"figure.png": png(figure).data}
    for experiment, found in maps.items():
        for metric, value in occlusion_metrics(found, config.threshold).items():
            metrics[f"{experiment}.{metric}"] = value
        label = _LABELS[experiment].format(class_name)
        level = 1 - score if experiment == "hidden" else None
        overlay = images[experiment] = draw_overlay(
            windowed.image, found.values, drawing, label, level, foot
        )
        files[f"{experiment}.npy"] = npy_bytes(found.values)
        files[f"{experiment}.png"] = png(overlay).data
    return OcclusionResult(metrics, images, files, maps)


def chosen_occlusion_maps(
    chosen: pd.DataFrame,
    target: Target,
    config: OcclusionMapsConfig,
    reading: CatalogueSettings,
    store: WindowScoreStore,
    log: Step,
) -> OcclusionMaps:
    """Map the images of ``chosen`` (image_id, uri, score) at their own size, and log it all.

    A file that cannot be read any more is a reject. Raises UserError when none could be read.
    """

    def run(original: Original) -> OcclusionResult:
        which = f"{original.name}, {original.number} of {len(chosen)}"
        return run_occlusion(
            original.image,
            original.name,
            target,
            config,
            store,
            lambda estimate: log.context.log.info(f"{which}: {estimate.sentence()}"),
            log.progress("windows"),
            notes=original.figure_notes,
        )

    rows, rejects = [], list[Reject]()
    maps, window_scores = dict[str, np.ndarray](), dict[str, np.ndarray]()
    overlays, figures = dict[str, EncodedImage](), dict[str, EncodedImage]()
    for photo, result in chosen_results(chosen, reading, run, rejects, log, target):
        image_id = photo["image_id"]
        figures[image_id] = EncodedImage(result.files["figure.png"], ".png")
        for experiment, found in result.maps.items():
            key = f"{image_id}/{experiment}"
            maps[key], window_scores[key] = found.values, found.scores
            overlays[key] = EncodedImage(result.files[f"{experiment}.png"], ".png")
            row = {
                **photo,
                "score_at_full_size": result.metrics["score"],
                "experiment": experiment,
                "n_windows": found.windows.count,
                "n_computed": found.n_computed,
            }
            rows.append(row | occlusion_metrics(found, config.threshold))
    return OcclusionMaps(
        pd.DataFrame(rows).astype({"frame": "Int64"}),
        rejects_table(rejects),
        maps,
        window_scores,
        overlays,
        figures,
        {**config.model_dump(), **target.names},
    )


def _panel(windowed: WindowedImage, found: OcclusionMap, classifier: Classifier) -> Panel:
    window = strongest_window(found)
    scaled, image = windowed.scaled, windowed.image
    across, down = image.width / scaled.width, image.height / scaled.height
    left, upper, right, lower = found.windows.rectangle(*window)
    return Panel(
        found.values,
        fed_image(windowed.window_image(found.experiment, window), classifier),
        float(found.scores[window]),
        (left * across, upper * down, right * across, lower * down),
    )
