"""What one model or several are worth on labelled sets, in a single figure."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from assets.methods.evaluation.evaluate import Evaluation
from assets.methods.evaluation.intervals import Estimate, format_estimate
from assets.methods.plotting.sheet import LARGE, MEDIUM, FigureSheet
from assets.methods.plotting.text import (
    CHANCE,
    COLOURS,
    GRID,
    PALE,
    fitting,
    in_lines,
    printable,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Lengths in px.
_WIDTH = 1800
_MARGIN = 40
_TITLE = 64
_TABLE_ROW = 30
_BELOW_TABLE = 18
_NAME_COLUMN = 264
_FIGURE_COLUMN = 208
_HEADING = 96
_PANEL_LABELS = 72
_PANEL_WIDTH = 760
_PANEL_HEIGHT = 520
_PANEL_GAP = 56
_BELOW_AXES = 70
_SLICE_LABELS = 480
_SLICE_COUNT = 110
_SLICE_ROW = 26
_SLICE_BAR = 11
_NOTE_LINE = 24

# Fonts, in px.
_SMALL = 15
_TABLE = 14

_MOST_SLICES = 20
_LOWEST_RATE = 1e-6


@dataclass(frozen=True)
class _Model:
    name: str
    evaluation: Evaluation
    colour: str


def draw_evaluation(evaluations: Mapping[str, Evaluation]) -> Image.Image:
    """Draw the evaluations of models, by the models' names, in the same axes.

    Tables of their figures are the legend too. Below are the ROC, with a logarithmic axis of
    false-positive rates, and the precision-recall curve, with a dot at the threshold; reliability
    before and after temperature scaling; where there are slices, the false-positive rates of the 20
    whose intervals begin highest; and the notes.

    Returns:
        An RGB picture, 1,800 px wide, the same for the same arguments.

    Raises:
        ValueError: there is no evaluation.
    """
    if not evaluations:
        raise ValueError("there is no evaluation to draw")
    models = [
        _Model(name, evaluation, colour)
        for (name, evaluation), colour in zip(evaluations.items(), cycle(COLOURS), strict=False)
    ]
    n_slices = min(len(_slice_rates(models)), _MOST_SLICES)
    notes = _note_lines(models)
    tables = _tables(models)
    table_height = (len(models) + 1) * _TABLE_ROW + _BELOW_TABLE
    curves = _MARGIN + _TITLE + len(tables) * table_height + _HEADING
    reliability = curves + _PANEL_HEIGHT + _BELOW_AXES + _HEADING
    bars = n_slices * _slice_row(models)
    slices = reliability + _PANEL_HEIGHT + _BELOW_AXES + _HEADING
    below = slices + bars + _BELOW_AXES if n_slices else slices - _HEADING
    sheet = _Sheet(_WIDTH, below + len(notes) * _NOTE_LINE + _MARGIN, _SMALL)
    sheet.write(_MARGIN, _MARGIN + LARGE, "Evaluation", LARGE, weight="bold")
    for place, table in enumerate(tables):
        _draw_table(sheet, _MARGIN + _TITLE + place * table_height, models, table)
    _draw_roc(sheet, curves, models)
    _draw_precision_recall(sheet, curves, models)
    _draw_reliability(sheet, reliability, models)
    if n_slices:
        _draw_slices(sheet, slices, models)
    for line, note in enumerate(notes):
        sheet.write(_MARGIN, below + line * _NOTE_LINE + _SMALL, note, color=PALE)
    return sheet.picture()


class _Sheet(FigureSheet):
    def head(self, left: float, upper: float, heading: str, hint: str) -> None:
        """Write what lies below ``upper``, and how to read it."""
        self.write(left, upper - 46, heading, MEDIUM, weight="bold")
        self.write(left, upper - 20, hint, color=PALE)

    def panel(self, column: int, upper: float, heading: str, hint: str) -> "Axes":
        """Return the axes of one of the two panels of a row, below its heading."""
        left = _MARGIN + column * (_PANEL_LABELS + _PANEL_WIDTH + _PANEL_GAP)
        self.head(left, upper, heading, hint)
        axes = self.axes(left + _PANEL_LABELS, upper, _PANEL_WIDTH, _PANEL_HEIGHT)
        axes.grid(color=GRID)
        return axes


def _tables(models: list[_Model]) -> list[dict[str, list[str]]]:
    """Return the cells of two tables by heading, one a model; seven columns at most."""
    settings = models[0].evaluation.settings
    at_threshold = {
        "precision": "precision",
        "recall": "recall",
        "f1": "F1",
        "false_positive_rate": "false-positive rate",
        "precision_at_prevalence": f"precision if {100 * settings.prevalence:.4g} % positive",
        "threshold_at_recall": f"threshold for recall {settings.wanted_recall:.4g}",
    }
    overall = {
        "auc": "AUC",
        "average_precision": "average precision",
        "ece_before": "calibration error",
        "ece_after": "the same, scaled",
    }
    found = [model.evaluation for model in models]
    first, second = (
        {head: [_cell(one.metrics.get(name)) for one in found] for name, head in names.items()}
        for names in (at_threshold, overall)
    )
    second["temperature"] = [f"{one.temperature:.3g}" for one in found]
    second["rows"] = [f"{one.n:,}" for one in found]
    second["positives"] = [f"{one.n_positive:,}" for one in found]
    return [first, second]


def _draw_table(
    sheet: _Sheet, upper: float, models: list[_Model], table: dict[str, list[str]]
) -> None:
    confidence = 100 * models[0].evaluation.settings.confidence
    baselines = [upper + 20 + row * _TABLE_ROW for row in range(len(models) + 1)]
    sheet.write(_MARGIN, baselines[0], f"{confidence:.4g} % intervals", color=PALE)
    for baseline, model in zip(baselines[1:], models, strict=True):
        sheet.write(_MARGIN, baseline, "■", MEDIUM, color=model.colour)
        name = fitting("{}", model.name, _NAME_COLUMN - 44, _SMALL, "bold")
        sheet.write(_MARGIN + 24, baseline, name, weight="bold")
    for column, (heading, cells) in enumerate(table.items()):
        left = _MARGIN + _NAME_COLUMN + column * _FIGURE_COLUMN
        sheet.write(left, baselines[0], heading, color=PALE)
        for baseline, cell in zip(baselines[1:], cells, strict=True):
            sheet.write(left, baseline, cell, _TABLE)


def _draw_roc(sheet: _Sheet, upper: float, models: list[_Model]) -> None:
    hint = f"Logarithmic to the right. The dot is {_the_threshold(models)}. Dashed: chance."
    axes = sheet.panel(0, upper, "ROC", hint)
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
        figures = model.evaluation.metrics
        at = max(figures["false_positive_rate"].value, lowest)
        _dot(axes, at, figures["recall"].value, model.colour)
    axes.set(xscale="log", xlim=(lowest, 1), ylim=(0, 1.02))
    sheet.label(axes, "false-positive rate", "recall, the true-positive rate")


def _draw_precision_recall(sheet: _Sheet, upper: float, models: list[_Model]) -> None:
    hint = "Higher is better. Dotted: chance, the share of positives."
    axes = sheet.panel(1, upper, "Precision and recall", hint)
    for model in models:
        table, figures = model.evaluation.precision_recall, model.evaluation.metrics
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
        if "precision" in figures:
            _dot(axes, figures["recall"].value, figures["precision"].value, model.colour)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    sheet.label(axes, "recall", "precision")


def _draw_reliability(sheet: _Sheet, upper: float, models: list[_Model]) -> None:
    panels = (
        ("Reliability", "On the diagonal a score is the probability that it claims to be."),
        ("Reliability, scaled", "The same after temperature scaling."),
    )
    for column, (heading, hint) in enumerate(panels):
        axes = sheet.panel(column, upper, heading, hint)
        axes.plot([0, 1], [0, 1], color=CHANCE, linestyle="--", linewidth=1.3)
        for model in models:
            evaluation = model.evaluation
            table = (evaluation.reliability_before, evaluation.reliability_after)[column]
            x, colour = table["mean_score"], model.colour
            axes.vlines(x, table["low"], table["high"], color=colour, linewidth=1.5, alpha=0.5)
            axes.plot(x, table["positive_share"], color=colour, marker="o", markersize=4.5)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        sheet.label(axes, "mean score of the bin", "share of positives in the bin")


def _draw_slices(sheet: _Sheet, upper: float, models: list[_Model]) -> None:
    rates = _slice_rates(models)
    shown = rates.head(_MOST_SLICES)
    hint = f"At {_the_threshold(models)}; n counts negatives. By the low end of the interval" + (
        f", the {len(shown)} highest of {len(rates):,}." if len(rates) > len(shown) else "."
    )
    sheet.head(_MARGIN, upper, "False-positive rate of slices", hint)
    left = _MARGIN + _SLICE_LABELS
    row = _slice_row(models)
    axes = sheet.axes(left, upper, _WIDTH - _MARGIN - left, len(shown) * row)
    axes.grid(axis="x", color=GRID)
    offsets = 0.7 * ((np.arange(len(models)) + 0.5) / len(models) - 0.5)
    for model, offset in zip(models, offsets, strict=True):
        table = model.evaluation.slices.set_index(["slice", "value"])
        places = pd.MultiIndex.from_frame(shown[["slice", "value"]]).get_indexer(table.index)
        table, y = table[places >= 0], places[places >= 0] + offset
        axes.hlines(y, table["low"], table["high"], color=model.colour, linewidth=2, alpha=0.5)
        rate = table["false_positive_rate"]
        axes.plot(rate, y, "o", color=model.colour, markersize=5, clip_on=False)
    labels, counts = shown["slice"] + ": " + shown["value"], shown["n_negative"]
    for place, (label, n_negative) in enumerate(zip(labels, counts, strict=True)):
        baseline = upper + (place + 0.5) * row + 5
        room = _SLICE_LABELS - _SLICE_COUNT - 20
        sheet.write(_MARGIN, baseline, fitting("{}", label, room, _SMALL))
        sheet.write(left - 12, baseline, f"n {n_negative:,}", color=PALE, align="right")
    axes.set(yticks=[], ylim=(len(shown) - 0.5, -0.5))
    axes.set_xlim(left=0)
    sheet.label(axes, "false-positive rate", "")


def _slice_row(models: list[_Model]) -> int:
    return max(_SLICE_ROW, _SLICE_BAR * (len(models) + 1))


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
            lines += in_lines(words, " ", _WIDTH - 2 * _MARGIN, _SMALL)
    return lines


def _the_threshold(models: list[_Model]) -> str:
    thresholds = {one.evaluation.settings.threshold for one in models}
    return f"the threshold of {thresholds.pop():.4g}" if len(thresholds) == 1 else "the threshold"


def _cell(figure: Estimate | None) -> str:
    return "—" if figure is None else format_estimate(figure)


def _dot(axes: "Axes", x: float, y: float, colour: str) -> None:
    axes.plot(
        x, y, "o", color=colour, markersize=10, markeredgecolor="white", clip_on=False, zorder=3
    )
