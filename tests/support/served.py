"""The HTTP service, started with `tessera serve` in another process."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import httpx
import psutil

from orchestration.dead_runs import process_of
from orchestration.queue_processes import MARK

ROOT = Path(__file__).parents[2]
TESSERA = [sys.executable, "-m", "orchestration.cli"]


class Served:
    """A running service: its address, and a client that speaks JSON with it."""

    def __init__(self, process: subprocess.Popen | psutil.Process, base: str, log: Path) -> None:
        self.process, self.base, self.log = process, base, log
        self.client = httpx.Client(base_url=base, timeout=120, trust_env=False)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait(timeout=30)

    def wait_until_ready(self) -> None:
        wait_for(lambda: self.client.get("/readyz").status_code == 200, 120, "it is not ready")

    def visualization(self, identity: str, **headers: str) -> dict:
        return self.client.get(f"/v2/visualizations/{identity}", headers=headers).json()["output"]

    def ended_visualization(self, identity: str, **headers: str) -> dict:
        """Wait until a visualization is no longer pending, and return it."""

        def ended() -> dict | None:
            output = self.visualization(identity, **headers)
            return output if output["status"]["code"] != 42001 else None

        return wait_for(ended, 240, f"{identity} is pending for ever")


def wait_for(condition, seconds: float, complaint: str):
    """Return the first true answer; fail with the complaint when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, complaint
        time.sleep(0.2)
    return answer


def processes_of_queue(home: Path) -> list[psutil.Process]:
    """Return the daemon and the code server of a home, and what they have started."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == str(home):
                found.append(process)
    return found


def process_of_run(instance: dg.DagsterInstance, run_id: str) -> int:
    """Wait until a run goes on, and return the number of its process."""

    def number() -> int | None:
        run = instance.get_run_by_id(run_id)
        if run is None or run.status is not dg.DagsterRunStatus.STARTED:
            return None
        process = process_of(instance, run)
        return process.number if process is not None else None

    return wait_for(number, 120, "the run has not started")


@contextmanager
def served(home: Path, *options: str, log: Path | None = None, queue_outlives: bool = False):
    """Serve the home on a free port of loopback until the end of the block.

    With ``queue_outlives``, what a service that was killed leaves is left for the next one.
    """
    log = log or home.parent / f"serve-{time.monotonic_ns()}.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*TESSERA, "serve", "--port", "0", *options],
            env={**os.environ, "TESSERA_HOME": str(home)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    service = None
    try:
        first = process.stdout.readline()
        assert first.startswith("Service  http"), first + log.read_text()
        service = Served(process, first.split()[1], log)
        service.wait_until_ready()
        yield service
    finally:
        if service is not None:
            service.client.close()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            if not queue_outlives:
                for left in processes_of_queue(home):
                    with suppress(psutil.NoSuchProcess):
                        left.kill()
                        left.wait(30)
