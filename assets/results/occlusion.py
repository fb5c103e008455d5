"""Occlusion maps of images: how they are drawn, and what is kept of them."""

from collections.abc import Callable
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
    occlusion_maps,
    whole_image_score,
)
from assets.methods.attribution.target import Target
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.errors import UserError
from assets.methods.common.progress import Progress, silent
from assets.methods.models.identity import ModelIdentity
from assets.methods.models.one_model import by_one_model
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

    ``metrics`` has the score, P(class) of the whole image, the box of the windows in px, and each
    map's, such as ``seen.mean``; ``images`` has the figure and each map's overlay.
    """

    maps: dict[Experiment, OcclusionMap]

    @property
    def box(self) -> int:
        """The longer side of the windows in px, which is less than asked for in a small image."""
        return next(iter(self.maps.values())).windows.box


def run_occlusion(
    image: Image.Image,
    name: str,
    target: Target,
    config: OcclusionMapsConfig,
    store: WindowScoreStore,
    on_estimate: Callable[[WorkEstimate], None] = lambda estimate: None,
    progress: Progress = silent,
    notify: Callable[[str], object] = lambda sentence: None,
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
        notify: called with a sentence when the model changed meanwhile and all begins anew.

    Raises:
        UserError: a setting means nothing, the classifier has no such class, or it gives what is
            no probability; or the model changed again and again.
    """
    settings, drawing = config.occlusion(), config.drawing()
    class_name = target.class_name
    windowed = WindowedImage(image, settings)
    classifier, windows = target.classifier, windowed.windows

    def compute() -> tuple[float, dict[Experiment, OcclusionMap]]:
        # The score comes first: the maps find out if it is another model's than theirs.
        score = whole_image_score(windowed, classifier, class_name, store)
        maps = occlusion_maps(
            windowed, classifier, class_name, store, config.experiments(), on_estimate, progress
        )
        return score, maps

    score, maps = by_one_model(classifier, compute, notify)
    title = FigureTitle(
        name=name,
        class_name=class_name,
        model=target.model,
        score=score,
        box=windows.box,
        stride=settings.stride,
        fill=settings.fill,
        n_windows=windows.count,
    )
    panels = {experiment: _panel(windowed, found) for experiment, found in maps.items()}
    figure = draw_occlusion_figure(
        windowed.image, panels.get("seen"), panels.get("hidden"), drawing, title
    )
    metrics: dict[str, float] = {"score": score, "box": float(windows.box)}
    images, files = {"figure": figure}, {"figure.png": png(figure).data}
    for experiment, found in maps.items():
        for metric, value in occlusion_metrics(found, config.threshold).items():
            metrics[f"{experiment}.{metric}"] = value
        label = _LABELS[experiment].format(class_name)
        overlay = images[experiment] = draw_overlay(windowed.image, found.values, drawing, label)
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

    A file that cannot be read any more is a reject. Raises UserError when none could be read, and
    when the version of the model changed after the first image.
    """
    first = target.identity

    def run(original: Original) -> OcclusionResult:
        which = f"{original.name}, {original.number} of {len(chosen)}"
        result = run_occlusion(
            original.image,
            original.name,
            target,
            config,
            store,
            lambda estimate: log.context.log.info(f"{which}: {estimate.sentence()}"),
            log.progress("windows"),
            log.context.log.warning,
        )
        if target.identity != first:
            raise UserError(
                f"The model {target.model} changed from {_version(first)} to "
                f"{_version(target.identity)} while images were explained: explain them again, so "
                "that all of them are explained by one version."
            )
        return result

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
                "box": found.windows.box,
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


def _version(identity: ModelIdentity) -> str:
    return f"version {identity.version}" if identity.version else identity.fingerprint[:16]


def _panel(windowed: WindowedImage, found: OcclusionMap) -> Panel:
    window = strongest_window(found)
    scaled, image = windowed.scaled, windowed.image
    across, down = image.width / scaled.width, image.height / scaled.height
    left, upper, right, lower = found.windows.rectangle(*window)
    return Panel(
        found.values,
        windowed.window_image(found.experiment, window),
        float(found.scores[window]),
        (left * across, upper * down, right * across, lower * down),
    )
