"""The images that are measured with: tiles of the demo, large photos, and an astronaut."""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import skimage
from PIL import Image

from assets.methods.photos.decode import decode, image_id
from assets.methods.photos.demo import write_demo_collection
from assets.methods.photos.opened_file import DecodeLimits

PHOTO_SIZE = (1600, 1200)
DRAWN_PHOTOS = 32


@dataclass(frozen=True)
class Tiles:
    """Tiles of the demo as working copies, with the photograph that each was cut from."""

    image_ids: list[str]
    images: dict[str, Image.Image]
    labels: list[str]


def write_tiles(folder: Path, n: int) -> Path:
    """Write the demo's tiles, and return a manifest of ``n`` of them, evenly spread."""
    whole = write_demo_collection(folder)
    table = pd.read_csv(whole)
    chosen = table.iloc[:: max(1, len(table) // n)].head(n)
    part = folder / f"{n}.csv"
    chosen.to_csv(part, index=False)
    return part


def read_tiles(folder: Path, n: int) -> Tiles:
    """Decode ``n`` tiles of the demo, which are written below ``folder``."""
    table = pd.read_csv(write_tiles(folder, n))
    files = [(folder / name).read_bytes() for name in table["uri"]]
    with ThreadPoolExecutor() as pool:
        copies = pool.map(lambda data: decode(data, DecodeLimits()).working_copy, files)
    ids = [image_id(data) for data in files]
    return Tiles(ids, dict(zip(ids, copies, strict=True)), list(table["label"]))


def write_large_photos(folder: Path, n: int) -> None:
    """Write ``n`` JPEG files of 1,600 x 1,200 px, drawn from the photographs of scikit-image."""
    folder.mkdir(parents=True)
    drawn = _large_photos(min(n, DRAWN_PHOTOS))
    for number in range(n):
        data = drawn[number % len(drawn)]
        # A comment after the first marker makes each file another photo to Tessera.
        comment = f"{number:08}".encode()
        marked = data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]
        (folder / f"{number:05}.jpg").write_bytes(marked)


def astronaut() -> Image.Image:
    """Return the photograph that maps are made of, 512 x 512 px."""
    return _photograph("astronaut.png")


def _photograph(name: str) -> Image.Image:
    with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
        return image.convert("RGB")


def _large_photos(n: int) -> list[bytes]:
    names = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
    sources = [_photograph(name) for name in names]

    def draw(number: int) -> bytes:
        source = sources[number % len(sources)]
        # Each shows another part of its photograph.
        width = round(source.width * (0.9 - 0.02 * (number // len(sources))))
        height = width * 3 // 4
        left, upper = number % (source.width - width), number % max(1, source.height - height)
        part = source.crop((left, upper, left + width, upper + height))
        file = io.BytesIO()
        part.resize(PHOTO_SIZE, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        return file.getvalue()

    with ThreadPoolExecutor() as pool:
        return list(pool.map(draw, range(n)))
