"""Dagster's UI and daemon, and MLflow's UI, side by side in one terminal."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from assets.methods.errors import UserError
from assets.resources.tracking import Tracking
from orchestration.instance import project_file

LOOPBACK = "127.0.0.1"
SECONDS_TO_END = 15


def serve(home: Path, dagster_port: int, mlflow_port: int) -> None:
    """Run both until one ends or Ctrl-C; both listen on loopback alone.

    Raises UserError when one ends by itself, as it does when its port is taken.
    """
    tracking = Tracking(home=str(home))
    # Migrate before the server and a run do so side by side.
    experiment = tracking.experiment_id
    print(f"Dagster  http://{LOOPBACK}:{dagster_port}")
    print(f"MLflow   http://{LOOPBACK}:{mlflow_port}/#/experiments/{experiment}")
    print("Both are up within half a minute; Ctrl-C ends them.", flush=True)
    _run_together(
        {
            "Dagster": [
                "dagster", "dev", "--workspace", str(project_file("workspace.yaml")),
                "--host", LOOPBACK, "--port", str(dagster_port), "--log-level", "warning",
            ],
            "MLflow": [
                "mlflow", "server", "--backend-store-uri", tracking.uri,
                "--artifacts-destination", str(home / "mlflow-artifacts"),
                "--host", LOOPBACK, "--port", str(mlflow_port), "--workers", "1",
                "--uvicorn-opts", "--log-level warning",
            ],
        },
        home,
    )  # fmt: skip


def _run_together(commands: dict[str, list[str]], folder: Path) -> None:
    environment = {
        # The deprecations inside Dagster and MLflow are not for the one who reads this terminal.
        "PYTHONWARNINGS": "ignore",
        # Seven processes for evaluations of language models, which nobody asks for here.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        **os.environ,
    }
    # Each in a session of its own, so that its children can be ended with it.
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
                    f"{name} ended with code {process.returncode}: its own words are above; "
                    "if its port is taken, choose another."
                )
    finally:
        _end(list(processes.values()))


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ask as Ctrl-C does, which both take as a request to end well; then insist."""
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
