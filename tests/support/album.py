"""A collection of small photos whose file names are as bad as names can be."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from assets.methods.page.explained import ExplainedPhoto, MapOfPhoto
from assets.methods.page.page import PageContents
from assets.methods.photos.catalogue import catalogue_photos
from assets.methods.photos.photo_store import PhotoStore
from support.photos import encoded, scene

COLUMNS, ROWS = 7, 6
# Forty photos and two empty cells: markup, script, right-to-left, 255 bytes, not UTF-8, control
# characters, a formula, quotes, commas and ends of lines.
HOSTILE = [
    b"<img src=x onerror=alert(1)>.png",
    b"<script>document.title='run'<\\script>.png",
    b"'\"><b onmouseover=alert(1)>.png",
    "שלום \u202egnp.photo.png".encode(),
    b"\xff\xfe not utf-8 \x80.png",
    b"bell \x07 escape \x1b[31m tab \t.png",
    b"two\nlines.png",
    b'=cmd|"calc",1.png',
    b"%41 percent #fragment ?query.png",
    b"a" * 251 + b".png",
    "Ünïcødé 写真 🐦.png".encode(),
    b"${7*7} {{7*7}} `id`.png",
]
N_PHOTOS = 40
BLURRED = 3


@dataclass(frozen=True)
class Album:
    """A folder of photos, their store, and what a page of them shows."""

    folder: Path
    store: PhotoStore
    contents: PageContents

    def load(self, image_id: str) -> Image.Image:
        return self.store.open_working_copy(image_id)


def file_names() -> list[bytes]:
    plain = [f"bird {number:02}.png".encode() for number in range(N_PHOTOS - len(HOSTILE))]
    return [*HOSTILE, *plain]


def make_album(place: Path) -> Album:
    folder = place / "photos"
    (folder / "birds").mkdir(parents=True)
    for number, name in enumerate(file_names()):
        inner = os.fsencode(folder / "birds" if name.startswith(b"bird") else folder)
        Path(os.fsdecode(inner + b"/" + name)).write_bytes(encoded(scene(64, 48, number)))
    # One file twice.
    first = folder / "birds" / "bird 00.png"
    (folder / "copy of a bird.png").write_bytes(first.read_bytes())
    store = PhotoStore(place / "store")
    images = catalogue_photos(str(folder), store).images
    shown = images.drop_duplicates("image_id").reset_index(drop=True)
    assert len(shown) == N_PHOTOS
    random = np.random.default_rng(0)
    cells = np.arange(N_PHOTOS)
    labels = [("<b>bold</b>", "bird", None)[cell % 3] for cell in cells]
    layout = shown[["image_id", "uri"]].assign(
        label=pd.array(labels, dtype="string"),
        x=random.normal(size=N_PHOTOS),
        y=random.normal(size=N_PHOTOS),
        row=cells // COLUMNS,
        col=cells % COLUMNS,
    )
    vectors = random.normal(size=(N_PHOTOS, 48)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = np.linspace(0, 0.75, N_PHOTOS)
    scores[-BLURRED:] = 0.9
    table = pd.DataFrame({"image_id": shown.image_id, "score": scores})
    contents = PageContents(
        "<i>birds</i>", COLUMNS, ROWS, layout, images, vectors, table, score_name="nsfw"
    )
    return Album(folder, store, contents)


def explained_album(album: Album) -> dict[str, ExplainedPhoto]:
    """Return maps of the third photo, and of the last one, which is blurred."""
    ids = album.contents.layout.image_id

    def one(kind: str, colour: str, *, shows_photo: bool = False) -> MapOfPhoto:
        words = f"How to read {kind}."
        return MapOfPhoto(
            kind, words, f"{kind}-1", lambda: Image.new("RGB", (64, 48), colour), shows_photo
        )

    model = "a <b>model</b>, version 3 \x1b"
    low, high = str(ids.iloc[2]), str(ids.iloc[-1])
    return {
        low: ExplainedPhoto(low, model, (one("seen", "yellow"), one("hidden", "red"))),
        high: ExplainedPhoto(
            high, model, (one("seen", "yellow"), one("deconvnet", "grey", shows_photo=True))
        ),
    }
