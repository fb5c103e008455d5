"""MLflow: a parent run for each Dagster run, a child for each asset and partition.

It uses ``MlflowClient`` with explicit run ids: the fluent interface keeps its state in the process,
and dagster-mlflow's resource cannot see an asset fail (docs/decisions.md).
"""

import os
import re
import tempfile
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import dagster as dg
from PIL import Image
from pydantic import Field

from assets.methods.common.errors import UserError
from assets.methods.common.files import share_equal_files
from assets.methods.common.parallel import in_thread
from assets.methods.common.processes import named_process, this_process
from assets.methods.common.shown_text import shown
from assets.methods.plotting.png import png_bytes
from assets.resources.mlflow_database import (
    ARTIFACTS,
    check_not_locked,
    database_of,
    has_runs_at_work,
    keep_quiet,
    parents_in,
    prepare_database,
)
from assets.resources.outages import TrackingError, known_outage, note_outage, one_run

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "tessera"
# Without it MLflow's UI shows the runs as evaluations of language models.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
DAGSTER_RUN = "dagster.run_id"
# Of a run that no Dagster run stands for.
PROCESS = "tessera.process"
# The tag of a run of Dagster that names its run of MLflow, and that of an asset's which names this.
MLFLOW_TAG, PARENT_TAG = "mlflow/run_id", "mlflow.parentRunId"
Warn = Callable[[str], None]
# What the body of an asset logs is sent together, after so many seconds at the latest.
LONGEST_UNSENT = 5.0
# Seconds that what an asset logs is held for which nothing seems to be new.
LONGEST_HELD = 10.0
# MLflow takes no more in one request.
_MOST_METRICS, _MOST_TEXTS = 1000, 100
# Seconds that the first contact with a server may take. A request may take 4, and is made twice.
LONGEST_CONTACT = 10.0
LONGEST_REQUEST = 4
INTERRUPTS = (dg.DagsterExecutionInterruptedError, KeyboardInterrupt)
# MLflow's status of a run, by the status of the Dagster run that has ended.
ENDED = {
    dg.DagsterRunStatus.SUCCESS: "FINISHED",
    dg.DagsterRunStatus.FAILURE: "FAILED",
    dg.DagsterRunStatus.CANCELED: "KILLED",
}
_FAILED = ("FAILED", "KILLED")


@dataclass
class Batch:
    """What is sent to a run in one request; a metric has its value, time in ms and step."""

    parameters: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, other: "Batch") -> None:
        """Add what another one has."""
        self.parameters |= other.parameters
        self.metrics += other.metrics
        self.tags |= other.tags

    def has_room_for(self, other: "Batch") -> bool:
        """Whether MLflow takes both in one request."""
        return (
            len(self.metrics) + len(other.metrics) <= _MOST_METRICS - 2 * _MOST_TEXTS
            and len(self.parameters) + len(other.parameters) <= _MOST_TEXTS
            and len(self.tags) + len(other.tags) <= _MOST_TEXTS
        )

    def send(self, client: "MlflowClient", run_id: str) -> None:
        """Log it all to a run."""
        from mlflow.entities import Metric, Param, RunTag

        if self == Batch():
            return
        client.log_batch(
            run_id,
            [Metric(*one) for one in self.metrics],
            [Param(*one) for one in self.parameters.items()],
            [RunTag(*one) for one in self.tags.items()],
        )


def _parameters(parameters: dict[str, Any]) -> Batch:
    return Batch(parameters={key: shown(str(value)) for key, value in parameters.items()})


def _metrics(metrics: dict[str, float], step: int) -> Batch:
    now = _now()
    return Batch(metrics=[(key, float(value), now, step) for key, value in metrics.items()])


def _now() -> int:
    """Return the milliseconds since 1970."""
    return time.time_ns() // 10**6


def _tags(tags: dict[str, Any]) -> Batch:
    return Batch(tags={key: shown(str(value)) for key, value in tags.items()})


class Tracking(dg.ConfigurableResource):
    """Where runs are recorded: an MLflow server, or the database below the home."""

    home: str
    tracking_uri: str = Field(
        default="", description="Address of an MLflow server. Empty uses a database in the home."
    )
    dagster_url: str = Field(
        default="http://127.0.0.1:3000", description="Address of Dagster's UI, for links."
    )
    mlflow_url: str = Field(
        default="http://127.0.0.1:5000", description="Address of MLflow's UI, for links."
    )
    strict: bool = Field(
        default=False, description="Fail when MLflow is down, instead of going on without it."
    )
    experiment: str = Field(default=EXPERIMENT, description="Name of the experiment in MLflow.")

    def in_experiment(self, name: str) -> "Tracking":
        """Return the same server with another experiment."""
        return Tracking(**{**self.model_dump(), "experiment": name})

    @contextmanager
    def child_run(
        self, context: dg.AssetExecutionContext, is_stored: bool = True
    ) -> Iterator["ChildRun"]:
        """Track the body of one asset; its end decides the status FINISHED, FAILED or KILLED.

        Of an asset whose value is not stored nobody could say whether it is new, so nothing of it
        is held (`hold_records`).
        """
        with one_run(context.run.run_id):
            if not is_stored:
                send_records(context.run.run_id)
            run = ChildRun(self, context)
            with _status_of_body(run):
                yield run

    @contextmanager
    def lone_run(self, name: str, warn: Warn) -> Iterator["TrackedRun"]:
        """Track work outside Dagster; ``warn`` is called with a message when MLflow is down."""
        with one_run(uuid.uuid4().hex):
            run = TrackedRun(self, name, warn)
            with _status_of_body(run):
                yield run

    def finish_runs(self, dagster_run_id: str, status: dg.DagsterRunStatus) -> None:
        """Give the MLflow runs of a Dagster run that has ended their final status.

        An asset that raises ends its own run. This is for what an asset cannot notice: a process
        that was killed, a value that could not be stored after the body had returned. Raises
        TrackingError.
        """
        final = ENDED[status]
        with self.asking(dagster_run_id):
            for run in self._find(f"tags.`{DAGSTER_RUN}` = '{dagster_run_id}'"):
                is_parent = PARENT_TAG not in run.data.tags
                if run.info.status == "RUNNING" or (is_parent and run.info.status != final):
                    self.client.set_terminated(run.info.run_id, status=final)

    def running(self) -> list[Any]:
        """Return the runs that are said to be at work. Raises TrackingError."""
        with self.asking():
            return self._find("attributes.status = 'RUNNING'")

    def left_runs(self, instance: dg.DagsterInstance) -> list[tuple[Any, str]]:
        """Return the runs that are said to be at work and have ended, each with its final status.

        They are left by a process that was killed, and where the end could not be written: on a
        full disk, or while the server was down. Raises TrackingError.
        """
        return [(run, final) for run in self.running() if (final := self._final(run, instance))]

    def finish_left_runs(self, instance: dg.DagsterInstance) -> None:
        """Give the runs that ``left_runs`` finds their final status. Raises TrackingError."""
        for run, final in self.left_runs(instance):
            with self.asking():
                self.client.set_terminated(run.info.run_id, status=final)

    def _final(self, run: Any, instance: dg.DagsterInstance) -> str | None:
        """Return the final status of a run that has ended; None if it goes on, or may."""
        tags = run.data.tags
        if DAGSTER_RUN in tags:
            stands_for = instance.get_run_by_id(tags[DAGSTER_RUN])
            if stands_for is not None:
                return ENDED.get(stands_for.status)
            # A server may have the runs of another home, too.
            return None if self.tracking_uri else "FAILED"
        process = named_process(tags.get(PROCESS, ""), "")
        return "FAILED" if process is not None and not process.is_alive() else None

    @contextmanager
    def asking(self, run_id: str = "") -> Iterator[None]:
        """Run a body that asks MLflow and does nothing else.

        Whatever goes wrong in MLflow, in its database or on the way becomes a TrackingError. A
        server that could not be reached is not asked again for a while, and never in the same run:
        ``run_id``, or the one that is tracked at present.
        """
        why = known_outage(self.uri, run_id)
        if why:
            raise TrackingError(why)
        try:
            if not self.tracking_uri:
                check_not_locked(database_of(Path(self.home)))
            yield
        except UserError:
            raise
        except TrackingError as error:
            note_outage(self.uri, str(error), run_id)
            raise
        except Exception as error:
            if _is_outage(error):
                note_outage(self.uri, first_line(error), run_id)
            raise TrackingError(first_line(error)) from error

    @cached_property
    def uri(self) -> str:
        """The tracking URI: the setting, or a database below the home."""
        return self.tracking_uri or f"sqlite:///{database_of(Path(self.home))}"

    def local_artifacts(self, run_id: str) -> Path | None:
        """Return the folder of a run's artifacts; None if they are not below the home."""
        if self.tracking_uri or not run_id:
            return None
        return Path(self.home, ARTIFACTS, run_id, "artifacts")

    @property
    def shown_uri(self) -> str:
        """The tracking URI without the password that it may hold."""
        return _without_users(self.uri)

    @cached_property
    def client(self) -> "MlflowClient":
        """The MLflow client, once it has answered; the database is made where that is needed."""
        # With MLflow's defaults a step waits for minutes when the server is down.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(LONGEST_REQUEST))
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        # MLflow would print links to runs on stdout, with the password of the address.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        from mlflow import MlflowClient

        keep_quiet()
        if not self.tracking_uri:
            prepare_database(Path(self.home))
            return MlflowClient(self.uri)
        return _first_contact(self._asked_client)

    @cached_property
    def experiment_id(self) -> str:
        """The id of the experiment, created when this is the first run."""
        location = None if self.tracking_uri else (Path(self.home) / ARTIFACTS).as_uri()
        experiment = self.client.get_experiment_by_name(self.experiment)
        if experiment is None:
            return self._create_experiment(location)
        if experiment.lifecycle_stage == "deleted":
            self.client.restore_experiment(experiment.experiment_id)
        return experiment.experiment_id

    def _asked_client(self) -> "MlflowClient":
        from mlflow import MlflowClient

        client = MlflowClient(self.uri)
        client.get_experiment_by_name(self.experiment)
        return client

    def _create_experiment(self, location: str | None) -> str:
        from mlflow.exceptions import MlflowException

        try:
            return self.client.create_experiment(self.experiment, location, EXPERIMENT_TAGS)
        except MlflowException as error:
            # Another process was first.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = self.client.get_experiment_by_name(self.experiment)
            if experiment is None:
                raise
            return experiment.experiment_id

    def parent_of(self, context: dg.AssetExecutionContext) -> str:
        """Return the id of the MLflow run of this Dagster run, which is at work, or has failed.

        It is created where there is none.
        """
        query = f"tags.`{DAGSTER_RUN}` = '{context.run.run_id}' and tags.`dagster.asset` = ''"
        found = self._find(query)
        if found:
            parent = found[0].info
            if parent.status not in ("RUNNING", *_FAILED):
                self.client.update_run(parent.run_id, status="RUNNING")
            return str(parent.run_id)
        run = context.run
        tags = {
            DAGSTER_RUN: run.run_id,
            "dagster.asset": "",
            "dagster.job": run.job_name,
            "dagster.root_run_id": run.root_run_id or run.run_id,
            "dagster.url": f"{self.dagster_url}/runs/{run.run_id}",
            "dagster.partition": partition_of(context),
            "mlflow.note.content": f"[Dagster run]({self.dagster_url}/runs/{run.run_id})",
        }
        name = f"{partition_of(context)} {run.run_id[:8]}".strip()
        made = self.client.create_run(self.experiment_id, tags=tags, run_name=name)
        self.finish_left_runs(context.instance)
        context.instance.add_run_tags(run.run_id, {MLFLOW_TAG: made.info.run_id})
        return made.info.run_id

    def may_hold(self, dagster_run: str) -> bool:
        """Whether the record of a run may be held until something in it is new.

        A server keeps that of each run, and strict tracking has to notice that MLflow is down.
        While a run is said to be at work, the next record ends it if it is over (`left_runs`).
        """
        if self.tracking_uri or self.strict:
            return False
        try:
            with self.asking(dagster_run):
                return not has_runs_at_work(Path(self.home))
        except TrackingError:
            return False

    def _find(self, query: str) -> list[Any]:
        return self.client.search_runs([self.experiment_id], query)


class TrackedRun:
    """A run in MLflow, to which parameters, metrics, images and files are logged.

    A server that is down, or a damaged database, never costs a result: the first failure is a
    warning, and nothing more is sent.
    """

    def __init__(self, tracking: Tracking, name: str, warn: Warn) -> None:
        self._tracking = tracking
        self._name = name
        self._warn = warn
        self._run_id = ""
        self._experiment_id = ""
        self.unreachable = ""
        self._send(self._start)

    @property
    def run_id(self) -> str:
        """The id of this MLflow run; empty when the server could not be reached."""
        return "" if self.unreachable else self._run_id

    @property
    def is_held(self) -> bool:
        """Whether nothing of this run was sent yet, which only the run of an asset may be."""
        return False

    def send_if_late(self) -> None:
        """Send what is held of a step that goes on for a while."""

    @property
    def url(self) -> str:
        """Where MLflow's UI shows this run."""
        tracking = self._tracking
        remote = tracking.shown_uri if tracking.tracking_uri.startswith("http") else ""
        server = (remote or tracking.mlflow_url).rstrip("/")
        return f"{server}/#/experiments/{self._experiment_id}/runs/{self._run_id}"

    def parameters(self, parameters: dict[str, Any]) -> None:
        """Log the settings of the work."""
        self._log(_parameters(parameters))

    def tags(self, tags: dict[str, Any]) -> None:
        """Tag the run, such as with the version of the model that answered."""
        self._log(_tags(tags))

    def describe(self, markdown: str) -> None:
        """Describe this run, which MLflow's UI shows above its tables."""
        self._log(_tags({"mlflow.note.content": markdown}))

    def metrics(self, metrics: dict[str, float], step: int = 0) -> None:
        """Log metrics to compare between runs; ``step`` is a place in a series, such as a rank."""
        self._log(_metrics(metrics, step))

    def image(self, name: str, image: Image.Image) -> None:
        """Log an image as the artifact ``name``, a file name that ends in .png."""
        self.file(name, png_bytes(image))

    def series_image(self, key: str, image: Image.Image, step: int) -> None:
        """Log one image of the series ``key``, which MLflow's UI shows by step."""
        self._send(lambda: self._client.log_image(self._run_id, image, key=key, step=step))

    def file(self, name: str, data: bytes) -> None:
        """Log ``data`` as the artifact ``name``, which may contain folders."""
        self._send(lambda: self._put_file(self._run_id, name, data))

    def end(self, status: str) -> None:
        """End this run as FINISHED, FAILED or KILLED."""
        self._send(lambda: self._client.set_terminated(self._run_id, status=status))

    @property
    def _client(self) -> "MlflowClient":
        return self._tracking.client

    def _start(self) -> None:
        self._experiment_id = self._tracking.experiment_id
        tags = {PROCESS: this_process("")}
        run = self._client.create_run(self._experiment_id, tags=tags, run_name=self._name)
        self._run_id = run.info.run_id

    def _log(self, batch: Batch) -> None:
        self._send(lambda: batch.send(self._client, self._run_id))

    def _put_file(self, run_id: str, name: str, data: bytes) -> None:
        local = self._tracking.local_artifacts(run_id)
        if local is not None:
            # A file that is there may be shared with an older run, and is not written into.
            (local / name).unlink(missing_ok=True)
            (local / name).parent.mkdir(parents=True, exist_ok=True)
            (local / name).write_bytes(data)
            return
        parent, file = PurePosixPath(name).parent, PurePosixPath(name).name
        folder_in_run = None if parent == PurePosixPath() else str(parent)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, file)
            path.write_bytes(data)
            self._client.log_artifact(run_id, str(path), folder_in_run)

    def _send(self, log: Callable[[], Any]) -> None:
        if self.unreachable:
            return
        try:
            with self._tracking.asking():
                log()
        except TrackingError as error:
            if self._tracking.strict:
                raise
            self.unreachable = str(error)
            self._warn(
                f"MLflow at {self._tracking.shown_uri} could not be reached, nothing more of "
                f"{self._name} is tracked: {self.unreachable}"
            )


class ChildRun(TrackedRun):
    """The MLflow run of one asset and partition.

    Its parent gets the same parameters, metrics and tags, named ``ASSET.NAME``, because MLflow's
    table of runs shows only parents.

    What is logged may be held (`hold_records`): then ``thumbnails`` has the names of the pictures
    that are drawn when it is sent, and afterwards each as Markdown.
    """

    def __init__(self, tracking: Tracking, context: dg.AssetExecutionContext) -> None:
        self._context = context
        self._dagster_run = context.run.run_id
        self.asset = context.asset_key.to_user_string()
        self.thumbnails: dict[str, str] = {}
        self._parent_id = ""
        self._unsent, self._unsent_of_parent = Batch(), Batch()
        self._begun, self._begun_at = _now(), time.monotonic()
        self._sent_at = self._begun_at
        self._held: list[Callable[[], None]] | None = None
        others = _held_records.get(self._dagster_run)
        if others == [] and not tracking.may_hold(self._dagster_run):
            del _held_records[self._dagster_run]
        elif others is not None:
            self._held = []
            others.append(self)
        super().__init__(
            tracking, f"{self.asset} {partition_of(context)}".strip(), context.log.warning
        )

    @property
    def is_held(self) -> bool:
        """Whether nothing of this run was sent yet (`hold_records`)."""
        return self._held is not None

    @property
    def run_id(self) -> str:
        """The id of this MLflow run, which begins at the latest now; empty as of any run."""
        if self.is_held:
            send_records(self._dagster_run)
        return super().run_id

    def when_sent(self, call: Callable[[], None]) -> None:
        """Do something once this run is sent to MLflow: now, if it is not held."""
        if self._held is None:
            call()
        else:
            self._held.append(call)

    def send(self) -> None:
        """Send what was held, and hold nothing more."""
        held, self._held = self._held or [], None
        with one_run(self._dagster_run):
            for call in held:
                call()

    def send_if_late(self) -> None:
        """Send what is held of a step that goes on for a while: there must be something new."""
        if self.is_held and time.monotonic() - self._begun_at > LONGEST_HELD:
            send_records(self._dagster_run)

    def knows(self, mlflow_run: str) -> bool:
        """Whether MLflow still has another run."""
        try:
            with self._tracking.asking(self._dagster_run):
                return bool(parents_in(Path(self._tracking.home), [mlflow_run]))
        except TrackingError:
            return False

    def _send(self, log: Callable[[], Any]) -> None:
        self.when_sent(lambda: super(ChildRun, self)._send(log))

    def parameters(self, parameters: dict[str, Any]) -> None:
        """Log the settings of the asset."""
        self._log_both(_parameters(parameters), _parameters(self._prefixed(parameters)))

    def tags(self, tags: dict[str, Any]) -> None:
        """Tag the run of the asset, and its parent."""
        self._log_both(_tags(tags), _tags(self._prefixed(tags)))

    def metrics(self, metrics: dict[str, float], step: int = 0) -> None:
        """Log metrics to compare between runs; the parent gets those outside of a series."""
        of_parent = _metrics(self._prefixed(metrics), step) if step == 0 else Batch()
        self._log_both(_metrics(metrics, step), of_parent)

    def file_in_parent(self, name: str, data: bytes) -> None:
        """Log ``data`` as an artifact of the parent."""
        self._send(lambda: self._put_file(self._parent_id, name, data))

    def end(self, status: str) -> None:
        """End this run, and the parent with the same status unless that is FAILED or KILLED.

        No asset knows whether it is the last of its Dagster run, so each ends the parent and the
        next one sets it to RUNNING again.
        """
        if status in _FAILED:
            send_records(self._dagster_run)
        self._send_unsent()
        ended = _now()
        self._send(lambda: self._client.set_terminated(self._run_id, status, ended))
        self._send(lambda: self._end_parent(status, ended))
        self._send(self._share_artifacts)

    def _log_both(self, batch: Batch, of_parent: Batch) -> None:
        """Log to the run and to its parent, together with what is logged soon."""
        if not (
            self._unsent.has_room_for(batch) and self._unsent_of_parent.has_room_for(of_parent)
        ):
            self._send_unsent()
        self._unsent.add(batch)
        self._unsent_of_parent.add(of_parent)
        self.send_if_late()
        if time.monotonic() - self._sent_at > LONGEST_UNSENT:
            self._send_unsent()

    def _send_unsent(self) -> None:
        batch, of_parent = self._unsent, self._unsent_of_parent
        self._unsent, self._unsent_of_parent = Batch(), Batch()
        self._log(batch)
        self._send(lambda: of_parent.send(self._client, self._parent_id))
        self._sent_at = time.monotonic()

    def _share_artifacts(self) -> None:
        """Let artifacts in the home that are those of the run before take no room again."""
        place = self._tracking.local_artifacts
        own, of_parent = place(self._run_id), place(self._parent_id)
        if own is None or of_parent is None or not own.is_dir():
            return
        asset, partition = self._context.asset_key.to_user_string(), partition_of(self._context)
        before = self._client.search_runs(
            [self._experiment_id],
            f"tags.`dagster.asset` = '{asset}' and tags.`dagster.partition` = '{partition}'",
            order_by=["attributes.start_time DESC"],
            max_results=2,
        )
        for run in before:
            older = place(run.info.run_id)
            if older is not None and older != own:
                share_equal_files(own, older)
        share_equal_files(of_parent, own)

    def _prefixed(self, logged: dict[str, Any]) -> dict[str, Any]:
        asset = self._context.asset_key.path[-1]
        return {f"{asset}.{key}": value for key, value in logged.items()}

    def _start(self) -> None:
        context = self._context
        self._experiment_id = self._tracking.experiment_id
        self._parent_id = self._tracking.parent_of(context)
        tags = {
            PARENT_TAG: self._parent_id,
            DAGSTER_RUN: context.run.run_id,
            "dagster.asset": context.asset_key.to_user_string(),
            "dagster.partition": partition_of(context),
            "dagster.url": f"{self._tracking.dagster_url}/runs/{context.run.run_id}",
        }
        run = self._client.create_run(self._experiment_id, self._begun, tags, self._name)
        self._run_id = run.info.run_id

    def _end_parent(self, status: str, ended: int) -> None:
        if self._client.get_run(self._parent_id).info.status not in _FAILED:
            self._client.set_terminated(self._parent_id, status, ended)


# By run of Dagster, the runs of its assets of which MLflow has not been sent anything.
_held_records: dict[str, list[ChildRun]] = {}


def hold_records(dagster_run: str) -> None:
    """From now on, hold what the assets of a run log, until it is known whether anything is new.

    Where nothing is, MLflow would only have to forget it again, and its import alone takes seconds.
    """
    _held_records.setdefault(dagster_run, [])


def held_record(dagster_run: str, asset: str) -> ChildRun | None:
    """Return the newest run of an asset that is held; None if none is."""
    held = _held_records.get(dagster_run, ())
    return next((one for one in reversed(held) if one.asset == asset), None)


def send_records(dagster_run: str) -> None:
    """Send what is held of a run, and hold nothing more of it."""
    for record in _held_records.pop(dagster_run, []):
        record.send()


def drop_records(dagster_run: str) -> None:
    """Forget what is held of a run in which nothing was new."""
    _held_records.pop(dagster_run, None)


def partition_of(context: dg.AssetExecutionContext) -> str:
    """Return the partition of an asset's run, or an empty text when there is none."""
    return context.partition_key if context.has_partition_key else ""


def first_line(error: Exception) -> str:
    """Return the error's type and first line, at most 300 characters, without passwords."""
    line = shown(f"{type(error).__name__}: {_without_users(str(error))}".split("\n")[0])
    return textwrap.shorten(line, 300, placeholder=" ...")


def _first_contact(ask: Callable[[], "MlflowClient"]) -> "MlflowClient":
    """Ask a server, and wait no longer than a while, whatever it does meanwhile.

    The timeout of a request begins anew with each byte that arrives, and MLflow tries for minutes
    to connect with a database server.
    """
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT

    answer = in_thread(ask)
    seconds = max(LONGEST_CONTACT, 2.0 * (MLFLOW_HTTP_REQUEST_TIMEOUT.get() or 0))
    try:
        return answer.result(seconds)
    except TimeoutError as error:
        if answer.done():
            raise
        raise TrackingError(f"no answer within {seconds:.0f} seconds") from error


def _is_outage(error: BaseException | None) -> bool:
    """Whether MLflow or its database is out of reach, and does not only refuse or lack something.

    A client must not be able to bring that about by asking for what is not there.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

    out_of_reach = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "BAD_REQUEST")
    if isinstance(error, MlflowException) and error.error_code not in out_of_reach:
        return False
    while error is not None:
        if isinstance(error, OSError):
            return not isinstance(error, FileNotFoundError)
        if isinstance(error, DBAPIError):
            return not isinstance(error, DataError | IntegrityError)
        error = error.__cause__ or error.__context__
    return False


def _without_users(text: str) -> str:
    """Return ``text`` without the user names and passwords in its URLs, which stay links."""
    return re.sub(r"(?<=://)[^/?#\s]*@", "", text)


@contextmanager
def _status_of_body(run: TrackedRun) -> Iterator[None]:
    try:
        yield
    except INTERRUPTS:
        run.end("KILLED")
        raise
    except BaseException:
        run.end("FAILED")
        raise
    run.end("FINISHED")
