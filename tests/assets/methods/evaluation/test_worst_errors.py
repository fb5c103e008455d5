import numpy as np
import pandas as pd
import pytest
from PIL import Image

from assets.methods.common.errors import UserError
from assets.methods.evaluation.worst_errors import draw_worst_errors, worst_errors
from assets.methods.plotting.contact_sheet import tile_box

LABELLED = pd.DataFrame(
    [
        ("red", False, 0.9),
        ("green", False, 0.5),
        ("blue", False, 0.95),
        ("gray", False, 0.4),
        ("cyan", True, 0.1),
        ("magenta", True, 0.49),
        ("yellow", True, 0.5),
    ],
    columns=["image_id", "is_positive", "score"],
)
COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 128, 0),
    "blue": (0, 0, 255),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
}


def load_plain(image_id):
    return Image.new("RGB", (200, 200), image_id)


def places(sheet):
    """The upper edge and the left one of each photo that is on the sheet, by its colour."""
    array = np.asarray(sheet)
    found = {}
    for name, colour in COLOURS.items():
        rows, columns = np.nonzero((array == colour).all(axis=2))
        if len(rows) > 1_000:
            found[name] = int(rows.min()), int(columns.min())
    return found


def test_errors_are_negatives_that_are_flagged_and_positives_that_are_not():
    found = worst_errors(LABELLED, 0.5)
    assert found.false_positives["image_id"].tolist() == ["blue", "red", "green"]
    assert found.false_negatives["image_id"].tolist() == ["cyan", "magenta"]
    assert (found.n_false_positives, found.n_false_negatives) == (3, 2)


def test_the_worst_of_many_are_picked_and_all_are_counted():
    found = worst_errors(LABELLED, 0.5, 1)
    assert found.false_positives.to_numpy().tolist() == [["blue", 0.95]]
    assert found.false_negatives.to_numpy().tolist() == [["cyan", 0.1]]
    assert (found.n_false_positives, found.n_false_negatives) == (3, 2)


def test_equal_scores_follow_the_image_id_whatever_the_order():
    table = pd.DataFrame(
        {"image_id": list("cabfed"), "is_positive": [False] * 3 + [True] * 3, "score": 0.5}
    )
    for one in (table, table[::-1]):
        assert worst_errors(one, 0.5).false_positives["image_id"].tolist() == ["a", "b", "c"]
        assert worst_errors(one, 0.6).false_negatives["image_id"].tolist() == ["d", "e", "f"]


@pytest.mark.parametrize("n", [0, 51])
def test_a_number_of_errors_out_of_range_is_refused(n):
    with pytest.raises(UserError, match="choose 1 to 50"):
        worst_errors(LABELLED, 0.5, n)


def test_false_positives_are_above_false_negatives_each_worst_first():
    sheet = draw_worst_errors(load_plain, worst_errors(LABELLED, 0.5), "nsfw")
    found = places(sheet)
    lefts = [tile_box(place, 3)[0] for place in range(3)]
    assert [found[name][1] for name in ("blue", "red", "green")] == lefts
    assert [found[name][1] for name in ("cyan", "magenta")] == lefts[:2]
    assert found["blue"][0] == found["red"][0] == found["green"][0]
    assert found["cyan"][0] == found["magenta"][0] > found["blue"][0] + 160


def test_a_half_without_errors_has_its_heading_alone():
    both = draw_worst_errors(load_plain, worst_errors(LABELLED, 0.5), "nsfw")
    upper = draw_worst_errors(load_plain, worst_errors(LABELLED, 0.05), "nsfw")
    neither = LABELLED[LABELLED["image_id"].isin(["gray", "yellow"])]
    none = draw_worst_errors(load_plain, worst_errors(neither, 0.5), "nsfw")
    assert set(places(upper)) == {"red", "green", "blue"}
    assert places(none) == {}
    assert none.height < upper.height < both.height
    assert none.width > 200


def test_photos_are_blurred_unless_asked_for_sharp():
    def load_edge(_):
        image = Image.new("RGB", (320, 320))
        image.paste("white", (160, 0, 320, 320))
        return image

    errors = worst_errors(LABELLED, 0.5, 1)
    left, upper, right, _ = tile_box(0, 1)
    shades = [
        len(np.unique(np.asarray(sheet)[50 + upper + 80, left:right, 0]))
        for sheet in (
            draw_worst_errors(load_edge, errors, "nsfw"),
            draw_worst_errors(load_edge, errors, "nsfw", blur=False),
        )
    ]
    assert shades[0] > 30
    assert shades[1] < 12


def test_a_title_stands_above_all_in_as_many_lines_as_it_needs():
    errors = worst_errors(LABELLED, 0.5)
    bare = draw_worst_errors(load_plain, errors, "nsfw")
    titles = [("Worst errors of a model", "P(nsfw), flagged from 0.5"), ("word " * 100, "a" * 300)]
    for title, n_lines in zip(titles, (2, 8), strict=True):
        sheet = draw_worst_errors(load_plain, errors, "nsfw", title)
        above = sheet.height - bare.height
        assert round((above - 14) / 26) == n_lines
        assert sheet.width <= 1_000
        below = np.asarray(sheet)[above:, : bare.width]
        assert (below == np.asarray(bare)).all()
        written = np.asarray(sheet)[:above].min(axis=2)
        assert written.min() < 100
        # Nothing is cut off at the edges.
        assert (written[:, [0, -1]] == 255).all()
        assert (written[[0, -1]] == 255).all()


@pytest.mark.parametrize("name", ["$x^2$", "写真\n", "W" * 300])
def test_the_class_is_written_on_one_line(name):
    errors = worst_errors(LABELLED, 0.5)
    sheets = [draw_worst_errors(load_plain, errors, one) for one in (name, "nsfw")]
    assert sheets[0].height == sheets[1].height
    assert sheets[0].width < 1_200
    assert sheets[0].tobytes() != sheets[1].tobytes()
