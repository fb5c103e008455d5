import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from assets.methods.attribution import occlusion_sheet
from assets.methods.attribution.heat_map import HeatMapSettings
from assets.methods.attribution.occlusion_figure import Panel
from assets.methods.attribution.occlusion_sheet import Answer, Column, OcclusionSheet, draw_row
from assets.methods.models.identity import ModelIdentity
from support.figures import assert_words_are_readable, drawn_texts

COLUMNS = [
    Column(ModelIdentity("models:/nsfw@champion", "3", "ab" * 32), "nsfw"),
    Column(ModelIdentity("http://127.0.0.1/" + 80 * "m", "", "cd" * 32), 60 * "c"),
]


def photograph(size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise)


def answer(size, experiments=("seen", "hidden"), score=0.4, rectangle=None, notes=()):
    values = np.linspace(0.2, 0.8, size[0] * size[1], dtype=np.float32).reshape(size[::-1])
    rectangle = rectangle or (0, 0, min(64, size[0]), min(64, size[1]))
    panel = Panel(values, Image.new("RGB", (64, 64), "lime"), 0.25, rectangle)
    return Answer(score, 1 - score, dict.fromkeys(experiments, panel), notes)


def made(size, answers, name="photo.jpg", settings=None):
    classes = [column.class_name for column in COLUMNS[: len(answers)]]
    about = "12 x 8 px, 01234567"
    return draw_row(photograph(size), name, about, classes, answers, settings or HeatMapSettings())


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn from now on."""
    drawn, original = [], Figure.__init__

    def note(figure, *arguments, **options):
        original(figure, *arguments, **options)
        # Those that measure a text have no size.
        if "figsize" in options:
            drawn.append(figure)

    monkeypatch.setattr(Figure, "__init__", note)
    return drawn


def words(figures):
    return [text for figure in figures for text, _ in drawn_texts(figure)]


@pytest.mark.parametrize("size", [(1, 1), (400, 30), (30, 400), (300, 150)])
def test_a_row_of_an_image_of_any_shape_can_be_read(size, figures):
    note = "Warning: these scores differ by more than 0.02. " * 3
    row = made(size, [answer(size), answer(size, notes=[note])], 100 * "long name ")
    assert row.mode == "RGB"
    (figure,) = figures
    assert_words_are_readable(figure)
    texts = words(figures)
    assert texts.count("seen") == texts.count("hidden") == 2
    assert texts.count("alone: 0.25") == texts.count("without it: 0.25") == 2
    assert "P(nsfw) of the whole image = 0.4" in texts
    assert "12 x 8 px, 01234567" in texts


@pytest.mark.parametrize("experiment", ["seen", "hidden"])
def test_a_row_of_one_experiment_has_one_map(experiment, figures):
    made((64, 48), [answer((64, 48), [experiment])], settings=HeatMapSettings(scale="fixed"))
    assert_words_are_readable(figures[0])
    assert {"seen", "hidden"} & set(words(figures)) == {experiment}
    assert "this map: 0.20 to 0.80" in words(figures)


def test_the_strongest_window_is_cut_out_of_the_image():
    image = Image.new("RGB", (640, 640), "blue")
    image.paste("lime", (320, 0, 480, 160))
    one = answer((640, 640), ["seen"], rectangle=(320, 0, 480, 160))
    row = np.asarray(draw_row(image, "a.png", "", ["nsfw"], [one], HeatMapSettings()))
    rows, columns = np.nonzero((row[:, 700:] == (0, 255, 0)).all(axis=2))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (104, 104)


def test_a_window_of_less_than_a_pixel_shows_the_pixel(figures):
    made((4, 4), [answer((4, 4), rectangle=(3.2, 3.2, 3.4, 3.4))])
    assert_words_are_readable(figures[0])


def pages_of(n, foot=(), columns=COLUMNS[:1], size=(12, 8)):
    pages = []
    sheet = OcclusionSheet(
        HeatMapSettings(), lambda number, page: pages.append((number, page)), foot
    )
    image = photograph(size)
    for number in range(n):
        sheet.add(columns, image, f"{number}.png", "", [answer(size)] * len(columns))
        # What is full is handed over at once.
        assert len(pages) == number // occlusion_sheet.ROWS_ON_PAGE
    sheet.finish()
    assert sheet.n_pages == len(pages)
    return pages


def test_many_images_become_pages_that_say_which_they_are(figures, monkeypatch):
    monkeypatch.setattr(occlusion_sheet, "ROWS_ON_PAGE", 2)
    pages = pages_of(5, foot=["model x, fingerprint y", 120 * "zz "])
    assert [number for number, _ in pages] == [1, 2, 3]
    assert len({page.width for _, page in pages}) == 1
    heads = [text for text in words(figures) if text.startswith("What the model looks at")]
    assert [head.partition(": ")[2] for head in heads] == [
        "images 1 to 2",
        "images 3 to 4",
        "image 5",
    ]
    # The head and the foot.
    for figure in (figures[-2], figures[-1]):
        assert_words_are_readable(figure)
    texts = words(figures)
    assert texts.count("models:/nsfw@champion, version 3") == 3
    assert texts.count("class nsfw, fingerprint abababababababab") == 3
    assert texts.count("model x, fingerprint y") == 3


def test_two_models_stand_side_by_side_above_their_columns(figures):
    pages_of(1, columns=COLUMNS)
    for figure in figures:
        assert_words_are_readable(figure)
    left = {
        text: box.x0
        for figure in figures
        for text, box in drawn_texts(figure)
        if "P(" in text or "version 3" in text or "http" in text
    }
    one, other = (text for text in left if "P(" in text)
    (second,) = (text for text in left if text.startswith("http"))
    assert left[one] == pytest.approx(left["models:/nsfw@champion, version 3"], abs=2)
    assert left[other] == pytest.approx(left[second], abs=2)
    assert left[other] > left[one] + 600


def test_a_page_is_of_one_version_of_a_model(figures):
    """A remote model may be replaced between two images."""
    pages = []
    sheet = OcclusionSheet(HeatMapSettings(), lambda number, _: pages.append(number))
    for version in ("3", "3", "4"):
        column = Column(ModelIdentity("http://a", version, "ab"), "nsfw")
        sheet.add([column], photograph((12, 8)), "a.png", "", [answer((12, 8))])
    sheet.finish()
    assert pages == [1, 2]
    heads = [text for text in words(figures) if text.startswith("http://a")]
    assert heads == ["http://a, version 3", "http://a, version 4"]


def test_a_sheet_without_images_has_no_page():
    assert pages_of(0) == []


def test_the_same_images_give_the_same_page():
    ((_, one),), ((_, other),) = pages_of(1), pages_of(1)
    assert one.tobytes() == other.tobytes()
