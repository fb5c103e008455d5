"""Occlusion maps of images: how they are drawn, and what is kept of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

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
from assets.methods.attribution.occlusion_sheet import Answer, Column, OcclusionSheet
from assets.methods.attribution.target import Target
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.progress import Progress, silent
from assets.methods.photos.catalogue import CatalogueSettings
from assets.methods.photos.rejects import Reject, rejects_table
from assets.results.originals import ImageResult, Original, chosen_results, short_id
from assets.results.photo_map import png
from assets.steps import Step
from assets.values import EncodedImage, OcclusionMaps

_EDGES = ("left", "upper", "right", "lower")
_LABELS = {
    "seen": "P({}), window cut out",
    "hidden": "1 - P({}), window painted over",
}


@dataclass(frozen=True)
class OcclusionResult(ImageResult):
    """What the experiments found in an image, by experiment.

    ``metrics`` has the score, P(class) of the whole image, and each map's, such as ``seen.mean``;
    ``images`` has the figure and each map's overlay. ``image`` (RGB), its ``name`` and the
    ``panels`` are what they were drawn from.
    """

    maps: dict[Experiment, OcclusionMap]
    image: Image.Image
    name: str
    panels: dict[Experiment, Panel]

    def strongest_windows(self) -> dict[Experiment, dict[str, Any]]:
        """Return the score of the outlined window of each experiment, and where it lies."""
        return {
            experiment: {
                "score": panel.window_score,
                "image_px": dict(zip(_EDGES, panel.window_rectangle, strict=True)),
            }
            for experiment, panel in self.panels.items()
        }


def run_occlusion(
    image: Image.Image,
    name: str,
    target: Target,
    config: OcclusionMapsConfig,
    store: WindowScoreStore,
    on_estimate: Callable[[WorkEstimate], None] = lambda estimate: None,
    progress: Progress = silent,
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
    )
    panels = {experiment: _panel(windowed, found) for experiment, found in maps.items()}
    figure = draw_occlusion_figure(
        windowed.image, panels.get("seen"), panels.get("hidden"), drawing, title
    )
    metrics, images, files = {"score": score}, {"figure": figure}, {"figure.png": png(figure).data}
    for experiment, found in maps.items():
        for metric, value in occlusion_metrics(found, config.threshold).items():
            metrics[f"{experiment}.{metric}"] = value
        label = _LABELS[experiment].format(class_name)
        overlay = images[experiment] = draw_overlay(windowed.image, found.values, drawing, label)
        files[f"{experiment}.npy"] = npy_bytes(found.values)
        files[f"{experiment}.png"] = png(overlay).data
    return OcclusionResult(metrics, images, files, maps, windowed.image, name, panels)


def new_sheet(
    config: OcclusionMapsConfig,
    keep: Callable[[int, Image.Image], None],
    foot: Sequence[str] = (),
) -> OcclusionSheet:
    """Return a sheet of what models look at in many images, to which results are added.

    Args:
        config: how the maps are computed and drawn.
        keep: called with each page's number, from 1, and its picture.
        foot: lines at the end of each page, after those on the settings.
    """
    settings = config.occlusion()
    about = (
        f"box {settings.box} px, stride {settings.stride} px of what was read of an image, fill "
        f"{settings.fill}"
    )
    return OcclusionSheet(config.drawing(), keep, [about, *foot])


def add_to_sheet(
    sheet: OcclusionSheet,
    targets: Sequence[Target],
    image_id: str,
    results: Sequence[OcclusionResult],
    notes: Sequence[Sequence[str]] = (),
) -> None:
    """Add the results of an image, one for each target, and sentences on each."""
    first = results[0]
    about = (
        f"{first.image.width:,} x {first.image.height:,} px, {short_id(image_id)}, "
        f"{_windows_in_words(first)}"
    )
    answers = [
        Answer(result.metrics["score"], result.panels, one)
        for result, one in zip(results, notes or [()] * len(results), strict=True)
    ]
    columns = [Column(target.identity, target.class_name) for target in targets]
    sheet.add(columns, first.image, first.name, about, answers)


def _windows_in_words(result: OcclusionResult) -> str:
    """Return how many windows there are, and their size in px of the image."""
    n = next(iter(result.maps.values())).windows.count
    left, upper, right, lower = next(iter(result.panels.values())).window_rectangle
    noun = "window" if n == 1 else "windows"
    return f"{n:,} {noun} of {right - left:,.0f} x {lower - upper:,.0f} px"


def page_name(number: int) -> str:
    """Return the name of the file of a page of a sheet."""
    return f"page-{number}.png"


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
        )

    def keep(number: int, page: Image.Image) -> None:
        pages[str(number)] = png(page)
        log.run.file(f"sheet/{page_name(number)}", pages[str(number)].data)
        if number == 1:
            # As much of it as can be told at the size of a thumbnail.
            log.thumbnail("sheet", page.crop((0, 0, page.width, min(page.width, page.height))))

    pages = dict[str, EncodedImage]()
    sheet = new_sheet(config, keep)
    rows, rejects = [], list[Reject]()
    maps, window_scores = dict[str, np.ndarray](), dict[str, np.ndarray]()
    overlays, figures = dict[str, EncodedImage](), dict[str, EncodedImage]()
    for photo, result in chosen_results(chosen, reading, run, rejects, log, target):
        image_id = photo["image_id"]
        add_to_sheet(sheet, [target], image_id, [result])
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
    sheet.finish()
    return OcclusionMaps(
        pd.DataFrame(rows).astype({"frame": "Int64"}),
        rejects_table(rejects),
        maps,
        window_scores,
        overlays,
        figures,
        {**config.model_dump(), **target.names},
        pages,
    )


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
