"""What reviewers of scores get: a table to fill in, blurred thumbnails, and a page that shows them.

The page has no scripts and needs nothing but the thumbnails beside it, so that the folder can be
handed to others. Names of files come from outside: they are escaped.
"""

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

import pandas as pd

from assets.methods.common.shown_text import printable, printable_uri
from assets.methods.common.tables import table_bytes
from assets.methods.models.provenance import Provenance
from assets.methods.photos.animation import frame_id
from assets.methods.photos.manifest import REVIEWER_LABEL
from assets.methods.plotting.blurring import LoadImage, draw_blurred
from assets.methods.plotting.contact_sheet import photo_tile
from assets.results.originals import file_name, plain_folder_name

MOST_FLAGGED = 500
TABLE = "review.csv"
PAGE = "index.html"
THUMBNAILS = "thumbnails"
# Lengths in px. What a photo shows can be told, and what would hurt cannot be seen.
_SIDE = 240
_BLUR_RADIUS = 10
_QUALITY = 85
# An image is loaded from the folder alone, and nothing else from anywhere. Browsers differ in
# whether a page that was opened as a file may load images beside it as its own.
_POLICY = "default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'"
_STYLE = f"""
body {{ margin: 2rem; font: 16px/1.45 system-ui, sans-serif; color: #222; background: #fff; }}
p {{ max-width: 46rem; }}
ol {{ display: flex; flex-wrap: wrap; gap: 1.25rem; padding: 0; list-style: none; }}
li {{ width: {_SIDE}px; overflow-wrap: anywhere; }}
img {{ display: block; width: {_SIDE}px; height: {_SIDE}px; }}
li span, footer {{ color: #666; }}
footer {{ font-size: 13px; }}
"""


@dataclass(frozen=True)
class Review:
    """The photos that reviewers look at.

    Attributes:
        table: a row a photo, the highest score first: number (from 1), file, score, flagged,
            reviewer_label and comment (both empty), thumbnail (a relative path), frame (of an
            animation), uri, image_id.
        n_flagged: of all images that were scored.
        n_images: that were scored.
        only_flagged: whether it has flagged images alone.
    """

    table: pd.DataFrame
    n_flagged: int
    n_images: int
    only_flagged: bool

    def sentence(self) -> str:
        """Return which photos these are."""
        n = len(self.table)
        if not self.only_flagged:
            which = "highest score is" if n == 1 else f"{n:,} highest scores are"
            return f"The {which} here, flagged or not."
        if not n:
            return "There is nothing to review."
        if n == self.n_flagged:
            return "All flagged images are here."
        return f"Of the flagged images, the {n:,} with the highest scores are here."


def choose_for_review(scores: pd.DataFrame, highest: int | None = None) -> Review:
    """Choose the images to review: those that are flagged, 500 at most, or the ``highest`` scores.

    Args:
        scores: uri, image_id, score, flagged and frame, the highest score first; rejects without a
            score are passed over. Of the copies of one image the first is chosen.
        highest: how many images to choose, whether they are flagged or not.
    """
    scored = scores.dropna(subset="score").drop_duplicates("image_id")
    flagged = scored[scored.flagged.astype(bool)]
    chosen = (flagged.head(MOST_FLAGGED) if highest is None else scored.head(highest)).reset_index(
        drop=True
    )
    names = [_thumbnail_name(*row) for row in zip(chosen.uri, chosen.image_id, strict=True)]
    table = pd.DataFrame(
        {
            "number": range(1, len(chosen) + 1),
            "file": pd.array([file_name(uri) for uri in chosen.uri], "string"),
            "score": chosen.score,
            "flagged": chosen.flagged,
            REVIEWER_LABEL: "",
            "comment": "",
            "thumbnail": pd.array([f"{THUMBNAILS}/{name}" for name in names], "string"),
            "frame": chosen.frame,
            "uri": chosen.uri,
            "image_id": chosen.image_id,
        }
    )
    return Review(table, len(flagged), len(scored), highest is None)


def thumbnail_files(
    review: Review, load_image: LoadImage, blurred: Collection[str] = (), *, blur: bool = True
) -> dict[str, bytes]:
    """Return the blurred thumbnails, JPEG files of 240 px a side, by their names.

    Args:
        review: the photos.
        load_image: returns the image of an image_id, or of the frame of an animation.
        blurred: the photos, by their image_id, that are grey as well.
        blur: whether to blur photos at all.
    """
    files = {}
    table = review.table
    for link, image_id, frame in zip(table.thumbnail, table.image_id, table.frame, strict=True):
        shown_id = image_id if pd.isna(frame) else frame_id(image_id, int(frame))
        content = io.BytesIO()
        photo = load_image(shown_id)
        photo = draw_blurred(photo) if image_id in blurred else photo
        photo_tile(photo, _SIDE, _BLUR_RADIUS * blur).save(content, "JPEG", quality=_QUALITY)
        files[link.removeprefix(f"{THUMBNAILS}/")] = content.getvalue()
    return files


def review_files(review: Review, provenance: Provenance, *, blur: bool = True) -> dict[str, bytes]:
    """Return the table to fill in and the page, by their names. Both say where scores are from.

    ``blur`` says whether the thumbnails are blurred.
    """
    return {
        TABLE: table_bytes(review.table, ".csv", provenance.parts()),
        PAGE: _page(review, provenance, blur).encode(),
    }


def _page(review: Review, provenance: Provenance, blur: bool) -> str:
    class_name = _text(str(provenance.class_name))
    other = "sfw" if class_name == "nsfw" else f"not {class_name}"
    title = f"Photos to review for {class_name}"
    are = "image is" if review.n_flagged == 1 else "images are"
    photos = "\n".join(_item(row, blur) for row in review.table.to_dict("records"))
    blurred = "The photos are blurred, and the highest" if blur else "The highest"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{title}</h1>
<p>{review.n_flagged:,} {are} flagged out of {review.n_images:,}, with P({class_name}) of
{provenance.threshold:g} or more. {review.sentence()}</p>
<p>{blurred} score comes first. Write what each of them is,
{class_name} or {other}, into the column <code>{REVIEWER_LABEL}</code> of
<a href="{TABLE}">{TABLE}</a>, in the row with its number.</p>
<ol>
{photos}
</ol>
<footer>
{"<br>".join(_text(line) for line in provenance.lines())}
</footer>
</body>
</html>
"""


def _item(row: Mapping[Any, Any], blur: bool) -> str:
    name, score = _text(row["file"]), f"{row['score']:.4f}"
    frame = "" if pd.isna(row["frame"]) else f", frame {row['frame']}"
    verdict = "flagged" if row["flagged"] else "not flagged"
    return (
        f'<li title="{escape(printable_uri(row["uri"]))}">'
        f'<img src="{quote(row["thumbnail"])}" loading="lazy" '
        f'alt="{"Blurred photo" if blur else "Photo"} {row["number"]}: {name}">'
        f"{row['number']}. <b>{score}</b> <span>{verdict}</span><br>{name}{frame}</li>"
    )


def _thumbnail_name(uri: str, image_id: str) -> str:
    """Return a name that tells one image from another, also among files of the same name."""
    return f"{plain_folder_name(uri)[:40]}-{image_id[:16]}.jpg"


def _text(text: str) -> str:
    """Return a text from outside as a part of the page."""
    return escape(printable(text))
