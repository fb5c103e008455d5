"""The errors that a classifier was most certain of, and a contact sheet of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from PIL import Image, ImageDraw

from assets.methods.common.errors import UserError
from assets.methods.plotting.contact_sheet import MOST_PHOTOS, LoadImage, draw_tiles
from assets.methods.plotting.text import DARK, in_lines, printable, sheet_font

# Lengths in px.
_MARGIN = 14
_HEADING = 50
_FONT = 19
_LONGEST_CLASS = 40
_WIDEST_TITLE = 900
_TITLE_LINE = 26
_LONGEST_WORD = 70


@dataclass(frozen=True)
class WorstErrors:
    """The worst first, columns image_id and score, and how many errors there are of each kind.

    ``false_positives`` are negatives with the highest scores, ``false_negatives`` positives with
    the lowest.
    """

    false_positives: pd.DataFrame
    false_negatives: pd.DataFrame
    n_false_positives: int
    n_false_negatives: int


def worst_errors(labelled: pd.DataFrame, threshold: float, n: int = 20) -> WorstErrors:
    """Pick the ``n`` worst errors of each kind.

    Args:
        labelled: columns image_id, is_positive and score, in any order; equal scores follow the
            image_id.
        threshold: rows whose score is as high or higher are flagged.
        n: number of errors, 1 to 50; fewer if there are fewer.

    Raises:
        UserError: n is out of its range.
    """
    if not 1 <= n <= MOST_PHOTOS:
        raise UserError(f"{n} errors of each kind were asked for: choose 1 to {MOST_PHOTOS}.")
    is_flagged, is_positive = labelled["score"] >= threshold, labelled["is_positive"].astype(bool)
    found = labelled[["image_id", "score"]]
    flagged, missed = found[is_flagged & ~is_positive], found[~is_flagged & is_positive]
    return WorstErrors(
        flagged.sort_values(["score", "image_id"], ascending=[False, True]).head(n),
        missed.sort_values(["score", "image_id"]).head(n),
        len(flagged),
        len(missed),
    )


def draw_worst_errors(
    load_image: LoadImage,
    errors: WorstErrors,
    positive: str,
    title: Sequence[str] = (),
    *,
    blur: bool = True,
) -> Image.Image:
    """Draw the errors in two halves: the false positives above, the false negatives below.

    Photos are blurred unless they are asked for sharp, as by ``draw_ranking``.

    Args:
        load_image: returns the photo of an image_id.
        errors: the errors to draw.
        positive: the label of the positives.
        title: lines above all, such as the model, its class and the threshold.
        blur: whether to blur the photos.

    Returns:
        An RGB image, the same for the same arguments.
    """
    name = printable(positive, _LONGEST_CLASS)
    halves = (
        (f"Flagged as {name} but labelled not", errors.false_positives, errors.n_false_positives),
        (f"Labelled {name} but not flagged", errors.false_negatives, errors.n_false_negatives),
    )
    parts = [_title(title)] if title else []
    for heading, worst, n_errors in halves:
        parts.append(_heading(f"{heading}: {_count(len(worst), n_errors)}"))
        if len(worst):
            parts.append(draw_tiles(load_image, worst, blur=blur))
    sheet = Image.new(
        "RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white"
    )
    upper = 0
    for part in parts:
        sheet.paste(part, (0, upper))
        upper += part.height
    return sheet


def _count(n_drawn: int, n_errors: int) -> str:
    return f"{n_errors:,}" if n_drawn == n_errors else f"the worst {n_drawn} of {n_errors:,}"


def _title(lines: Sequence[str]) -> Image.Image:
    font = sheet_font(_FONT)
    room = _WIDEST_TITLE - 2 * _MARGIN
    shown = [
        line
        for text in lines
        for line in in_lines(
            [printable(word, _LONGEST_WORD) for word in text.split()], " ", room, _FONT
        )
    ]
    width = 2 * _MARGIN + max(math.ceil(font.getlength(line)) for line in shown)
    title = Image.new("RGB", (width, _MARGIN + _TITLE_LINE * len(shown)), "white")
    draw = ImageDraw.Draw(title)
    for number, line in enumerate(shown, 1):
        draw.text(
            (_MARGIN, _MARGIN + _TITLE_LINE * number - 8), line, fill=DARK, font=font, anchor="ls"
        )
    return title


def _heading(text: str) -> Image.Image:
    font = sheet_font(_FONT)
    heading = Image.new("RGB", (2 * _MARGIN + round(font.getlength(text)), _HEADING), "white")
    draw = ImageDraw.Draw(heading)
    draw.text((_MARGIN, _HEADING - 14), text, fill=DARK, font=font, anchor="ls")
    return heading
