import asyncio
import json
import logging
import re
from dataclasses import dataclass, field

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from assets.methods.common.loopback import is_loopback
from orchestration.api import gate
from orchestration.api.context import caller_of, context_of
from orchestration.api.gate import Gate
from orchestration.api.keys import KeyLimits, KeyRing
from orchestration.api.metrics import Metrics
from orchestration.api.routes import operations

LOCAL = ("127.0.0.1", 50000)
AWAY = ("203.0.113.7", 50000)


@dataclass
class _Service:
    keys: KeyRing
    on_loopback: bool = True
    metrics: Metrics = field(default_factory=Metrics)

    @property
    def is_open(self) -> bool:
        return self.on_loopback and not self.keys.any_ever()


@pytest.fixture
def service(tmp_path):
    return _Service(KeyRing(tmp_path / "keys"))


def _routes() -> APIRouter:
    router = APIRouter()

    @router.get("/v2/who/{name}")
    def who(request: Request, name: str) -> dict:
        context, caller = context_of(request), caller_of(request)
        context.code = 10000
        return {"app": caller.app, "key_id": caller.key_id, "req_id": context.req_id}

    @router.post("/v2/echo")
    def echo(body: dict) -> dict:
        return body

    @router.get("/v2/fault")
    def fault() -> None:
        raise ValueError("secret of the house")

    @router.get("/v2/half")
    def half() -> StreamingResponse:
        def parts():
            yield b"a" * 10
            raise ValueError("secret of the house")

        return StreamingResponse(parts())

    @router.get("/v2/gone")
    async def gone() -> None:
        raise ClientDisconnect

    @router.get("/free")
    def free() -> dict:
        return {}

    return router


@pytest.fixture
def client(service):
    """Returns a function that makes a client of a small app behind the gate."""

    def make(client=LOCAL, host="127.0.0.1:8000", **headers) -> TestClient:
        app = FastAPI(redirect_slashes=False)
        app.state.service = service
        app.include_router(_routes())
        app.include_router(operations.router)
        app.add_middleware(Gate, service=service)
        return TestClient(app, f"http://{host}", client=client, headers=headers)

    return make


@pytest.fixture
def log(caplog):
    """Returns a function that reads the facts of the requests that were logged."""
    caplog.set_level(logging.INFO)
    return lambda: [r.facts for r in caplog.records if r.name == "tessera.requests"]


def _status(answer: httpx.Response) -> tuple[int, int]:
    """Return HTTP status and code, having held the answer against the contract."""
    status = answer.json()["status"]
    assert answer.headers["content-type"] == "application/json"
    assert status["req_id"] == answer.headers["x-request-id"]
    return answer.status_code, status["code"]


def _key(service, app="birds", **limits) -> dict[str, str]:
    return {"Authorization": f"Key {service.keys.new_key(app, KeyLimits(**limits))[1]}"}


def test_every_answer_has_an_id_of_its_own(client):
    one, other = client().get("/v2/who/me"), client().get("/free")
    assert re.fullmatch("[0-9a-f]{32}", one.headers["x-request-id"])
    assert one.json()["req_id"] == one.headers["x-request-id"]
    assert one.headers["x-request-id"] != other.headers["x-request-id"]


def test_without_keys_this_machine_is_the_app_default(client):
    assert client().get("/v2/who/me").json()["app"] == "default"
    assert client().get("/v2/who/me").json()["key_id"] is None


def test_without_keys_a_service_for_others_is_closed(client, service):
    service.on_loopback = False
    answer = client().get("/v2/who/me")
    assert _status(answer) == (401, 11001)
    assert answer.headers["www-authenticate"] == "Key"


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "127.1.2.3:1", "[::1]:8000"])
def test_without_keys_this_machine_has_several_names(client, host):
    assert client(host=host).get("/v2/who/me").status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "192.168.0.1:8000",
        "",
        "[",
        "127.0.0.1.evil.example",
    ],
)
def test_without_keys_a_name_that_was_made_to_point_here_is_refused(client, host):
    assert _status(client().get("/v2/who/me", headers={"Host": host})) == (401, 11001)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:3000", "https://127.0.0.1:8000"]
)
def test_without_keys_a_page_of_another_site_is_refused(client, origin):
    answer = client().post("/v2/echo", json={}, headers={"Origin": origin})
    assert _status(answer) == (401, 11001)


def test_without_keys_a_page_of_this_service_is_served(client):
    answer = client().post("/v2/echo", json={}, headers={"Origin": "http://127.0.0.1:8000"})
    assert answer.status_code == 200


def test_a_wrong_key_is_refused_even_where_none_is_needed(client):
    answer = client().get("/v2/who/me", headers={"Authorization": "Key x.y"})
    assert _status(answer) == (401, 11001)


def test_a_key_says_which_app(client, service):
    birds, cats = _key(service, "birds"), _key(service, "cats")
    assert client().get("/v2/who/me", headers=birds).json()["app"] == "birds"
    assert client().get("/v2/who/me", headers=cats).json()["app"] == "cats"


def test_with_a_key_it_does_not_matter_who_asks_from_where(client, service):
    headers = _key(service) | {"Origin": "http://elsewhere.example"}
    away = client(client=AWAY, host="photos.example")
    assert away.get("/v2/who/me", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Key",
        "Key ",
        "Key x",
        "Bearer {}",
        "{}",
        "Key {}x",
        "Key {} {}",
        "Key \xe9",
        "Basic {}",
    ],
)
def test_what_is_no_valid_key_is_refused(client, service, header):
    text = _key(service)["Authorization"].removeprefix("Key ")
    headers = (
        {} if header is None else {"Authorization": header.format(text, text).encode("latin-1")}
    )
    assert _status(client().get("/v2/who/me", headers=headers)) == (401, 11001)


def test_the_word_before_the_key_may_be_written_in_any_case(client, service):
    text = _key(service)["Authorization"].removeprefix("Key ")
    assert client().get("/v2/who/me", headers={"Authorization": f"key {text}"}).status_code == 200


def test_all_keys_revoked_is_closed(client, service):
    _key(service)
    for key in service.keys.all():
        service.keys.revoke(key.id)
    assert _status(client().get("/v2/who/me")) == (401, 11001)


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/v2/none", "/%76%32/who/me", "/v2/who/../who/me"])
def test_everything_below_v2_needs_the_key(client, service, path):
    _key(service)
    assert _status(client().get(path)) == (401, 11001)


def test_what_is_not_below_v2_needs_none(client, service):
    _key(service)
    assert client().get("/free").status_code == 200
    assert client().get("/v2x").status_code == 404


def test_one_slash_at_the_end_is_taken_off(client):
    assert client().post("/v2/echo/", json={"a": 1}).json() == {"a": 1}
    assert client().post("/v2/echo//", json={"a": 1}).status_code == 404
    assert client().get("/free/").status_code == 404


@pytest.mark.parametrize(
    "media_type", [None, "", "application/x-www-form-urlencoded", "text/plain", "image/jpeg; a=b"]
)
def test_a_body_is_json_whatever_it_is_called(client, media_type):
    headers = {} if media_type is None else {"Content-Type": media_type}
    assert client().post("/v2/echo", content=b'{"a": 1}', headers=headers).json() == {"a": 1}


def test_more_than_the_rate_is_throttled_for_one_key_alone(client, service):
    slow, other = _key(service, requests_per_second=2), _key(service)
    one = client()
    answers = [one.get("/v2/who/me", headers=slow) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert _status(answers[2]) == (429, 11005)
    assert int(answers[2].headers["retry-after"]) >= 1
    assert one.get("/v2/who/me", headers=other).status_code == 200


def test_a_body_as_large_as_allowed_is_taken(client, service):
    headers = _key(service, request_megabytes=1)
    body = json.dumps({"a": "x" * (2**20 - 9)}).encode()
    assert len(body) == 2**20
    assert client().post("/v2/echo", content=body, headers=headers).status_code == 200
    answer = client().post("/v2/echo", content=body + b" ", headers=headers)
    assert _status(answer) == (413, 11102)


def _exchange(app, messages, headers=(), path="/v2/echo") -> list[dict]:
    """Speak ASGI with an app; a message that is a number is a pause in seconds."""
    sent, left = [], list(messages)

    async def receive() -> dict:
        while left and not isinstance(left[0], dict):
            await asyncio.sleep(left.pop(0))
        if not left:
            raise AssertionError("more was read than is there")
        return left.pop(0)

    async def send(message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(),
        "query_string": b"", "headers": [(b"host", b"localhost"), *headers], "client": LOCAL,
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return sent


def _part(body: bytes, more: bool = True) -> dict:
    return {"type": "http.request", "body": body, "more_body": more}


async def _never(scope, receive, send) -> None:
    raise AssertionError("the route was asked")


def _code(sent: list[dict]) -> int:
    return json.loads(b"".join(message.get("body", b"") for message in sent))["status"]["code"]


def test_a_body_without_a_length_is_counted_as_it_comes(service):
    body = [_part(b"x" * 2**20)] * 65
    sent = _exchange(Gate(_never, service), body)
    assert (sent[0]["status"], _code(sent)) == (413, 11102)


def test_a_length_that_is_too_large_is_refused_before_anything_is_read(service):
    sent = _exchange(Gate(_never, service), [], [(b"content-length", b"10000000000")])
    assert _code(sent) == 11102


def test_a_wrong_key_is_refused_before_anything_is_read(service):
    sent = _exchange(Gate(_never, service), [], [(b"authorization", b"Key x.y")])
    assert _code(sent) == 11001


def test_a_body_that_takes_too_long_is_refused(service, monkeypatch):
    monkeypatch.setattr(gate, "BODY_SECONDS", 0.05)
    sent = _exchange(Gate(_never, service), [_part(b"{"), 5, _part(b"}", more=False)])
    assert (sent[0]["status"], _code(sent)) == (400, 11102)


def test_a_body_in_parts_reaches_the_route_whole_and_then_what_follows_it(service):
    got = []

    async def route(scope, receive, send) -> None:
        got.extend([await receive(), await receive()])

    gone = {"type": "http.disconnect"}
    _exchange(Gate(route, service), [_part(b"a"), _part(b"b", more=False), gone])
    assert got == [{"type": "http.request", "body": b"ab", "more_body": False}, gone]


def test_a_client_that_goes_away_is_no_fault(service, log, caplog):
    assert _exchange(Gate(_never, service), [_part(b"{"), {"type": "http.disconnect"}]) == []
    assert log()[0]["status"] == 499
    assert log()[0]["bytes_in"] == 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_client_that_goes_away_later_is_no_fault_either(client, log, caplog):
    with pytest.raises((RuntimeError, AssertionError)):
        client().get("/v2/gone")
    assert log()[0]["status"] == 499
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_fault_is_the_contracts_json_and_its_traceback_is_in_the_log(client, caplog):
    answer = client().get("/v2/fault")
    assert _status(answer) == (500, 10020)
    assert "secret" not in answer.text
    (fault,) = [record for record in caplog.records if record.name == "tessera.faults"]
    assert fault.facts == {"req_id": answer.headers["x-request-id"]}
    assert "secret of the house" in str(fault.exc_info[1])


def test_a_fault_in_the_middle_of_an_answer_is_logged(client, caplog, log):
    client().get("/v2/half")
    assert [record for record in caplog.records if record.name == "tessera.faults"]
    assert log()[0]["bytes_out"] == 10


def test_the_log_has_what_happened_and_no_secrets(client, service, log, caplog):
    key = _key(service)
    text = key["Authorization"].removeprefix("Key ")
    answer = client().get("/v2/who/someone?token=hidden", headers=key)
    (line,) = log()
    assert line == {
        "req_id": answer.headers["x-request-id"],
        "method": "GET",
        "route": "/v2/who/{name}",
        "status": 200,
        "code": 10000,
        "app": "birds",
        "key_id": service.keys.all()[0].id,
        "milliseconds": line["milliseconds"],
        "bytes_in": 0,
        "bytes_out": len(answer.content),
    }
    ours = " ".join(str(r.__dict__) for r in caplog.records if r.name.startswith("tessera"))
    assert not re.search(f"someone|hidden|{re.escape(text)}", ours)


def test_the_log_has_refusals_too(client, service, log):
    _key(service)
    client().get("/v2/who/me")
    client().get("/nowhere")
    refused, unknown = log()
    assert (refused["status"], refused["code"], refused["app"]) == (401, 11001, None)
    assert (unknown["status"], unknown["route"]) == (404, "none")


def test_requests_are_counted_by_their_routes(client, service):
    client().get("/v2/who/me")
    client().get("/v2/who/you")
    client().get("/v2/fault")
    client().post("/v2/fault")
    counted = {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(service.metrics.text().decode())
        for sample in family.samples
        if sample.name == "tessera_requests_total"
    }
    assert counted == {
        ("GET", "/v2/who/{name}", "200"): 2,
        ("GET", "/v2/fault", "500"): 1,
        ("POST", "/v2/fault", "405"): 1,
    }


def test_the_metrics_are_read_from_this_machine_or_with_a_key(client, service):
    key = _key(service)
    assert client().get("/metrics").status_code == 200
    assert _status(client(client=AWAY).get("/metrics")) == (401, 11001)
    assert client(client=AWAY).get("/metrics", headers=key).status_code == 200
    assert _status(client(host="evil.example").get("/metrics")) == (401, 11001)


def test_loopback_is_told_from_what_only_looks_like_it():
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.9.9.9", "::1"]))
    assert not any(
        map(is_loopback, ["0.0.0.0", "::", "", "example.org", "127.0.0.1.x", "10.0.0.1"])
    )
