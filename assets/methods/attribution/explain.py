"""Both occlusion experiments on an image: their maps, and the pictures that show them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from assets.methods.attribution.heat_map import HeatMapSettings, draw_overlay
from assets.methods.attribution.occlusion import (
    EXPERIMENTS,
    Experiment,
    OcclusionMap,
    OcclusionSettings,
    occlusion_metrics,
    scale_down,
    strongest_window,
)
from assets.methods.attribution.occlusion_figure import FigureTitle, Panel, draw_occlusion_figure
from assets.methods.attribution.occlusion_maps import Announcement, explain, ignore
from assets.methods.attribution.window_images import window_image
from assets.methods.attribution.window_store import WindowScoreStore, window_score_key
from assets.methods.common.progress import Progress, silent
from assets.methods.models.classifier import Classifier, checked_probabilities, classify_arrays


@dataclass(frozen=True)
class Question:
    """What is asked of an image: how likely is it ``class_name``, and where does that come from.

    ``model`` is the classifier's name for people; a window whose value lies above ``threshold``
    counts in ``share_above_threshold``.
    """

    classifier: Classifier
    model: str
    class_name: str
    occlusion: OcclusionSettings
    drawing: HeatMapSettings
    experiments: Sequence[Experiment] = EXPERIMENTS
    threshold: float = 0.5


@dataclass(frozen=True)
class ExplainedImage:
    """The answer: P(class) of the whole image, and by experiment the map and its overlay (RGB).

    ``figure`` shows all of it on one page; ``metrics`` are numbers, such as ``seen.mean``.
    """

    score: float
    maps: dict[Experiment, OcclusionMap]
    overlays: dict[Experiment, Image.Image]
    figure: Image.Image
    metrics: dict[str, float]


def explain_image(
    image: Image.Image,
    name: str,
    question: Question,
    store: WindowScoreStore,
    announce: Callable[[Announcement], None] = ignore,
    progress: Progress = silent,
) -> ExplainedImage:
    """Run the experiments on ``image`` and draw what they found; arguments as for ``explain``.

    ``name`` is what the figure calls the image. Raises UserError as ``explain`` does.
    """
    image = image.convert("RGB")
    scaled = scale_down(image, question.occlusion.long_side)
    maps = explain(
        image,
        question.classifier,
        question.class_name,
        question.occlusion,
        store,
        question.experiments,
        announce,
        progress,
    )
    score = _score_whole(scaled, question, store)
    panels = {
        experiment: _panel(image, scaled, found, question) for experiment, found in maps.items()
    }
    overlays = {
        experiment: draw_overlay(
            image, found.values, question.drawing, _label(experiment, question.class_name)
        )
        for experiment, found in maps.items()
    }
    windows = next(iter(maps.values())).windows
    title = FigureTitle(
        name=name,
        class_name=question.class_name,
        model=question.model,
        score=score,
        box=max(windows.height, windows.width),
        stride=question.occlusion.stride,
        fill=question.occlusion.fill,
        n_windows=windows.count,
    )
    figure = draw_occlusion_figure(
        image, panels.get("seen"), panels.get("hidden"), question.drawing, title
    )
    return ExplainedImage(score, maps, overlays, figure, _metrics(score, maps, question.threshold))


def _score_whole(scaled: Image.Image, question: Question, store: WindowScoreStore) -> float:
    classifier, class_name = question.classifier, question.class_name
    key = window_score_key(scaled, classifier.fingerprint, class_name, "whole", question.occlusion)
    known = store.open(key, count=1)
    if np.isnan(known[0]):
        answer = classify_arrays(classifier, [np.array(scaled)])[class_name]
        known[:] = checked_probabilities(answer, class_name)
        known.flush()
    return float(known[0])


def _panel(
    image: Image.Image, scaled: Image.Image, found: OcclusionMap, question: Question
) -> Panel:
    window = strongest_window(found)
    across, down = image.width / scaled.width, image.height / scaled.height
    left, upper, right, lower = found.windows.rectangle(*window)
    return Panel(
        found.values,
        window_image(scaled, found.experiment, window, question.occlusion),
        float(found.scores[window]),
        (left * across, upper * down, right * across, lower * down),
    )


def _label(experiment: Experiment, class_name: str) -> str:
    if experiment == "seen":
        return f"P({class_name}), window cut out"
    return f"1 - P({class_name}), window painted over"


def _metrics(
    score: float, maps: dict[Experiment, OcclusionMap], threshold: float
) -> dict[str, float]:
    metrics = {
        f"{experiment}.{name}": metric
        for experiment, found in maps.items()
        for name, metric in occlusion_metrics(found, threshold).items()
    }
    return {"score": score, **metrics}
