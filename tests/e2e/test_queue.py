"""One queue for `tessera serve`, `tessera dev` and the command line, on one home."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import httpx
import pytest

from orchestration.instance import open_instance
from orchestration.locked_process import holder_of
from support.app_inputs import make_app
from support.served import (
    ROOT,
    TESSERA,
    process_of_run,
    processes_of_queue,
    served,
    wait_for,
)

READY = 42000
REEXECUTE = """
mutation ($run: String!) {
  launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: FROM_FAILURE}) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""

pytestmark = pytest.mark.timeout(600)


@contextmanager
def developed(home: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """`tessera dev`; yields its process and the address of Dagster's page."""
    with socket.socket() as one, socket.socket() as another:
        for free in (one, another):
            free.bind(("127.0.0.1", 0))
        port, mlflow_port = (str(free.getsockname()[1]) for free in (one, another))
    process = subprocess.Popen(
        [*TESSERA, "dev", "--port", port, "--mlflow-port", mlflow_port],
        env={**os.environ, "TESSERA_HOME": str(home)},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{url}/server_info", trust_env=False).status_code == 200
        return False

    try:
        wait_for(answers, 120, "tessera dev does not answer")
        yield process, url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def holders(home: Path) -> list[int]:
    """The numbers of the code server and the daemon, when both run."""

    def found() -> list[int] | None:
        held = [holder_of(home / "queue" / f"{role}.lock") for role in ("code-server", "daemon")]
        return [holder[0] for holder in held if holder] if all(held) else None

    return wait_for(found, 90, "they do not run")


def daemons(home: Path) -> int:
    return sum("dagster-daemon" in " ".join(one.cmdline()) for one in processes_of_queue(home))


def test_dev_and_serve_share_one_queue_whoever_comes_and_whoever_is_killed(
    home, instance, photo_folder
):
    make_app(home, instance, photo_folder(12), "default").close()
    with developed(home) as (dev, _):
        running = holders(home)
        with served(home, queue_outlives=True) as service:
            first = service.client.post("/v2/visualizations").json()["output"]["id"]
            process_of_run(instance, first)
            service.kill()
        with served(home, queue_outlives=True) as service:
            assert service.ended_visualization(first)["status"]["code"] == READY
            assert (holders(home), daemons(home)) == (running, 1)
            dev.kill()
            dev.wait(timeout=30)
            options = {"tile": 32}
            second = service.client.post("/v2/visualizations", json=options).json()["output"]["id"]
            # In the other order, too: the one that comes second uses what the first has.
            with developed(home):
                assert service.ended_visualization(second)["status"]["code"] == READY
                assert (holders(home), daemons(home)) == (running, 1)
            assert holders(home) == running
    assert processes_of_queue(home) == []


def test_a_run_of_the_command_line_can_be_executed_again_and_a_dead_one_is_found(
    home, instance, photo_folder, tmp_path
):
    environment = {**os.environ, "TESSERA_HOME": str(home)}
    command = [*TESSERA, "map", str(photo_folder(40)), "--name", "birds", "--out", str(tmp_path)]
    with developed(home) as (_, url):
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL)
        wait_for(lambda: instance.get_runs(limit=1), 60, "no run has begun")
        (run,) = instance.get_runs()
        assert process_of_run(instance, run.run_id) == process.pid
        process.kill()
        process.wait()
        begun = time.monotonic()

        def status() -> dg.DagsterRunStatus:
            with open_instance() as fresh:
                return fresh.get_run_by_id(run.run_id).status

        wait_for(lambda: status() is dg.DagsterRunStatus.FAILURE, 60, "it was not found")
        assert time.monotonic() - begun < 60
        body = {"query": REEXECUTE, "variables": {"run": run.run_id}}
        reply = httpx.post(f"{url}/graphql", json=body, timeout=60, trust_env=False).json()
        launched = reply["data"]["launchRunReexecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        again = launched["run"]["runId"]
        wait_for(lambda: instance.get_run_by_id(again).is_finished, 120, "it goes on for ever")
        assert instance.get_run_by_id(again).status is dg.DagsterRunStatus.SUCCESS
