"""The study of a planted shortcut in a single figure, and a contact sheet of its dolls."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from assets.methods.attribution.heat_map import HeatMap, HeatMapSettings, smoothed
from assets.methods.attribution.share import attribution_shares
from assets.methods.evaluation.intervals import Estimate, format_estimate
from assets.methods.plotting.panel import style_panel
from assets.methods.plotting.sheet import rasterised
from assets.methods.plotting.text import CHANCE, COLOURS, DARK, DPI, PALE, sheet_font
from assets.methods.study.doll_sets import Design, draw_doll_set
from assets.methods.study.paper_dolls import REGIONS, SIDE, Doll, DollKind, Region
from assets.methods.study.study import ExplainedDoll, StudiedNetwork, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Box = tuple[int, int, int, int]

MOST_EXPLAINED = 4

# Single pixels of a deconvnet's map are grain; px of a doll.
_SMOOTHING = 1.2

_METHODS = ("occlusion", "deconvnet")

_TRAINING_WORDS: dict[Design, str] = {
    "flawed": "the lips give the label away",
    "redesigned": "all lips are red",
}

_SHEET_COLUMNS = 10
# Lengths on the sheet of dolls, in px.
_SHEET_GAP = 14
_SHEET_FONT = 13
_SHEET_LABEL = 38


def draw_study(study: Study) -> Image.Image:
    """Draw ``study_figure`` as an RGB image, 1,600 px wide, the same for the same study.

    Raises:
        ValueError: no doll was explained, or not the same ones before and after.
    """
    return rasterised(study_figure(study))


def study_figure(study: Study) -> "Figure":
    """Lay out what the study found, to be understood without any other text.

    Above are dolls of the two trainings; the ROC of both networks on the test that shares the flaw
    and on the one that does not; and the false-positive rate on clothed dolls with red lips. Below
    are the maps of at most four explained dolls, the first ones, before and after; and the mean
    share of attribution on each region over all that were explained.

    Raises:
        ValueError: no doll was explained, or not the same ones before and after.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    _check_explained(study.before.explained, study.after.explained)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure((16, 18.2), dpi=DPI, layout=layout)
    parts = figure.subfigures(3, squeeze=False, height_ratios=(1.4, 5.6, 11.2))
    head, upper, lower = parts[:, 0]
    trainings, flawed, honest, alarms = upper.subfigures(1, 4, width_ratios=(3.9, 4, 4, 2.6))
    maps, shares = lower.subfigures(1, 2, width_ratios=(8.6, 7))
    _write_head(head, study)
    _draw_trainings(trainings, study)
    _draw_roc(flawed, study, flawed=True)
    _draw_roc(honest, study, flawed=False)
    _draw_false_alarms(alarms, study)
    _draw_maps(maps, study)
    _draw_shares(shares, study)
    return figure


def finding(study: Study) -> tuple[str, str, str]:
    """Return a headline and two sentences that tell what the study found.

    One AUC differs from another where their intervals do not overlap. A network looks at the lips
    if no other region has as much attribution by occlusion for its area.
    """
    before, after = study.before, study.after
    flawed, unflawed, again = (
        evaluation.metrics["auc"] for evaluation in (before.flawed, before.unflawed, after.unflawed)
    )
    areas = region_areas([one.doll for one in before.explained])
    density = {region: before.occlusion[region] / areas[region] for region in REGIONS}
    looks_at_lips = max(REGIONS, key=density.__getitem__) == "lips"
    if unflawed.high >= flawed.low:
        headline = "The network did not learn the planted shortcut"
    else:
        what = "looks at lips" if looks_at_lips else "had learned a shortcut"
        mended = "mend it" if again.low > unflawed.high else "do not mend it"
        headline = f"A flawed test hides that the network {what}; redesigned training data {mended}"
    return (
        headline,
        f"Before: AUC {_value(flawed)} on a test that shares the flaw of training, "
        f"{_value(unflawed)} on an honest one; {_percent(before.occlusion['lips'])} of the "
        f"attribution is on the lips, {_percent(areas['lips'])} of the picture.",
        f"After: AUC {_value(again)} on the honest test; {_percent(after.occlusion['lips'])} of "
        "the attribution is on the lips.",
    )


def draw_doll_sheet(dolls: Sequence[Doll]) -> Image.Image:
    """Draw dolls, at least one, in rows of ten, each above its kind.

    Returns:
        An RGB image, the same for the same dolls.
    """
    boxes = [doll_box(place) for place in range(len(dolls))]
    size = max(right for _, _, right, _ in boxes), max(lower for _, _, _, lower in boxes)
    sheet = Image.new("RGB", (size[0] + _SHEET_GAP, size[1] + _SHEET_LABEL + _SHEET_GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = sheet_font(_SHEET_FONT)
    for doll, (left, upper, _, lower) in zip(dolls, boxes, strict=True):
        sheet.paste(doll.image, (left, upper))
        for line, words in enumerate(kind_words(doll.kind)):
            baseline = lower + 15 + 16 * line
            draw.text((left, baseline), words, fill=(DARK, PALE)[line], font=font, anchor="ls")
    return sheet


def doll_box(place: int) -> Box:
    """Return the (left, upper, right, lower) px of a doll on the sheet of dolls."""
    row, column = divmod(place, _SHEET_COLUMNS)
    left = _SHEET_GAP + column * (SIDE + _SHEET_GAP)
    upper = _SHEET_GAP + row * (SIDE + _SHEET_LABEL + _SHEET_GAP)
    return left, upper, left + SIDE, upper + SIDE


def kind_words(kind: DollKind) -> tuple[str, str]:
    """Return in words what a doll wears and which lips it has."""
    return "bare" if kind.bare else "clothed", "red lips" if kind.red_lips else "plain lips"


def _write_head(part: "SubFigure", study: Study) -> None:
    headline, before, after = finding(study)
    confidence = 100 * study.before.unflawed.settings.confidence
    hint = (
        "Both networks learn to tell bare paper dolls (nsfw) from clothed ones (sfw); only their "
        f"training data differ. Intervals are of {confidence:.4g} %."
    )
    part.suptitle(headline, x=0.01, ha="left", size="xx-large", weight="bold")
    part.text(0.01, 0.68, f"{before}\n{after}", va="top", size="large", linespacing=1.6)
    part.text(0.01, 0.08, hint, color=PALE)


def _draw_trainings(part: "SubFigure", study: Study) -> None:
    """Draw examples of the dolls that both networks were trained on, sorted by their class."""
    panels = part.subplots(2)
    style_panel(panels[0], "Trained on", "Above clothed dolls (sfw), below bare ones (nsfw).")
    for axes, (network, name, colour) in zip(panels, _networks(study), strict=True):
        dolls = draw_doll_set(network.design, 8, seed=0).dolls
        rows = [
            _strip([doll for doll in dolls if doll.kind.bare == bare]) for bare in (False, True)
        ]
        _show(axes, np.vstack(rows), f"■ {name}: {_TRAINING_WORDS[network.design]}", colour)


def _draw_roc(part: "SubFigure", study: Study, *, flawed: bool) -> None:
    if flawed:
        heading, hint = "Test with the flaw", "Only bare dolls have red lips."
    else:
        heading, hint = "Honest test", "Lips tell nothing."
    examples, axes = part.subplots(2, height_ratios=(1, 4))
    style_panel(examples, heading, hint)
    _show(examples, _strip((study.flawed_test if flawed else study.unflawed_test).dolls[:4]))
    style_panel(axes)
    axes.plot([0, 1], [0, 1], color=CHANCE, linestyle="--", linewidth=1.3)
    for place, (network, name, colour) in enumerate(_networks(study)):
        evaluation = network.flawed if flawed else network.unflawed
        x = [0, *evaluation.roc["false_positive_rate"]]
        y = [0, *evaluation.roc["true_positive_rate"]]
        # Where both are the same, the second is seen behind the first.
        width, order = (2, 3) if place == 0 else (4.5, 2.5)
        label = f"{name}: AUC {format_estimate(evaluation.metrics['auc'])}"
        axes.plot(x, y, color=colour, linewidth=width, clip_on=False, zorder=order, label=label)
    axes.legend(loc="lower right", labelcolor="linecolor", edgecolor="none")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.set(xlabel="false-positive rate", ylabel="recall")


def _draw_false_alarms(part: "SubFigure", study: Study) -> None:
    """Draw the false-positive rates on clothed dolls with red lips."""
    examples, axes = part.subplots(2, height_ratios=(1, 4))
    style_panel(examples, "False alarms", "Clothed, with red lips.")
    kind = DollKind(bare=False, red_lips=True)
    _show(examples, _strip([doll for doll in study.unflawed_test.dolls if doll.kind == kind][:2]))
    style_panel(axes, grid="y")
    for place, (network, _, colour) in enumerate(_networks(study)):
        rate = network.red_lips_rate
        axes.bar(place, rate.value, 0.62, color=colour)
        axes.vlines(place, rate.low, rate.high, color=DARK, linewidth=1.8)
        axes.text(place, rate.high + 0.02, _percent(rate.value), ha="center")
    axes.set_xticks([0, 1], ["before", "after"])
    threshold = study.before.unflawed.settings.threshold
    axes.set(xlim=(-0.55, 1.55), ylim=(0, 1.02), yticks=[0, 0.5, 1])
    axes.set_ylabel(f"share with P(nsfw) ≥ {threshold:.4g}")


def _draw_maps(part: "SubFigure", study: Study) -> None:
    """Draw the dolls in the first row, and below them both maps before and both after."""
    pairs = list(zip(study.before.explained, study.after.explained, strict=True))
    shown = pairs[:MOST_EXPLAINED]
    panels = part.subplots(5, MOST_EXPLAINED)
    hint = (
        f"The first {len(shown)} of {len(pairs)} bare dolls. Bright: what speaks for nsfw, each "
        "map on its own scale."
    )
    style_panel(panels[0, 0], "What they look at", hint)
    panels[0, 0].set_ylabel("the doll", rotation=0, ha="right", va="center")
    rows = [(name, colour, method) for _, name, colour in _networks(study) for method in _METHODS]
    for axes, (name, colour, method) in zip(panels[1:, 0], rows, strict=True):
        words = f"■ {name}\n{method}"
        axes.set_ylabel(words, color=colour, rotation=0, ha="right", va="center")
    for column, (before, after) in enumerate(shown):
        doll = before.doll
        scores = f"P(nsfw) {before.score:.2f} → {after.score:.2f}"
        _show(panels[0, column], np.asarray(doll.image), scores)
        maps = (before.occlusion, before.deconvnet, after.occlusion, after.deconvnet)
        for axes, values in zip(panels[1:, column], maps, strict=True):
            _show_map(axes, doll, values)
    for axes in panels[:, len(shown) :].flat:
        axes.set_visible(False)


def _show_map(axes: "Axes", doll: Doll, values: NDArray[np.float32]) -> None:
    # On a scale of its own, a map of nothing would have the colour of the middle.
    settings = HeatMapSettings(scale="own" if values.any() else "fixed")
    shown = HeatMap(doll.image, smoothed(values, _SMOOTHING), settings)
    shares = attribution_shares(values, {"lips": doll.mask("lips")})
    words = "nothing" if shares is None else f"{_percent(shares['lips'])} on the lips"
    _show(axes, np.asarray(shown.blended(doll.image.size)), words)


def _draw_shares(part: "SubFigure", study: Study) -> None:
    """Draw the mean share of attribution on each region, and the region's share of the image."""
    dolls = [one.doll for one in study.before.explained]
    hint = f"Mean of {len(dolls)} dolls. Grey: the region's share of the picture."
    y = np.arange(len(REGIONS))
    for axes, method in zip(part.subplots(2), _METHODS, strict=True):
        style_panel(axes, f"Share of attribution, {method}", hint, grid="x")
        bars = [(getattr(network, method), colour) for network, _, colour in _networks(study)]
        for place, (shares, colour) in enumerate([*bars, (region_areas(dolls), CHANCE)]):
            values = [shares[region] for region in REGIONS]
            drawn = axes.barh(y + 0.27 * (1 - place), values, 0.26, color=colour)
            axes.bar_label(drawn, [_percent(value) for value in values], padding=4)
        axes.set_yticks(y, REGIONS)
        axes.tick_params("y", length=0)
        axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
        # Beside the longest bar its share has to find room.
        axes.set_xlim(0, 1.13)


def _strip(dolls: Sequence[Doll]) -> NDArray[np.uint8]:
    """Return the images of dolls side by side, with a white gap, (rows, columns, 3)."""
    gap = ((0, 8), (0, 8), (0, 0))
    images = [np.pad(np.asarray(doll.image), gap, constant_values=255) for doll in dolls]
    return np.hstack(images)


def _show(axes: "Axes", image: NDArray[np.uint8], caption: str = "", colour: str = DARK) -> None:
    """Show an image, (rows, columns, 3), above its caption."""
    axes.imshow(image)
    axes.set(xticks=[], yticks=[], anchor="W")
    axes.spines[:].set_visible(False)
    axes.set_xlabel(caption, color=colour, loc="left")


def region_areas(dolls: Sequence[Doll]) -> dict[Region, float]:
    """Return the mean share of the image's pixels that each region has."""
    return {region: float(np.mean([doll.mask(region) for doll in dolls])) for region in REGIONS}


def _networks(study: Study) -> tuple[tuple[StudiedNetwork, str, str], ...]:
    """Return both networks, each with its name and colour."""
    return (study.before, "before", COLOURS[0]), (study.after, "after", COLOURS[1])


def _check_explained(before: Sequence[ExplainedDoll], after: Sequence[ExplainedDoll]) -> None:
    if not before:
        raise ValueError("no doll was explained")
    images = [[one.doll.image.tobytes() for one in explained] for explained in (before, after)]
    if images[0] != images[1]:
        raise ValueError("not the same dolls were explained before and after")


def _value(metric: Estimate) -> str:
    """Write a metric alone, with the digits that it has beside its interval."""
    return format_estimate(metric).split(" ")[0]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
