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
_TITLE = 0.5

_MOST_SLICES = 20
_LONGEST_NAME = 30
_LONGEST_NOTED = 200
_LONGEST_SLICE = 48
_MOST_DECADES = 6
# Of the logarithmic axis: the length from 0 to the first tick, in decades.
_ZERO_TO_FIRST = 0.9
# The ends of an axis of shares. A curve at 0 or 1 would be hidden by the edge.
_SHARES = (-0.03, 1.03)

# The rates of slices in the order in which they are drawn: the heading, and what n counts.
_RATES = {
    "recall": ("Recall of slices", "n_positive"),
    "false_positive_rate": ("False-positive rate of slices", "n_negative"),
    "precision": ("Precision of slices", "n_flagged"),
}
_COUNTED = {"n_positive": "positives", "n_negative": "negatives", "n_flagged": "flagged images"}


@dataclass(frozen=True)
class _Model:
    """``n_before`` models before it have the same curves, and would hide it."""

    name: str
    evaluation: Evaluation
    colour: str
    n_before: int


def draw_evaluation(
    evaluations: Mapping[str, Evaluation], subtitle: str = "", foot: Sequence[str] = ()
) -> Image.Image:
    """Draw ``evaluation_figure`` as an RGB image, 1,800 px wide, the same for the same arguments.

    The lines of ``foot`` stand below it.

    Raises:
        ValueError: there is no evaluation.
    """
    return with_foot(rasterised(evaluation_figure(evaluations, subtitle)), foot)


def evaluation_figure(evaluations: Mapping[str, Evaluation], subtitle: str = "") -> "Figure":
    """Lay out the evaluations of models, by the models' names, in the same axes.

    Two tables of the metrics are the legend too. Below them are the ROC, with a logarithmic axis of
    false-positive rates that begins at 0, and the precision-recall curve, with a dot at the
    threshold; reliability before and after temperature scaling; where there are slices, the recall,
    false-positive rate and precision of the 20 that surely have the most errors; and the notes.
    Axes reach beyond 0 and 1, so that a curve along an edge is seen.

    Args:
        evaluations: by the models' names.
        subtitle: what the positives are, and which classes of the models stand for them.

    Raises:
        ValueError: there is no evaluation.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not evaluations:
        raise ValueError("there is no evaluation to draw")
    models = [
        _Model(printable(name, _LONGEST_NOTED), evaluation, colour, n_before)
        for (name, evaluation), colour, n_before in zip(
            evaluations.items(), cycle(COLOURS), _behind([*evaluations.values()]), strict=False
        )
    ]
    n_slices = min(len(_worst_slices(models)), _MOST_SLICES)
    notes = _note_lines(models)
    below_title = _wrapped(subtitle) if subtitle else []
    settings = models[0].evaluation.settings
    title = f"Evaluation, with {100 * settings.confidence:.4g} % intervals"
    # The height of each part, and what draws it.
    parts: list[tuple[float, Callable[[SubFigure], None]]] = [
        (_TITLE + _LINE * len(below_title), lambda part: _write_title(part, title, below_title)),
        (_LINE * (2 * len(models) + 5), lambda part: _draw_tables(part, models)),
        (2 * _PANEL, lambda part: _draw_curves(part, models)),
    ]
    if n_slices:
        row = _LINE * max(1, 0.45 * (len(models) + 1))
        parts.append((row * n_slices + 7 * _LINE, lambda part: _draw_slices(part, models)))
    if notes:
        parts.append((_LINE * (len(notes) + 1), lambda part: _write_notes(part, notes)))
    heights = [height for height, _ in parts]
    layout = ConstrainedLayoutEngine(w_pad=0.2, h_pad=0.15)
    figure = Figure((_WIDTH, sum(heights)), dpi=DPI, layout=layout)
    places = figure.subfigures(len(parts), height_ratios=heights, squeeze=False)[:, 0]
    for place, (_, draw) in zip(places, parts, strict=True):
        draw(place)
    return figure


def _behind(evaluations: list[Evaluation]) -> list[int]:
    """Return of each evaluation how many before it have the same ROC, and so the same curves."""
    rates = np.geomspace(10.0**-_MOST_DECADES, 1, 400)
    curves = [
        np.interp(rates, one.roc["false_positive_rate"], one.roc["true_positive_rate"])
        for one in evaluations
    ]
    return [
        sum(np.allclose(curve, other) for other in curves[:number])
        for number, curve in enumerate(curves)
    ]


def _write_title(part: "SubFigure", title: str, lines: list[str]) -> None:
    # Of the part's height, the length of a line; half a line stays free above.
    line = 0.5 * _TITLE / (_TITLE + _LINE * len(lines))
    part.text(0.01, 1 - 0.5 * line, title, va="top", size="xx-large", weight="bold")
    text = "\n".join(lines)
    part.text(0.01, 0, text, va="bottom", color=PALE, linespacing=1.5, parse_math=False)


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
    names = [f"■ {name}" for name in _short_names([model.name for model in models])]
    axes.set_yticks(range(len(models)), names, weight="bold", parse_math=False)
    for label, model in zip(axes.get_yticklabels(), models, strict=True):
        label.set_color(model.colour)
    for column, cells in enumerate(columns.values()):
        for row, cell in enumerate(cells):
            axes.text(column, row, cell, va="center")


def _short_names(names: list[str]) -> list[str]:
    """Return names of at most 30 characters; of those that look alike the part that differs."""
    shortened = [printable(name, _LONGEST_NAME) for name in names]
    short = []
    for name, own in zip(names, shortened, strict=True):
        alike = [other for other, one in zip(names, shortened, strict=True) if one == own]
        if len(alike) > 1:
            n_same = next(
                (at for at, ones in enumerate(zip(*alike, strict=False)) if len({*ones}) > 1), 0
            )
            own = f"…{name[max(0, n_same - _LONGEST_NAME // 3) :]}"
            own = own if len(own) <= _LONGEST_NAME else f"{own[: _LONGEST_NAME - 1]}…"
        short.append(own)
    return short


def _draw_curves(part: "SubFigure", models: list[_Model]) -> None:
    (roc, precision_recall), reliability = part.subplots(2, 2)
    _draw_roc(roc, models)
    _draw_precision_recall(precision_recall, models)
    _draw_reliability(reliability, models)
    for axes in (precision_recall, *reliability):
        axes.set(xlim=_SHARES)
    for axes in (roc, precision_recall, *reliability):
        axes.set(ylim=_SHARES)


def _draw_roc(axes: "Axes", models: list[_Model]) -> None:
    hint = (
        "Logarithmic, and linear from 0 to the first tick after it. The dot is "
        f"{_the_threshold(models)}. Dashed: chance."
    )
    style_panel(axes, "ROC", hint)
    n_negative = max(one.evaluation.n - one.evaluation.n_positive for one in models)
    decades = min(_MOST_DECADES, int(np.ceil(np.log10(n_negative))))
    lowest = 10.0**-decades
    rates = np.append(np.linspace(0, lowest, 20), np.geomspace(lowest, 1, 400)[1:])
    axes.plot(rates, rates, color=CHANCE, linestyle="--", linewidth=1.3)
    for model in models:
        roc = model.evaluation.roc
        x = np.array([0, *roc["false_positive_rate"]])
        y = np.array([0, *roc["true_positive_rate"]])
        # A straight line between two points of the ROC is none on a logarithmic axis.
        between = np.interp(rates, x, y)
        order = np.lexsort((np.append(y, between), np.append(x, rates)))
        axes.plot(
            np.append(x, rates)[order],
            np.append(y, between)[order],
            color=model.colour,
            linewidth=2 + 3 * model.n_before,
            zorder=2.5 - model.n_before / 100,
        )
        metrics = model.evaluation.metrics
        at = metrics["false_positive_rate"].value
        _draw_dot(axes, at, metrics["recall"].value, model)
    axes.set_xscale("symlog", linthresh=lowest, linscale=_ZERO_TO_FIRST)
    ticks = {0: "0", **{10.0**-one: f"$10^{{-{one}}}$" for one in range(decades, 0, -1)}, 1: "1"}
    axes.set_xticks(list(ticks), list(ticks.values()))
    minor = [digit * 10.0**-one for one in range(decades, 0, -1) for digit in range(2, 10)]
    axes.set_xticks(minor, [""] * len(minor), minor=True)
    beyond = _SHARES[1] - 1
    axes.set(
        xlim=(-beyond * lowest * (decades + 1), 10 ** (beyond * (decades + 1))),
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
            drawstyle="steps-pre",
            linewidth=2 + 3 * model.n_before,
            zorder=2.5 - model.n_before / 100,
        )
        share = model.evaluation.n_positive / model.evaluation.n
        axes.axhline(share, color=model.colour, linestyle=":", linewidth=1.3)
        if "precision" in metrics:
            at = metrics["recall"].value, metrics["precision"].value
            _draw_dot(axes, *at, model)
    axes.set(xlabel="recall", ylabel="precision")


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
        axes.set(xlabel="mean score of the bin", ylabel="share of positives in the bin")


def _draw_dot(axes: "Axes", x: float, y: float, model: _Model) -> None:
    axes.plot(
        x,
        y,
        "o",
        color=model.colour,
        markersize=10 + 5 * model.n_before,
        markeredgecolor="white",
        clip_on=False,
        zorder=3 - model.n_before / 100,
    )


def _draw_slices(part: "SubFigure", models: list[_Model]) -> None:
    slices = _worst_slices(models)
    shown = slices.head(_MOST_SLICES)
    fewer = f", the {len(shown)} of {len(slices):,} with surely the most errors"
    title = f"Slices at {_the_threshold(models)}{fewer if len(shown) < len(slices) else ''}"
    part.suptitle(title, x=0.01, ha="left", size="x-large", weight="bold")
    panels = part.subplots(1, len(_RATES), sharey=True)
    offsets = 0.7 * ((np.arange(len(models)) + 0.5) / len(models) - 0.5)
    for axes, (rate, (heading, counted)) in zip(panels, _RATES.items(), strict=True):
        each = " of each model" if counted == "n_flagged" and len(models) > 1 else ""
        hint = f"To the right, the number of {_COUNTED[counted]}{each}."
        style_panel(axes, heading, hint, grid="x")
        for model, offset in zip(models, offsets, strict=True):
            table, y = _rows_of(model, shown), np.arange(len(shown)) + offset
            ends = table[f"{rate}_low"], table[f"{rate}_high"]
            axes.hlines(y, *ends, color=model.colour, linewidth=2, alpha=0.5)
            axes.plot(table[rate], y, "o", color=model.colour, markersize=5)
        _write_counts(axes, counted, shown, models)
        axes.tick_params("y", length=0, pad=10)
        # False-positive rates are low, where a model is of use.
        highest = _highest(models, shown) if rate == "false_positive_rate" else 1
        axes.set(xlim=np.multiply(_SHARES, highest), ylim=(len(shown) - 0.5, -0.5))
    names = [printable(f"{row.slice}: {row.value}", _LONGEST_SLICE) for row in shown.itertuples()]
    panels[0].set_yticks(range(len(shown)), names, parse_math=False)


def _highest(models: list[_Model], shown: pd.DataFrame) -> float:
    """Return the highest end of an interval of the false-positive rate, 1 if there is none."""
    found = pd.concat([_rows_of(model, shown)["false_positive_rate_high"] for model in models])
    return float(found.max()) if found.notna().any() else 1.0


def _write_counts(axes: "Axes", counted: str, shown: pd.DataFrame, models: list[_Model]) -> None:
    """Write to the right of each slice its number of rows, and of each model where they differ."""
    numbers = [_rows_of(model, shown)[counted].fillna(0).astype(int) for model in models]
    texts = [
        " / ".join(f"{n:,}" for n in (row if len({*row}) > 1 else row[:1]))
        for row in zip(*numbers, strict=True)
    ]
    right = axes.secondary_yaxis("right")
    right.spines[:].set_visible(False)
    right.tick_params(length=0)
    right.set_yticks(range(len(texts)), texts, color=PALE)


def _rows_of(model: _Model, shown: pd.DataFrame) -> pd.DataFrame:
    names = ["slice", "value"]
    return model.evaluation.slices.set_index(names).reindex(pd.MultiIndex.from_frame(shown[names]))


def _worst_slices(models: list[_Model]) -> pd.DataFrame:
    """Return slice, value and errors, the slices with surely the most errors first.

    The errors are the low end of the interval of the false-positive rate or of the share of
    positives that are missed, whichever is higher, and the highest that a model has. By the rate
    itself the values of a column in which each occurs once would come first, with one error of one.
    """
    table = pd.concat([one.evaluation.slices for one in models], ignore_index=True)
    lows = pd.DataFrame(
        {"alarms": table["false_positive_rate_low"], "missed": 1 - table["recall_high"]}
    )
    errors = table[["slice", "value"]].assign(errors=lows.max(axis=1))
    by_slice = errors.groupby(["slice", "value"], as_index=False, sort=False)
    return by_slice[["errors"]].max().sort_values("errors", ascending=False, kind="stable")


def _note_lines(models: list[_Model]) -> list[str]:
    """Return the notes of the models, each preceded by the model's name and cut into lines."""
    return [
        line
        for model in models
        for note in model.evaluation.notes
        for line in _wrapped(f"{model.name}: {note}")
    ]


def _wrapped(text: str) -> list[str]:
    """Cut a text into lines that are as long as the figure is wide."""
    words = [printable(word, 80) for word in text.split()]
    return in_lines(words, " ", DPI * (_WIDTH - 1), DPI * 10 / 72)


def _write_notes(part: "SubFigure", lines: list[str]) -> None:
    part.text(0.01, 1, "\n".join(lines), va="top", color=PALE, linespacing=1.5, parse_math=False)


def _the_threshold(models: list[_Model]) -> str:
    thresholds = {one.evaluation.settings.threshold for one in models}
    return f"the threshold of {thresholds.pop():.4g}" if len(thresholds) == 1 else "the threshold"
