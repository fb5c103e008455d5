"""What strangers send to the HTTP service: no 5xx, no reply outside the contract."""

import base64
import copy
import io
import json
import random
import re
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pillow_heif
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from PIL import Image
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from orchestration.api.contract import Code
from orchestration.api.settings import ServeSettings
from support.served import Served
from support.served_here import served_here

# Some at every change, many before a release.
N_MUTATIONS = [200, pytest.param(1_000, marks=pytest.mark.slow)]
N_IMAGES_A_REQUEST = 10
ROUTES = [
    "/v2/inputs",
    "/v2/models/nsfw-v1.0/outputs",
    "/v2/models/general/outputs",
    "/v2/searches",
]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
HTTP_STATUSES = {200, 202, 400, 401, 404, 405, 413, 429}

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def service(shared_home) -> Iterator[Served]:
    with served_here(shared_home, ServeSettings()) as service:
        yield service


def _check(response: httpx.Response) -> dict:
    """Hold a reply against the contract."""
    assert response.status_code in HTTP_STATUSES, response.text
    assert response.headers["content-type"] == "application/json", response.text
    reply = response.json()
    status = reply["status"]
    code = Code.of(status["code"])
    assert status["description"] == code.description
    assert re.fullmatch("[0-9a-f]{32}", status["req_id"])
    assert response.headers["x-request-id"] == status["req_id"]
    if code not in (Code.OK, Code.MIXED):
        assert response.status_code == code.http_status
    assert "Traceback" not in response.text
    return reply


def _answer(service: Served, method: str, path: str, **content: bytes) -> httpx.Response:
    """Return the reply to a request, which waits where there were too many."""
    while (reply := service.client.request(method, path, **content)).status_code == 429:
        _check(reply)
        time.sleep(int(reply.headers["retry-after"]))
    return reply


def _photo_files() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    pillow_heif.register_heif_opener()
    files = []
    for image_format in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF"):
        file = io.BytesIO()
        picture.save(file, image_format)
        files.append(file.getvalue())
    return files


def _mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 2, 8, 64])):
        kind = chance.randrange(5)
        place = chance.randrange(len(changed)) if changed else 0
        # The headers are where the sizes are.
        place = place % 64 if chance.random() < 0.5 else place
        if kind == 0 and changed:
            changed[place % len(changed)] = chance.randrange(256)
        elif kind == 1:
            del changed[place:]
        elif kind == 2:
            del changed[place : place + chance.randrange(32)]
        elif kind == 3:
            changed[place:place] = chance.randbytes(chance.randrange(32))
        else:
            changed[place : place + 4] = b"\xff\xff\xff\xff"
    return bytes(changed)


@pytest.mark.parametrize("n", N_MUTATIONS)
def test_mutated_images_are_answered_by_the_contract(service, n):
    chance = random.Random(0)
    files = _photo_files()
    mutated = [_mutated(chance.choice(files), chance) for _ in range(n)]
    verdicts = set()
    for number, start in enumerate(range(0, n, N_IMAGES_A_REQUEST)):
        images = mutated[start : start + N_IMAGES_A_REQUEST]
        items = [
            {"data": {"image": {"base64": base64.b64encode(image).decode()}}} for image in images
        ]
        route = ROUTES[number % 3]
        reply = _check(service.client.post(route, json={"inputs": items}))
        answers = reply["inputs" if route == "/v2/inputs" else "outputs"]
        assert len(answers) == len(items)
        verdicts |= {answer["status"]["code"] for answer in answers}
        query = {"query": {"ands": [{"output": {"input": items[0]}}]}}
        _check(service.client.post("/v2/searches", json=query))
    assert {Code.INPUT_UNSUPPORTED.number, Code.INPUT_DONE.number, Code.OK.number} <= verdicts


def _valid_bodies() -> dict[str, dict]:
    photo = {"base64": base64.b64encode(_photo_files()[0]).decode()}
    item = {"data": {"image": photo}}
    labelled = {
        "id": "one",
        "data": {
            "image": {**photo, "crop": [0.1, 0.1, 0.9, 0.9]},
            "concepts": [{"id": "cat", "value": 1}],
            "metadata": {"a": [1, {"b": None}]},
        },
    }
    return {
        "POST /v2/inputs": {"inputs": [labelled, item]},
        "PATCH /v2/inputs": {
            "action": "remove",
            "inputs": [
                {
                    "id": "one",
                    "data": {"concepts": [{"id": "cat"}], "metadata": {"a": [{"id": 1}]}},
                },
                {"id": "two", "data": {}},
            ],
        },
        "DELETE /v2/inputs": {"ids": ["one", "two"]},
        "POST /v2/models/nsfw/outputs": {"inputs": [item], "model": {"output_info": {}}},
        "POST /v2/models/searches": {"model_query": {"name": "nsfw*", "type": "concept"}},
        "POST /v2/searches": {
            "query": {
                "ands": [
                    {"output": {"input": item}},
                    {"output": {"input": {"id": "one"}}},
                    {
                        "input": {
                            "id": "one",
                            "data": {
                                "metadata": {"a": [1, {"b": None}]},
                                "concepts": [{"name": "cat", "value": True}],
                                "image": {"url": "http://x"},
                            },
                        }
                    },
                ]
            },
            "pagination": {"page": 1, "per_page": 2},
        },
        "POST /v2/visualizations": {"type": "tsne", "inputs": [{"id": "zwei"}], "grid": "2x2"},
    }


STRANGE = [
    None, True, -1, 0, 1e308, 10**400, "", "x" * 9_000, "\ud800", "\x00", "../../etc/passwd",
    "%2e%2e%2f", [], {}, [[]], [None] * 129, {"base64": 1}, {"url": "file:///etc/passwd"},
    {"url": "http://127.0.0.1:1/x"}, {"url": "gopher://x"}, {"base64": "%%%"}, "0x0", "1:0",
]  # fmt: skip


def _places(value: object, path: tuple = ()) -> list[tuple]:
    inner = (
        (value.items() if isinstance(value, dict) else enumerate(value))
        if isinstance(value, dict | list)
        else ()
    )
    return [path, *(place for key, one in inner for place in _places(one, (*path, key)))]


def _mutated_body(body: dict, chance: random.Random) -> bytes:
    body = copy.deepcopy(body)
    for _ in range(chance.choice([1, 1, 2, 4])):
        *path, last = chance.choice(_places(body)[1:]) or ("inputs",)
        parent = body
        try:
            for key in path:
                parent = parent[key]
            if chance.random() < 0.3:
                del parent[last]
            else:
                parent[last] = copy.deepcopy(chance.choice(STRANGE))
        except (TypeError, KeyError, IndexError):
            continue
        if not body:
            break
    text = json.dumps(body).encode()
    kind = chance.randrange(8)
    if kind == 0:
        return _mutated(text, chance)
    if kind == 1:
        return text.replace(b"1", b"NaN", 1)
    if kind == 2:
        return b'{"inputs": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    return text


@pytest.mark.parametrize("n", N_MUTATIONS)
def test_mutated_bodies_are_answered_by_the_contract(service, n):
    chance = random.Random(1)
    bodies = _valid_bodies()
    codes = set()
    for _ in range(n):
        call = chance.choice(list(bodies))
        method, path = call.split(" ")
        content = _mutated_body(bodies[call], chance)
        response = _answer(service, method, path, content=content)
        codes.add(_check(response)["status"]["code"])
    assert {10000, 11100, 11102, 30102, 40001, 40002, 42003} <= codes


@pytest.mark.parametrize(
    "path",
    [
        "/", "/v2", "/v2/", "/v2/nothing", "/v2/inputs/..%2f..%2fetc%2fpasswd", "/v2/inputs/%00",
        "/pictures/../../etc/passwd", "/pictures/%2e%2e/%2e%2e/etc/passwd", "/pictures/x/y/z",
        "/v2/visualizations/%ff", "/v2/inputs?page=0", "/v2/inputs?per_page=1001",
        "/v2/inputs?page=99999999999999999999", "/v2/models/x", "/v2/models?page=a",
    ],
)  # fmt: skip
def test_addresses_that_lead_nowhere_are_answered_by_the_contract(service, path):
    reply = _check(_answer(service, "GET", path))
    assert reply["status"]["code"] in {11101, 11102, 21200, 30102, 42004}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_methods_that_are_not_served_are_answered_by_the_contract(service, method):
    response = _answer(service, method, "/v2/models")
    assert _check(response)["status"]["code"] == 11103
    assert response.headers["allow"]


# A few examples of each call at every change, many before a release.
@pytest.mark.parametrize("n_examples", [6, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_schemathesis_finds_no_reply_outside_the_description(service, mode, n_examples):
    schema = schemathesis.openapi.from_url(f"{service.base}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 20
    for operation in operations:
        if operation.path == "/metrics":
            continue

        @settings(max_examples=n_examples, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def call(case):
            response = case.call(headers={"Connection": "keep-alive"})
            assert response.status_code < 500, response.text
            case.validate_response(response, checks=CHECKS)

        try:
            call()
        except Unsatisfiable:
            # A call that takes nothing has nothing that could be wrong.
            assert mode is GenerationMode.NEGATIVE
