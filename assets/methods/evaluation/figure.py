"""One figure of the evaluations of one model or several on the same labelled set."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from assets.methods.evaluation.evaluate import Evaluation
from assets.methods.evaluation.intervals import format_estimate
from assets.methods.plotting.foot import with_foot
from assets.methods.plotting.panel import style_panel
from assets.methods.plotting.sheet import rasterised
from assets.methods.plotting.text import CHANCE, COLOURS, DPI, PALE, in_lines, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# Lengths in inches.
_WIDTH = 18.0
_LINE = 0.24
_PANEL = 6.2

_MOST_SLICES = 20
_LONGEST_NAME = 30
_LONGEST_SLICE = 48
_LOWEST_RATE = 1e-6


@dataclass(frozen=True)
class _Model:
    name: str
    evaluation: Evaluation
    colour: str


def draw_evaluation(evaluations: Mapping[str, Evaluation], foot: Sequence[str] = ()) -> Image.Image:
    """Draw ``evaluation_figure`` as an RGB image, 1,800 px wide, the same for the same arguments.

    The lines of ``foot`` stand below it.

    Raises:
        ValueError: there is no evaluation.
    """
    return with_foot(rasterised(evaluation_figure(evaluations)), foot)


def evaluation_figure(evaluations: Mapping[str, Evaluation]) -> "Figure":
    """Lay out the evaluations of models, by the models' names, in the same axes.

    Two tables of the metrics are the legend too. Below them are the ROC, with a logarithmic axis of
    false-positive rates, and the precision-recall curve, with a dot at the threshold; reliability
    before and after temperature scaling; where there are slices, the false-positive rates of the 20
    whose intervals begin highest; and the notes.

    Raises:
        ValueError: there is no evaluation.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not evaluations:
        raise ValueError("there is no evaluation to draw")
    models = [
        _Model(printable(name, 60), evaluation, colour)
        for (name, evaluation), colour in zip(evaluations.items(), cycle(COLOURS), strict=False)
    ]
    n_slices = min(len(_slice_rates(models)), _MOST_SLICES)
    notes = _note_lines(models)
    # The height of each part, and what draws it.
    parts: list[tuple[float, Callable[[SubFigure], None]]] = [
        (_LINE * (2 * len(models) + 7), lambda part: _draw_tables(part, models)),
        (2 * _PANEL, lambda part: _draw_curves(part, models)),
    ]
    if n_slices:
        row = _LINE * max(1, 0.45 * (len(models) + 1))
        parts.append((row * n_slices + 6 * _LINE, lambda part: _draw_slices(part, models)))
    if notes:
        parts.append((_LINE * (len(notes) + 1), lambda part: _write_notes(part, notes)))
    heights = [height for height, _ in parts]
    layout = ConstrainedLayoutEngine(w_pad=0.2, h_pad=0.15)
    figure = Figure((_WIDTH, sum(heights)), dpi=DPI, layout=layout)
    places = figure.subfigures(len(parts), height_ratios=heights, squeeze=False)[:, 0]
    for place, (_, draw) in zip(places, parts, strict=True):
        draw(place)
    return figure


def _draw_tables(part: "SubFigure", models: list[_Model]) -> None:
    """Write the metrics, one row a model, in two tables below each other."""
    found = [model.evaluation for model in models]
    settings = found[0].settings
    names = {
        "precision": "precision",
        "recall": "recall",
        "f1": "F1",
        "false_positive_rate": "false-positive rate",
        "precision_at_prevalence": f"precision if {100 * settings.prevalence:.4g} % positive",
        "threshold_at_recall": f"threshold for recall {settings.wanted_recall:.4g}",
        "auc": "AUC",
        "average_precision": "average precision",
        "ece_before": "calibration error",
        "ece_after": "the same, scaled",
    }
    columns = {
        heading: [
            format_estimate(one.metrics[name]) if name in one.metrics else "—" for one in found
        ]
        for name, heading in names.items()
    }
    columns["temperature"] = [f"{one.temperature:.3g}" for one in found]
    columns["rows"] = [f"{one.n:,}" for one in found]
    columns["positives"] = [f"{one.n_positive:,}" for one in found]
    title = f"Evaluation, with {100 * settings.confidence:.4g} % intervals"
    part.suptitle(title, x=0.01, ha="left", size="xx-large", weight="bold")
    headings = list(columns)
    for axes, shown in zip(part.subplots(2), (headings[:6], headings[6:]), strict=True):
        _write_table(axes, models, {heading: columns[heading] for heading in shown})


def _write_table(axes: "Axes", models: list[_Model], columns: dict[str, list[str]]) -> None:
    axes.set(xlim=(0, 7), ylim=(len(models) - 0.5, -0.5))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.tick_params("y", pad=12)
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(columns)), list(columns), ha="left", color=PALE)
    names = [f"■ {printable(model.name, _LONGEST_NAME)}" for model in models]
    axes.set_yticks(range(len(models)), names, weight="bold", parse_math=False)
    for label, model in zip(axes.get_yticklabels(), models, strict=True):
        label.set_color(model.colour)
    for column, cells in enumerate(columns.values()):
        for row, cell in enumerate(cells):
            axes.text(column, row, cell, va="center")


def _draw_curves(part: "SubFigure", models: list[_Model]) -> None:
    (roc, precision_recall), reliability = part.subplots(2, 2)
    _draw_roc(roc, models)
    _draw_precision_recall(precision_recall, models)
    _draw_reliability(reliability, models)
    for axes in (roc, precision_recall, *reliability):
        axes.set(ylim=(0, 1.02))


def _draw_roc(axes: "Axes", models: list[_Model]) -> None:
    hint = f"Logarithmic to the right. The dot is {_the_threshold(models)}. Dashed: chance."
    style_panel(axes, "ROC", hint)
    n_negative = max(one.evaluation.n - one.evaluation.n_positive for one in models)
    lowest = max(_LOWEST_RATE, 10.0 ** -np.ceil(np.log10(n_negative)))
    rates = np.geomspace(lowest, 1, 400)
    axes.plot(rates, rates, color=CHANCE, linestyle="--", linewidth=1.3)
    for model in models:
        roc = model.evaluation.roc
        x = np.array([0, *roc["false_positive_rate"]])
        y = np.array([0, *roc["true_positive_rate"]])
        # A straight line between two points of the ROC is none on a logarithmic axis.
        between = np.interp(rates, x, y)
        order = np.lexsort((np.append(y, between), np.append(x, rates)))
        axes.plot(
            np.append(x, rates)[order].clip(lowest),
            np.append(y, between)[order],
            color=model.colour,
            linewidth=2,
        )
        metrics = model.evaluation.metrics
        at = max(metrics["false_positive_rate"].value, lowest)
        _draw_dot(axes, at, metrics["recall"].value, model.colour)
    axes.set(
        xscale="log",
        xlim=(lowest, 1),
        xlabel="false-positive rate",
        ylabel="recall, the true-positive rate",
    )


def _draw_precision_recall(axes: "Axes", models: list[_Model]) -> None:
    hint = "Higher is better. Dotted: chance, the share of positives."
    style_panel(axes, "Precision and recall", hint)
    for model in models:
        table, metrics = model.evaluation.precision_recall, model.evaluation.metrics
        # Average precision is the area below these steps.
        axes.plot(
            [0, *table["recall"]],
            [table["precision"].iloc[0], *table["precision"]],
            color=model.colour,
            linewidth=2,
            drawstyle="steps-pre",
        )
        share = model.evaluation.n_positive / model.evaluation.n
        axes.axhline(share, color=model.colour, linestyle=":", linewidth=1.3)
        if "precision" in metrics:
            _draw_dot(axes, metrics["recall"].value, metrics["precision"].value, model.colour)
    axes.set(xlim=(0, 1), xlabel="recall", ylabel="precision")


def _draw_reliability(panels: NDArray[Any], models: list[_Model]) -> None:
    words = (
        ("Reliability", "On the diagonal a score is the probability that it claims to be."),
        ("Reliability, scaled", "The same after temperature scaling."),
    )
    for column, (axes, (heading, hint)) in enumerate(zip(panels, words, strict=True)):
        style_panel(axes, heading, hint)
        axes.plot([0, 1], [0, 1], color=CHANCE, linestyle="--", linewidth=1.3)
        for model in models:
            evaluation = model.evaluation
            table = (evaluation.reliability_before, evaluation.reliability_after)[column]
            x, colour = table["mean_score"], model.colour
            axes.vlines(x, table["low"], table["high"], color=colour, linewidth=1.5, alpha=0.5)
            axes.plot(x, table["positive_share"], color=colour, marker="o", markersize=4.5)
        axes.set(
            xlim=(0, 1), xlabel="mean score of the bin", ylabel="share of positives in the bin"
        )


def _draw_dot(axes: "Axes", x: float, y: float, colour: str) -> None:
    axes.plot(
        x, y, "o", color=colour, markersize=10, markeredgecolor="white", clip_on=False, zorder=3
    )


def _draw_slices(part: "SubFigure", models: list[_Model]) -> None:
    rates = _slice_rates(models)
    shown = rates.head(_MOST_SLICES)
    hint = f"At {_the_threshold(models)}; n counts negatives. By the low end of the interval" + (
        f", the {len(shown)} highest of {len(rates):,}." if len(rates) > len(shown) else "."
    )
    axes = part.subplots()
    style_panel(axes, "False-positive rate of slices", hint, grid="x")
    offsets = 0.7 * ((np.arange(len(models)) + 0.5) / len(models) - 0.5)
    for model, offset in zip(models, offsets, strict=True):
        table = model.evaluation.slices.set_index(["slice", "value"])
        places = pd.MultiIndex.from_frame(shown[["slice", "value"]]).get_indexer(table.index)
        table, y = table[places >= 0], places[places >= 0] + offset
        axes.hlines(y, table["low"], table["high"], color=model.colour, linewidth=2, alpha=0.5)
        rate = table["false_positive_rate"]
        axes.plot(rate, y, "o", color=model.colour, markersize=5, clip_on=False)
    labels = [
        f"{printable(f'{row.slice}: {row.value}', _LONGEST_SLICE)}   n {row.n_negative:,}"
        for row in shown.itertuples()
    ]
    axes.set_yticks(range(len(shown)), labels, parse_math=False)
    axes.tick_params("y", length=0, pad=10)
    axes.set(ylim=(len(shown) - 0.5, -0.5), xlabel="false-positive rate")
    axes.set_xlim(left=0)


def _slice_rates(models: list[_Model]) -> pd.DataFrame:
    """Return slice, value, n_negative and low, the low end of the rate's interval, highest first.

    The last two are the largest that a model has. By the rate itself the values of a column in
    which each occurs once would come first, with one false positive of one.
    """
    table = pd.concat([one.evaluation.slices for one in models], ignore_index=True)
    by_slice = table.groupby(["slice", "value"], as_index=False)
    largest = by_slice[["n_negative", "low"]].max()
    return largest.sort_values("low", ascending=False, kind="stable")


def _note_lines(models: list[_Model]) -> list[str]:
    """Return the notes of the models, each preceded by the model's name and cut into lines."""
    lines = []
    for model in models:
        for note in model.evaluation.notes:
            words = [printable(word, 80) for word in f"{model.name}: {note}".split()]
            lines += in_lines(words, " ", DPI * (_WIDTH - 1), DPI * 10 / 72)
    return lines


def _write_notes(part: "SubFigure", lines: list[str]) -> None:
    part.text(0.01, 1, "\n".join(lines), va="top", color=PALE, linespacing=1.5, parse_math=False)


def _the_threshold(models: list[_Model]) -> str:
    thresholds = {one.evaluation.settings.threshold for one in models}
    return f"the threshold of {thresholds.pop():.4g}" if len(thresholds) == 1 else "the threshold"
