"""The HTTP service in a thread of this process, without the processes of Dagster's queue.

To start `tessera serve` with them takes fifteen seconds of a processor. Tests of what the service
answers do not need them; tests of processes and of the queue do (`served.py`).
"""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stderr
from pathlib import Path

import dagster as dg
import psutil
import pytest

from orchestration.api import service as service_module
from orchestration.api.logs import configure_logs
from orchestration.api.service import Service
from orchestration.api.settings import ServeSettings
from orchestration.api.visualizations import map_runs
from orchestration.cli.serve import build_server
from orchestration.definitions import build_definitions, build_resources
from support.served import Served


class _NoQueueProcesses:
    """Stands for the processes of the queue: runs stay in it."""

    def __init__(self, home: Path, instance: dg.DagsterInstance) -> None:
        pass

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass


@contextmanager
def served_here(home: Path, settings: ServeSettings) -> Iterator[Served]:
    """Serve the home, to which the environment points, on a free port until the end of the block.

    The runs of visualizations stay in the queue, save within ``runs_carried_out_here``.
    """
    log = home.parent / "serve.log"
    with (
        pytest.MonkeyPatch.context() as patch,
        socket.create_server(("127.0.0.1", 0)) as listening,
        _logging_to(log),
    ):
        patch.setattr(service_module, "QueueProcesses", _NoQueueProcesses)
        server = build_server(Service(home, settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            base = f"http://127.0.0.1:{listening.getsockname()[1]}"
            service = Served(psutil.Process(), base, log)
            with closing(service.client):
                service.wait_until_ready()
                yield service
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def _logging_to(log: Path) -> Iterator[None]:
    """Let the service's logs be written to a file, and nowhere else."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    with log.open("w") as errors:
        with redirect_stderr(errors):
            configure_logs()
        try:
            yield
        finally:
            root.setLevel(level)
            root.handlers = handlers
            logging.captureWarnings(False)


@contextmanager
def runs_carried_out_here() -> Iterator[None]:
    """Let the runs of visualizations be carried out by whoever submits them, at that moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_runs, "submit", _carry_out)
        yield


def _carry_out(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    run_id: str,
    run_config: dict,
    tags: dict[str, str],
    root_id: str | None = None,
) -> None:
    # The job that was given may have been built for another test, with another home.
    built = build_definitions(build_resources()).resolve_job_def(job.name)
    built.execute_in_process(
        instance=instance,
        partition_key=tags["dagster/partition"],
        run_config=run_config,
        tags=tags,
        run_id=run_id,
        raise_on_error=False,
    )
