"""The maps of what a model looks at in some photos, which a page blends over them on request."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from PIL import Image

from assets.methods.common.shown_text import printable
from assets.methods.page.folder import PageFolder
from assets.methods.plotting.blurring import LoadImage, draw_blurred

LONG_SIDE = 512  # px
_QUALITY = 88
# Raise it whenever the pixels of a photo below its maps change.
_VERSION = 1


@dataclass(frozen=True)
class MapOfPhoto:
    """A map of a photo.

    ``kind`` is its name in a word, ``words`` say how to read it. ``source`` is a digest of what it
    is drawn from, and ``draw`` draws it, RGB, of the photo's shape and any size. Where it
    ``shows_photo``, what is in the photo can be told from it.
    """

    kind: str
    words: str
    source: str
    draw: Callable[[], Image.Image]
    shows_photo: bool = False


@dataclass(frozen=True)
class ExplainedPhoto:
    """The maps of a photo, the name of the ``model`` that they are of, and what the model read.

    ``shown_id`` is the image_id, or that of the frame of an animation.
    """

    shown_id: str
    model: str
    maps: tuple[MapOfPhoto, ...]


def put_maps(
    page: PageFolder,
    photos: pd.DataFrame,
    explained: Mapping[str, ExplainedPhoto],
    load_image: LoadImage,
    has_clear: bool,
) -> dict[int, dict[str, Any]]:
    """Put the maps in, and the photos that lie below them, and return what the page has to know.

    Photos that are blurred are blurred here, too. As they are, and with maps that show what is in
    them, they are only there if ``has_clear``.

    Args:
        page: the folder of the page.
        photos: columns image_id and is_blurred, in the order of the page.
        explained: by image_id.
        load_image: returns the photo of an image_id, or of a frame's, RGB.
        has_clear: whether blurred photos are also there as they are.

    Returns:
        By the place of a photo: its maps, its model, and the files, without their ending.
    """
    found: dict[int, dict[str, Any]] = {}
    for place, (image_id, is_blurred) in enumerate(
        zip(photos.image_id, photos.is_blurred, strict=True)
    ):
        if image_id not in explained:
            continue
        one = explained[image_id]
        base = f"maps/{image_id}"
        _put_photo(page, base, one.shown_id, load_image, is_blurred=bool(is_blurred))
        if is_blurred and has_clear:
            _put_photo(page, f"{base}-clear", one.shown_id, load_image, is_blurred=False)
        maps = [one_map for one_map in one.maps if _may_show(one_map, is_blurred, has_clear)]
        for one_map in maps:
            name = f"{base}-{one_map.kind}.jpg"
            if not page.keeps(name, one_map.source):
                page.put(name, _encoded(one_map.draw()), one_map.source)
        found[place] = {
            "file": base,
            "model": printable(one.model),
            "maps": [
                {
                    "kind": one_map.kind,
                    "words": printable(one_map.words),
                    "showsPhoto": one_map.shows_photo,
                }
                for one_map in maps
            ],
        }
    return found


def _may_show(one: MapOfPhoto, is_blurred: bool, has_clear: bool) -> bool:
    return has_clear or not (is_blurred and one.shows_photo)


def _put_photo(
    page: PageFolder, name: str, shown_id: str, load_image: LoadImage, *, is_blurred: bool
) -> None:
    file, source = f"{name}.jpg", f"{_VERSION}/{shown_id}/{is_blurred}/{LONG_SIDE}"
    if page.keeps(file, source):
        return
    photo = _within(load_image(shown_id))
    page.put(file, _encoded(draw_blurred(photo) if is_blurred else photo), source)


def _within(photo: Image.Image) -> Image.Image:
    photo = photo.convert("RGB")
    scale = min(1.0, LONG_SIDE / max(photo.size))
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    return photo.resize(size, Image.Resampling.LANCZOS)


def _encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    _within(image).save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue()
