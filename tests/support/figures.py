"""What matplotlib's figures show: their panels, and whether their words can be read."""

from unittest.mock import patch

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def panel(figure, heading):
    """Return the axes with a heading."""
    (found,) = [axes for axes in figure.findobj(is_axes) if axes.get_title(loc="left") == heading]
    return found


def is_axes(artist):
    # A secondary axis has limits and no title; a legend has a title.
    return hasattr(artist, "get_xlim") and hasattr(artist, "get_title")


def line_data(axes, colour):
    """Return the points of each line of a colour, [(x, y), ...]."""
    return [line.get_data() for line in axes.get_lines() if line.get_color() == colour]


def drawn_texts(figure):
    """Draw a figure and return each text that was drawn, with its box in px."""
    drawn = []

    def note(text, renderer):
        if text.get_visible() and text.get_text().strip():
            drawn.append((text.get_text(), text.get_window_extent(renderer)))

    canvas = FigureCanvasAgg(figure)
    with patch.object(Text, "draw", autospec=True, side_effect=note):
        canvas.draw()
    return drawn


def assert_words_are_readable(figure):
    """Check that no text overlaps another or leaves the figure; returns the texts."""
    texts = drawn_texts(figure)
    width, height = figure.bbox.width, figure.bbox.height
    for place, (words, box) in enumerate(texts):
        assert 0 <= box.x0 <= box.x1 <= width, words
        assert 0 <= box.y0 <= box.y1 <= height, words
        for other, beside in texts[:place]:
            across = min(box.x1, beside.x1) - max(box.x0, beside.x0)
            down = min(box.y1, beside.y1) - max(box.y0, beside.y0)
            # Boxes have room for letters that the words may not contain.
            assert min(across, down) <= 2, (words, other)
    return [words for words, _ in texts]
