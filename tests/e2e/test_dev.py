"""`tessera dev` as a person uses it: both UIs in a real browser."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import httpx
import pytest

from assets.resources.tracking import Tracking

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip
ROOT = Path(__file__).parents[2]
TESSERA = [sys.executable, "-m", "orchestration.cli"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.timeout(300),
]


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


@contextmanager
def _served(environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    dagster_port, mlflow_port = _free_ports(2)
    process = subprocess.Popen(
        [*TESSERA, "dev", "--port", str(dagster_port), "--mlflow-port", str(mlflow_port)],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    urls = f"http://127.0.0.1:{dagster_port}", f"http://127.0.0.1:{mlflow_port}"
    try:
        deadline = time.monotonic() + 120
        while not (_answers(f"{urls[0]}/server_info") and _answers(f"{urls[1]}/health")):
            assert process.poll() is None, "tessera dev ended by itself"
            assert time.monotonic() < deadline, "tessera dev did not answer within two minutes"
            time.sleep(0.5)
        yield urls
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


@pytest.fixture
def page() -> Iterator["Page"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


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


def _finished_run(home: Path) -> dg.DagsterRun:
    deadline = time.monotonic() + 150
    with dg.DagsterInstance.from_config(str(home)) as instance:
        while time.monotonic() < deadline:
            runs = instance.get_runs(limit=1)
            if runs and runs[0].is_finished:
                return runs[0]
            time.sleep(1)
    raise AssertionError("the run that was started in the UI has not ended")


def _photograph(page: "Page", name: str) -> None:
    """Keep a picture of the page, where somebody wants to look at it."""
    if folder := os.environ.get("TESSERA_SCREENSHOTS"):
        page.wait_for_timeout(2_000)
        page.screenshot(path=Path(folder, f"{name}.png"))


def test_a_run_started_in_the_ui_shows_its_mosaic_there_and_in_mlflow(home, photo_folder, page):
    environment = {**os.environ, "TESSERA_HOME": str(home)}
    add = [*TESSERA, "add", "birds", str(photo_folder(30))]
    subprocess.run(add, env=environment, cwd=ROOT, check=True)
    with _served(environment) as (dagster, mlflow):
        _materialise_from_the_graph(page, dagster)
        run = _finished_run(home)
        assert run.status == dg.DagsterRunStatus.SUCCESS

        page.goto(f"{dagster}/assets/mosaic?view=events&partition=birds")
        page.get_by_text("[Show Markdown]").first.click()
        thumbnail = page.locator("img[alt=thumbnail]")
        thumbnail.wait_for()
        assert thumbnail.evaluate("picture => picture.naturalWidth") > 100
        _photograph(page, "mosaic_in_dagster")

        child = _child_of_mosaic(home)
        page.goto(f"{mlflow}/#/experiments/1/runs/{child}/artifacts/mosaic.jpg")
        picture = page.locator("img[src*='mosaic.jpg'], img[src^=blob]").first
        picture.wait_for()
        assert picture.evaluate("picture => picture.naturalWidth") > 100
        _photograph(page, "mosaic_in_mlflow")


def _child_of_mosaic(home: Path) -> str:
    tracking = Tracking(home=str(home))
    query = "tags.`dagster.asset` = 'mosaic'"
    (run,) = tracking.client.search_runs([tracking.experiment_id], query)
    assert run.info.status == "FINISHED"
    return run.info.run_id
