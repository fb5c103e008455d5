"""The HTTP service as code written for the original meets it: curl, a service and its runs."""

import base64
import io
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import dagster as dg
import httpx
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from PIL import Image

from assets.io_managers import FolderIOManager
from assets.methods.photos.decode import image_id
from assets.methods.photos.demo import write_demo_collection
from assets.resources.photos import Photos
from assets.resources.tracking import DAGSTER_RUN, Tracking
from assets.values import Embeddings, GridAssignment
from orchestration.api.keys import KeyLimits, KeyRing
from orchestration.instance import open_instance
from support.served import Served, process_of_run, served, wait_for

PENDING, READY, FAILED = 42001, 42000, 42002
BATCH = 128

pytestmark = pytest.mark.timeout(600)


def _curl(*arguments: str) -> dict:
    ran = subprocess.run(
        ["curl", "--silent", "--show-error", "--noproxy", "*", *arguments],
        capture_output=True,
        check=True,
    )
    return json.loads(ran.stdout)


def _item(photo: Path, label: str | None = None) -> dict:
    data: dict[str, object] = {"image": {"base64": base64.b64encode(photo.read_bytes()).decode()}}
    if label:
        data["concepts"] = [{"id": label, "value": 1}]
    return {"data": data}


def _post_photos(service, photos: list[Path], **headers: str) -> list[dict]:
    posted = []
    for start in range(0, len(photos), BATCH):
        body = {"inputs": [_item(photo) for photo in photos[start : start + BATCH]]}
        reply = service.client.post("/v2/inputs", json=body, headers=headers).json()
        assert reply["status"]["code"] == 10000, reply["status"]
        posted += reply["inputs"]
    return posted


@pytest.fixture(scope="module")
def service(shared_home) -> Iterator[Served]:
    """One service for the tests that end nothing; each has an app of its own."""
    with served(shared_home) as service:
        yield service


@pytest.fixture
def key(shared_home) -> Callable[[str], str]:
    """Returns a function that makes a key of an app."""
    return lambda app: KeyRing(shared_home / "keys").new_key(app, KeyLimits())[1]


# The whole demo takes a minute; with a seventh of its photos every line here runs, too.
@pytest.mark.parametrize("side", [12, pytest.param(32, marks=pytest.mark.slow)])
def test_the_sequence_of_the_original_post_with_curl(shared_home, service, key, tmp_path, side):
    manifest = write_demo_collection(tmp_path / "demo")
    app, n = f"demo-{side}", side * side
    ask = partial(_curl, "-H", f"Authorization: Key {key(app)}")
    rows = pd.read_csv(manifest)[:n]
    base = service.base
    inputs = []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        items = [
            _item(Path(manifest).parent / uri, label)
            for uri, label in zip(batch.uri, batch.label, strict=True)
        ]
        (tmp_path / "batch.json").write_text(json.dumps({"inputs": items}))
        posted = ask("-d", f"@{tmp_path / 'batch.json'}", f"{base}/v2/inputs")
        assert posted["status"]["code"] == 10000
        inputs += posted["inputs"]
    counts = ask(f"{base}/v2/inputs/status")["counts"]
    assert counts == {"processed": n, "to_process": 0, "errors": 0, "processing": 0}

    begun = ask("-X", "POST", f"{base}/v2/visualizations/")
    assert begun["output"] == begun["visualization_output"]
    assert begun["output"]["status"]["code"] == PENDING
    assert begun["output"]["status"]["description"] == "pending"
    assert begun["output"]["status"]["percent_completed"] == 0
    address = f"{base}/v2/visualizations/{begun['output']['id']}"

    percents = []

    def ended() -> dict | None:
        output = ask(address)["output"]
        if output["status"]["code"] != PENDING:
            return output
        percents.append(output["status"]["percent_completed"])
        assert output["status"]["time_remaining"] >= 0
        return None

    ready = wait_for(ended, 300, "the visualization is pending for ever")
    assert ready["status"]["code"] == READY, ready
    assert percents == sorted(percents)
    assert len(set(percents)) >= 5, percents
    assert max(percents) < 100

    # The address of the picture needs no key.
    picture = tmp_path / "mosaic.jpg"
    subprocess.run(
        ["curl", "--silent", "--fail", "-o", picture, ready["data"]["image"]["url"]], check=True
    )
    with Image.open(picture) as mosaic:
        assert mosaic.size == (side * 98 - 2, side * 98 - 2)
    assert ask(f"{base}/v2/visualizations/app")["output"]["id"] == ready["id"]
    again = ask("-X", "POST", f"{base}/v2/visualizations")
    assert again["output"]["id"] == ready["id"]
    assert again["output"]["status"]["code"] == READY
    if folder := os.environ.get("TESSERA_SCREENSHOTS"):
        Path(folder, "served_mosaic.jpg").write_bytes(picture.read_bytes())
    files = FolderIOManager(base_folder=str(shared_home / "outputs"))
    grid = files.read(GridAssignment, "grid_assignment", app)
    # Measured: 0.9 and more; at random 0.06.
    assert grid.metrics["quality"]["neighbourhood_purity"] > 0.8
    # The vectors of the service are those of the asset, and a search finds a photo.
    headers = {"Authorization": f"Key {key(app)}"}
    photos = [Path(manifest).parent / uri for uri in rows.uri[:5]]
    body = {"inputs": [_item(photo) for photo in photos]}
    reply = service.client.post(
        "/v2/models/bbb5f41425b8468d9b7a554ff10f8581/outputs", json=body, headers=headers
    ).json()
    vectors = [output["data"]["embeddings"][0]["vector"] for output in reply["outputs"]]
    made = files.read(Embeddings, "embeddings", app)
    ids = [image_id(photo.read_bytes()) for photo in photos]
    np.testing.assert_array_equal(np.float32(vectors), made.of(ids))
    query = {"query": {"ands": [{"output": {"input": _item(photos[3])}}]}}
    hits = service.client.post("/v2/searches/", json=query, headers=headers).json()["hits"]
    assert hits[0]["input"]["id"] == inputs[3]["id"]
    assert hits[0]["score"] == pytest.approx(1, abs=1e-5)
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


# One after the other: test_dev.py.
@pytest.mark.slow
def test_a_service_and_a_run_killed_together_end_ready_after_a_retry(home, instance, photo_folder):
    photos = sorted(photo_folder(60).iterdir())
    with served(home) as service:
        _post_photos(service, photos)
        identity = service.client.post("/v2/visualizations").json()["output"]["id"]
        worker = process_of_run(instance, identity)
        service.kill()
        os.kill(worker, signal.SIGKILL)
    with served(home) as service:
        assert service.ended_visualization(identity)["status"]["code"] == READY
    assert instance.get_run_by_id(identity).status is dg.DagsterRunStatus.FAILURE
    retried = instance.get_runs(dg.RunsFilter(tags={"dagster/root_run_id": identity}))
    assert [run.status for run in retried] == [dg.DagsterRunStatus.SUCCESS]


# Smaller, in this process: test_run_follower.py.
@pytest.mark.slow
def test_a_run_whose_process_is_killed_twice_ends_failed_with_a_reason(
    home, instance, photo_folder
):
    photos = sorted(photo_folder(60).iterdir())
    with served(home) as service:
        _post_photos(service, photos)
        identity = service.client.post("/v2/visualizations").json()["output"]["id"]
        killed: set[int] = set()

        def kill_each_worker() -> dict | None:
            runs = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
            for run in runs:
                worker = process_of_run(instance, run.run_id)
                if worker not in killed:
                    killed.add(worker)
                    os.kill(worker, signal.SIGKILL)
            output = service.visualization(identity)
            return output if output["status"]["code"] != PENDING else None

        ended = wait_for(kill_each_worker, 240, "it is pending for ever")
        assert ended["status"]["code"] == FAILED
        assert "process" in ended["status"]["details"]
        assert len(killed) == 2
        # What was done is kept, and asking once more is a new visualization.
        once_more = service.client.post("/v2/visualizations").json()["output"]["id"]
        assert once_more != identity
        assert service.ended_visualization(once_more)["status"]["code"] == READY


def test_two_apps_do_not_reach_each_other(service, key, photo_folder):
    ours, theirs = ({"Authorization": f"Key {key(app)}"} for app in ("ours", "theirs"))
    photos = sorted(photo_folder(12).iterdir())
    (first, *_) = _post_photos(service, photos, **ours)
    client = service.client
    asked = client.get(f"/v2/inputs/{first['id']}", headers=theirs)
    assert asked.json()["status"]["code"] == 30102
    assert client.get("/v2/inputs", headers=theirs).json()["inputs"] == []
    picture = client.get(first["data"]["image"]["url"], headers=ours)
    assert Image.open(io.BytesIO(picture.content)).format == "PNG"


def test_explain_asks_the_service_for_its_classifier(
    service, key, photo_folder, tessera, tmp_path, monkeypatch
):
    monkeypatch.setenv("TESSERA_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("TESSERA_CLASSIFIER_KEY", key("shop"))
    photo = sorted(photo_folder(1).iterdir())[0]
    url = f"{service.base}/v2/models/nsfw-v1.0/outputs"
    ran = tessera("explain", photo, "--out", tmp_path / "explained", "--model", url)
    assert ran.code == 0, ran.err
    assert len(list((tmp_path / "explained").glob("photo_000-*/seen.npy"))) == 1


def test_a_visualization_that_is_deleted_at_work_is_cancelled_in_dagster_and_in_mlflow(
    shared_home, service, key, photo_folder
):
    headers = {"Authorization": f"Key {key('cancelled')}"}
    _post_photos(service, sorted(photo_folder(12).iterdir()), **headers)
    tracking = Tracking(home=str(shared_home))
    photos = Photos(home=str(shared_home)).store.folder

    def tracked() -> set[str]:
        runs = tracking.client.search_runs(
            [tracking.experiment_id], f"tags.`{DAGSTER_RUN}` = '{identity}'"
        )
        return {run.info.status for run in runs}

    # The run waits for the store, so that it surely goes on. While a library is imported, Python
    # may lose the interrupt, and Dagster ends the run half a minute later.
    with open_instance() as instance, FileLock(photos / "photos.lock"):
        identity = service.client.post("/v2/visualizations", headers=headers).json()["output"]["id"]
        process_of_run(instance, identity)
        wait_for(lambda: "RUNNING" in tracked(), 60, "nothing is tracked")
        path = f"/v2/visualizations/{identity}"
        assert service.client.delete(path, headers=headers).status_code == 200
        status = service.visualization(identity, **headers)["status"]
        assert (status["code"], status["details"]) == (FAILED, "Cancelled.")
        snapshots = shared_home / "inputs" / "cancelled" / "snapshots"
        wait_for(lambda: not list(snapshots.iterdir()), 60, "it was not closed")
        assert instance.get_run_by_id(identity).status is dg.DagsterRunStatus.CANCELED
    wait_for(lambda: tracked() == {"KILLED"}, 90, "MLflow was not told")


def test_without_a_key_it_says_that_it_listens_on_loopback_alone(
    service, tessera, tmp_path, monkeypatch
):
    # Of the moment when it was started.
    assert "No key has been made yet" in service.process.stdout.readline()
    second = tessera("serve", "--port", "0")
    assert second.code == 2
    assert "being served" in second.err
    monkeypatch.setenv("TESSERA_HOME", str(tmp_path / "another"))
    taken = tessera("serve", "--port", httpx.URL(service.base).port)
    assert "cannot be listened on" in taken.err
    refused = tessera("serve", "--host", "0.0.0.0")
    assert refused.code == 2
    assert "loopback alone" in refused.err
