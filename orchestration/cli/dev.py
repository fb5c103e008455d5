"""`tessera dev`: Dagster's UI and its queue, and MLflow's UI, side by side in one terminal."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click
from filelock import FileLock, Timeout

from assets.methods.common.errors import UserError
from assets.methods.common.loopback import LOOPBACK
from assets.methods.common.shown_text import shown
from assets.resources.outages import TrackingError
from assets.resources.tracking import Tracking
from orchestration.instance import open_instance, prepare_home
from orchestration.queue_processes import MARK, QueueProcesses

SECONDS_TO_END = 15


@click.command("dev")
@click.option("--port", default=3000, help="Port of Dagster's page.")
@click.option("--mlflow-port", default=5000, help="Port of MLflow's page.")
def command(port: int, mlflow_port: int) -> None:
    """Serve the web pages of Dagster and MLflow on this machine until Ctrl-C.

    Dagster's daemon runs as well, for the queue, schedules and sensors; `tessera serve` on the same
    home shares it. No other machine can open the pages.
    If MLFLOW_TRACKING_URI names an MLflow server, that one is used and none is started.
    """
    home = prepare_home()
    try:
        with suppress(KeyboardInterrupt), FileLock(home / "dev.lock", timeout=1):
            _serve(home, f"http://{LOOPBACK}:{port}", f"http://{LOOPBACK}:{mlflow_port}")
    except Timeout as error:
        raise UserError(f"{home} is being served by another `tessera dev` already.") from error
    click.echo("stopped")


def _serve(home: Path, dagster_url: str, mlflow_url: str) -> None:
    remote = os.environ.get("MLFLOW_TRACKING_URI", "")
    tracking = Tracking(home=str(home), tracking_uri=remote)
    commands: dict[str, list[str]] = {}
    mlflow_page = tracking.shown_uri
    if not remote:
        # Migrate before the server and a run do so side by side.
        try:
            with tracking.asking():
                experiment = tracking.experiment_id
        except TrackingError as error:
            mlflow_page = shown(f"not served, and runs are not tracked: {error}")
        else:
            commands["MLflow"] = _mlflow_command(home, tracking.uri, mlflow_url)
            tab = "runs?workflowType=machine_learning"
            mlflow_page = f"{mlflow_url}/#/experiments/{experiment}/{tab}"
    print(f"Dagster  {dagster_url}\nMLflow   {mlflow_page}")
    print(f"Runs write to {home / 'queue' / 'code-server.log'}.")
    print("They are up within half a minute; Ctrl-C ends them.", flush=True)
    environment = {
        # Deprecations inside Dagster and MLflow are of no use to the reader of this terminal.
        "PYTHONWARNINGS": "ignore",
        # These are seven processes for evaluations of language models.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        **os.environ,
        "TESSERA_DAGSTER_URL": dagster_url,
        "TESSERA_MLFLOW_URL": mlflow_url,
    }
    with _queue(home, environment) as workspace:
        commands["Dagster"] = _dagster_command(workspace, dagster_url)
        # What is left of the pages after a SIGKILL ends with the queue.
        _run_together(commands, home, {**environment, MARK: str(home.resolve())})


@contextmanager
def _queue(home: Path, environment: dict[str, str]) -> Iterator[Path]:
    """Keep Dagster's daemon and code server running; yield the file that says where they are."""
    with open_instance() as instance:
        processes = QueueProcesses(home, instance, environment, needs_code_server=True)
        processes.start()
        try:
            # A page that is opened before would show an error until it is reloaded.
            processes.wait_for_code_server()
            yield processes.workspace
        finally:
            processes.close()


def _dagster_command(workspace: Path, url: str) -> list[str]:
    return [
        "dagster_webserver", "--workspace", str(workspace),
        "--host", LOOPBACK, "--port", url.rpartition(":")[2], "--dagster-log-level", "warning",
    ]  # fmt: skip


def _mlflow_command(home: Path, tracking_uri: str, url: str) -> list[str]:
    return [
        "mlflow", "server", "--backend-store-uri", tracking_uri,
        "--artifacts-destination", str(home / "mlflow-artifacts"),
        "--host", LOOPBACK, "--port", url.rpartition(":")[2], "--workers", "1",
        "--uvicorn-opts", "--log-level warning",
    ]  # fmt: skip


def _run_together(
    commands: dict[str, list[str]], folder: Path, environment: dict[str, str]
) -> None:
    # Each has a session of its own, so that its children can be ended with it.
    processes = {
        name: subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", *command], cwd=folder, env=environment, start_new_session=True
        )
        for name, command in commands.items()
    }
    try:
        while True:
            for name, process in processes.items():
                try:
                    process.wait(timeout=0.5)
                except subprocess.TimeoutExpired:
                    continue
                raise UserError(
                    f"{name} ended with code {process.returncode}: its own messages are above; "
                    "if its port is taken, choose another."
                )
    finally:
        _end(list(processes.values()))


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End the processes and their children, first as Ctrl-C does, then by force."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    for process in processes:
        try:
            process.wait(timeout=SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
