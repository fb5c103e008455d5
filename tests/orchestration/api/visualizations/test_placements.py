import asyncio
import shutil
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from assets.io_managers import save
from assets.methods.layout.network_store import KeptNetwork, NetworkStore, marks_of
from assets.methods.layout.projection.projection_network import ProjectionNetwork
from assets.methods.models.backbones import DEFAULT_BACKBONE
from assets.methods.models.embedding import key_of_fingerprint
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.photo_store import PhotoStore
from assets.resources.projection_registry import ProjectionRegistry
from assets.resources.tracking import Tracking
from assets.values import EncodedImage, Mosaic
from orchestration.api.contract import ApiError, Code, ImageData
from orchestration.api.inference.served_models import Prediction
from orchestration.api.visualizations.placements import GONE_NETWORK, Placements
from orchestration.api.visualizations.served_visualizations import Visualization
from support.app_inputs import make_app

N = 5
IMAGE = ImageData(base64="stands for an image")
KEY = key_of_fingerprint(DEFAULT_BACKBONE, "float32")
# Of the photos 0, 1, ...: each is like its neighbours in number.
ANGLES = np.radians(20 * np.arange(N))
VECTORS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)
NETWORK = KeptNetwork(
    ProjectionNetwork(
        {
            "mean": np.zeros(2, np.float32),
            "axes": np.eye(2, dtype=np.float32),
            "0.weight": 4 * np.eye(2, dtype=np.float32),
            "0.bias": np.zeros(2, np.float32),
        }
    ),
    "drlim",
    "key",
    np.sort(marks_of(VECTORS)),
    N,
    0,
    {},
)


@dataclass(frozen=True)
class Model:
    fingerprint: str


class Models:
    """Gives every image the vector of photo 1, and photos of the map, if it has them, that of 4."""

    def __init__(self) -> None:
        self.backbones: list[str] = []

    async def embedding(self, backbone: str) -> Model:
        self.backbones.append(backbone)
        return Model(backbone)

    async def predict(self, model: Model, image: ImageData) -> Prediction:
        return Prediction(VECTORS[1])

    def submit(self, model: Model, load):
        return SimpleNamespace(result=lambda: VECTORS[4] if load() else None)


@pytest.fixture
def store(home, instance, photo_folder):
    with closing(make_app(home, instance, photo_folder(N))) as store:
        yield store


@pytest.fixture
def image_ids(store):
    return [photo.image_id for photo in store.done()]


@pytest.fixture
def found(home, image_ids):
    """A map of the photos 0 to 4, which lie from left to right in the second row."""
    places = pd.DataFrame(
        {"image_id": image_ids, "x": np.arange(N) * 1.0, "y": 0.0, "row": 1, "col": range(N)}
    )
    folder = home / "outputs" / "mosaic" / "birds" / "generation"
    write(folder, places)
    VectorStore(home / "vectors").append(KEY, image_ids, VECTORS)
    return Visualization(
        "id",
        "birds",
        N,
        datetime(2026, 11, 28, tzinfo=UTC),
        Code.VISUALIZATION_READY,
        mosaic=folder / "mosaic.png",
        figure=folder / "figure.png",
    )


def write(folder, places: pd.DataFrame) -> None:
    image = EncodedImage(b"picture", ".png")
    shutil.rmtree(folder, ignore_errors=True)
    save(Mosaic(image, image, {}, places=places), folder)


def name_network(found: Visualization) -> None:
    folder = found.mosaic.parent
    places = pd.read_parquet(folder / "places.parquet")
    write(folder, places.assign(network=NETWORK.fingerprint))


@pytest.fixture
def tracking(home):
    return Tracking(home=str(home))


@pytest.fixture
def models():
    return Models()


@pytest.fixture
def place(home, store, models, tracking):
    """Returns a function that places the image on a map."""
    opened = []

    def place(found: Visualization):
        async def placed():
            on = await placements.open_map("birds", found.id)
            return await placements.place(on, IMAGE)

        visualizations = SimpleNamespace(find=lambda app, identity: found)
        intake = SimpleNamespace(store=lambda app: store)
        placements = Placements(home, visualizations, intake, models, tracking)
        opened.append(placements)
        return asyncio.run(placed())

    yield place
    for placements in opened:
        placements.close()


def refusal(place, found: Visualization) -> str:
    with pytest.raises(ApiError) as caught:
        place(found)
    assert caught.value.code is Code.INVALID_VISUALIZATION
    return caught.value.details


def test_a_photo_lies_by_those_most_like_it(place, found):
    placed = place(found)
    # It is a copy of photo 1.
    assert (placed.place.x, placed.place.row, placed.place.col) == (1, 1, 1)
    assert not placed.place.by_network
    ids, cosines = zip(*placed.neighbours, strict=True)
    assert ids[0] == "1"
    assert set(ids[:3]) == {"0", "1", "2"}
    assert cosines[:2] == pytest.approx([1, np.cos(np.radians(20))], abs=1e-6)
    assert placed.note is None


def test_an_input_that_was_deleted_is_not_named_but_counts(place, found, store):
    before = place(found)
    store.delete(["1", "3"])
    placed = place(found)
    assert placed.place.x == before.place.x
    assert {one for one, _ in placed.neighbours} == {"0", "2", "4"}


def test_a_map_with_a_network_is_placed_on_by_it(place, found, home):
    name_network(found)
    NetworkStore(home / "projections" / "birds").keep(NETWORK)
    placed = place(found)
    assert placed.place.by_network
    assert (placed.place.x, placed.place.y) == tuple(4 * VECTORS[1].astype(float))
    assert (placed.place.col, placed.note) == (4, None)


def test_a_network_that_the_home_has_lost_comes_from_the_registry(place, found, home, tracking):
    name_network(found)
    networks = NetworkStore(home / "projections" / "birds")
    file = networks.keep(NETWORK)
    ProjectionRegistry(tracking, "birds", networks).register(NETWORK)
    file.unlink()
    assert place(found).place.by_network
    assert file.exists()


def test_without_its_network_a_map_is_placed_on_by_neighbours_and_says_so(place, found):
    name_network(found)
    placed = place(found)
    assert (placed.place.by_network, placed.note) == (False, GONE_NETWORK)


def test_vectors_that_are_gone_are_computed_anew(place, found, home, image_ids, monkeypatch):
    vectors = VectorStore(home / "vectors")
    vectors.forget(KEY)
    vectors.append(KEY, image_ids[:3], VECTORS[:3])
    assert "vectors of the visualization's photos are gone" in refusal(place, found)
    monkeypatch.setattr(PhotoStore, "open_working_copy", lambda store, image_id: "an image")
    assert place(found).place.x == 1
    assert VectorStore(home / "vectors").find(KEY, image_ids).keys() == set(image_ids)


def test_the_backbone_of_the_map_embeds(place, found, models, home, image_ids):
    key = key_of_fingerprint("timm:some", "float32")
    VectorStore(home / "vectors").append(key, image_ids, VECTORS[::-1])
    assert place(replace(found, backbone="timm:some")).place.x == N - 2
    assert models.backbones == ["timm:some"]


def test_a_map_that_is_not_ready_is_refused(place, found):
    pending = replace(found, code=Code.VISUALIZATION_PENDING, mosaic=None)
    assert "is pending" in refusal(place, pending)
    failed = replace(found, code=Code.VISUALIZATION_FAILED, mosaic=None, reason="Cancelled.")
    assert refusal(place, failed) == "The visualization has failed: Cancelled."


def test_a_map_of_an_older_version_is_refused(place, found):
    (found.mosaic.parent / "places.parquet").unlink()
    (found.mosaic.parent / "checksums.json").unlink()
    assert "older version" in refusal(place, found)


def test_a_damaged_map_is_refused(place, found):
    with (found.mosaic.parent / "places.parquet").open("ab") as file:
        file.write(b"more")
    assert "is damaged" in refusal(place, found)
