"""The visualizations of the apps: requested, read, cancelled and removed."""

import hashlib
import json
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
from filelock import FileLock

from assets import DISTRIBUTION
from assets.config import ASSETS, GridConfig, MosaicConfig, check_settings, config_of
from assets.io_managers import KEPT, release
from assets.methods.common.errors import UserError
from assets.methods.layout.grid import choose_grid
from assets.methods.layout.mosaic import plan_mosaic
from assets.resources.collections import Collection, CollectionRegistry
from assets.resources.input_store import InputStore
from orchestration.api.contract import ApiError, Code, PostVisualization, throttled
from orchestration.api.settings import ServeSettings
from orchestration.api.visualizations.map_runs import (
    APP,
    CANCELLED,
    DELETED,
    DIGEST,
    PHOTOS,
    WAITING,
    MapRequest,
    MapRuns,
)
from orchestration.api.visualizations.page import AboutVisualization
from orchestration.api.visualizations.progress_of_runs import RunProgress, RunWatch, expected_total
from orchestration.api.visualizations.run_dispatcher import Dispatcher
from orchestration.instance import open_instance
from orchestration.jobs import PHOTO_MAP
from orchestration.runs import console, finish_run

CANCELLED_REASON = "Cancelled."
_PENDING_SECONDS = 0.5
# What is over may still change: somebody may run it again in Dagster's UI.
_ENDED_SECONDS = 10.0
_READING_SECONDS = 2.0
_REMEMBERED = 1_000
# Of one app: the others' stand in the same queue.
MOST_PENDING = 100
_PAUSE_SECONDS = 30
_UNTOUCHED_SECONDS = 3600

Settings = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Visualization:
    """What is known of a visualization: pending with its progress, ready with its pictures, or
    failed for a reason that a person understands.
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


class Visualizations:
    """The visualizations below ``home``; ``store`` gives the inputs of an app."""

    def __init__(
        self, home: Path, settings: ServeSettings, store: Callable[[str], InputStore]
    ) -> None:
        self._home = home
        self._settings = settings
        self._store = store
        self._open = ExitStack()

    def start(self) -> None:
        """Open Dagster's storage, and go on with what an earlier service left undone."""
        self._runs = MapRuns(self._open.enter_context(open_instance()))
        self._states = _States(self._home, self._runs, self._settings.runs_at_once)
        self._dispatcher = Dispatcher(
            self._home,
            self._runs,
            self._settings.runs_at_once,
            self._finish_run,
            self._tidy,
            self._settings.compute.model_dump_json(),
        )
        self._sweep()
        self._dispatcher.start()
        self._open.callback(self._dispatcher.close)

    def close(self) -> None:
        """Stop; visualizations that are running go on without the service."""
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
        run_id = str(uuid.uuid4())
        snapshot = self._snapshot(app, run_id)
        wanted = None if body.inputs is None else [named.id for named in body.inputs]
        with self._exclusive(app):
            try:
                photos = self._write(app, snapshot, wanted)
                _check(collection.settings, photos)
                request = self._request(collection, photos, snapshot)
                known = self._known(request)
                if known is None:
                    self._check_pending(app)
                    self._runs.create(run_id, request)
            except BaseException:
                snapshot.unlink(missing_ok=True)
                raise
        if known is not None:
            snapshot.unlink(missing_ok=True)
            return known
        self._dispatcher.wake()
        return self.find(app, run_id)

    def _check_pending(self, app: str) -> None:
        if sum(run.tags[APP] == app for run in self._runs.open()) >= MOST_PENDING:
            raise throttled(
                f"{MOST_PENDING} visualizations of the app are pending. Wait until one has ended.",
                _PAUSE_SECONDS,
            )

    def find(self, app: str, run_id: str) -> Visualization:
        """Return a visualization of an app; ApiError if the app has none with this id."""
        found = self._states.find(run_id)
        if found is None or found.app != app:
            raise ApiError(Code.NO_SUCH_VISUALIZATION, "The app has no visualization with this id.")
        return found

    def newest(self, app: str) -> Visualization:
        """Return the newest visualization of an app that is ready; ApiError if there is none."""
        for run_id in self._runs.roots({APP: app}, dg.DagsterRunStatus.SUCCESS):
            found = self._states.find(run_id)
            if found is not None and found.code is Code.VISUALIZATION_READY:
                return found
        raise ApiError(
            Code.NO_SUCH_VISUALIZATION, "No visualization of the app is ready. Post one first."
        )

    def delete(self, app: str, run_id: str) -> None:
        """Cancel a visualization that is pending; remove one that has ended, with its images.

        Raises:
            ApiError: the app has none with this id.
        """
        self.find(app, run_id)
        with self._exclusive(app):
            self._states.forget(run_id)
            known = self.find(app, run_id)
            if known.code is Code.VISUALIZATION_PENDING:
                self._runs.mark(run_id, CANCELLED)
            else:
                self._runs.mark(run_id, DELETED)
                if known.mosaic is not None:
                    release(known.mosaic.parent)
        self._states.forget(run_id)
        self._dispatcher.wake()

    def files(self, run_id: str) -> tuple[Path, Path]:
        """Return the mosaic and the figure of a visualization; ApiError unless it is ready."""
        known = self._states.find(run_id)
        if known is None or known.mosaic is None or known.figure is None:
            raise ApiError(Code.NO_SUCH_VISUALIZATION, "There is no visualization that is ready.")
        return known.mosaic, known.figure

    def about(self, run_id: str) -> AboutVisualization:
        """Return what the page of a visualization says; ApiError if there is none."""
        known = self._states.find(run_id)
        if known is None:
            raise ApiError(Code.NO_SUCH_VISUALIZATION, "There is no visualization with this id.")
        return AboutVisualization(known.app, known.n_photos, known.created_at)

    def count(self) -> Mapping[str, int]:
        """Return how many runs of visualizations are in each state, over all apps."""
        status = dg.DagsterRunStatus
        return {
            "waiting": self._runs.count(WAITING),
            "running": self._runs.count(status.STARTING, status.STARTED, status.CANCELING),
            "ready": self._runs.count(status.SUCCESS),
            "failed": self._runs.count(status.FAILURE),
            "cancelled": self._runs.count(status.CANCELED),
        }

    def _exclusive(self, app: str) -> FileLock:
        """Return a lock that one request of an app holds at a time, even with two services."""
        lock = self._home / "serve" / "apps" / f"{app}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(lock)

    def _snapshot(self, app: str, run_id: str) -> Path:
        return self._home / "inputs" / app / "snapshots" / f"{run_id}.csv"

    def _write(self, app: str, snapshot: Path, ids: list[str] | None) -> list[tuple[str, str]]:
        """Write a manifest of the photos to show; return the image_id and the label of each."""
        photos = self._store(app).write_manifest(snapshot, ids)
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
        decides = [version(DISTRIBUTION), _whole(settings), photos]
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        raw_images = {**settings.get("raw_images", {}), "manifest": str(snapshot)}
        run_config = replace(
            collection, settings={**settings, "raw_images": raw_images}
        ).run_config(PHOTO_MAP)
        return MapRequest(
            collection.name, digest, _n_shown(settings, photos), {**run_config, **console()}
        )

    def _known(self, request: MapRequest) -> Visualization | None:
        """Return the visualization of the same inputs and options, unless it has failed."""
        for run_id in self._runs.roots({APP: request.app, DIGEST: request.digest}):
            self._states.forget(run_id)
            known = self._states.find(run_id)
            if known is not None and known.code is not Code.VISUALIZATION_FAILED:
                return known
        return None

    def _sweep(self) -> None:
        """Remove the snapshots of a service that was killed before it had made their runs."""
        needed = {run.root_run_id or run.run_id for run in self._runs.open()}
        long_ago = time.time() - _UNTOUCHED_SECONDS
        for snapshot in self._home.glob("inputs/*/snapshots/*.csv"):
            if snapshot.stem not in needed and snapshot.stat().st_mtime < long_ago:
                snapshot.unlink(missing_ok=True)

    def _finish_run(self, run: dg.DagsterRun) -> None:
        from orchestration.definitions import build_resources

        finish_run(build_resources()["tracking"], run.run_id, run.status)

    def _tidy(self, run: dg.DagsterRun) -> None:
        """Remove what a visualization that is over does not need, or nobody wants any more."""
        root_id = run.root_run_id or run.run_id
        self._snapshot(run.tags[APP], root_id).unlink(missing_ok=True)
        if self._runs.is_cancelled(run) and (folder := self._runs.folder(run)) is not None:
            release(folder)
        self._states.forget(root_id)


class _States:
    """Reads the states of visualizations, each no more than twice a second, however often asked."""

    def __init__(self, home: Path, runs: MapRuns, runs_at_once: int) -> None:
        self._home = home
        self._runs = runs
        self._runs_at_once = runs_at_once
        self._reading = threading.RLock()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def find(self, run_id: str) -> Visualization | None:
        """Return the state, at most a moment old; None if there is no such visualization."""
        known = self._known.get(run_id)
        if known is not None and known.is_fresh():
            return known.state
        # While one asks the storage, the others are content with what was known just before.
        is_usable = known is not None and known.is_usable()
        if not self._reading.acquire(blocking=not is_usable):
            return known.state if known else None
        try:
            return self._read(run_id)
        finally:
            self._reading.release()

    def forget(self, run_id: str) -> None:
        """Read a visualization anew the next time; its progress is still known."""
        with self._reading:
            known = self._known.get(run_id)
            if known is not None:
                known.read_at = None

    def _read(self, run_id: str) -> Visualization | None:
        known = self._known.get(run_id)
        if known is not None and known.is_fresh():
            return known.state
        record = self._runs.find(run_id)
        if record is None:
            self._known.pop(run_id, None)
            return None
        if known is None:
            known = self._known[run_id] = _Known(_bare(record))
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        known.state = self._state(known, record.dagster_run)
        known.read_at = time.monotonic()
        return known.state

    def _state(self, known: "_Known", root: dg.DagsterRun) -> Visualization:
        bare = replace(known.state, reason=None, progress=None, mosaic=None, figure=None)
        if self._runs.has(root.run_id, CANCELLED):
            return replace(bare, code=Code.VISUALIZATION_FAILED, reason=CANCELLED_REASON)
        runs = self._runs.runs_of(root)
        ready = [run for run in runs if run.status is dg.DagsterRunStatus.SUCCESS]
        # What was once ready stays ready, whatever became of a later run of the same.
        run = (ready or runs)[-1]
        if ready:
            return self._ready(bare, run)
        if run.status is dg.DagsterRunStatus.CANCELED:
            return replace(bare, code=Code.VISUALIZATION_FAILED, reason=CANCELLED_REASON)
        if run.status is dg.DagsterRunStatus.FAILURE:
            failure = self._runs.failure(run)
            if not (self._runs.may_be_retried(run, failure) and self._runs.is_open(run)):
                reason = _reason(failure, self._home)
                return replace(bare, code=Code.VISUALIZATION_FAILED, reason=reason)
        progress = self._progress(known, run)
        return replace(bare, code=Code.VISUALIZATION_PENDING, progress=progress)

    def _ready(self, bare: Visualization, run: dg.DagsterRun) -> Visualization:
        folder = self._runs.folder(run)
        mosaic = next(folder.glob("mosaic.*"), None) if folder else None
        figure = next(folder.glob("figure.*"), None) if folder else None
        if folder is None or mosaic is None or figure is None or not (folder / KEPT).exists():
            return replace(
                bare, code=Code.VISUALIZATION_FAILED, reason="Its image has been removed."
            )
        return replace(bare, code=Code.VISUALIZATION_READY, mosaic=mosaic, figure=figure)

    def _progress(self, known: "_Known", run: dg.DagsterRun) -> RunProgress:
        if known.watch is None or known.watched != run.run_id:
            known.watch, known.watched, known.cursor = (
                RunWatch(known.state.n_photos),
                run.run_id,
                None,
            )
        page = self._runs.instance.get_records_for_run(run.run_id, known.cursor)
        known.cursor = page.cursor
        known.watch.follow(record.event_log_entry for record in page.records)
        progress = known.watch.at(time.time())
        before = known.state.progress
        share = max(progress.share, before.share if before else 0.0)
        seconds_left = progress.seconds_left
        if run.status is WAITING:
            seconds_left += self._seconds_before(run) / self._runs_at_once
        return RunProgress(share, seconds_left)

    def _seconds_before(self, run: dg.DagsterRun) -> float:
        """Return the work in seconds that stands before a run in the queue."""
        seconds = 0.0
        for other in self._runs.open():
            if other.run_id == run.run_id:
                break
            known = self._known.get(other.root_run_id or other.run_id)
            progress = known.state.progress if known else None
            has_begun = other.status is not WAITING
            seconds += (
                progress.seconds_left
                if progress and has_begun
                else expected_total(int(other.tags[PHOTOS]))
            )
        return seconds


class _Known:
    """What is remembered of a visualization."""

    def __init__(self, state: Visualization) -> None:
        self.state = state
        self.read_at: float | None = None
        self.watch: RunWatch | None = None
        self.watched = ""
        self.cursor: str | None = None

    def is_fresh(self) -> bool:
        """Whether it was read a moment ago."""
        return self._is_younger_than(self._good_for())

    def is_usable(self) -> bool:
        """Whether it may still be told while it is being read anew."""
        return self._is_younger_than(self._good_for() + _READING_SECONDS)

    def _good_for(self) -> float:
        is_pending = self.state.code is Code.VISUALIZATION_PENDING
        return _PENDING_SECONDS if is_pending else _ENDED_SECONDS

    def _is_younger_than(self, seconds: float) -> bool:
        read_at = self.read_at
        return read_at is not None and time.monotonic() - read_at < seconds


def _bare(record: dg.RunRecord) -> Visualization:
    run = record.dagster_run
    return Visualization(
        run.run_id,
        run.tags[APP],
        int(run.tags[PHOTOS]),
        record.create_timestamp,
        Code.VISUALIZATION_PENDING,
    )


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


def _reason(failure: BaseException, home: Path) -> str:
    reason = str(failure)
    if isinstance(failure, KeyboardInterrupt):
        reason = "The run was interrupted."
    elif not isinstance(failure, UserError):
        reason = f"A fault of the service: {reason}"
    # Clients must not learn the path of the home.
    return reason.replace(f"{home}/", "")


def _invalid(details: str) -> ApiError:
    return ApiError(Code.INVALID_VISUALIZATION, details)
