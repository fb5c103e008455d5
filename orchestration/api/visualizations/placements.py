"""Where on a visualization a photo would lie that its app need not have."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from assets import io_managers
from assets.methods.common.checksums import DamagedFileError
from assets.methods.common.devices import Precision, usable_cores
from assets.methods.common.progress import Progress, silent
from assets.methods.layout.projection.placement import PhotoPlaces, PlacedPhoto
from assets.methods.layout.projection.projection_network import ProjectionNetwork
from assets.methods.models.embedding import key_of_fingerprint
from assets.resources.outages import TrackingError
from assets.resources.photos import Photos
from assets.resources.projection_registry import ProjectionRegistry
from assets.resources.tracking import Tracking
from assets.values import NETWORK_COLUMN, Mosaic
from orchestration.api.contract import ApiError, Code, ImageData
from orchestration.api.inference.served_models import ServedModel, ServedModels
from orchestration.api.inputs.intake import Intake
from orchestration.api.visualizations.served_visualizations import Visualization, Visualizations

# Maps whose vectors are kept in memory: 500 MB for 100,000 photos.
_OPEN_MAPS = 2
GONE_NETWORK = "The network of the map is gone: the photo was placed by those most like it."


@dataclass(frozen=True)
class OpenMap:
    """A map that photos can be placed on.

    Attributes:
        app: whose map it is.
        image_ids: of its photos.
        places: where these lie.
        model: that embeds photos as its own were embedded.
        note: a sentence if it has lost its network.
    """

    app: str
    image_ids: list[str]
    places: PhotoPlaces
    model: ServedModel
    note: str | None


@dataclass(frozen=True)
class Placement:
    """Where a photo would lie, and the inputs most like it with their cosines."""

    place: PlacedPhoto
    neighbours: list[tuple[str, float]]
    note: str | None


class Placements:
    """Places photos on the visualizations of the apps.

    Args:
        home: the folder with the photos and their vectors.
        visualizations: the maps.
        intake: the inputs.
        models: that embed.
        tracking: whose registry has networks that the home has lost.
        precision: the precision that models and runs compute with.
    """

    def __init__(
        self,
        home: Path,
        visualizations: Visualizations,
        intake: Intake,
        models: ServedModels,
        tracking: Tracking,
        precision: Precision = "float32",
    ) -> None:
        self._photos = Photos(home=str(home))
        self._visualizations = visualizations
        self._intake = intake
        self._models = models
        self._tracking = tracking
        self._precision = precision
        self._opened = lru_cache(_OPEN_MAPS)(self._read)
        # One thread, so that a second request for the same map finds it open.
        self._opening = ThreadPoolExecutor(1, "map-opening")
        self._placing = ThreadPoolExecutor(usable_cores(), "placements")

    def close(self) -> None:
        """Take no more requests; running ones end by themselves."""
        self._opening.shutdown(wait=False, cancel_futures=True)
        self._placing.shutdown(wait=False, cancel_futures=True)

    async def open_map(self, app: str, identity: str) -> OpenMap:
        """Return a visualization of an app.

        Raises ApiError: there is none with this id, it is not ready, or it does not say where its
        photos lie.
        """
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._placing, self._visualizations.find, app, identity)
        if found.code is Code.VISUALIZATION_PENDING:
            raise _invalid("The visualization is pending: photos can be placed when it is ready.")
        if found.mosaic is None:
            raise _invalid(f"The visualization has failed: {found.reason}")
        model = await self._models.embedding(found.backbone)
        return await loop.run_in_executor(
            self._opening, self._opened, found, found.mosaic.parent, model
        )

    async def place(self, on: OpenMap, image: ImageData) -> Placement:
        """Return where an image would lie on a map.

        Raises ImageError; ApiError when too many images wait; UserError when the model fails.
        """
        vector = (await self._models.predict(on.model, image)).output
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._placing, self._placed, on, vector)

    def _placed(self, on: OpenMap, vector: np.ndarray) -> Placement:
        place = on.places.place(vector)
        images = [on.image_ids[number] for number in place.neighbours]
        # An input may have been deleted since; the map still shows it.
        ids = self._intake.store(on.app).ids_of_images(images)
        neighbours = [
            (ids[image], float(cosine))
            for image, cosine in zip(images, place.cosines, strict=True)
            if image in ids
        ]
        return Placement(place, neighbours, on.note)

    def _read(self, found: Visualization, folder: Path, model: ServedModel) -> OpenMap:
        try:
            table = io_managers.load(Mosaic, folder).places
        except (DamagedFileError, OSError) as error:
            raise _invalid("The visualization is damaged. Delete it, and post it again.") from error
        if not len(table):
            raise _invalid(
                "The visualization was made by an older version, and does not say where its photos "
                "lie. Delete it, and post it again."
            )
        image_ids = table.image_id.tolist()
        vectors = self._vectors(image_ids, model)
        network = self._network(found.app, table)
        is_lost = network is None and NETWORK_COLUMN in table
        places = PhotoPlaces(
            vectors, table[["x", "y"]].to_numpy(), table[["row", "col"]].to_numpy(), network
        )
        return OpenMap(found.app, image_ids, places, model, GONE_NETWORK if is_lost else None)

    def _network(self, app: str, table: pd.DataFrame) -> ProjectionNetwork | None:
        """Return the network that has placed the photos; None if none has, or it is gone."""
        if NETWORK_COLUMN not in table:
            return None
        fingerprint, store = str(table[NETWORK_COLUMN].iloc[0]), self._photos.networks(app)
        kept = store.with_fingerprint(fingerprint)
        if kept is None:
            try:
                ProjectionRegistry(self._tracking, app, store).fetch(fingerprint=fingerprint)
            except TrackingError:
                return None
            kept = store.with_fingerprint(fingerprint)
        return None if kept is None else kept.network

    def _vectors(self, image_ids: Sequence[str], model: ServedModel) -> np.ndarray:
        """Return the vectors (n, d) of photos; those that are missing are computed, and kept."""
        shown_ids = self._photos.store.shown_ids(image_ids)
        key = key_of_fingerprint(model.fingerprint, self._precision)
        vectors, _ = self._photos.vectors.complete(
            key, list(shown_ids.values()), lambda: partial(self._embed, model), silent
        )
        return np.stack([vectors[shown_ids[one]] for one in image_ids])

    def _embed(
        self, model: ServedModel, shown_ids: Sequence[str], progress: Progress
    ) -> np.ndarray:
        load = self._photos.store.open_working_copy
        rows = [self._models.submit(model, partial(load, shown_id)) for shown_id in shown_ids]
        try:
            return np.stack([row.result() for row in rows])
        except FileNotFoundError as error:
            raise _invalid(
                "The vectors of the visualization's photos are gone. Delete it, and post it again."
            ) from error


def _invalid(details: str) -> ApiError:
    return ApiError(Code.INVALID_VISUALIZATION, details)
