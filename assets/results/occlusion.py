"""Occlusion maps of images: how they are drawn, and what is kept of them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
    MapsSoFar,
    WorkEstimate,
    fed_image,
    occlusion_maps,
    whole_image_score,
)
from assets.methods.attribution.occlusion_sheet import Answer, Column, OcclusionSheet
from assets.methods.attribution.target import Target, provenance_of
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.errors import UserError
from assets.methods.common.progress import Progress, silent
from assets.methods.models.classifier import Classifier
from assets.methods.models.identity import ModelIdentity
from assets.methods.models.one_model import by_one_model
from assets.methods.models.provenance import Provenance
from assets.methods.photos.catalogue import CatalogueSettings
from assets.methods.photos.rejects import Reject, rejects_table
from assets.methods.plotting.blurring import draw_blurred
from assets.methods.plotting.png import png_bytes
from assets.methods.plotting.text import format_values
from assets.results.originals import (
    ImageResult,
    Original,
    chosen_results,
    in_px,
    score_notes,
    short_id,
    size_in_px,
    sizes_in_words,
)
from assets.results.photo_map import png
from assets.steps import Step
from assets.values import EncodedImage, OcclusionMaps

_EDGES = ("left", "upper", "right", "lower")
_UNSCALED = (("image", ""),)
_LABELS = {
    "seen": "P({}), window cut out",
    "hidden": "1 - P({}), window painted over",
}


@dataclass(frozen=True)
class OcclusionResult(ImageResult):
    """What the experiments found in an image, by experiment.

    ``metrics`` has the score, P(class) of the judged pixels; ``read_score``, that of the pixels on
    which the windows lie, which is the same unless ``long_side`` is set; the box of the windows in
    px of what was read; and each map's, such as ``seen.mean``. ``images`` has the figure and each
    map's overlay. ``image`` (RGB), its ``name``, the ``panels`` and ``uncovered``, the value of
    `hidden` where covering changes nothing, are what they were drawn from.
    """

    maps: dict[Experiment, OcclusionMap]
    image: Image.Image
    name: str
    panels: dict[Experiment, Panel]
    uncovered: float

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
    judged: Image.Image | None = None,
    *,
    size: tuple[int, int] | None = None,
    made: Provenance | None = None,
    notes: Sequence[str] = (),
    notify: Callable[[str], object] = lambda sentence: None,
    is_blurred: bool = False,
    on_level: Callable[[MapsSoFar, Callable[[], OcclusionResult]], object] | None = None,
) -> OcclusionResult:
    """Run the experiments on an image and draw what they found.

    Args:
        image: of any size and mode, upright. The maps have its size. Where ``long_side`` is set,
            windows lie on it.
        name: what the figure calls the image.
        target: whose probability is mapped.
        config: how the maps are computed and drawn.
        store: where the scores of windows are kept.
        on_estimate: as for ``occlusion_maps``.
        progress: as for ``occlusion_maps``.
        judged: the pixels that have the image's score, on which windows lie by default; None for
            the image itself.
        size: the file's own (width, height) in px, in which places are told; None for the image's.
        made: the origin of the answers; by default they are asked for now.
        notes: sentences on the origin that the figure shows first.
        notify: called with a sentence when the model changed meanwhile and all begins anew.
        is_blurred: whether pictures show the image blurred; the maps are the same.
        on_level: called with the maps after each level that another one follows, and with what
            draws them.

    Raises:
        UserError: a setting means nothing, the classifier has no such class, or it gives what is
            no probability; or the model changed again and again.
    """
    settings, class_name, photo = config.occlusion(), target.class_name, image.convert("RGB")
    judged = photo if judged is None else judged
    read = judged if settings.long_side is None else photo
    windowed = WindowedImage(read, settings, photo.size)
    classifier = target.classifier
    drawing = _Drawing(photo, name, target, config, windowed, size, made, notes, is_blurred)

    def compute() -> OcclusionResult:
        # The scores come first: the maps find out if they are another model's than theirs.
        score = read_score = whole_image_score(judged, settings, classifier, class_name, store)
        if settings.long_side is not None:
            read_score = whole_image_score(windowed.scaled, settings, classifier, class_name, store)
        draw = partial(drawing.result, score, read_score)
        maps = occlusion_maps(
            windowed,
            classifier,
            class_name,
            store,
            config.experiments(),
            on_estimate,
            progress,
            tolerance=config.tolerance,
            on_level=on_level and (lambda found: on_level(found, partial(draw, found.maps))),
        )
        return draw(maps)

    return by_one_model(classifier, compute, notify)


@dataclass(frozen=True)
class _Drawing:
    """What the result of an image is made of, besides its maps; as for ``run_occlusion``."""

    photo: Image.Image
    name: str
    target: Target
    config: OcclusionMapsConfig
    windowed: WindowedImage
    size: tuple[int, int] | None
    made: Provenance | None
    notes: Sequence[str]
    is_blurred: bool

    def result(
        self, score: float, read_score: float, maps: Mapping[Experiment, OcclusionMap]
    ) -> OcclusionResult:
        """Draw maps, and gather what there is to say about them."""
        config, windowed = self.config, self.windowed
        settings, classifier = windowed.settings, self.target.classifier
        photo, whole = self.photo, fed_image(windowed.scaled, classifier)
        class_name = self.target.class_name
        notes = (*self.notes, *_estimate_notes(maps))
        if settings.long_side is not None:
            scaled = f"{windowed.scaled.width:,} x {windowed.scaled.height:,} px"
            pixels = f"Windows lie on the file at {scaled}"
            notes += score_notes(class_name, score, pixels, read_score)
        title = FigureTitle(
            name=self.name,
            class_name=class_name,
            model=self.target.model,
            score=score,
            box=windowed.windows.box,
            stride=settings.stride,
            fill=settings.fill,
            n_windows=windowed.windows.count,
            read_size=windowed.scaled.size,
            read_score=None if settings.long_side is None else read_score,
        )
        panels = {one: _panel(windowed, found, classifier) for one, found in maps.items()}
        if self.is_blurred:
            photo, whole = draw_blurred(photo), draw_blurred(whole)
            panels = {
                one: replace(panel, window_image=draw_blurred(panel.window_image))
                for one, panel in panels.items()
            }
        # The model that answered may be another than when its first image was asked for.
        made = self.made or provenance_of(self.target, config.threshold)
        made = replace(made, identity=self.target.identity)
        about = _about(self.size or photo.size, windowed, maps)
        figure = draw_occlusion_figure(
            photo,
            panels.get("seen"),
            panels.get("hidden"),
            config.drawing(),
            title,
            whole=whole,
            notes=notes,
            foot=[*made.lines(), *_lines_about(about, list(maps))],
        )
        origin = {"image": self.name, **made.parts(), **about}
        metrics = {"score": score, "read_score": read_score, "box": float(windowed.windows.box)}
        images, files = {"figure": figure}, {"figure.png": png_bytes(figure, origin)}
        for experiment, found in maps.items():
            for metric, value in occlusion_metrics(found, config.threshold).items():
                metrics[f"{experiment}.{metric}"] = value
            label = _LABELS[experiment].format(class_name)
            foot = [*made.lines(), *_lines_about(about, [experiment])]
            foot += _estimate_notes({experiment: found})
            level = title.uncovered if experiment == "hidden" else None
            overlay = draw_overlay(photo, found.values, config.drawing(), label, level, foot=foot)
            images[experiment] = overlay
            files[f"{experiment}.npy"] = npy_bytes(found.values)
            files[f"{experiment}.png"] = png_bytes(overlay, origin)
        return OcclusionResult(
            metrics,
            images,
            files,
            about,
            made,
            notes,
            dict(maps),
            photo,
            self.name,
            panels,
            title.uncovered,
        )


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
    about = f"{in_px(first.about['image_size'])}, {short_id(image_id)}, {_windows_in_words(first)}"
    answers = [
        Answer(result.metrics["score"], result.uncovered, result.panels, [*result.notes, *one])
        for result, one in zip(results, notes or [()] * len(results), strict=True)
    ]
    columns = [
        Column(result.made.identity, target.class_name)
        for target, result in zip(targets, results, strict=True)
    ]
    sheet.add(columns, first.image, first.name, about, answers)


def _windows_in_words(result: OcclusionResult) -> str:
    """Return how many windows there are, and their size in px of the image."""
    n = next(iter(result.maps.values())).windows.count
    noun = "window" if n == 1 else "windows"
    return f"{n:,} {noun} of {in_px(result.about['box_px']['image'])}"


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
    notes: Sequence[str] = (),
    blurred: Collection[str] = (),
) -> OcclusionMaps:
    """Map the images of ``chosen`` (image_id, uri, score), and log it all.

    A file that cannot be read any more is a reject. ``notes`` are as for `run_occlusion`, and
    ``blurred`` are the image_ids of those that pictures show blurred. Raises UserError when none
    could be read, and when the version of the model changed after the first image.
    """
    made, first = provenance_of(target, config.threshold), target.identity
    log.origin(made.parts())

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
            original.judged,
            size=original.size,
            made=made,
            notes=[*original.figure_notes, *notes],
            notify=log.context.log.warning,
            is_blurred=original.image_id in blurred,
        )
        if target.identity != first:
            raise UserError(
                f"The model {target.model} changed from {_version(first)} to "
                f"{_version(target.identity)} while images were explained: explain them again, so "
                "that all of them are explained by one version."
            )
        return result

    def keep(number: int, page: Image.Image) -> None:
        pages[str(number)] = png(page, made.parts())
        log.run.file(f"sheet/{page_name(number)}", pages[str(number)].data)
        if number == 1:
            # As much of it as can be told at the size of a thumbnail.
            upper = page.crop((0, 0, page.width, min(page.width, page.height)))
            log.thumbnail("sheet", lambda: upper)

    pages = dict[str, EncodedImage]()
    sheet = new_sheet(config, keep, made.lines())
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
                "judged_score": result.metrics["score"],
                "read_score": result.metrics["read_score"],
                "experiment": experiment,
                "box": found.windows.box,
                "n_windows": found.windows.count,
                "n_scored": found.n_scored,
                "n_computed": found.n_computed,
                "estimated_error": np.nan,
            }
            placed = placed_columns(result.about, experiment)
            rows.append(row | occlusion_metrics(found, config.threshold) | placed)
    table = pd.DataFrame(rows).astype({"frame": "Int64"})
    if table.estimated_error.notna().any():
        log.metrics({"estimated_error": float(table.estimated_error.max())})
    log.table("occlusion_maps.csv", table.assign(**made.parts()))
    sheet.finish()
    return OcclusionMaps(
        table,
        rejects_table(rejects),
        maps,
        window_scores,
        overlays,
        figures,
        {**config.model_dump(), **target.names},
        made.parts(),
        list(notes),
        pages,
    )


def placed_columns(about: Mapping[str, Any], experiment: str) -> dict[str, float]:
    """Return as columns what ``about`` says of an experiment's windows.

    They are ``image_width``, ``read_width``, ``box_width``, ``stride_across``,
    ``window_left`` and so on in px of the image, the same with ``read_`` before it in px of what
    was read, and ``window_score``.
    """
    strongest = about["strongest_windows"][experiment]
    columns = {
        f"{size}_{side}": about[f"{size}_size"][side]
        for size in ("image", "read")
        for side in ("width", "height")
    }
    for prefix, pixels in (("", "image"), ("read_", "read")):
        for what, named in (
            ("box", about["box_px"][pixels]),
            ("stride", about["stride_px"][pixels]),
            ("window", strongest[f"{pixels}_px"]),
        ):
            columns |= {f"{prefix}{what}_{name}": number for name, number in named.items()}
    return columns | {"window_score": strongest["score"]}


def _version(identity: ModelIdentity) -> str:
    return f"version {identity.version}" if identity.version else identity.fingerprint[:16]


def _panel(windowed: WindowedImage, found: OcclusionMap, classifier: Classifier) -> Panel:
    window = strongest_window(found)
    across, down = np.divide(windowed.map_size, windowed.scaled.size).tolist()
    left, upper, right, lower = found.windows.rectangle(*window)
    return Panel(
        found.values,
        fed_image(windowed.window_image(found.experiment, window), classifier),
        float(found.scores[window]),
        (left * across, upper * down, right * across, lower * down),
    )


def _about(
    size: tuple[int, int], windowed: WindowedImage, maps: Mapping[Experiment, OcclusionMap]
) -> dict[str, Any]:
    """Return the sizes of an image and of its windows, and where the strongest windows lie.

    ``size`` is the (width, height) of the image, upright. All is in px of what was read, and in px
    of the image to a hundredth.
    """
    scales = (size[0] / windowed.scaled.width, size[1] / windowed.scaled.height)
    windows, stride = windowed.windows, windowed.settings.stride
    strongest = {}
    for experiment, found in maps.items():
        window = strongest_window(found)
        corners = found.windows.rectangle(*window)
        strongest[experiment] = {
            "score": float(found.scores[window]),
            "read_px": dict(zip(_EDGES, corners, strict=True)),
            "image_px": dict(zip(_EDGES, _in_image(corners, scales), strict=True)),
        }
    return {
        "image_size": size_in_px(size),
        "read_size": size_in_px(windowed.scaled.size),
        "box_px": _in_both(("width", "height"), (windows.width, windows.height), scales),
        "stride_px": _in_both(("across", "down"), (stride, stride), scales),
        "strongest_windows": strongest,
        **_estimates(maps),
    }


def _estimates(maps: Mapping[Experiment, OcclusionMap]) -> dict[str, Any]:
    """Return from how many windows maps were estimated, and their error; nothing for exact ones."""
    estimates = {
        experiment: {
            "n_scored": found.n_scored,
            "n_windows": found.windows.count,
            "error": found.error,
        }
        for experiment, found in maps.items()
        if found.error is not None
    }
    return {"estimates": estimates} if estimates else {}


def _estimate_notes(maps: Mapping[Experiment, OcclusionMap]) -> list[str]:
    """Return a sentence for each map that is an estimate."""
    return [
        f"The map {experiment} is an estimate from {found.n_scored:,} of {found.windows.count:,} "
        f"windows: the mean error is estimated to be {found.error:.2g} of its range."
        for experiment, found in maps.items()
        if found.error is not None
    ]


def _in_both(
    names: tuple[str, str], lengths: tuple[int, int], scales: tuple[float, float]
) -> dict[str, dict[str, float]]:
    return {
        "read": dict(zip(names, lengths, strict=True)),
        "image": dict(zip(names, _in_image(lengths, scales), strict=True)),
    }


def _in_image(lengths: Sequence[int], scales: tuple[float, float]) -> list[float]:
    """Return lengths across and down by turns, in px of what was read, in px of the image."""
    return [round(length * scales[place % 2], 2) for place, length in enumerate(lengths)]


def _lines_about(about: Mapping[str, Any], experiments: Sequence[Experiment]) -> list[str]:
    """Return ``_about`` in words, for the foot of a figure of these experiments."""
    box, stride = about["box_px"], about["stride_px"]
    is_scaled = about["image_size"] != about["read_size"]
    kinds = (("read", " of what was read"), ("image", " of the image")) if is_scaled else _UNSCALED
    windows = (
        f"box {in_px(box[pixels])}, stride {in_px(stride[pixels])}{words}"
        for pixels, words in kinds
    )
    lines = [sizes_in_words(about), "; ".join(windows)]
    for experiment in experiments:
        one = about["strongest_windows"][experiment]
        places = (
            "{left:,g}, {upper:,g} to {right:,g}, {lower:,g} px".format(**one[f"{pixels}_px"])
            + words
            for pixels, words in reversed(kinds)
        )
        score = format_values([one["score"]])[0]
        lines.append(f"strongest window of {experiment}: {'; '.join(places)}; score {score}")
    return lines
