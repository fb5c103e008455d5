from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from fastapi import Request
from fastapi.testclient import TestClient

from assets.methods.layout.projection.placement import PlacedPhoto
from orchestration.api.contract import ApiError, Code, ImageData, PostVisualization
from orchestration.api.inputs.images import ImageError
from orchestration.api.routes.visualizations import router
from orchestration.api.visualizations.placements import Placement
from orchestration.api.visualizations.progress_of_runs import RunProgress
from orchestration.api.visualizations.served_visualizations import Visualization
from support.small_app import REQ_ID, app_of

MOMENT = datetime(2026, 11, 5, 9, 7, 3, 250, tzinfo=UTC)
RUN = "7f0c0000-0000-4000-8000-000000000000"
WAITING = Visualization(
    RUN, "birds", 12, MOMENT, Code.VISUALIZATION_PENDING, progress=RunProgress(0.376, 41.26)
)
READY = replace(
    WAITING,
    code=Code.VISUALIZATION_READY,
    progress=None,
    mosaic=Path("/somewhere/mosaic.png"),
    figure=Path("/somewhere/figure.png"),
)
FAILED = replace(WAITING, code=Code.VISUALIZATION_FAILED, progress=None, reason="Cancelled.")
STATUS = {"code": 10000, "description": "Ok", "req_id": REQ_ID}


class Visualizations:
    """Knows one, of the app birds."""

    def __init__(self) -> None:
        self.state = WAITING
        self.asked: list[PostVisualization] = []
        self.deleted: list[str] = []

    def request(self, app: str, body: PostVisualization) -> Visualization:
        self.asked.append(body)
        return self.state

    def find(self, app: str, run_id: str) -> Visualization:
        if (app, run_id) != ("birds", RUN):
            raise ApiError(Code.NO_SUCH_VISUALIZATION, "none")
        return self.state

    def newest(self, app: str) -> Visualization:
        return self.state

    def delete(self, app: str, run_id: str) -> None:
        self.find(app, run_id)
        self.deleted.append(run_id)


class Addresses:
    """Addresses that say what they are of."""

    def visualization_url(self, request: Request, run_id: str, name: str) -> str:
        return f"{request.base_url}pictures/{run_id}/{name}"


@pytest.fixture
def visualizations() -> Visualizations:
    return Visualizations()


class Placements:
    """Places an image in base64 by its text; the app birds has one map."""

    async def open_map(self, app: str, run_id: str) -> str:
        if (app, run_id) != ("birds", RUN):
            raise ApiError(Code.NO_SUCH_VISUALIZATION, "none")
        return "the map"

    async def place(self, on: str, image: ImageData) -> Placement:
        if image.base64 == "bad":
            raise ImageError(Code.INPUT_UNSUPPORTED, "It is no image.")
        by_network = image.base64 == "by network"
        place = PlacedPhoto(1.5, -2.0, 3, 4, np.array([0]), np.array([0.9]), by_network)
        return Placement(place, [("one", 0.9)], None if by_network else "A note.")


@pytest.fixture
def client(visualizations):
    app = app_of(
        router,
        "birds",
        visualizations=visualizations,
        image_addresses=Addresses(),
        placements=Placements(),
    )
    with TestClient(app) as client:
        yield client


PENDING_OUTPUT = {
    "id": RUN,
    "app_id": "birds",
    "status": {
        "code": 42001,
        "description": "pending",
        "percent_completed": 37,
        "time_remaining": 41.3,
    },
    "created_at": "2026-11-05T09:07:03.000250Z",
}


@pytest.mark.parametrize("body", [None, b"", b"{}", b"null"], ids=["none", "empty", "{}", "null"])
def test_one_is_asked_for_without_a_word(client, visualizations, body):
    headers = {"Content-Type": "application/json"}
    answer = client.post("/v2/visualizations", content=body, headers=headers)
    assert answer.status_code == 202
    assert answer.json() == {
        "status": STATUS,
        "output": PENDING_OUTPUT,
        "visualization_output": PENDING_OUTPUT,
    }
    (asked,) = visualizations.asked
    assert asked.model_fields_set == set()


def test_one_is_asked_for_with_options(client, visualizations):
    body = {"type": "pca", "grid": "16:9", "tile": 64, "inputs": [{"id": "a"}, {"id": "b"}]}
    assert client.post("/v2/visualizations", json=body).status_code == 202
    (asked,) = visualizations.asked
    assert asked.model_dump() == body


def test_one_that_is_ready_already_is_answered_at_once(client, visualizations):
    visualizations.state = READY
    answer = client.post("/v2/visualizations")
    assert answer.status_code == 200
    assert answer.json()["output"]["status"] == {"code": 42000, "description": "ready"}


@pytest.mark.parametrize("address", [RUN, "app"])
def test_one_that_is_ready_has_its_picture_and_its_page(client, visualizations, address):
    visualizations.state = READY
    answer = client.get(f"/v2/visualizations/{address}")
    assert answer.status_code == 200
    assert answer.json()["visualization_output"] == answer.json()["output"]
    assert answer.json()["output"]["data"] == {
        "image": {"url": f"http://testserver/pictures/{RUN}/mosaic.png"},
        "page": {"url": f"http://testserver/pictures/{RUN}/page"},
    }


def test_one_that_is_pending_is_answered_with_its_progress(client):
    answer = client.get(f"/v2/visualizations/{RUN}")
    assert answer.status_code == 200
    assert answer.json()["output"] == PENDING_OUTPUT


def test_one_that_failed_has_its_reason(client, visualizations):
    visualizations.state = FAILED
    answer = client.get(f"/v2/visualizations/{RUN}")
    assert answer.status_code == 200
    assert answer.json()["output"]["status"] == {
        "code": 42002,
        "description": "failed",
        "details": "Cancelled.",
    }
    assert "data" not in answer.json()["output"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_one_of_another_app_does_not_exist(client, visualizations, method):
    answer = client.request(method, f"/v2/visualizations/{RUN}", headers={"X-App": "cats"})
    assert answer.status_code == 404
    assert answer.json()["status"]["code"] == 42004
    assert visualizations.deleted == []


def test_one_is_deleted(client, visualizations):
    answer = client.delete(f"/v2/visualizations/{RUN}")
    assert (answer.status_code, answer.json()) == (200, {"status": STATUS})
    assert visualizations.deleted == [RUN]


def placed(client, *images: dict, run_id: str = RUN, app: str = "birds"):
    body = {"inputs": [{"id": str(n), "data": {"image": one}} for n, one in enumerate(images)]}
    address = f"/v2/visualizations/{run_id}/placements"
    return client.post(address, json=body, headers={"X-App": app})


def test_photos_are_placed(client):
    answer = placed(client, {"base64": "by network"}, {"base64": "by neighbours"})
    assert answer.status_code == 200
    place = {
        "x": 1.5,
        "y": -2.0,
        "row": 3,
        "col": 4,
        "neighbours": [{"id": "one", "score": 0.9}],
    }
    done = {"code": 10000, "description": "Ok"}
    assert answer.json() == {
        "status": STATUS,
        "placements": [
            {"id": "0", "status": done, "placed_by": "network"} | place,
            {"id": "1", "status": done | {"details": "A note."}, "placed_by": "neighbours"} | place,
        ],
    }


def test_an_image_that_cannot_be_read_has_a_status_of_its_own(client):
    answer = placed(client, {"base64": "by network"}, {"base64": "bad"})
    assert (answer.status_code, answer.json()["status"]["code"]) == (200, 10010)
    good, bad = answer.json()["placements"]
    assert good["row"] == 3
    status = {"code": 30101, "description": "Not an image that can be read"}
    assert bad == {"id": "1", "status": status | {"details": "It is no image."}}
    answer = placed(client, {"base64": "bad"})
    assert (answer.status_code, answer.json()["status"]["code"]) == (400, 10020)


@pytest.mark.parametrize(
    "images",
    [[], [{}], [{"base64": "a", "url": "b"}], [{"base64": "a"}] * 129],
    ids=["none", "without source", "two sources", "many"],
)
def test_a_request_for_placements_that_is_invalid_is_refused(client, images):
    answer = placed(client, *images)
    assert (answer.status_code, answer.json()["status"]["code"]) == (400, 42003)


def test_nothing_is_placed_on_a_map_of_another_app(client):
    answer = placed(client, {"base64": "a"}, app="cats")
    assert (answer.status_code, answer.json()["status"]["code"]) == (404, 42004)
