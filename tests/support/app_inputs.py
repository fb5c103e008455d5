"""An app with inputs, for tests of visualizations."""

from pathlib import Path

import dagster as dg
from PIL import Image

from assets.resources.collections import Collection
from assets.resources.input_store import InputImage, InputStore, NewInput
from orchestration.instance import register


def make_app(
    home: Path, instance: dg.DagsterInstance, folder: Path, app: str = "birds", **settings: dict
) -> InputStore:
    """Store the photos of a folder as inputs called 0, 1, 2, ... of an app."""
    register(instance, Collection(app, "inputs:", settings))
    store = InputStore(home / "inputs" / app)
    store.add([new_input(str(n), photo) for n, photo in enumerate(sorted(folder.iterdir()))], 1_000)
    return store


def new_input(identifier: str, photo: Path) -> NewInput:
    with Image.open(photo) as image:
        picture = InputImage(photo.read_bytes(), str(image.format), *image.size)
    return NewInput(identifier, picture)
