"""The service as clients written for the original API read it: what they ask for, and what they
take from the replies without looking whether it is there."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient

from assets.methods.common.devices import ComputeSettings
from assets.methods.photos.download import FetchLimits
from orchestration.api.inference import search_engine
from orchestration.api.inference.search_engine import SearchEngine
from orchestration.api.inference.served_models import ServedModels
from orchestration.api.inputs.intake import Intake
from orchestration.api.metrics import Metrics
from orchestration.api.routes import inputs, models, searches
from orchestration.api.settings import ServeSettings
from support.image_server import packed
from support.small_app import app_of
from support.small_models import KnownVersions, coloured, use_small_models

OK = 10000


class ClientModel:
    """A model as the constructors of such clients read it from a list."""

    def __init__(self, item: dict) -> None:
        self.id, self.name = item["id"], item["name"]
        self.app_id, self.created_at = item["app_id"], item["created_at"]
        self.version = item["model_version"]["id"]
        self.status_code = item["model_version"]["status"]["code"]
        info = item["output_info"]
        self.type = info["type"]
        if info["output_config"]:
            self.exclusive = info["output_config"]["concepts_mutually_exclusive"]
            self.closed = info["output_config"]["closed_environment"]
        # Several clients fail here, as the original API never sent it.
        assert not info.get("data", {}).get("concepts")


class ClientInput:
    """An input as such clients read it from any reply."""

    def __init__(self, item: dict) -> None:
        self.id, data = item["id"], item["data"]
        self.url = data["image"]["url"]
        self.has = [one["name"] for one in data.get("concepts", []) if one["value"] == 1]
        self.has_not = [one["name"] for one in data.get("concepts", []) if one["value"] != 1]
        self.metadata = data.get("metadata")
        self.status_code = item["status"]["code"]


class Client:
    """The calls of such clients, with the bodies that they send."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def models(self) -> list[ClientModel]:
        """Read pages until one is empty."""
        found, page = [], 1
        while items := self._ask("GET", f"/v2/models?page={page}&per_page=1")["models"]:
            found += [ClientModel(item) for item in items]
            page += 1
        return found

    def model(self, name: str) -> ClientModel:
        return ClientModel(self._ask("GET", f"/v2/models/{name}")["model"])

    def search_models(self, name: str) -> list[ClientModel]:
        query = {"model_query": {"name": name, "type": "concept"}}
        return [
            ClientModel(one) for one in self._ask("POST", "/v2/models/searches", query)["models"]
        ]

    def concept_ids(self, model: ClientModel) -> list[str]:
        """Ask for the concepts of a version, which is what a model that was read names."""
        path = f"/v2/models/{model.id}/versions/{model.version}/output_info"
        info = self._ask("GET", path)["model"]["output_info"]
        concepts = info.get("data", {}).get("concepts", [])
        return [one["id"] for one in concepts if one["created_at"] and one["app_id"]]

    def post(self, *items: dict) -> list[ClientInput]:
        return self._inputs("POST", {"inputs": items})

    def patch(self, action: str, *items: dict) -> list[ClientInput]:
        return self._inputs("PATCH", {"action": action, "inputs": items})

    def search(self, *conditions: dict) -> list[str]:
        """Return the ids of the hits."""
        body = {"query": {"ands": conditions}, "pagination": {"page": 1, "per_page": 20}}
        hits = self._ask("POST", "/v2/searches", body)["hits"]
        assert all(-1 <= hit["score"] <= 1 for hit in hits)
        return [ClientInput(hit["input"]).id for hit in hits]

    def _inputs(self, method: str, body: dict) -> list[ClientInput]:
        return [ClientInput(one) for one in self._ask(method, "/v2/inputs", body)["inputs"]]

    def _ask(self, method: str, path: str, body: dict | None = None) -> dict:
        reply = self.http.request(method, path, json=body)
        assert reply.status_code == 200, reply.text
        assert reply.json()["status"]["code"] == OK
        return reply.json()


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    use_small_models(monkeypatch)
    monkeypatch.setattr(search_engine, "vector_key", lambda backbone, precision: "tiny")
    (tmp_path / "versions").mkdir()
    served = ServedModels(
        KnownVersions(tmp_path / "versions"),
        ComputeSettings("cpu", threads=2),
        FetchLimits(),
        pytest.fail,
        lambda *batch: None,
    )
    served.start()
    settings = ServeSettings()
    routes = APIRouter()
    for part in (inputs, models, searches):
        routes.include_router(part.router)
    with (
        closing(Intake(tmp_path, settings, lambda _: None, lambda _: None)) as intake,
        closing(served),
        closing(SearchEngine(tmp_path, intake, served)) as engine,
    ):
        addresses = SimpleNamespace(input_url=lambda request, app, one: f"http://x/{app}/{one}")
        app = app_of(
            routes,
            intake=intake,
            models=served,
            searches=engine,
            image_addresses=addresses,
            metrics=Metrics(),
        )
        with TestClient(app) as http:
            yield Client(http)


def sent(one: str, red: int, green: int, **data: object) -> dict:
    """An input as it is posted."""
    image = {"base64": packed(coloured(red, green)), "allow_duplicate_url": False}
    return {"id": one, "data": {"image": image, **data}}


def test_models_are_listed_found_and_described(client):
    listed = client.models()
    assert [(model.id, model.type) for model in listed] == [
        ("nsfw", "concept"),
        ("general-embedding", "embed"),
    ]
    assert {model.status_code for model in listed} == {21100}
    assert [model.id for model in client.search_models("nsfw-v1.0")] == ["nsfw"]
    assert client.concept_ids(client.model("nsfw-v1.0")) == ["other", "red"]
    assert client.concept_ids(listed[1]) == []


def test_inputs_are_posted_patched_and_searched(client):
    client.post(
        sent("red", 200, 0, concepts=[{"id": "warm", "value": True}], metadata={"album": {"n": 1}}),
        sent("green", 0, 200, concepts=[{"id": "warm", "value": False}]),
        sent("both", 150, 150, metadata={"album": {"n": 2}, "tags": ["a", "b"]}),
    )
    (red, green) = client.patch(
        "merge",
        {"id": "red", "data": {"concepts": [{"id": "plain", "value": True}]}},
        {"id": "green", "data": {"metadata": {"album": {"n": 1}, "tags": ["b"]}}},
    )
    assert (red.has, red.metadata) == (["warm", "plain"], {"album": {"n": 1}})
    assert (green.has_not, green.metadata) == (["warm"], {"album": {"n": 1}, "tags": ["b"]})

    like_red = {"output": {"input": {"id": "red", "data": {"image": {}}}}}
    image = {"base64": packed(coloured(0, 90))}
    like_green = {"output": {"input": {"data": {"image": image}}}}
    album = {"input": {"data": {"metadata": {"album": {"n": 1}}}}}
    tagged = {"input": {"data": {"metadata": {"tags": ["b"]}}}}
    warm = {"input": {"data": {"concepts": [{"name": "warm", "value": True}]}}}
    not_warm = {"input": {"data": {"concepts": [{"id": "warm", "value": False}]}}}
    assert client.search(like_red) == ["red", "both", "green"]
    assert client.search(album) == ["red", "green"]
    assert client.search(tagged) == ["green", "both"]
    assert client.search(tagged, like_red) == ["both", "green"]
    assert client.search(warm) == ["red"]
    assert client.search(not_warm, like_green) == ["green", "both"]
    assert client.search(like_red, like_green)[0] == "both"
    assert client.search({"input": {"id": "both", "data": {"image": {}}}}) == ["both"]

    (red,) = client.patch("remove", {"id": "red", "data": {"concepts": [{"id": "warm"}]}})
    assert red.has == ["plain"]
    (red,) = client.patch("overwrite", {"id": "red", "data": {"concepts": [{"id": "cold"}]}})
    assert (red.has, red.metadata) == (["cold"], None)
    assert client.search(warm) == []
