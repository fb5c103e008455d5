"""What one or several models look at in many images: pages with a row for each image.

A row has the image and, in a column for each model, its score, its maps, and the windows of the
highest values.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from assets.methods.attribution.heat_map import HeatMap, HeatMapSettings, fill_bar, scaled_photo
from assets.methods.attribution.occlusion import Experiment
from assets.methods.attribution.occlusion_figure import Panel, outlined
from assets.methods.models.identity import ModelIdentity
from assets.methods.plotting.sheet import LARGE, FigureSheet, fitted
from assets.methods.plotting.text import PALE, fitting, format_values, text_length, wrapped

ROWS_ON_PAGE = 10
# Viewers scale a page to the height of a screen: a page of tall rows has fewer of them.
_HIGHEST_PAGE = 4_000

# Lengths in px.
_MARGIN = 28
_GAP = 40
_PHOTO = 220
_MAPS = 520
_MAP_HEIGHT = 220
_TALL_MAP_HEIGHT = 330
_BANNER_HEIGHT = 130
_BETWEEN = 20
_BAR_OFFSET = 8
_BAR = 10
_BELOW_BAR = 26
_BELOW_NAME = 44
_SCORE_AND_LABEL = 44
_RANGE_LINE = 18
_WINDOW = 104
_WINDOW_COLUMN = 145
_COLUMN = _MAPS + _BETWEEN + _WINDOW_COLUMN
# The shortest bar whose ends can be read.
_SHORTEST_BAR = 150
# Width over height: from which on maps lie below each other, from which on the image has a line of
# its own above them, and up to which maps are higher.
_WIDE, _PANORAMA, _TALL = 1.9, 3.5, 0.6

_RULE = "#c8c8c8"

# Fonts and the height of a line, in px.
_NAME, _SCORE, _TEXT, _SMALL = 19, 17, 15, 13
_LINE = 21
_WINDOW_STEP = _WINDOW + 2 * _LINE

_HOW_TO_READ: dict[Experiment, str] = {
    "seen": "seen: windows are cut out of the image and scored alone. A pixel's value is the mean "
    "score of the windows that cover it; it is high where a part alone is enough for the class.",
    "hidden": "hidden: windows are painted over and the rest of the image is scored. A pixel's "
    "value is the mean of 1 − score. White, and the mark in the bar, is where covering changes "
    "nothing: 1 − the score of the whole image. Red: covering lowers it. Blue: it raises it.",
}
_STRONGEST = (
    "strongest windows: the outlined parts, enlarged, with the score of the part alone (seen), and "
    "of the image without it (hidden)."
)
_CAPTIONS: dict[Experiment, str] = {"seen": "alone: {}", "hidden": "without it: {}"}


@dataclass(frozen=True)
class Column:
    """A model of a sheet, and the class that it was asked for."""

    identity: ModelIdentity
    class_name: str


@dataclass(frozen=True)
class Answer:
    """What a model says of an image.

    ``score`` is P(class) of the whole image, ``uncovered`` the value of `hidden` where covering
    changes nothing, ``panels`` has the experiments in their order, and ``notes`` are sentences that
    a reader must not miss.
    """

    score: float
    uncovered: float
    panels: Mapping[Experiment, Panel]
    notes: Sequence[str] = ()


class OcclusionSheet:
    """Draws rows and gathers them into pages, of which no more than one is in memory.

    Args:
        settings: how the maps should look.
        keep: called with each page's number, from 1, and its picture, RGB.
        foot: lines in small type at the end of each page, such as the settings.
    """

    def __init__(
        self,
        settings: HeatMapSettings,
        keep: Callable[[int, Image.Image], None],
        foot: Sequence[str] = (),
    ) -> None:
        self.n_rows = 0
        self.n_pages = 0
        self._settings, self._keep, self._foot = settings, keep, foot
        self._columns: list[Column] = []
        self._rows: list[Image.Image] = []
        self._experiments: list[Experiment] = []

    def add(
        self,
        columns: Sequence[Column],
        image: Image.Image,
        name: str,
        about: str,
        answers: Sequence[Answer],
    ) -> None:
        """Add the row of an image.

        Args:
            columns: the models. A page is of the same ones: others begin a new page.
            image: RGB, of its own size.
            name: of its file.
            about: such as its size, in a few words.
            answers: one for each column.
        """
        class_names = [column.class_name for column in columns]
        row = draw_row(image, name, about, class_names, answers, self._settings)
        height = sum(one.height for one in self._rows) + row.height
        is_full = len(self._rows) == ROWS_ON_PAGE or height > _HIGHEST_PAGE
        if self._rows and (is_full or self._columns != list(columns)):
            self._end_page()
        self._columns = list(columns)
        self._experiments = list(answers[0].panels)
        self._rows.append(row)
        self.n_rows += 1

    def finish(self) -> None:
        """Draw the last page."""
        if self._rows:
            self._end_page()

    def _end_page(self) -> None:
        self.n_pages += 1
        first = self.n_rows - len(self._rows) + 1
        head = _draw_head(self._columns, self._experiments, first, self.n_rows)
        parts = [head, *self._rows, *_draw_foot(self._foot, head.width)]
        page = Image.new("RGB", (head.width, sum(part.height for part in parts)), "white")
        upper = 0
        for part in parts:
            page.paste(part, (0, upper))
            upper += part.height
        self._rows = []
        self._keep(self.n_pages, page)


def draw_row(
    image: Image.Image,
    name: str,
    about: str,
    class_names: Sequence[str],
    answers: Sequence[Answer],
    settings: HeatMapSettings,
) -> Image.Image:
    """Draw the row of an image, RGB; the arguments are those of ``OcclusionSheet.add``.

    Raises:
        ValueError: a map is not of the image's size, or not finite.
    """
    row = _Row(image, answers, class_names, settings)
    row.draw_image(name, about)
    for place, answer in enumerate(answers):
        row.draw_answer(place, answer)
    return row.image()


class _Row(FigureSheet):
    def __init__(
        self,
        image: Image.Image,
        answers: Sequence[Answer],
        class_names: Sequence[str],
        settings: HeatMapSettings,
    ) -> None:
        self._photo = image
        self._maps = [
            {
                experiment: HeatMap(
                    image,
                    panel.values,
                    settings,
                    answer.uncovered if experiment == "hidden" else None,
                )
                for experiment, panel in answer.panels.items()
            }
            for answer in answers
        ]
        self._class_names = class_names
        self._notes = [
            [line for note in answer.notes for line in wrapped(note, _COLUMN, _TEXT)]
            for answer in answers
        ]
        self._place_parts(len(answers), len(answers[0].panels))
        super().__init__(self._room + 2 * _MARGIN, self._height, _SMALL)
        self.paste(Image.new("RGB", (self._room, 1), _RULE), _MARGIN, 0)

    def _place_parts(self, n_columns: int, n_maps: int) -> None:
        """Choose the sizes of all parts, by the shape of the image."""
        self._room = _width(n_columns) - 2 * _MARGIN
        size, shape = self._photo.size, self._photo.width / self._photo.height
        self._is_stacked = n_maps == 1 or shape >= _WIDE
        map_room = _MAPS if self._is_stacked else (_MAPS - _BETWEEN) // 2
        map_height = _TALL_MAP_HEIGHT if shape <= _TALL else _MAP_HEIGHT
        self._map_size = fitted(size, (map_room, map_height))
        self._bar_length = max(self._map_size[0], _SHORTEST_BAR)
        self._is_banner = shape >= _PANORAMA
        photo_room = (self._room, _BANNER_HEIGHT) if self._is_banner else (_PHOTO, map_height)
        self._photo_size = fitted(size, photo_room)
        photo_height = self._photo_size[1]
        self._score_upper = _BELOW_NAME + (photo_height + 8 if self._is_banner else 0)
        n_notes = max(len(lines) for lines in self._notes)
        self._upper = self._score_upper + _SCORE_AND_LABEL + n_notes * _LINE
        says_range = any(one.range_beyond_bar() for maps in self._maps for one in maps.values())
        below_map = _BAR_OFFSET + _BAR + _BELOW_BAR + (_RANGE_LINE if says_range else 0)
        self._map_step = self._map_size[1] + below_map + _LINE
        heights = [
            (n_maps if self._is_stacked else 1) * self._map_step - _LINE,
            n_maps * _WINDOW_STEP - _LINE,
            0 if self._is_banner else photo_height,
        ]
        self._height = self._upper + max(heights) + 16

    def draw_image(self, name: str, about: str) -> None:
        """Draw the image, and above it the name of its file and what there is to say about it."""
        about_length = text_length(about, _TEXT) + _BETWEEN if about else 0
        title = fitting("{}", name, self._room - about_length, _NAME, "bold")
        self.write(_MARGIN, 32, title, _NAME, weight="bold")
        if about:
            left = _MARGIN + text_length(title, _NAME, "bold") + _BETWEEN
            self.write(left, 32, about, _TEXT, color=PALE)
        upper = _BELOW_NAME if self._is_banner else self._upper
        self.paste(scaled_photo(self._photo, self._photo_size), _MARGIN, upper)

    def draw_answer(self, place: int, answer: Answer) -> None:
        """Draw a column: the score, the maps above their bars, and the strongest windows."""
        left = _left(place)
        pattern = f"P({{}}) of the whole image = {format_values([answer.score])[0]}"
        text = fitting(pattern, self._class_names[place], _COLUMN, _SCORE, "bold")
        baseline = self._score_upper + _SCORE
        self.write(left, baseline, text, _SCORE, weight="bold")
        self.write_lines(left, baseline + _LINE, self._notes[place], _LINE, _TEXT)
        windows_left = left + _MAPS + _BETWEEN
        self.write(windows_left, self._upper - 9, "strongest windows", color=PALE)
        for number, (experiment, panel) in enumerate(answer.panels.items()):
            map_left, upper = left + number * (_MAPS + _BETWEEN) // 2, self._upper
            if self._is_stacked:
                map_left, upper = left, upper + number * self._map_step
            self.write(map_left, upper - 9, experiment, color=PALE)
            self._draw_map(map_left, upper, self._maps[place][experiment], panel)
            window_upper = self._upper + number * _WINDOW_STEP
            self._draw_window(windows_left, window_upper, experiment, panel)

    def _draw_map(self, left: int, upper: int, shown: HeatMap, panel: Panel) -> None:
        self.paste(outlined(shown, self._map_size, panel.window_rectangle), left, upper)
        bar = upper + self._map_size[1] + _BAR_OFFSET
        axes = self.axes(left, bar, self._bar_length, _BAR)
        n_ticks = _n_ticks(shown, self._bar_length)
        fill_bar(axes, shown, _SMALL, upright=False, n_ticks=n_ticks)
        beyond = shown.range_beyond_bar()
        if beyond:
            self.write(left, bar + _BAR + _BELOW_BAR + 10, beyond, color=PALE)

    def _draw_window(self, left: int, upper: int, experiment: Experiment, panel: Panel) -> None:
        window = _cut(self._photo, panel)
        size = fitted(window.size, (_WINDOW, _WINDOW))
        self.paste(scaled_photo(window, size), left, upper)
        caption = _CAPTIONS[experiment].format(format_values([panel.window_score])[0])
        self.write(left, upper + size[1] + 17, caption)


def _n_ticks(shown: HeatMap, length: int) -> int:
    """Return how many values fit between the ends of a bar of ``length`` px."""
    labels = format_values(list(shown.limits))
    widest = max(text_length(label, _SMALL) for label in labels)
    return max(0, int(length / (widest + 24)) - 2)


def _cut(image: Image.Image, panel: Panel) -> Image.Image:
    """Return the part of an image where a window lies, at least a pixel of it."""
    left, upper, right, lower = panel.window_rectangle
    left, upper = min(math.floor(left), image.width - 1), min(math.floor(upper), image.height - 1)
    right, lower = min(math.ceil(right), image.width), min(math.ceil(lower), image.height)
    return image.crop((left, upper, max(right, left + 1), max(lower, upper + 1)))


def _draw_head(
    columns: Sequence[Column], experiments: Sequence[Experiment], first: int, last: int
) -> Image.Image:
    """Draw the title of a page, how to read it, and the models above their columns."""
    width = _width(len(columns))
    room = width - 2 * _MARGIN
    sentences = [*(_HOW_TO_READ[experiment] for experiment in experiments), _STRONGEST]
    lines = [line for one in sentences for line in wrapped(one, room, _TEXT)]
    columns_upper = _MARGIN + LARGE + 22 + len(lines) * _LINE + 12
    sheet = FigureSheet(width, columns_upper + 2 * _LINE + 22, _TEXT)
    images = f"image {first:,}" if first == last else f"images {first:,} to {last:,}"
    title = f"What the {'model looks' if len(columns) == 1 else 'models look'} at: {images}"
    sheet.write(_MARGIN, _MARGIN + LARGE - 4, title, LARGE, weight="bold")
    sheet.write_lines(_MARGIN, _MARGIN + LARGE + 30, lines, _LINE, color=PALE)
    for place, column in enumerate(columns):
        left, identity = _left(place), column.identity
        version = f", version {identity.version}" if identity.version else ""
        name = fitting(f"{{}}{version}", identity.name, _COLUMN, _NAME, "bold")
        sheet.write(left, columns_upper + 18, name, _NAME, weight="bold")
        about = f"class {{}}, fingerprint {identity.fingerprint[:16]}"
        text = fitting(about, column.class_name, _COLUMN, _TEXT)
        sheet.write(left, columns_upper + 18 + _LINE, text, color=PALE)
    return sheet.image()


def _draw_foot(foot: Sequence[str], width: int) -> list[Image.Image]:
    lines = [line for one in foot for line in wrapped(one, width - 2 * _MARGIN, _SMALL)]
    if not lines:
        return []
    sheet = FigureSheet(width, len(lines) * _LINE + 30, _SMALL)
    sheet.write_lines(_MARGIN, 22, lines, _LINE, color=PALE)
    return [sheet.image()]


def _left(place: int) -> int:
    return _MARGIN + _PHOTO + _GAP + place * (_COLUMN + _GAP)


def _width(n_columns: int) -> int:
    return _left(n_columns) - _GAP + _MARGIN
