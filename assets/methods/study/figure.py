"""The study of a planted shortcut in a single figure, and a contact sheet of its dolls."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from assets.methods.attribution.heat_map import HeatMap, HeatMapSettings, scaled_photo, smoothed
from assets.methods.attribution.share import attribution_shares
from assets.methods.evaluation.intervals import Estimate, format_estimate
from assets.methods.plotting.sheet import LARGE, MEDIUM, FigureSheet
from assets.methods.plotting.text import (
    CHANCE,
    COLOURS,
    DARK,
    GRID,
    PALE,
    in_points,
    sheet_font,
)
from assets.methods.study.doll_sets import Design, draw_doll_set
from assets.methods.study.paper_dolls import REGIONS, SIDE, Doll, DollKind, Region
from assets.methods.study.study import ExplainedDoll, StudiedNetwork, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[int, int, int, int]

MOST_EXPLAINED = 4

# Lengths in px.
_WIDTH = 1600
_MARGIN = 40
_FIRST_HEADING = 258
_EXAMPLE = 80
_EXAMPLE_GAP = 6
_STRIP = 4 * _EXAMPLE + 3 * _EXAMPLE_GAP
_BELOW_STRIP = 18
_CURVES = _STRIP
_TRAINING_CAPTION = 30
_BETWEEN_PANELS = 94
_BETWEEN_ROCS = 68
_SECOND_HEADING = 158
_TILE = 168
_TILE_GAP = 8
_SCORES = 50
_CAPTION = 28
_ROW_LABELS = 118
_SHARES_GAP = 56
_SHARES_LABELS = 100
_BETWEEN_SHARES = 136
_BELOW = 30

_EXAMPLES = _FIRST_HEADING
_AXES = _EXAMPLES + _EXAMPLE + _BELOW_STRIP
_MAPS = _AXES + _CURVES + _SECOND_HEADING
_FLAWED_LEFT = _MARGIN + _STRIP + _BETWEEN_PANELS
_UNFLAWED_LEFT = _FLAWED_LEFT + _STRIP + _BETWEEN_ROCS
_RED_LIPS_LEFT = _UNFLAWED_LEFT + _STRIP + _BETWEEN_PANELS
_MAPS_LEFT = _MARGIN + _ROW_LABELS
_SHARES_LEFT = _MAPS_LEFT + MOST_EXPLAINED * (_TILE + _TILE_GAP) + _SHARES_GAP
_SHARES_HEIGHT = (5 * _TILE + 4 * _CAPTION + _SCORES - _CAPTION - _BETWEEN_SHARES) // 2
_HEIGHT = _MAPS + 5 * (_TILE + _CAPTION) + _SCORES - _CAPTION + _BELOW

# Fonts, in px.
_SENTENCE = 17
_SMALL = 15

# Single pixels of a deconvnet's map are grain; px of a doll.
_SMOOTHING = 1.2

_BEFORE, _AFTER = COLOURS[:2]
_FROM_LIPS = REGIONS[::-1]
# What the words beside a bar take of the axis.
_WORDS_SHARE = 0.13

# Lengths on the sheet of dolls, in px.
_SHEET_GAP = 14
_SHEET_FONT = 13
_SHEET_LABEL = 38


def draw_study(study: Study) -> Image.Image:
    """Draw what the study found, to be understood without any other text.

    Above, dolls of the two trainings; the ROC of both networks on the test that shares the flaw and
    on the one that does not; and the false-positive rate on clothed dolls with red lips. Below, the
    maps of at most four explained dolls, the first ones, before and after; and the mean share of
    attribution on each region over all that were explained.

    Returns:
        An RGB picture, 1,600 px wide, the same for the same study.

    Raises:
        ValueError: no doll was explained, or not the same ones before and after.
    """
    before, after = study.before, study.after
    _check_explained(before.explained, after.explained)
    sheet = _Sheet(_WIDTH, _HEIGHT, _SMALL)
    _draw_words(sheet, study)
    _draw_trainings(sheet, _MARGIN, study)
    _draw_roc(sheet, _FLAWED_LEFT, study, flawed=True)
    _draw_roc(sheet, _UNFLAWED_LEFT, study, flawed=False)
    _draw_red_lips(sheet, _RED_LIPS_LEFT, study)
    _draw_maps(sheet, study)
    _draw_shares(sheet, study)
    return sheet.picture()


def finding(study: Study) -> tuple[str, str, str]:
    """Say in a headline and two sentences what the study found.

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


def map_box(row: int, column: int) -> Box:
    """Return the (left, upper, right, lower) px of a tile of the figure's table of maps.

    Row 0 shows the dolls, rows 1 and 2 the occlusion and the deconvnet map before, rows 3 and 4
    those after.
    """
    left = _MAPS_LEFT + column * (_TILE + _TILE_GAP)
    upper = _MAPS + row * (_TILE + _CAPTION) + (_SCORES - _CAPTION if row else 0)
    return left, upper, left + _TILE, upper + _TILE


def draw_doll_sheet(dolls: Sequence[Doll], columns: int = 10) -> Image.Image:
    """Draw dolls in rows of at most ``columns``, each above its kind.

    Returns:
        An RGB picture, the same for the same dolls.

    Raises:
        ValueError: there is no doll, or no column.
    """
    if not dolls or columns < 1:
        raise ValueError(f"{len(dolls)} dolls cannot be drawn in {columns} columns")
    _, _, right, _ = doll_box(min(columns, len(dolls)) - 1, columns)
    _, _, _, lower = doll_box(len(dolls) - 1, columns)
    sheet = Image.new("RGB", (right + _SHEET_GAP, lower + _SHEET_LABEL + _SHEET_GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = sheet_font(_SHEET_FONT)
    for place, doll in enumerate(dolls):
        left, upper, right, lower = doll_box(place, columns)
        sheet.paste(doll.picture, (left, upper))
        for line, words in enumerate(kind_words(doll.kind)):
            baseline = lower + 15 + 16 * line
            draw.text((left, baseline), words, fill=(DARK, PALE)[line], font=font, anchor="ls")
    return sheet


def doll_box(place: int, columns: int) -> Box:
    """Return the (left, upper, right, lower) px of a doll on a sheet of so many columns."""
    row, column = divmod(place, columns)
    left = _SHEET_GAP + column * (SIDE + _SHEET_GAP)
    upper = _SHEET_GAP + row * (SIDE + _SHEET_LABEL + _SHEET_GAP)
    return left, upper, left + SIDE, upper + SIDE


def kind_words(kind: DollKind) -> tuple[str, str]:
    """Say what a doll wears and which lips it has."""
    return "bare" if kind.bare else "clothed", "red lips" if kind.red_lips else "plain lips"


class _Sheet(FigureSheet):
    def head(self, left: float, upper: float, heading: str, hint: str) -> None:
        """Write what lies below ``upper``, and how to read it."""
        self.write(left, upper - 44, heading, MEDIUM, weight="bold")
        self.write(left, upper - 18, hint, color=PALE)


def _draw_words(sheet: _Sheet, study: Study) -> None:
    headline, before, after = finding(study)
    confidence = 100 * study.before.unflawed.settings.confidence
    hint = (
        "Both networks learn to tell bare paper dolls (nsfw) from clothed ones (sfw); only their "
        f"training data differ. Intervals are of {confidence:.4g} %."
    )
    sheet.write(_MARGIN, _MARGIN + LARGE, headline, LARGE, weight="bold")
    sheet.write(_MARGIN, _MARGIN + 68, before, _SENTENCE)
    sheet.write(_MARGIN, _MARGIN + 94, after, _SENTENCE)
    sheet.write(_MARGIN, _MARGIN + 124, hint, color=PALE)


_TRAINING_WORDS: dict[Design, str] = {
    "flawed": "the lips give the label away",
    "redesigned": "all lips are red",
    "unflawed": "lips tell nothing",
}


def _draw_trainings(sheet: _Sheet, left: int, study: Study) -> None:
    """Draw examples of the dolls that both networks were trained on, sorted by their class."""
    sheet.head(left, _EXAMPLES, "Trained on", "Above clothed dolls (sfw), below bare ones (nsfw).")
    across = _EXAMPLE + _EXAMPLE_GAP
    second = _AXES + _CURVES - _TRAINING_CAPTION - across - _EXAMPLE
    for place, (network, (name, colour)) in enumerate(_networks(study)):
        upper = second if place else _EXAMPLES
        words = f"■ {name}: {_TRAINING_WORDS[network.design]}"
        sheet.write(left, upper + 16, words, color=colour, weight="bold")
        dolls = draw_doll_set(network.design, 8, seed=0).dolls
        for row, bare in enumerate((False, True)):
            shown = [doll for doll in dolls if doll.kind.bare == bare]
            _draw_strip(sheet, left, upper + _TRAINING_CAPTION + row * across, shown)


def _draw_strip(sheet: _Sheet, left: int, upper: int, dolls: Sequence[Doll]) -> None:
    for place, doll in enumerate(dolls):
        picture = scaled_photo(doll.picture, (_EXAMPLE, _EXAMPLE))
        sheet.paste(picture, left + place * (_EXAMPLE + _EXAMPLE_GAP), upper)


def _draw_roc(sheet: _Sheet, left: int, study: Study, *, flawed: bool) -> None:
    if flawed:
        heading, hint, dolls = (
            "Test with the flaw",
            "Only bare dolls have red lips.",
            study.flawed_test,
        )
    else:
        heading, hint, dolls = "Honest test", "Lips tell nothing.", study.unflawed_test
    sheet.head(left, _EXAMPLES, heading, hint)
    _draw_strip(sheet, left, _EXAMPLES, dolls.dolls[:4])
    axes = sheet.axes(left, _AXES, _CURVES, _CURVES)
    axes.grid(color=GRID)
    axes.plot([0, 1], [0, 1], color=CHANCE, linestyle="--", linewidth=1.3)
    for place, (network, (name, colour)) in enumerate(_networks(study)):
        evaluation = network.flawed if flawed else network.unflawed
        x = [0, *evaluation.roc["false_positive_rate"]]
        y = [0, *evaluation.roc["true_positive_rate"]]
        # Where both are the same, the second is seen behind the first.
        width, order = (2, 3) if place == 0 else (4.5, 2.5)
        axes.plot(x, y, color=colour, linewidth=width, clip_on=False, zorder=order)
        auc = format_estimate(evaluation.metrics["auc"])
        baseline = _AXES + _CURVES - 44 + 24 * place
        for offset, words in ((80, f"■ {name}"), (166, f"AUC {auc}")):
            sheet.write(left + offset, baseline, words, 14, color=colour, weight="bold")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    sheet.label(axes, "false-positive rate", "recall")


def _draw_red_lips(sheet: _Sheet, left: int, study: Study) -> None:
    """Draw the false-positive rates on clothed dolls with red lips."""
    sheet.head(left, _EXAMPLES, "False alarms", "Clothed, with red lips.")
    kind = DollKind(bare=False, red_lips=True)
    shown = [doll for doll in study.unflawed_test.dolls if doll.kind == kind]
    width = _WIDTH - _MARGIN - left
    _draw_strip(sheet, left, _EXAMPLES, shown[: width // _EXAMPLE])
    axes = sheet.axes(left, _AXES, width, _CURVES)
    axes.grid(axis="y", color=GRID)
    for place, (network, (_, colour)) in enumerate(_networks(study)):
        rate = network.red_lips_rate
        axes.bar(place, rate.value, 0.62, color=colour)
        axes.vlines(place, rate.low, rate.high, color=DARK, linewidth=1.8)
        axes.text(
            place, rate.high + 0.02, _percent(rate.value), ha="center", fontsize=in_points(_SMALL)
        )
    axes.set(xlim=(-0.55, 1.55), ylim=(0, 1.02), yticks=[0, 0.5, 1])
    axes.set_xticks([0, 1], ["before", "after"])
    threshold = study.before.unflawed.settings.threshold
    sheet.label(axes, "", f"share with P(nsfw) ≥ {threshold:.4g}")


def _draw_maps(sheet: _Sheet, study: Study) -> None:
    n = len(study.before.explained)
    shown = min(n, MOST_EXPLAINED)
    sheet.head(
        _MARGIN,
        _MAPS,
        "What they look at",
        f"The first {shown} of {n} bare dolls. Bright: what speaks for nsfw, each map on its own "
        "scale.",
    )
    middle = _TILE // 2
    for row, (words, network) in enumerate(_map_rows(study)):
        _, upper, _, _ = map_box(row, 0)
        if network is None:
            sheet.write(_MARGIN, upper + middle + 5, words)
            continue
        name, colour = network
        sheet.write(_MARGIN, upper + middle - 6, f"■ {name}", color=colour, weight="bold")
        sheet.write(_MARGIN, upper + middle + 16, words)
    pairs = zip(study.before.explained, study.after.explained, strict=True)
    for column, (before, after) in enumerate(list(pairs)[:MOST_EXPLAINED]):
        _draw_explained(sheet, column, before, after)


def _map_rows(study: Study) -> list[tuple[str, tuple[str, str] | None]]:
    methods = ("occlusion", "deconvnet")
    maps = [(method, words) for _, words in _networks(study) for method in methods]
    return [("the doll", None), *maps]


def _draw_explained(
    sheet: _Sheet, column: int, before: ExplainedDoll, after: ExplainedDoll
) -> None:
    doll = before.doll
    left, upper, _, lower = map_box(0, column)
    sheet.paste(scaled_photo(doll.picture, (_TILE, _TILE)), left, upper)
    for line, (one, colour) in enumerate(((before, _BEFORE), (after, _AFTER))):
        sheet.write(left, lower + 19 + 20 * line, f"P(nsfw) = {one.score:.2f}", 14, color=colour)
    maps = (before.occlusion, before.deconvnet, after.occlusion, after.deconvnet)
    for row, values in enumerate(maps, 1):
        left, upper, _, lower = map_box(row, column)
        # On a scale of its own, a map of nothing would have the colour of the middle.
        settings = HeatMapSettings(scale="own" if values.any() else "fixed")
        picture = HeatMap(doll.picture, smoothed(values, _SMOOTHING), settings)
        sheet.paste(picture.blended((_TILE, _TILE)), left, upper)
        shares = attribution_shares(values, {"lips": doll.mask("lips")})
        words = "nothing" if shares is None else f"{_percent(shares['lips'])} on the lips"
        sheet.write(left, lower + 19, words, 14)


def _draw_shares(sheet: _Sheet, study: Study) -> None:
    """Draw the mean share of attribution on each region, and that of the picture's area."""
    dolls = [one.doll for one in study.before.explained]
    areas = region_areas(dolls)
    hint = f"Mean of {len(dolls)} dolls. The line: the region's share of the picture."
    y = np.arange(len(REGIONS))
    for panel, method in enumerate(("occlusion", "deconvnet")):
        upper = _MAPS + panel * (_SHARES_HEIGHT + _BETWEEN_SHARES)
        sheet.head(_SHARES_LEFT, upper, f"Share of attribution, {method}", hint)
        axes = sheet.axes(
            _SHARES_LEFT + _SHARES_LABELS,
            upper,
            _WIDTH - _MARGIN - _SHARES_LEFT - _SHARES_LABELS,
            _SHARES_HEIGHT,
        )
        axes.grid(axis="x", color=GRID)
        for place, (network, (_, colour)) in enumerate(_networks(study)):
            _draw_bars(axes, y + 0.38 * (place - 0.5), getattr(network, method), areas, colour)
        axes.vlines([areas[region] for region in _FROM_LIPS], y - 0.4, y + 0.4, color=DARK)
        axes.set_yticks(y, _FROM_LIPS)
        axes.set(ylim=(len(y) - 0.5, -0.5), xlim=(0, 1 + _WORDS_SHARE))
        axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])


def _draw_bars(
    axes: "Axes",
    y: NDArray[np.floating],
    shares: dict[Region, float],
    areas: dict[Region, float],
    colour: str,
) -> None:
    for at, region in zip(y, _FROM_LIPS, strict=True):
        share, area = shares[region], areas[region]
        axes.barh(at, share, 0.36, color=colour)
        # The line of the area would cross the words.
        end = area if share < area < share + _WORDS_SHARE else share
        size = in_points(_SMALL)
        axes.text(end + 0.015, at, _percent(share), va="center", fontsize=size, color=DARK)


def region_areas(dolls: Sequence[Doll]) -> dict[Region, float]:
    """Return the mean share of the picture's pixels that each region has."""
    return {region: float(np.mean([doll.mask(region) for doll in dolls])) for region in REGIONS}


def _networks(study: Study) -> tuple[tuple[StudiedNetwork, tuple[str, str]], ...]:
    """Return both networks, each with its name and colour."""
    return (study.before, ("before", _BEFORE)), (study.after, ("after", _AFTER))


def _check_explained(before: Sequence[ExplainedDoll], after: Sequence[ExplainedDoll]) -> None:
    if not before:
        raise ValueError("no doll was explained")
    pictures = [[one.doll.picture.tobytes() for one in explained] for explained in (before, after)]
    if pictures[0] != pictures[1]:
        raise ValueError("not the same dolls were explained before and after")


def _value(figure: Estimate) -> str:
    """Write a figure alone, with the digits that it has beside its interval."""
    return format_estimate(figure).split(" ")[0]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
