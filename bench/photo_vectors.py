"""Photos of the demo, or of a folder, and their vectors, for the programs beside this file."""

import argparse
import csv
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.models.backbones import load_backbone
from assets.methods.models.embedding import embed
from assets.methods.photos.decode import DecodeLimits, decode
from assets.methods.photos.demo import write_demo_collection


@dataclass(frozen=True)
class Photos:
    """Photos, and a label of each, or None."""

    images: list[Image.Image]
    labels: np.ndarray | None


def asked_photos(program: str) -> tuple[Photos, Path | None]:
    """Read the command line of ``program``, a docstring: the photos, and a file for a figure."""
    parser = argparse.ArgumentParser(description=program.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="Photos instead of the demo's.")
    parser.add_argument("--figure", type=Path, help="File to draw a figure into.")
    arguments = parser.parse_args()
    photos = photos_in(arguments.folder) if arguments.folder else demo_photos()
    return photos, arguments.figure


def demo_photos() -> Photos:
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_demo_collection(Path(folder))
        with manifest.open(newline="") as file:
            rows = list(csv.DictReader(file))
        images = [_read(manifest.parent / row["uri"]) for row in rows]
    return Photos(images, np.array([row["label"] for row in rows]))


def photos_in(folder: Path) -> Photos:
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".jpeg", ".png"))
    return Photos([_read(path) for path in paths], None)


def vectors_of(images: list[Image.Image], backbone: str) -> np.ndarray:
    """Return the vectors (n, d), as the asset embeddings makes them."""
    names = [str(number) for number in range(len(images))]
    plan = plan_compute(ComputeSettings("cpu"))
    return embed(lambda name: images[int(name)], names, load_backbone(backbone), plan)


def _read(path: Path) -> Image.Image:
    return decode(path.read_bytes(), DecodeLimits()).working_copy
