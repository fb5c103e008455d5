"""The demo collection: 1,024 tiles of the photographs that come with the dependencies."""

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

from assets.methods.common.checksums import (
    DamagedFileError,
    digest_of_file,
    read_checked_json,
    write_checked_json,
)
from assets.methods.common.files import set_aside, write_whole

N_TILES = 1024
TILE_SIDE = 96
_CHECKSUMS = "checksums.json"

# Files by label: in the folder data of scikit-image, and in datasets/images of scikit-learn.
_SKIMAGE_PHOTOS = {
    "astronaut": "astronaut.png",
    "brick": "brick.png",
    "cameraman": "camera.png",
    "cat": "chelsea.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "galaxies": "hubble_deep_field.jpg",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "moon": "moon.png",
    "motorcycle": "motorcycle_left.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
    "tissue": "ihc.png",
}
_SKLEARN_PHOTOS = {"flower": "flower.jpg", "temple": "china.jpg"}
_LABELS = sorted([*_SKIMAGE_PHOTOS, *_SKLEARN_PHOTOS])
_TILES_PER_PHOTO = N_TILES // len(_LABELS)
# More tiles are cut than kept: the plainest, such as black corners and empty sky, are left out.
_CUT_PER_PHOTO = _TILES_PER_PHOTO * 5 // 4


def write_demo_collection(folder: Path) -> Path:
    """Write 1,024 labelled square tiles and their manifest below ``folder``.

    Returns the path of the manifest. Files that exist are not written again, unless they are
    damaged. The manifest is written last, when the tiles are complete.
    """
    manifest = folder / "manifest.csv"
    _set_damaged_aside(folder)
    is_complete = True
    for label in _LABELS:
        paths = [folder / name for name in _tile_names(label)]
        if not all(path.is_file() for path in paths):
            is_complete = False
            for path, tile in zip(paths, _tiles(_photo(label)), strict=True):
                if not path.is_file():
                    write_whole(path, _encoded(tile))
    if not is_complete or not (folder / _CHECKSUMS).exists():
        names = [name for label in _LABELS for name in _tile_names(label)]
        digests = {name: digest_of_file(folder / name) for name in names}
        write_checked_json(folder / _CHECKSUMS, digests, _CHECKSUMS)
    expected = _manifest()
    if not manifest.is_file() or manifest.read_bytes() != expected:
        write_whole(manifest, expected)
    return manifest


def _set_damaged_aside(folder: Path) -> None:
    try:
        digests, _ = read_checked_json(folder / _CHECKSUMS, _CHECKSUMS)
    except FileNotFoundError:
        return
    except DamagedFileError as error:
        set_aside(folder / _CHECKSUMS, str(error))
        return
    for name, digest in digests.items():
        path = folder / name
        if path.is_file() and digest_of_file(path) != digest:
            set_aside(path, "does not have the content that was written")


def _tile_names(label: str) -> list[str]:
    return [f"{label}_{number:03}.jpg" for number in range(_TILES_PER_PHOTO)]


def _manifest() -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["uri", "label"])
    writer.writerows([name, label] for label in _LABELS for name in _tile_names(label))
    return text.getvalue().encode()


def _photo(label: str) -> Image.Image:
    # The files are opened by their paths: skimage.data's functions would download missing ones.
    if label in _SKIMAGE_PHOTOS:
        import skimage

        path = Path(skimage.__file__).parent / "data" / _SKIMAGE_PHOTOS[label]
    else:
        import sklearn

        path = Path(sklearn.__file__).parent / "datasets" / "images" / _SKLEARN_PHOTOS[label]
    with Image.open(path) as image:
        return image.convert("RGB")


def _tiles(photo: Image.Image) -> list[Image.Image]:
    """Cut the most detailed tiles of an even grid over the photo, in reading order."""
    columns = round((_CUT_PER_PHOTO * photo.width / photo.height) ** 0.5)
    rows = -(-_CUT_PER_PHOTO // columns)
    # Small photos are cut into tiles that overlap, so that none is enlarged by more than a third.
    side = max(round(1.2 * photo.width / columns), round(0.75 * TILE_SIDE))
    lefts = np.linspace(0, photo.width - side, columns).round().astype(int).tolist()
    tops = np.linspace(0, photo.height - side, rows).round().astype(int).tolist()
    cut = [photo.crop((x, y, x + side, y + side)) for y in tops for x in lefts]
    detail = np.array([np.asarray(tile.convert("L")).std() for tile in cut])
    kept = np.sort(np.argsort(-detail, kind="stable")[:_TILES_PER_PHOTO])
    return [cut[index].resize((TILE_SIDE, TILE_SIDE), Image.Resampling.LANCZOS) for index in kept]


def _encoded(tile: Image.Image) -> bytes:
    encoded = io.BytesIO()
    tile.save(encoded, "JPEG", quality=92, subsampling="4:4:4")
    return encoded.getvalue()
