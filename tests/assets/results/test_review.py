import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from assets.methods.models.identity import ModelIdentity
from assets.methods.models.provenance import Provenance
from assets.methods.photos.labels import label_images
from assets.methods.photos.rejects import rejects_table
from assets.methods.photos.source import read_labels
from assets.results.review import (
    MOST_FLAGGED,
    PAGE,
    TABLE,
    choose_for_review,
    review_files,
    thumbnail_files,
)

HOSTILE = "</li><script>alert('&amp;')</script><img src=x onerror=\"a()\">\u202egpj.png"


def origin(class_name: str = "nsfw", model: str = "m") -> Provenance:
    identity = ModelIdentity(model, "3", "f0")
    return Provenance(identity, class_name, 0.5, "", "2026-11-28T10:00:00+00:00", "0.2.0")


def words(page: bytes) -> str:
    return " ".join(Page(page.decode()).text.split())


def scores(rows) -> pd.DataFrame:
    """A table of scores: (uri, image_id, score, frame), the highest first; None for a reject."""
    table = pd.DataFrame(rows, columns=["uri", "image_id", "score", "frame"]).astype(
        {"uri": "string", "image_id": "string", "score": "float64", "frame": "Int64"}
    )
    flagged = (table.score >= 0.5).astype("boolean").mask(table.score.isna())
    return table.assign(flagged=flagged)


FOUR = [
    ("/a/x.png", "a" * 64, 0.9, None),
    ("/copy/x.png", "a" * 64, 0.9, None),
    ("/b/x.gif", "b" * 64, 0.5, 7),
    ("/c/x.png", "c" * 64, 0.25, None),
    ("/d.txt", None, None, None),
]


def test_the_flagged_images_are_chosen_each_of_them_once():
    review = choose_for_review(scores(FOUR))
    assert (review.n_flagged, review.n_images) == (2, 3)
    assert review.sentence() == "All flagged images are here."
    columns = ["number", "file", "score", "flagged", "reviewer_label", "comment", "thumbnail"]
    assert list(review.table) == [*columns, "frame", "uri", "image_id"]
    assert review.table[columns].to_numpy().tolist() == [
        [1, "x.png", 0.9, True, "", "", "thumbnails/x-aaaaaaaaaaaaaaaa.jpg"],
        [2, "x.gif", 0.5, True, "", "", "thumbnails/x-bbbbbbbbbbbbbbbb.jpg"],
    ]


def test_the_highest_are_chosen_whether_they_are_flagged_or_not():
    review = choose_for_review(scores(FOUR), highest=3)
    assert review.table.image_id.str[0].tolist() == ["a", "b", "c"]
    assert review.table.flagged.tolist() == [True, True, False]
    assert review.sentence() == "The 3 highest scores are here, flagged or not."
    one = choose_for_review(scores(FOUR), highest=1)
    assert one.sentence() == "The highest score is here, flagged or not."


def test_there_is_a_limit_and_there_may_be_nothing():
    many = [(f"/{number}.png", f"{number:064}", 0.75, None) for number in range(MOST_FLAGGED + 1)]
    review = choose_for_review(scores(many))
    assert len(review.table) == MOST_FLAGGED
    assert review.sentence() == "Of the flagged images, the 500 with the highest scores are here."
    none = choose_for_review(scores(FOUR[3:]))
    assert none.sentence() == "There is nothing to review."
    files = review_files(none, origin())
    assert files[TABLE].decode().count("\n") == 1
    assert "0 images are flagged out of 1, with P(nsfw) of 0.5 or more." in words(files[PAGE])


def test_thumbnails_are_blurred_and_those_of_animations_show_the_frame_that_was_scored():
    asked = []

    def load(image_id):
        asked.append(image_id)
        image = Image.new("L", (480, 240))
        image.paste(255, (240, 0, 480, 240))
        return image

    files = thumbnail_files(choose_for_review(scores(FOUR)), load)
    assert asked == ["a" * 64, f"{'b' * 64}-7"]
    assert list(files) == ["x-aaaaaaaaaaaaaaaa.jpg", "x-bbbbbbbbbbbbbbbb.jpg"]
    with Image.open(io.BytesIO(files["x-aaaaaaaaaaaaaaaa.jpg"])) as opened:
        assert opened.size == (240, 240)
        row = np.asarray(opened.convert("L"), float)[120]
    # The edge between black and white has become a slope of about two radii to each side.
    assert row[[0, 239]].tolist() == pytest.approx([0, 255], abs=3)
    assert 20 < ((row > 25) & (row < 230)).sum() < 40


def test_thumbnails_above_the_limit_are_grey_and_sharp_ones_are_told_so():
    review = choose_for_review(scores(FOUR))

    def load(_):
        return Image.new("RGB", (48, 24), "red")

    files = thumbnail_files(review, load, {"a" * 64}, blur=False)
    colours = [
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)[120, 120]
        for data in files.values()
    ]
    assert max(colours[0]) - min(colours[0]) < 4
    assert colours[1][0] > 240
    page = review_files(review, origin(), blur=False)[PAGE].decode()
    assert "blurred" not in page.lower()


class Page(HTMLParser):
    """The tags of a page, their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def test_names_with_markup_do_nothing_on_the_page_and_formulas_nothing_in_the_table():
    rows = [(f"/p/{HOSTILE}", "a" * 64, 0.9, None), ("/p/=1+1.png", "b" * 64, 0.8, 3)]
    review = choose_for_review(scores(rows))
    files = review_files(review, origin("<b>", "<i>m</i>"))
    page = Page(files[PAGE].decode())
    assert page.tags.count("img") == page.tags.count("li") == 2
    assert not {"script", "b>", "i"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    for link in (value for name, value in page.attributes if name in ("src", "href")):
        assert link == TABLE or re.fullmatch(r"thumbnails/[\w%.-]+\.jpg", link)
    # The whole name can be read, but for what turns the direction of writing.
    assert HOSTILE.partition("\u202e")[0].rpartition("/")[2] in page.text
    assert "\u202e" not in files[PAGE].decode()
    assert "model <i>m</i> version 3" in page.text
    assert "into the column reviewer_label of review.csv" in words(files[PAGE])
    assert ",'=1+1.png," in files[TABLE].decode()


def test_the_table_that_reviewers_fill_in_is_a_labelled_manifest(tmp_path):
    photos = [tmp_path / f"{letter}.png" for letter in "abc"]
    for photo in photos:
        photo.write_bytes(b"")
    rows = [(str(photo), photo.stem * 64, 0.9, None) for photo in photos]
    table = review_files(choose_for_review(scores(rows)), origin())[TABLE].decode()
    # Before the third nobody had time.
    filled_in = table.replace("True,,,", "True,nsfw,clear,", 1).replace("True,,,", "True,SFW,,", 1)
    (tmp_path / TABLE).write_text(filled_in)
    read = read_labels(str(tmp_path / TABLE))
    assert list(read) == ["uri", "label"]
    hashes = [digit * 16 for digit in "05f"]
    images = pd.DataFrame({"image_id": list("abc"), "uri": read.uri.tolist(), "phash": hashes})
    data = label_images(read, images, rejects_table([]))
    assert data.images.label.tolist() == ["nsfw", "sfw"]
    assert data.slice_columns == ()
    assert "The row has no label" in data.findings.detail[data.findings.row == 3].item()
