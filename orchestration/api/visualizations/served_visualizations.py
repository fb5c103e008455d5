"""The visualizations of the apps: requested, read, cancelled and removed."""

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from assets.config import (
    ASSETS,
    EmbeddingsConfig,
    GridConfig,
    MosaicConfig,
    check_settings,
    config_of,
)
from assets.io_managers import KEPT
from assets.methods.common.errors import UserError
from assets.methods.layout.grid import choose_grid
from assets.methods.layout.mosaic import plan_mosaic
from assets.methods.models.backbones import DEFAULT_BACKBONE
from assets.methods.models.provenance import tessera_version
from assets.resources.collections import Collection, CollectionRegistry
from assets.resources.input_store import InputStore
from assets.resources.photos import inputs_folder
from orchestration.api.contract import ApiError, Code, PostVisualization, throttled
from orchestration.api.settings import ServeSettings
from orchestration.api.visualizations.former_homes import import_former
from orchestration.api.visualizations.kept_pages import page_beside, release_map, sweep_pages
from orchestration.api.visualizations.map_runs import MapRuns
from orchestration.api.visualizations.page import AboutVisualization
from orchestration.api.visualizations.progress_of_runs import RunProgress
from orchestration.api.visualizations.run_follower import CANCELLED_REASON, RunFollower
from orchestration.api.visualizations.visualization_store import (
    MapRequest,
    StoredVisualization,
    VisualizationStore,
)
from orchestration.instance import open_instance
from orchestration.jobs import PHOTO_MAP
from orchestration.runs import console

# Of one app: the others' stand in the same queue.
MOST_PENDING = 100
_PAUSE_SECONDS = 30
_UNTOUCHED_SECONDS = 3600

Settings = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Visualization:
    """What is known of a visualization: pending with its progress, ready with its pictures, or
    failed for a reason that a person understands. ``backbone`` embeds its photos.
    """

    id: str
    app: str
    n_photos: int
    created_at: datetime
    code: Code
    reason: str | None = None
    progress: RunProgress | None = None
    mosaic: Path | None = None
    figure: Path | None = None
    backbone: str = DEFAULT_BACKBONE


class Visualizations:
    """The visualizations below ``home``; ``store`` gives the inputs of an app."""

    def __init__(
        self, home: Path, settings: ServeSettings, store: Callable[[str], InputStore]
    ) -> None:
        self._home = home
        self._settings = settings
        self._inputs = store
        self._open = ExitStack()

    def start(self) -> None:
        """Open the storages, and go on with what an earlier service left undone."""
        instance = self._open.enter_context(open_instance())
        self._store = VisualizationStore(self._home / "serve" / "visualizations.sqlite")
        self._open.callback(self._store.close)
        import_former(instance, self._store)
        runs_at_once = self._settings.runs_at_once or 1
        self._follower = RunFollower(
            self._home, self._store, MapRuns(instance), runs_at_once, self._tidy
        )
        self._sweep()
        self._follower.start()
        self._open.callback(self._follower.close)

    def close(self) -> None:
        """Stop; visualizations that are running go on, as far as their processes do."""
        self._open.close()

    def request(self, app: str, body: PostVisualization) -> Visualization:
        """Return a new visualization, or an earlier one of the same inputs and options.

        Raises:
            ApiError: there are no such inputs, or they cannot be mapped with these options.
        """
        collection = CollectionRegistry(self._home).find(app)
        if collection is None:
            raise _invalid("The app has no inputs. Post some first.")
        collection = collection.with_settings(_merged(collection.settings, body), PHOTO_MAP)
        identity = str(uuid.uuid4())
        snapshot = self._snapshot(app, identity)
        wanted = None if body.inputs is None else [named.id for named in body.inputs]
        with self._exclusive(app):
            try:
                photos = self._write(app, snapshot, wanted)
                _check(collection.settings, photos)
                if len(photos) < self._inputs(app).counts().done:
                    collection = replace(collection, settings=_apart(collection.settings))
                request = self._request(collection, photos, snapshot)
                known = self._known(request)
                if known is None:
                    self._check_pending(app)
                    self._store.add(identity, request)
            except BaseException:
                snapshot.unlink(missing_ok=True)
                raise
        if known is not None:
            snapshot.unlink(missing_ok=True)
            return known
        self._follower.wake()
        return self.find(app, identity)

    def _check_pending(self, app: str) -> None:
        if self._store.n_pending(app) >= MOST_PENDING:
            raise throttled(
                f"{MOST_PENDING} visualizations of the app are pending. Wait until one has ended.",
                _PAUSE_SECONDS,
            )

    def find(self, app: str, identity: str) -> Visualization:
        """Return a visualization of an app; ApiError if the app has none with this id."""
        known = self._store.find(identity)
        if known is None or known.request.app != app:
            raise ApiError(Code.NO_SUCH_VISUALIZATION, "The app has no visualization with this id.")
        return self._shown(known)

    def newest(self, app: str) -> Visualization:
        """Return the newest visualization of an app that is ready; ApiError if there is none."""
        for known in self._store.ready(app):
            shown = self._shown(known)
            if shown.code is Code.VISUALIZATION_READY:
                return shown
        raise ApiError(
            Code.NO_SUCH_VISUALIZATION, "No visualization of the app is ready. Post one first."
        )

    def delete(self, app: str, identity: str) -> None:
        """Cancel a visualization that is pending; remove one that has ended, with its images.

        Raises:
            ApiError: the app has none with this id.
        """
        with self._exclusive(app):
            known = self.find(app, identity)
            if known.code is Code.VISUALIZATION_PENDING:
                self._store.end(identity, "cancelled", CANCELLED_REASON)
            else:
                self._store.delete(identity)
                if known.mosaic is not None:
                    release_map(self._home, known.mosaic.parent)
        self._follower.wake()

    def files(self, identity: str) -> tuple[Path, Path]:
        """Return the mosaic and the figure of a visualization; ApiError unless it is ready."""
        known = self._store.find(identity)
        shown = None if known is None else self._shown(known)
        if shown is None or shown.mosaic is None or shown.figure is None:
            raise ApiError(Code.NO_SUCH_VISUALIZATION, "There is no visualization that is ready.")
        return shown.mosaic, shown.figure

    def page(self, identity: str) -> Path | None:
        """Return the folder of the page of a visualization; None if it has no more than pictures.

        Raises ApiError unless it is ready.
        """
        mosaic, _ = self.files(identity)
        return page_beside(self._home, mosaic.parent)

    def about(self, identity: str) -> AboutVisualization:
        """Return what the page of a visualization says; ApiError if there is none."""
        known = self._store.find(identity)
        if known is None:
            raise ApiError(Code.NO_SUCH_VISUALIZATION, "There is no visualization with this id.")
        return AboutVisualization(known.request.app, known.request.n_photos, known.created_at)

    def count(self) -> Mapping[str, int]:
        """Return how many visualizations are in each state, over all apps."""
        counts, running = self._store.counts(), self._follower.n_at_work
        return {
            "waiting": max(counts.get("pending", 0) - running, 0),
            "running": running,
            **{state: counts.get(state, 0) for state in ("ready", "failed", "cancelled")},
        }

    def _exclusive(self, app: str) -> FileLock:
        """Return a lock that one request of an app holds at a time, even with two services."""
        lock = self._home / "serve" / "apps" / f"{app}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(lock)

    def _snapshot(self, app: str, identity: str) -> Path:
        return inputs_folder(self._home, app) / "snapshots" / f"{identity}.csv"

    def _write(self, app: str, snapshot: Path, ids: list[str] | None) -> list[tuple[str, str]]:
        """Write a manifest of the photos to show; return the image_id and the label of each."""
        photos = self._inputs(app).write_manifest(snapshot, ids)
        done = {photo.id for photo in photos}
        for one in ids or ():
            if one not in done:
                raise _invalid(f"There is no input {one!r}, or it is not done.")
        if not photos:
            raise _invalid("The app has no inputs that are done. Post some first.")
        return sorted((photo.image_id, photo.label) for photo in photos)

    def _request(
        self, collection: Collection, photos: list[tuple[str, str]], snapshot: Path
    ) -> MapRequest:
        settings = collection.settings
        decides = [tessera_version(), _whole(settings), photos]
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        manifest = str(snapshot.relative_to(self._home))
        raw_images = {**settings.get("raw_images", {}), "manifest": manifest}
        run_config = replace(
            collection, settings={**settings, "raw_images": raw_images}
        ).run_config(PHOTO_MAP)
        return MapRequest(
            collection.name,
            digest,
            _n_shown(settings, photos),
            {**run_config, **console(), **self._compute()},
        )

    def _compute(self) -> dict[str, Any]:
        """Return the part of a run's configuration that says on what device it computes."""
        given = self._settings.compute.model_dump(exclude_defaults=True)
        return {"resources": {"compute": {"config": given}}} if given else {}

    def _known(self, request: MapRequest) -> Visualization | None:
        """Return the visualization of the same inputs and options, unless it has failed."""
        for known in self._store.find_same(request.app, request.digest):
            shown = self._shown(known)
            if shown.code is not Code.VISUALIZATION_FAILED:
                return shown
        return None

    def _sweep(self) -> None:
        """Remove the snapshots of a service that was killed before it had written a request."""
        needed = {known.id for known in self._store.pending()}
        long_ago = time.time() - _UNTOUCHED_SECONDS
        for snapshot in self._home.glob("inputs/*/snapshots/*.csv"):
            if snapshot.stem not in needed and snapshot.stat().st_mtime < long_ago:
                snapshot.unlink(missing_ok=True)
        sweep_pages(self._home)

    def _tidy(self, known: StoredVisualization) -> None:
        """Remove what a visualization that is over does not need."""
        self._snapshot(known.request.app, known.id).unlink(missing_ok=True)

    def _shown(self, known: StoredVisualization) -> Visualization:
        """Return what is told of a visualization."""
        bare = Visualization(
            known.id,
            known.request.app,
            known.request.n_photos,
            known.created_at,
            Code.VISUALIZATION_PENDING,
            backbone=_backbone(known.request),
        )
        if known.state == "pending":
            return replace(bare, progress=self._follower.progress(known))
        if known.state == "ready":
            return _with_pictures(bare, self._following(known.folder))
        return replace(bare, code=Code.VISUALIZATION_FAILED, reason=known.reason)

    def _following(self, folder: Path | None) -> Path | None:
        """Return where a value is now, if the home was moved after its path was written down."""
        if folder is None or folder.exists():
            return folder
        return self._home / "outputs" / Path(*folder.parts[-3:])


def _with_pictures(bare: Visualization, folder: Path | None) -> Visualization:
    mosaic = next(folder.glob("mosaic.*"), None) if folder else None
    figure = next(folder.glob("figure.*"), None) if folder else None
    if folder is None or mosaic is None or figure is None or not (folder / KEPT).exists():
        return replace(bare, code=Code.VISUALIZATION_FAILED, reason="Its image has been removed.")
    return replace(bare, code=Code.VISUALIZATION_READY, mosaic=mosaic, figure=figure)


def _backbone(request: MapRequest) -> str:
    """Return the network by which the photos of a map are embedded."""
    config = request.run_config.get("ops", {}).get("embeddings", {}).get("config", {})
    return EmbeddingsConfig(**config).backbone


def _merged(settings: Settings, body: PostVisualization) -> Settings:
    """Return the settings of the photo map: the collection's, and over them what was asked for."""
    asked: Settings = {asset: {} for asset in PHOTO_MAP}
    if "type" in body.model_fields_set:
        asked["tsne_2d"]["method"] = body.type
    if body.grid is not None:
        asked["grid_assignment"]["shape"] = body.grid
    if body.tile is not None:
        asked["mosaic"]["tile"] = body.tile
    merged = {asset: {**settings.get(asset, {}), **values} for asset, values in asked.items()}
    return {asset: values for asset, values in merged.items() if values}


def _apart(settings: Settings) -> Settings:
    """Return settings with which a map of some photos leaves the app's own map alone."""
    return settings | {
        asset: {**settings.get(asset, {}), "apart": True}
        for asset in ("tsne_2d", "grid_assignment")
    }


def _whole(settings: Settings) -> Settings:
    """Return the settings with what they leave open, so that equal ones look equal."""
    return {
        asset: config_of(config, settings).model_dump()
        for config, asset in ASSETS.items()
        if asset in PHOTO_MAP
    }


def _n_shown(settings: Settings, photos: list[tuple[str, str]]) -> int:
    if config_of(GridConfig, settings).show_duplicates:
        return len(photos)
    return len({image_id for image_id, _ in photos})


def _check(settings: Settings, photos: list[tuple[str, str]]) -> None:
    """Raise ApiError for settings that would fail once the run has come to them."""
    try:
        check_settings(settings)
        shape = config_of(GridConfig, settings).shape
        grid = choose_grid(_n_shown(settings, photos), shape)
        plan_mosaic(grid.columns, grid.rows, config_of(MosaicConfig, settings).settings())
    except UserError as error:
        raise _invalid(str(error)) from error


def _invalid(details: str) -> ApiError:
    return ApiError(Code.INVALID_VISUALIZATION, details)
