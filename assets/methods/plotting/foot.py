"""Small lines below a figure, which say where it comes from."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from assets.methods.plotting.text import PALE, printable, sheet_font

# Lengths in px.
_MARGIN = 14
_SMALLEST_FONT, _LARGEST_FONT = 13, 16
_LEAST_WIDTH = 320
_LONGEST_WORD = 400


def with_foot(image: Image.Image, foot: Sequence[str]) -> Image.Image:
    """Return a figure with lines below it, or the figure itself without lines.

    Lines are wrapped at the figure's width, and words that are longer than it are cut into pieces.

    Args:
        image: the figure, RGB.
        foot: the lines.

    Returns:
        An RGB image, at least 320 px wide, whose upper left part is the figure.
    """
    if not foot:
        return image
    width = max(image.width, _LEAST_WIDTH)
    # On a large figure, which is often seen scaled down, small letters would be lost.
    size = min(max(round(width / 100), _SMALLEST_FONT), _LARGEST_FONT)
    font, line_height = sheet_font(size), round(1.4 * size)
    lines = [part for line in foot for part in _wrapped(line, width - 2 * _MARGIN, font)]
    height = image.height + 2 * _MARGIN + line_height * len(lines)
    sheet = Image.new("RGB", (width, height), "white")
    sheet.paste(image, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        baseline = image.height + _MARGIN + line_height * number + size
        draw.text((_MARGIN, baseline), line, fill=PALE, font=font, anchor="ls")
    return sheet


def _wrapped(line: str, room: float, font: ImageFont.FreeTypeFont) -> list[str]:
    """Break a line into lines of at most ``room`` px."""
    length = font.getlength
    lines = [""]
    for word in line.split():
        longer = f"{lines[-1]} {printable(word, _LONGEST_WORD)}".strip()
        if lines[-1] and length(longer) > room:
            lines.append("")
            longer = printable(word, _LONGEST_WORD)
        while length(longer) > room:
            n = next(n for n in range(len(longer), 0, -1) if n == 1 or length(longer[:n]) <= room)
            lines[-1] = longer[:n]
            lines.append("")
            longer = longer[n:]
        lines[-1] = longer
    return lines
