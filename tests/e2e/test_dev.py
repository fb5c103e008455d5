"""`tessera dev`: its pages in a real browser, and its queue, also that of all other commands."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import httpx
import pytest

from assets.resources.tracking import DAGSTER_RUN, Tracking
from orchestration.cli import dev as dev_command
from orchestration.instance import open_instance
from orchestration.locked_process import holder_of
from support.app_inputs import make_app
from support.browser import CHROMIUM, chromium
from support.served import (
    ROOT,
    TESSERA,
    Served,
    process_of_run,
    processes_of_queue,
    served,
    wait_for,
)

if TYPE_CHECKING:
    from playwright.sync_api import Page

READY = 42000
# The only collection there is when the graph's page is used.
BIRDS = "birds"
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


@dataclass
class Pages:
    """`tessera dev`: its process, and the addresses of Dagster's pages and of MLflow's."""

    process: subprocess.Popen
    dagster: str
    mlflow: str


def _free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in sockets]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def dev(shared_home) -> Iterator[Pages]:
    """One `tessera dev` for all tests here, the last of which kills it."""
    port, mlflow_port = _free_ports(2)
    process = subprocess.Popen(
        [*TESSERA, "dev", "--port", str(port), "--mlflow-port", str(mlflow_port)],
        env={**os.environ, "TESSERA_HOME": str(shared_home)},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pages = Pages(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{mlflow_port}")
    try:
        for url in (f"{pages.dagster}/server_info", f"{pages.mlflow}/health"):
            wait_for(partial(_answers, url), 120, "tessera dev does not answer")
        yield pages
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    assert processes_of_queue(shared_home) == []


@pytest.fixture
def instance(shared_home) -> Iterator[dg.DagsterInstance]:
    with open_instance() as instance:
        yield instance


@pytest.fixture
def page() -> Iterator["Page"]:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(60_000)
        yield page


def _materialise_from_the_graph(page: "Page", dagster: str) -> None:
    """Press "Materialize all" for the only collection there is."""
    page.goto(f"{dagster}/locations/tessera/asset-groups/photo_map")
    for asset in ("raw_images", "embeddings", "tsne_2d", "grid_assignment", "mosaic"):
        page.get_by_text(asset, exact=True).first.wait_for()
    _photograph(page, "asset_graph")
    page.get_by_role("button", name="Materialize all").click()
    launch = page.get_by_role("button", name="Launch 1 run")
    deadline = time.monotonic() + 60
    while not launch.is_visible():
        assert time.monotonic() < deadline, "the collection cannot be selected"
        # It selects what the page knows by then; the collections may come a moment later.
        page.get_by_role("button", name="All", exact=True).click()
        page.wait_for_timeout(1_000)
    launch.click()


def _photograph(page: "Page", name: str) -> None:
    """Keep a picture of the page, where somebody wants to look at it."""
    if folder := os.environ.get("TESSERA_SCREENSHOTS"):
        page.wait_for_timeout(2_000)
        page.screenshot(path=Path(folder, f"{name}.png"))


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_run_started_in_the_ui_shows_its_mosaic_there_and_in_mlflow(
    dev, shared_home, instance, tessera, photo_folder, page
):
    assert tessera("add", BIRDS, photo_folder(8)).code == 0
    before = set(instance.get_run_ids())
    _materialise_from_the_graph(page, dev.dagster)
    (run_id,) = wait_for(lambda: set(instance.get_run_ids()) - before, 60, "no run has begun")
    wait_for(lambda: instance.get_run_by_id(run_id).is_finished, 150, "the run has not ended")
    assert instance.get_run_by_id(run_id).status == dg.DagsterRunStatus.SUCCESS

    page.goto(f"{dev.dagster}/assets/mosaic?view=events&partition={BIRDS}")
    page.get_by_text("[Show Markdown]").first.click()
    thumbnail = page.locator("img[alt=thumbnail]")
    thumbnail.wait_for()
    assert thumbnail.evaluate("picture => picture.naturalWidth") > 100
    _photograph(page, "mosaic_in_dagster")

    child = _child_of_mosaic(shared_home, run_id)
    page.goto(f"{dev.mlflow}/#/experiments/1/runs/{child}/artifacts/mosaic.jpg")
    picture = page.locator("img[src*='mosaic.jpg'], img[src^=blob]").first
    picture.wait_for()
    assert picture.evaluate("picture => picture.naturalWidth") > 100
    _photograph(page, "mosaic_in_mlflow")

    page.goto(f"{dev.mlflow}/#/experiments/1/runs/{child}")
    page.get_by_text(f"tessera view {BIRDS}").wait_for()
    address = page.locator("code", has_text="file:///").first.inner_text()
    page.goto(address)
    page.wait_for_selector("html[data-ready]", state="attached")


def _child_of_mosaic(home: Path, run_id: str) -> str:
    tracking = Tracking(home=str(home))
    query = f"tags.`dagster.asset` = 'mosaic' and tags.`{DAGSTER_RUN}` = '{run_id}'"
    (run,) = tracking.client.search_runs([tracking.experiment_id], query)
    assert run.info.status == "FINISHED"
    return run.info.run_id


def test_a_run_of_the_command_line_can_be_executed_again_and_a_dead_one_is_found(
    dev, shared_home, instance, photo_folder, tmp_path
):
    environment = {**os.environ, "TESSERA_HOME": str(shared_home)}
    # What the run computes does not matter: quick settings, of which the next run knows, too.
    quick = ["--backbone", "pixels", "--projection", "pca", "--no-page"]
    folder, out = str(photo_folder(8)), str(tmp_path)
    command = [*TESSERA, "map", folder, "--name", BIRDS, "--out", out, *quick]
    before = set(instance.get_run_ids())
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        (run_id,) = wait_for(lambda: set(instance.get_run_ids()) - before, 60, "no run has begun")
        assert process_of_run(instance, run_id) == process.pid
    finally:
        process.kill()
        process.wait()
    begun = time.monotonic()

    def status() -> dg.DagsterRunStatus:
        with open_instance() as fresh:
            return fresh.get_run_by_id(run_id).status

    wait_for(lambda: status() is dg.DagsterRunStatus.FAILURE, 60, "it was not found")
    assert time.monotonic() - begun < 60
    body = {"query": REEXECUTE, "variables": {"run": run_id}}
    reply = httpx.post(f"{dev.dagster}/graphql", json=body, timeout=60, trust_env=False).json()
    launched = reply["data"]["launchRunReexecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    again = launched["run"]["runId"]
    wait_for(lambda: instance.get_run_by_id(again).is_finished, 120, "it goes on for ever")
    assert instance.get_run_by_id(again).status is dg.DagsterRunStatus.SUCCESS


def holders(home: Path) -> list[int]:
    """The numbers of the code server and the daemon, when both run."""

    def found() -> list[int] | None:
        held = [holder_of(home / "queue" / f"{role}.lock") for role in ("code-server", "daemon")]
        return [holder[0] for holder in held if holder] if all(held) else None

    return wait_for(found, 90, "they do not run")


def daemons(home: Path) -> int:
    return sum("dagster-daemon" in " ".join(one.cmdline()) for one in processes_of_queue(home))


def post_visualization(service: Served, **options: int) -> str:
    """Post one, and return its id."""
    return service.client.post("/v2/visualizations", json=options).json()["output"]["id"]


# The last one: it kills what the others use.
def test_dev_and_serve_share_one_queue_and_whoever_is_killed_loses_no_visualization(
    dev, shared_home, instance, photo_folder
):
    home = shared_home
    make_app(home, instance, photo_folder(8), "default").close()
    running = holders(home)

    def is_unchanged() -> bool:
        return (holders(home), daemons(home)) == (running, 1)

    with served(home, queue_outlives=True) as service:
        assert is_unchanged()
        dev.process.kill()
        dev.process.wait(timeout=30)
        first = post_visualization(service)
        waiting = post_visualization(service, tile=32)
        process_of_run(instance, first)
        assert is_unchanged()
        service.kill()
        port = httpx.URL(service.base).port
    # What both have left is used by the next.
    with served(home, "--port", str(port)) as service:
        for identity in (first, waiting):
            assert service.ended_visualization(identity)["status"]["code"] == READY
        assert is_unchanged()
        # In the other order, too: dev comes second, and ends before the service.
        with dev_command._queue(home, dict(os.environ)):
            assert is_unchanged()
        assert is_unchanged()
    assert processes_of_queue(home) == []
