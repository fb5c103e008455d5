"""MLflow: a parent run for each Dagster run, a child for each asset and partition.

Written on ``MlflowClient`` with explicit run ids: the fluent interface keeps its state in the
process, and dagster-mlflow's resource cannot see an asset fail (docs/decisions.md).
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from filelock import FileLock
from PIL import Image
from pydantic import Field

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "tessera"
# Otherwise MLflow's UI takes the runs for evaluations of language models.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
DAGSTER_RUN = "dagster.run_id"
INTERRUPTS = (dg.DagsterExecutionInterruptedError, KeyboardInterrupt)
# What MLflow says of a run, given what Dagster says of it once it has ended.
ENDED = {
    dg.DagsterRunStatus.SUCCESS: "FINISHED",
    dg.DagsterRunStatus.FAILURE: "FAILED",
    dg.DagsterRunStatus.CANCELED: "KILLED",
}


class Tracking(dg.ConfigurableResource):
    """Where runs are compared: an MLflow server, or the database below the home."""

    home: str
    tracking_uri: str = Field(
        default="", description="Of an MLflow server; empty: a database at home."
    )
    dagster_url: str = Field(
        default="http://127.0.0.1:3000", description="Where Dagster's UI is served."
    )
    mlflow_url: str = Field(
        default="http://127.0.0.1:5000", description="Where MLflow's UI is served, for links."
    )
    strict: bool = Field(
        default=False, description="Fail an asset when the tracking server is down."
    )

    @contextmanager
    def child_run(self, context: dg.AssetExecutionContext) -> Iterator["ChildRun"]:
        """Track the body of one asset: FINISHED, FAILED or KILLED by how the body ends."""
        run = ChildRun(self, context)
        try:
            yield run
        except INTERRUPTS:
            run.end("KILLED")
            raise
        except BaseException:
            run.end("FAILED")
            raise
        run.end("FINISHED")

    def settle(self, dagster_run_id: str, status: dg.DagsterRunStatus) -> None:
        """Give the MLflow runs of a Dagster run that has ended their final status.

        An asset that raises has seen to its own; this is for what an asset cannot see: a process
        that was killed, a value that could not be stored after the body had returned.
        """
        final = ENDED[status]
        for run in self._find(f"tags.`{DAGSTER_RUN}` = '{dagster_run_id}'"):
            is_parent = "mlflow.parentRunId" not in run.data.tags
            if run.info.status == "RUNNING" or (is_parent and run.info.status != final):
                self.client.set_terminated(run.info.run_id, status=final)

    @cached_property
    def uri(self) -> str:
        """The tracking URI: the setting, or a database below the home."""
        return self.tracking_uri or f"sqlite:///{Path(self.home) / 'mlflow.db'}"

    @cached_property
    def client(self) -> "MlflowClient":
        """The MLflow client, its database migrated if it has to be."""
        # MLflow's own defaults keep a step waiting for minutes when the server is down.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        # Migrations log a line each.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        from mlflow import MlflowClient

        Path(self.home).mkdir(parents=True, exist_ok=True)
        with FileLock(Path(self.home) / "mlflow.lock"):
            client = MlflowClient(self.uri)
            # The first question creates and migrates the database: one process at a time.
            client.get_experiment_by_name(EXPERIMENT)
        return client

    @cached_property
    def experiment_id(self) -> str:
        """The id of the experiment, created when this is the first run."""
        location = None if self.tracking_uri else (Path(self.home) / "mlflow-artifacts").as_uri()
        client = self.client
        with FileLock(Path(self.home) / "mlflow.lock"):
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                return client.create_experiment(EXPERIMENT, location, EXPERIMENT_TAGS)
            if experiment.lifecycle_stage == "deleted":
                client.restore_experiment(experiment.experiment_id)
            return experiment.experiment_id

    def parent_of(self, context: dg.AssetExecutionContext) -> str:
        """Return the id of the MLflow run that stands for this Dagster run, made if need be."""
        query = f"tags.`{DAGSTER_RUN}` = '{context.run.run_id}' and tags.`dagster.asset` = ''"
        found = self._find(query)
        if found:
            return found[0].info.run_id
        run = context.run
        tags = {
            DAGSTER_RUN: run.run_id,
            "dagster.asset": "",
            "dagster.job": run.job_name,
            "dagster.root_run_id": run.root_run_id or run.run_id,
            "dagster.url": f"{self.dagster_url}/runs/{run.run_id}",
            "dagster.partition": context.partition_key,
            "mlflow.note.content": f"[Dagster run]({self.dagster_url}/runs/{run.run_id})",
        }
        name = f"{context.partition_key} {run.run_id[:8]}"
        parent = self.client.create_run(self.experiment_id, tags=tags, run_name=name)
        context.instance.add_run_tags(run.run_id, {"mlflow/run_id": parent.info.run_id})
        return parent.info.run_id

    def _find(self, query: str) -> list[Any]:
        return self.client.search_runs([self.experiment_id], query)


class ChildRun:
    """The MLflow run of one asset and partition; its parent gets the same figures, by asset.

    Logging to a server that is down never costs a result: the first failure is a warning and a
    line of the materialisation's metadata, and nothing more is sent.
    """

    def __init__(self, tracking: Tracking, context: dg.AssetExecutionContext) -> None:
        self._tracking = tracking
        self._context = context
        self._parent_id = ""
        self._run_id = ""
        self.unreachable = ""
        self._send(self._start)

    @property
    def run_id(self) -> str:
        """The id of this MLflow run; empty when the server could not be reached."""
        return "" if self.unreachable else self._run_id

    @property
    def url(self) -> str:
        """Where MLflow's UI shows this run."""
        tracking = self._tracking
        remote = tracking.tracking_uri if tracking.tracking_uri.startswith("http") else ""
        server = (remote or tracking.mlflow_url).rstrip("/")
        return f"{server}/#/experiments/{tracking.experiment_id}/runs/{self._run_id}"

    def parameters(self, parameters: dict[str, Any]) -> None:
        """Log the settings that the asset runs with."""
        from mlflow.entities import Param

        params = [Param(key, str(value)) for key, value in parameters.items()]
        self._send(lambda: self._tracking.client.log_batch(self._run_id, params=params))
        of_parent = [Param(self._in_parent(param.key), param.value) for param in params]
        self._send(lambda: self._tracking.client.log_batch(self._parent_id, params=of_parent))

    def figures(self, figures: dict[str, float]) -> None:
        """Log figures to compare between runs."""
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        metrics = [Metric(key, float(value), now, 0) for key, value in figures.items()]
        self._send(lambda: self._tracking.client.log_batch(self._run_id, metrics=metrics))
        of_parent = [Metric(self._in_parent(one.key), one.value, now, 0) for one in metrics]
        self._send(lambda: self._tracking.client.log_batch(self._parent_id, metrics=of_parent))

    def picture(self, name: str, picture: Image.Image) -> None:
        """Log a picture as the artifact ``name``, with its suffix."""
        self._send(lambda: self._tracking.client.log_image(self._run_id, picture, name))

    def file(self, name: str, data: bytes, in_parent: bool = False) -> None:
        """Log ``data`` as the artifact ``name``, of the parent as well if it sums the run up."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            path.write_bytes(data)
            self._send(lambda: self._tracking.client.log_artifact(self._run_id, str(path)))
            if in_parent:
                self._send(lambda: self._tracking.client.log_artifact(self._parent_id, str(path)))

    def end(self, status: str) -> None:
        """End this run; the parent has the status of its last child, and stays FAILED or KILLED.

        No asset knows whether it is the last of its Dagster run, so each leaves the parent ended
        and the next one sets it running again.
        """
        self._send(lambda: self._end(status))

    def _in_parent(self, key: str) -> str:
        """Return the key under which the parent has it: MLflow's table shows parents only."""
        return f"{self._context.asset_key.path[-1]}.{key}"

    def _start(self) -> None:
        client = self._tracking.client
        context = self._context
        self._parent_id = self._tracking.parent_of(context)
        self._set_parent("RUNNING")
        asset = context.asset_key.to_user_string()
        tags = {
            "mlflow.parentRunId": self._parent_id,
            DAGSTER_RUN: context.run.run_id,
            "dagster.asset": asset,
            "dagster.partition": context.partition_key,
            "dagster.url": f"{self._tracking.dagster_url}/runs/{context.run.run_id}",
        }
        run = client.create_run(
            self._tracking.experiment_id, tags=tags, run_name=f"{asset} {context.partition_key}"
        )
        self._run_id = run.info.run_id

    def _end(self, status: str) -> None:
        self._tracking.client.set_terminated(self._run_id, status=status)
        self._set_parent(status)

    def _set_parent(self, status: str) -> None:
        parent = self._tracking.client.get_run(self._parent_id)
        if parent.info.status in ("FAILED", "KILLED"):
            return
        if status == "RUNNING":
            self._tracking.client.update_run(self._parent_id, status=status)
        else:
            self._tracking.client.set_terminated(self._parent_id, status=status)

    def _send(self, log: Callable[[], Any]) -> None:
        if self.unreachable:
            return
        from mlflow.exceptions import MlflowException

        try:
            log()
        except (MlflowException, OSError) as error:
            if self._tracking.strict:
                raise
            self.unreachable = f"{type(error).__name__}: {error}".split("\n")[0][:300]
            self._context.log.warning(
                "MLflow at %s could not be reached, nothing more is tracked by this asset: %s",
                self._tracking.uri,
                self.unreachable,
            )
