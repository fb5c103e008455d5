import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from assets.methods.photos.decode import image_id
from orchestration.api.inputs.intake import Intake
from orchestration.api.metrics import Metrics
from orchestration.api.routes.inputs import router
from orchestration.api.settings import ServeSettings
from support.image_server import packed, picture, reply, serving
from support.small_app import REQ_ID, app_of


class Addresses:
    """Addresses that say what they are of."""

    def input_url(self, request: Request, app: str, image_id: str) -> str:
        return f"{request.base_url}pictures/{app}/{image_id}"


def small_app(intake: Intake) -> FastAPI:
    """The routes, for an app of 100 inputs at most."""
    return app_of(
        router,
        "app",
        max_inputs=100,
        intake=intake,
        image_addresses=Addresses(),
        metrics=Metrics(),
    )


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    settings = ServeSettings(download_seconds=5, wait_seconds=1, allow_private_addresses=True)
    with closing(Intake(tmp_path, settings, lambda _: None, lambda _: None)) as intake:
        yield intake


@pytest.fixture
def client(intake: Intake) -> Iterator[TestClient]:
    with TestClient(small_app(intake)) as client:
        yield client


def sent(seed: int, id: str | None = None, **others: object) -> dict:
    return {"id": id, "data": {"image": {"base64": packed(picture(seed))}, **others}}


def post(client: TestClient, *inputs: dict, status: int = 200, **headers: str) -> dict:
    answer = client.post("/v2/inputs", json={"inputs": inputs}, headers=headers)
    assert answer.status_code == status
    return answer.json()


def status_of(answer: dict) -> tuple[int, str]:
    assert answer["status"]["req_id"] == REQ_ID
    return answer["status"]["code"], answer["status"].get("details", "")


def test_an_input_is_posted_and_asked_for(client):
    concepts = [{"id": "cat"}, {"id": "dog", "value": 0}]
    metadata = {"album": None, "pages": [1, 2.5, {"deep": None}]}
    answer = post(client, sent(1, "one", concepts=concepts, metadata=metadata))
    assert status_of(answer) == (10000, "")
    (stored,) = answer["inputs"]
    assert stored == {
        "id": "one",
        "data": {
            "image": {"url": f"http://testserver/pictures/app/{image_id(picture(1))}"},
            "concepts": [
                {"id": "cat", "name": "cat", "app_id": "app", "value": 1.0},
                {"id": "dog", "name": "dog", "app_id": "app", "value": 0.0},
            ],
            "metadata": metadata,
        },
        "created_at": stored["created_at"],
        "modified_at": stored["created_at"],
        "status": {"code": 30000, "description": "Download complete"},
    }
    found = client.get("/v2/inputs/one").json()
    assert status_of(found) == (10000, "")
    assert found["input"] == stored


def test_metadata_may_be_nested_deeply(client):
    nested: dict = {}
    for _ in range(30):
        nested = {"a": [nested]}
    answer = post(client, sent(1, metadata=nested))
    assert answer["inputs"][0]["data"]["metadata"] == nested


def test_a_batch_tells_of_each(client):
    text = {"data": {"image": {"base64": "aGFsbG8="}}}
    answer = post(client, sent(1, "one"), text, sent(1, "two"))
    assert status_of(answer) == (10010, "")
    assert [one["status"]["code"] for one in answer["inputs"]] == [30000, 30101, 30100]
    assert answer["inputs"][2]["id"] == "one"
    assert answer["inputs"][2]["status"]["details"] == (
        "Input one has the same picture, byte for byte."
    )
    assert answer["inputs"][1]["data"] == {"image": {}}


def test_a_batch_all_of_which_failed_still_tells_of_each(client):
    text = {"id": "text", "data": {"image": {"base64": "aGFsbG8="}}}
    answer = post(client, text, status=400)
    assert status_of(answer) == (10020, "")
    assert [one["id"] for one in answer["inputs"]] == ["text"]
    assert client.get("/v2/inputs").json()["inputs"] == []


def test_a_limit_of_the_key_is_kept(client):
    for start in (0, 60):
        answer = post(client, *[sent(n) for n in range(start, start + 60)])
    assert status_of(answer) == (10010, "")
    assert [one["status"]["code"] for one in answer["inputs"]] == [30000] * 40 + [11102] * 20


def test_an_address_is_told_as_it_was_posted(client):
    with serving({"/a.png": picture(1)}) as url:
        image = {"url": f"{url}/a.png", "crop": [0.0, 0.0, 0.5, 1.0]}
        answer = post(client, {"data": {"image": image}})
    assert answer["inputs"][0]["data"] == {"image": image}


def test_an_input_without_a_picture_is_invalid(client):
    answer = post(client, sent(1), {"data": {"image": {}}}, status=400)
    assert status_of(answer) == (11102, "Image 2 of 2 needs either base64 or url, and only one.")
    assert "inputs" not in answer


def test_pages(client):
    post(client, *[sent(n, f"id{n}") for n in range(5)])

    def ids(query: str) -> list[str]:
        answer = client.get(f"/v2/inputs{query}").json()
        assert status_of(answer) == (10000, "")
        return [one["id"] for one in answer["inputs"]]

    assert ids("") == ["id0", "id1", "id2", "id3", "id4"]
    assert ids("?page=2&per_page=2") == ["id2", "id3"]
    assert ids("?page=4&per_page=2") == []
    assert ids("?page=1000000&per_page=1000") == []
    for query in ("page=0", "per_page=0", "per_page=1001", "page=x", "page=1000001"):
        answer = client.get(f"/v2/inputs?{query}")
        assert (answer.status_code, answer.json()["status"]["code"]) == (400, 11102)


def test_counts(client):
    post(client, sent(1), sent(2))
    answer = client.get("/v2/inputs/status").json()
    assert status_of(answer) == (10000, "")
    assert answer["counts"] == {"processed": 2, "to_process": 0, "errors": 0, "processing": 0}


def test_one_that_is_not_there(client):
    for call in (client.get, client.delete):
        answer = call("/v2/inputs/none")
        assert answer.status_code == 404
        assert status_of(answer.json()) == (30102, "There is no input none.")


def test_inputs_are_deleted(client):
    post(client, *[sent(n, f"id{n}") for n in range(5)])

    def delete(body: dict) -> tuple[int, int, str]:
        answer = client.request("DELETE", "/v2/inputs", json=body)
        return answer.status_code, *status_of(answer.json())

    def left() -> list[str]:
        return [one["id"] for one in client.get("/v2/inputs").json()["inputs"]]

    assert client.delete("/v2/inputs/id0").status_code == 200
    assert delete({"ids": ["id1", "id1"]}) == (200, 10000, "")
    assert delete({"ids": ["id1", "id2", "x", "y"]}) == (
        200,
        10010,
        "There are no inputs id1, x, y.",
    )
    assert delete({"ids": ["id1"]}) == (404, 30102, "There is no input id1.")
    assert left() == ["id3", "id4"]
    for body in ({}, {"ids": []}, {"delete_all": False}, {"ids": ["id3"], "delete_all": True}):
        assert delete(body)[:2] == (400, 11102)
    assert left() == ["id3", "id4"]
    assert delete({"delete_all": True}) == (200, 10000, "")
    assert left() == []
    assert delete({"delete_all": True}) == (200, 10000, "")


def patch(
    client: TestClient, action: str | None, *inputs: dict, status: int = 200, **headers: str
) -> dict:
    body = {"inputs": inputs} | ({} if action is None else {"action": action})
    answer = client.patch("/v2/inputs", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


def told(one: dict) -> tuple[dict, dict | None]:
    """The concepts and the metadata of an input in a reply."""
    concepts = {concept["id"]: concept["value"] for concept in one["data"].get("concepts", [])}
    return concepts, one["data"].get("metadata")


CAT = [{"id": "cat", "value": 1}, {"id": "dog", "value": 0}]


@pytest.mark.parametrize(
    ("action", "concepts", "metadata"),
    [
        (None, {"cat": 1, "dog": 1, "bird": 1}, {"album": 2, "page": 3}),
        ("merge", {"cat": 1, "dog": 1, "bird": 1}, {"album": 2, "page": 3}),
        ("remove", {"cat": 1}, {"album": 2}),
        ("overwrite", {"dog": 1, "bird": 1}, {"album": 2, "page": 3}),
    ],
)
def test_concepts_and_metadata_are_changed(client, action, concepts, metadata):
    (before,) = post(client, sent(1, "one", concepts=CAT, metadata={"album": 1}))["inputs"]
    data = {"concepts": [{"id": "dog"}, {"id": "bird"}], "metadata": {"album": 2, "page": 3}}
    answer = patch(client, action, {"id": "one", "data": data})
    assert status_of(answer) == (10000, "")
    (after,) = answer["inputs"]
    assert told(after) == (concepts, metadata)
    assert after["data"]["image"] == before["data"]["image"]
    assert after["created_at"] == before["created_at"] < after["modified_at"]
    assert client.get("/v2/inputs/one").json()["input"] == after


def test_what_a_merge_does_not_name_stays(client):
    post(client, sent(1, "one", concepts=CAT, metadata={"album": 1}))
    for data in ({}, {"concepts": [], "metadata": {}}, {"concepts": None, "metadata": None}):
        for action in ("merge", "remove"):
            (after,) = patch(client, action, {"id": "one", "data": data})["inputs"]
            assert told(after) == ({"cat": 1, "dog": 0}, {"album": 1})
    (after,) = patch(client, "overwrite", {"id": "one", "data": {}})["inputs"]
    assert told(after) == ({}, None)


def test_a_pending_input_is_changed_and_then_downloaded(client, intake):
    asked, released = threading.Event(), threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        asked.set()
        released.wait(60)
        reply(handler, 200, picture(1))

    with serving({"/a.png": slow}) as url:
        image = {"url": f"{url}/a.png"}
        (one,) = post(client, {"id": "one", "data": {"image": image}})["inputs"]
        assert (one["status"]["code"], asked.wait(60)) == (30001, True)
        (changed,) = patch(client, "merge", {"id": "one", "data": {"concepts": CAT}})["inputs"]
        assert changed["status"]["code"] == 30001
        released.set()
        intake.close()
    stored = client.get("/v2/inputs/one").json()["input"]
    assert (stored["status"]["code"], told(stored)[0]) == (30000, {"cat": 1, "dog": 0})


def test_each_unknown_input_is_named_and_the_others_are_changed(client):
    post(client, sent(1, "one"), sent(2, "two"))
    patches = [{"id": one, "data": {"concepts": CAT}} for one in ("x", "one", "y", "two", "x")]
    answer = patch(client, "merge", *patches)
    assert status_of(answer) == (10010, "There are no inputs x, y.")
    codes = [(one["id"], one["status"]["code"]) for one in answer["inputs"]]
    assert codes == [("x", 30102), ("one", 30000), ("y", 30102), ("two", 30000), ("x", 30102)]
    assert answer["inputs"][0] == {
        "id": "x",
        "data": {"image": {}},
        "status": {
            "code": 30102,
            "description": "Input does not exist",
            "details": "There is no input x.",
        },
    }
    unknown = patch(client, "merge", *patches[::2], status=404)
    assert status_of(unknown) == (30102, "There are no inputs x, y.")


def test_an_input_that_would_have_too_much_stays_as_it_was(client):
    many = [{"id": f"c{n}"} for n in range(128)]
    post(client, sent(1, "one", concepts=CAT, metadata={"a": "x" * 40_000}), sent(2, "two"))
    full = {"id": "one", "data": {"concepts": many}}
    large = {"id": "one", "data": {"metadata": {"b": "x" * 40_000}}}
    fine = {"id": "two", "data": {"concepts": many}}
    answer = patch(client, "merge", full, fine, large)
    assert status_of(answer) == (10010, "")
    assert [one["status"]["code"] for one in answer["inputs"]] == [11102, 30000, 11102]
    assert [one["status"].get("details") for one in answer["inputs"]] == [
        "The input would have 130 concepts, and 128 are allowed.",
        None,
        "The input could not be changed: metadata is larger than 65536 bytes.",
    ]
    stored = client.get("/v2/inputs/one").json()["input"]
    assert told(stored) == ({"cat": 1, "dog": 0}, {"a": "x" * 40_000})
    assert status_of(patch(client, "merge", full, status=400)) == (10020, "")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": []},
        {"inputs": [{"id": "one"}]},
        {"inputs": [{"data": {}}]},
        {"inputs": [{"id": "", "data": {}}]},
        {"inputs": [{"id": "one", "data": {}}] * 129},
        {"inputs": [{"id": "one", "data": {}}], "action": "delete"},
        {"inputs": [{"id": "one", "data": {"concepts": [{"id": "cat", "value": 2}]}}]},
        {"inputs": [{"id": "one", "data": {"concepts": [{"name": "cat"}]}}]},
        {"inputs": [{"id": "one", "data": {"metadata": {"a": "\ud800"}}}]},
        {"inputs": [{"id": "one", "data": {"metadata": []}}]},
    ],
)
def test_a_patch_that_is_invalid_changes_nothing(client, body):
    (before,) = post(client, sent(1, "one"))["inputs"]
    # `json=` refuses half of a surrogate pair.
    headers = {"Content-Type": "application/json"}
    answer = client.patch("/v2/inputs", content=json.dumps(body), headers=headers)
    assert (answer.status_code, status_of(answer.json())[0]) == (400, 11102)
    assert client.get("/v2/inputs/one").json()["input"] == before


def test_patches_at_once_lose_nothing(client):
    post(client, sent(1, "one"))
    names = [f"c{n}" for n in range(20)]
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda name: patch(client, "merge", {"id": "one", "data": {"concepts": [name]}}),
                [{"id": name} for name in names],
            )
        )
    stored = client.get("/v2/inputs/one").json()["input"]
    assert set(told(stored)[0]) == set(names)


def test_a_map_that_is_posted_later_has_the_new_labels(client, intake):
    post(client, sent(1, "one", concepts=CAT))
    revision = intake.store("app").revision()
    patch(client, "overwrite", {"id": "one", "data": {"concepts": [{"id": "bird"}]}})
    assert [photo.label for photo in intake.store("app").done()] == ["bird"]
    assert intake.store("app").revision() > revision


@pytest.mark.parametrize("input_id", ["é", "50%", "a?b=c", "💥", "';--"])
def test_any_id_is_an_address(client, input_id):
    escaped = "".join(f"%{byte:02X}" for byte in input_id.encode())
    post(client, sent(1, input_id))
    assert client.get(f"/v2/inputs/{escaped}").json()["input"]["id"] == input_id
    assert client.delete(f"/v2/inputs/{escaped}").status_code == 200
    assert client.get(f"/v2/inputs/{escaped}").status_code == 404


def test_the_apps_share_nothing(client):
    post(client, sent(1, "one"), **{"X-App": "mine"})
    theirs = {"X-App": "theirs"}
    assert client.get("/v2/inputs", headers=theirs).json()["inputs"] == []
    assert client.get("/v2/inputs/one", headers=theirs).status_code == 404
    assert client.delete("/v2/inputs/one", headers=theirs).status_code == 404
    client.request("DELETE", "/v2/inputs", json={"delete_all": True}, headers=theirs)
    patched = {"id": "one", "data": {"concepts": CAT, "metadata": {"a": 1}}}
    for action in ("merge", "remove", "overwrite"):
        answer = patch(client, action, patched, status=404, **theirs)
        assert status_of(answer) == (30102, "There is no input one.")
    mine = client.get("/v2/inputs/one", headers={"X-App": "mine"}).json()["input"]
    assert told(mine) == ({}, None)
    assert client.get("/v2/inputs/one", headers={"X-App": "mine"}).status_code == 200


def test_others_are_answered_while_posts_wait_for_downloads(tmp_path):
    asked, released = threading.Semaphore(0), threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        asked.release()
        released.wait(60)
        reply(handler, 404)

    answers = dict.fromkeys((f"/{n}" for n in range(60)), slow)
    settings = ServeSettings(download_seconds=60, wait_seconds=60, allow_private_addresses=True)
    with (
        closing(Intake(tmp_path, settings, lambda _: None, lambda _: None)) as intake,
        TestClient(small_app(intake)) as client,
        serving(answers) as url,
        ThreadPoolExecutor(60) as pool,
    ):
        inputs = [{"id": path[1:], "data": {"image": {"url": url + path}}} for path in answers]
        posts = [pool.submit(post, client, each, status=400) for each in inputs]
        assert asked.acquire(timeout=60)
        assert client.get("/v2/inputs/none").status_code == 404
        assert not any(waiting.done() for waiting in posts)
        released.set()
        told = [waiting.result() for waiting in posts]
    assert {each["inputs"][0]["status"]["code"] for each in told} == {30002}


def test_what_was_stored_is_counted(intake):
    app = small_app(intake)
    with TestClient(app) as client:
        post(client, sent(1), sent(2), {"data": {"image": {"base64": ""}}})
    assert b"tessera_inputs_stored_total 2.0" in app.state.service.metrics.text()
