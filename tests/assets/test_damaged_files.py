"""Every kind of file below the home, damaged in five ways: made anew, or refused in a sentence.

docs/operations.md has the table of them.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from assets.io_managers import outputs_of
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.errors import UserError
from assets.methods.layout.projection.projection import (
    ProjectionSettings,
    ProjectionStore,
    project_unless_known,
)
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.catalogue import catalogue_photos
from assets.methods.photos.photo_store import PhotoStore
from assets.resources.collections import (
    Collection,
    CollectionRegistry,
    check_manifest,
    manifest_of_files,
)
from assets.resources.input_store import InputImage, InputStore, NewInput
from assets.values import EncodedImage, Mosaic, OcclusionMaps
from support.photos import encoded, photo, scene

DAMAGES = ("cut", "emptied", "one byte changed", "another valid one", "removed")
HEALED, REFUSED = "healed", "refused"


@dataclass(frozen=True)
class Kind:
    """A kind of file: where one is, what is as valid elsewhere, and what becomes of a damaged one.

    ``others`` are the outcomes that differ from ``outcome``, by damage.
    """

    place: str
    other: str
    outcome: str = HEALED
    others: tuple[tuple[str, str], ...] = ()

    def expected(self, damage: str) -> str:
        return dict(self.others).get(damage, self.outcome)


VALUE = "outputs/{asset}/one/*/"
KINDS = {
    "working copy": Kind("photos/working_copies/*/*.jpg", "photos/frames/*/*/1.jpg"),
    "working copy of a frame": Kind("photos/frames/*/*/1.jpg", "photos/frames/*/*/2.jpg"),
    "animation.json": Kind("photos/frames/*/*/animation.json", "collections/one.json"),
    "photos.sqlite": Kind("photos/photos.sqlite", "inputs/app/inputs.sqlite"),
    "vectors": Kind("vectors/print/*.parquet", "vectors/other/*.parquet"),
    "points": Kind("points/*.npy", "other-points/*.npy"),
    "scores of windows": Kind("windows/key.f32", "windows/other.f32"),
    "collection": Kind("collections/one.json", "collections/two.json"),
    "copy of a collection": Kind("collections-backup/one.json", "collections-backup/two.json"),
    "list of photos": Kind("files/*.csv", "other-files/*.csv", REFUSED),
    "value: table": Kind(VALUE.format(asset="tsne_2d") + "table.parquet", "*.parquet", REFUSED),
    "value: values.json": Kind(
        VALUE.format(asset="mosaic") + "values.json", "collections/one.json", REFUSED
    ),
    "value: image": Kind(
        VALUE.format(asset="mosaic") + "mosaic.jpg", "photos/frames/*/*/1.jpg", REFUSED
    ),
    "value: array": Kind(
        VALUE.format(asset="occlusion_maps") + "maps/a/seen.npy", "points/*.npy", REFUSED
    ),
    # Without its checksums a value is as one of an older home.
    "value: checksums.json": Kind(
        VALUE.format(asset="tsne_2d") + "checksums.json",
        VALUE.format(asset="mosaic") + "checksums.json",
        REFUSED,
        (("removed", HEALED),),
    ),
    "value: current": Kind(
        "outputs/tsne_2d/one/current", "outputs/mosaic/one/current", HEALED, (("removed", REFUSED),)
    ),
    "inputs.sqlite": Kind("inputs/app/inputs.sqlite", "photos/photos.sqlite", REFUSED),
}


def _value_context(asset: str) -> dg.OutputContext:
    return dg.build_output_context(
        asset_key=dg.AssetKey(asset),
        asset_partitions_def=dg.StaticPartitionsDefinition(["one"]),
        partition_key="one",
    )


def _values() -> dict[str, Any]:
    table, image = (
        pd.DataFrame({"image_id": ["a"], "x": [0.5]}),
        EncodedImage(photo("JPEG"), ".jpg"),
    )
    arrays = {"a/seen": np.ones((3, 3), np.float32)}
    return {
        "tsne_2d": table,
        "mosaic": Mosaic(image, image, {"tile": 9}),
        "occlusion_maps": OcclusionMaps(table, table, arrays, arrays, {}, {}, {}),
    }


def _keep_values(home: Path) -> None:
    manager = outputs_of(home)
    for asset, value in _values().items():
        manager.handle_output(_value_context(asset), value)


def _vectors(image_ids: list[str], progress: object) -> np.ndarray:
    return np.array([[int(one[:4], 16), 1.0] for one in image_ids], np.float32)


def caches(home: Path) -> dict[str, Any]:
    """Do what a run does with the caches, and return all that it found."""
    store = PhotoStore(home / "photos")
    found = catalogue_photos(str(home / "source"), store)
    ids = sorted(found.images.image_id)
    pixels = [store.open_working_copy(one).tobytes() for one in store.shown_ids(ids).values()]
    vectors, _ = VectorStore(home / "vectors").complete(
        "print", ids, lambda: _vectors, lambda done, total: None
    )
    stacked = np.stack([vectors[one] for one in ids])
    settings = ProjectionSettings("pca")
    points, _ = project_unless_known(stacked, settings, "cpu", ProjectionStore(home / "points"))
    windows = WindowScoreStore(home / "windows")
    scores = windows.open("key", 50)
    scores[np.isnan(scores)] = 0.25
    windows.finish("key", scores)
    return {
        "images": found.images.drop(columns="uri").to_json(),
        "animations": {one: asdict(each) for one, each in store.animations(ids).items()},
        "pixels": pixels,
        "vectors": stacked.tobytes(),
        "points": points.tobytes(),
        "scores": scores.tobytes(),
    }


def stored(home: Path) -> dict[str, Any]:
    """Read what is no cache."""
    (listing,) = (home / "listed").read_text().splitlines()
    check_manifest(str(home / "files" / listing), home)
    manager = outputs_of(home)
    with closing(InputStore(home / "inputs" / "app")) as inputs:
        posted = [one.image_id for one in inputs.page(1, 9)]
    return {
        "collections": CollectionRegistry(home).all(),
        "values": repr(
            [manager.read(type(value), asset, "one") for asset, value in _values().items()]
        ),
        "inputs": posted,
    }


def everything(home: Path) -> dict[str, Any]:
    return caches(home) | stored(home)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny home with a file of each kind, and valid ones of other homes beside."""
    home = tmp_path_factory.mktemp("damage") / "home"
    source = home / "source"
    source.mkdir(parents=True)
    for seed in range(2):
        (source / f"{seed}.png").write_bytes(photo(seed=seed))
    frames = [scene(seed=9 + number) for number in range(3)]
    (source / "moving.gif").write_bytes(
        encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
    )
    registry = CollectionRegistry(home)
    registry.add(Collection("one", str(source), {"mosaic": {"tile": 20}}))
    registry.add(Collection("two", "/elsewhere"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("files", "other-files"):
            patch.setenv("TESSERA_HOME", str(home))
            listing = manifest_of_files([f"/photo-of-{name}.png"])
            if name != "files":
                (home / name).mkdir()
                listing.rename(home / name / listing.name)
            else:
                (home / "listed").write_text(listing.name)
    with closing(InputStore(home / "inputs" / "app")) as inputs:
        inputs.add([NewInput(picture=InputImage(photo(), "PNG", 64, 48))], limit=9)
    _keep_values(home)
    VectorStore(home / "vectors").append("other", ["a"], np.ones((1, 2), np.float32))
    others = ProjectionStore(home / "other-points")
    project_unless_known(np.eye(3, dtype=np.float32), ProjectionSettings("pca"), "cpu", others)
    windows = WindowScoreStore(home / "windows")
    other = windows.open("other", 50)
    other[:] = 0.75
    windows.finish("other", other)
    everything(home)
    return home


@pytest.fixture(scope="module")
def expected(template: Path) -> dict[str, Any]:
    return everything(template)


@pytest.fixture
def home(template: Path, tmp_path: Path, expected: dict[str, Any]) -> Iterator[Path]:
    # Uris and addresses of files have to stay the same: the damaged home takes the place.
    aside = tmp_path / "whole"
    shutil.copytree(template, aside)
    yield template
    shutil.rmtree(template)
    aside.rename(template)


def _one(home: Path, pattern: str) -> Path:
    return min(home.glob(pattern))


def _damage(home: Path, kind: Kind, damage: str) -> Path:
    path = _one(home, kind.place)
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) * 2 // 3])
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "one byte changed":
        path.write_bytes(_changed(data))
    elif damage == "another valid one":
        other = (
            _one(home, kind.other) if "/" in kind.other else _one(home, f"vectors/*/{kind.other}")
        )
        path.write_bytes(other.read_bytes())
    else:
        path.unlink()
    return path


def _changed(data: bytes) -> bytes:
    """Change a byte that says something: of a database, the kind of a page or a digit of a hash."""
    place = len(data) // 2
    if data.startswith(b"SQLite"):
        place = int.from_bytes(data[16:18], "big")
    return data[:place] + bytes([data[place] ^ 0x15]) + data[place + 1 :]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_made_anew_or_refused(home, expected, name, damage, caplog):
    kind = KINDS[name]
    path = _damage(home, kind, damage)
    found, refusal = None, None
    with caplog.at_level(logging.WARNING):
        try:
            found = everything(home)
        except UserError as error:
            refusal = str(error)
    assert (REFUSED if refusal else HEALED) == kind.expected(damage)
    if refusal:
        assert str(home) in refusal or "not been materialised for one" in refusal
        assert refusal.endswith(".")
        _do_what_the_sentence_says(home, path)
    else:
        assert found == expected
        is_named = any(word in caplog.text for word in (path.name, path.parent.name))
        assert is_named or damage == "removed" or name == "copy of a collection"
    caplog.clear()
    assert everything(home) == expected
    assert not caplog.records


def _do_what_the_sentence_says(home: Path, path: Path) -> None:
    if "outputs" in path.parts:
        _keep_values(home)
        return
    backup = next(home.parent.parent.rglob(f"whole/{path.relative_to(home).as_posix()}"))
    shutil.copyfile(backup, path)
    for log in path.parent.glob(f"{path.name}-*"):
        log.unlink()
