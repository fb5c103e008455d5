import json
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi.testclient import TestClient

from assets.methods.common.devices import ComputeSettings
from assets.methods.photos.download import FetchLimits
from assets.resources.input_store import StoredInput
from orchestration.api.inference.search_engine import SearchResult
from orchestration.api.inference.search_query import InputFilter
from orchestration.api.inference.served_models import ServedModels
from orchestration.api.routes.searches import router
from support.image_server import serving
from support.small_app import REQ_ID, app_of
from support.small_models import KnownVersions, coloured, sent, use_small_models

TIME = "2024-01-01T00:00:00.000000Z"


def stored(one):
    return StoredInput(
        1, one, f"image-{one}", None, False, None, (("cat", 1.0),), {"n": 1}, TIME, TIME, 30000
    )


class KnownHits:
    """In the place of `SearchEngine`: notes what it is asked, and finds two inputs."""

    def __init__(self):
        self.asked, self.n_missing = [], 0

    async def vector_of(self, app, input_id, crop):
        self.asked.append((app, input_id, crop))
        return np.array([0, 0, 1], np.float32)

    async def search(self, app, vector, page, per_page, wanted):
        self.asked.append((app, vector, page, per_page, wanted))
        return SearchResult([(stored("a"), 0.9), (stored("b"), 0.5)], self.n_missing)


@pytest.fixture
def searches():
    return KnownHits()


@pytest.fixture
def client(tmp_path, monkeypatch, searches):
    use_small_models(monkeypatch)
    limits = FetchLimits(timeout_seconds=5, allow_private_addresses=True)
    models = ServedModels(
        KnownVersions(tmp_path), ComputeSettings("cpu"), limits, pytest.fail, lambda *batch: None
    )
    models.start()
    addresses = SimpleNamespace(input_url=lambda request, app, one: f"/pictures/{app}/{one}")
    app = app_of(router, models=models, searches=searches, image_addresses=addresses)
    with TestClient(app) as client:
        yield client
    models.close()


def post(client, query, **others):
    body = {"query": {"ands": [{"output": {"input": query}}]}, **others}
    return client.post("/v2/searches", json=body)


def test_hits_have_a_score_and_the_input(client):
    reply = post(client, sent(coloured(100))).json()
    assert reply["status"] == {"code": 10000, "description": "Ok", "req_id": REQ_ID}
    assert [hit["score"] for hit in reply["hits"]] == [0.9, 0.5]
    found = reply["hits"][0]["input"]
    assert (found["id"], found["status"]["code"]) == ("a", 30000)
    assert found["data"]["image"]["url"] == "/pictures/animals/image-a"
    assert found["data"]["concepts"][0]["id"] == "cat"


def test_the_callers_app_is_searched_for_the_pictures_vector(client, searches):
    post(client, sent(coloured(30, 40)), pagination={"page": 3, "per_page": 7})
    post(client, sent(coloured(30, 40)))
    (app, vector, *page, wanted), second = searches.asked
    assert (app, page) == ("animals", [3, 7])
    assert vector == pytest.approx(np.array([0.6, 0.8, 0]), abs=0.05)
    assert wanted.is_empty
    assert second[2:4] == (1, 20)


def test_pictures_are_downloaded(client, searches):
    with serving({"/a.png": coloured(200)}) as base:
        assert post(client, {"data": {"image": {"url": f"{base}/a.png"}}}).status_code == 200
    assert searches.asked[0][1] == pytest.approx([1, 0, 0], abs=0.05)


def ands(client, *conditions):
    return client.post("/v2/searches", json={"query": {"ands": conditions}})


@pytest.mark.parametrize("data", [None, {}, {"image": {}}, {"image": {"crop": [0, 0, 1, 0.5]}}])
def test_an_input_may_be_given_by_its_id(client, searches, data):
    reply = ands(client, {"output": {"input": {"id": "one", "data": data}}})
    assert reply.status_code == 200
    vector_of, search = searches.asked
    crop = (0, 0, 1, 0.5) if data and data.get("image") else None
    assert vector_of == ("animals", "one", crop)
    assert search[1].tolist() == [0, 0, 1]


def test_several_images_are_compared_by_their_mean(client, searches):
    looks = [{"output": {"input": one}} for one in (sent(coloured(200)), {"id": "one"})]
    ands(client, *looks)
    assert searches.asked[-1][1] == pytest.approx([0.5**0.5, 0, 0.5**0.5], abs=0.01)


def test_without_an_image_nothing_is_embedded(client, searches):
    condition = {"input": {"id": "", "data": {"image": {}, "metadata": {"a": [1]}}}}
    reply = ands(client, condition, {"input": {"data": {"concepts": [{"name": "cat"}]}}})
    assert reply.status_code == 200
    ((_, vector, *_, wanted),) = searches.asked
    assert vector is None
    assert wanted == InputFilter(concepts=frozenset({("cat", True)}), metadata=({"a": [1]},))


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ({}, "Condition 1 needs"),
        ({"output": {}}, "Condition 1 needs"),
        ({"input": {"data": {"metadata": {}, "image": {}}}}, "Condition 1 needs"),
        ({"output": {"input": {}}}, "Image 1 of 1 needs"),
        (
            {"output": {"input": {"id": "one", "data": {"image": {"url": "http://x/a"}}}}},
            "both an id and an image",
        ),
        ({"output": {"data": {"concepts": [{"name": "cat"}]}}}, "no concepts are predicted"),
        ({"input": {"data": {"geo": {"geo_point": {}}}}}, "cannot be searched by place"),
        ({"input": {"data": {"concepts": [{"value": 1}]}}}, "needs an id or a name"),
        ({"input": {"id": "one", "data": {"image": {"base64": "aaaa"}}}}, "by its url"),
        ({"input": {"data": {"metadata": {"a": [1] * 100}}}}, "more than 100 values"),
        ({"input": {"data": {"metadata": {"a": "\ud800"}}}}, "JSON cannot express"),
        ({"input": {"id": "x" * 129}}, "at most 128 characters"),
    ],
)
def test_what_cannot_be_searched_for_is_refused_with_its_reason(
    client, searches, condition, reason
):
    # `json=` refuses half of a surrogate pair.
    content, headers = (
        json.dumps({"query": {"ands": [condition]}}),
        {"Content-Type": "application/json"},
    )
    reply = client.post("/v2/searches", content=content, headers=headers)
    assert (reply.status_code, reply.json()["status"]["code"]) == (400, 40002)
    assert reason in reply.json()["status"]["details"]
    assert searches.asked == []


def test_one_condition_that_asks_for_nothing_is_named_among_others(client, searches):
    reply = ands(client, {"input": {"id": "one"}}, {"input": {"data": {}}})
    assert "Condition 2 needs" in reply.json()["status"]["details"]
    assert ands(client, *[{"input": {"id": "one"}}] * 129).json()["status"]["code"] == 40002
    assert searches.asked == []


def test_inputs_that_were_not_compared_are_told_of(client, searches):
    searches.n_missing = 1234
    details = post(client, sent(coloured(1))).json()["status"]["details"]
    assert details == "1,234 inputs have yet to be embedded and were not compared."


@pytest.mark.parametrize(
    "query",
    [
        sent(b"no picture"),
        {"data": {"image": {"url": "ftp://example.org/a.png"}}},
        {"data": {"image": {}}},
        {"data": {"image": {"url": "http://a/b", "base64": "aaaa"}}},
    ],
)
def test_a_picture_that_cannot_be_had_is_an_invalid_search(client, searches, query):
    reply = post(client, query)
    assert reply.status_code == 400
    assert reply.json()["status"]["code"] == 40002
    assert reply.json()["status"]["details"].endswith(".")
    assert searches.asked == []
