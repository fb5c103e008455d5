"""Two apps of one service: whoever has the key of one learns nothing of the other."""

import http.client
import json
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from orchestration.api.keys import KeyLimits, KeyRing
from orchestration.api.settings import ServeSettings
from support.image_server import packed, picture, serving
from support.served import Served, wait_for
from support.served_here import runs_carried_out_here, served_here

SECRET = "of nobody else's business"
UNKNOWN = "nobody-has-this"
UNKNOWN_RUN = "00000000-0000-4000-8000-000000000000"
READY, PENDING = 42000, 42001
NO_KEY, NO_ROUTE = 11001, 11101
# The name of the one begins with that of the other.
OURS, THEIRS = "shop", "shop2"
N_PHOTOS = 4
LINKED, LAST = 50, 10

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class App:
    """An app with its key, and what it has stored."""

    name: str
    key: str
    service: Served
    inputs: list[dict] = field(default_factory=list)
    ready: dict = field(default_factory=dict)
    pending: dict = field(default_factory=dict)

    def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Send a request with the key."""
        headers = {"Authorization": f"Key {self.key}"}
        return self.service.client.request(method, path, json=body, headers=headers)

    def told(self, method: str, path: str, body: object = None) -> tuple[int, dict]:
        """Return the reply to a request without what differs from one to the next."""
        return _code_and_reply(self.ask(method, path, body))

    @property
    def ids(self) -> list[str]:
        return [one["id"] for one in self.inputs]


def _code_and_reply(response: httpx.Response) -> tuple[int, dict]:
    reply = response.json()
    del reply["status"]["req_id"]
    return response.status_code, reply


def _item(seed: int, **others: Any) -> dict:
    return {**others, "data": {"image": {"base64": packed(picture(seed))}}}


def _query(seed: int, page: int = 1, per_page: int = 100) -> dict:
    condition = {"output": {"input": _item(seed)}}
    return {"query": {"ands": [condition]}, "pagination": {"page": page, "per_page": per_page}}


def _posted(app: App, items: list[dict]) -> list[dict]:
    status, reply = app.told("POST", "/v2/inputs", {"inputs": items})
    assert status == 200, reply
    assert {one["status"]["code"] for one in reply["inputs"]} == {30000}
    return reply["inputs"]


def _visualization(app: App, **options: object) -> dict:
    return app.ask("POST", "/v2/visualizations", options).json()["output"]


def _ended(app: App, visualization: dict) -> dict:
    """Wait until a visualization is ready, and return it."""

    def ready() -> dict | None:
        output = app.told("GET", f"/v2/visualizations/{visualization['id']}")[1]["output"]
        return output if output["status"]["code"] != PENDING else None

    output = wait_for(ready, 240, "it is pending for ever")
    assert output["status"]["code"] == READY
    return output


@pytest.fixture(scope="module")
def keys(shared_home) -> dict[str, str]:
    """The keys of some apps, by name."""
    names = (OURS, THEIRS, "sho", "twin", "revoked")
    ring, limits = KeyRing(shared_home / "keys"), KeyLimits(requests_per_second=100_000)
    return {name: ring.new_key(name, limits)[1] for name in names}


@pytest.fixture(scope="module")
def service(shared_home, keys) -> Iterator[Served]:
    settings = ServeSettings(runs_at_once=2, allow_private_addresses=True)
    with served_here(shared_home, settings) as service:
        yield service


@pytest.fixture(scope="module")
def photos() -> Iterator[str]:
    """The address of a server of one photo."""
    with serving({"/shared.png": picture(LINKED)}) as address:
        yield f"{address}/shared.png"


@pytest.fixture(scope="module")
def apps(keys, service, photos) -> tuple[App, App]:
    """The app that is attacked, and the one whose key the attacker has."""
    ours, theirs = App(OURS, keys[OURS], service), App(THEIRS, keys[THEIRS], service)
    items = [_item(seed, id=f"ours-{seed}") for seed in range(N_PHOTOS)]
    items += [{"data": {"image": {"url": photos}}}, _item(LAST)]
    for item in items:
        item["data"] |= {"concepts": [{"id": SECRET}], "metadata": {"note": SECRET}}
    ours = replace(ours, inputs=_posted(ours, items))
    theirs = replace(theirs, inputs=_posted(theirs, [_item(seed) for seed in range(20, 24)]))
    with runs_carried_out_here():
        theirs = replace(theirs, ready=_ended(theirs, _visualization(theirs)))
        ours = replace(ours, ready=_ended(ours, _visualization(ours)))
    # Nobody takes it from the queue.
    ours = replace(ours, pending=_visualization(ours, tile=16))
    return ours, theirs


@pytest.fixture(autouse=True)
def unharmed(apps) -> Iterator[None]:
    """After each test the attacked app has what it had."""
    yield
    ours, _ = apps
    _, reply = ours.told("GET", "/v2/inputs?per_page=1000")
    assert reply["inputs"] == ours.inputs
    _, reply = ours.told("GET", f"/v2/visualizations/{ours.ready['id']}")
    assert reply["output"] == ours.ready
    _, reply = ours.told("GET", f"/v2/visualizations/{ours.pending['id']}")
    assert reply["output"]["status"]["code"] == PENDING
    things = [*ours.inputs[:N_PHOTOS], ours.ready]
    urls = [*(one["data"]["image"]["url"] for one in things), ours.ready["data"]["page"]["url"]]
    assert {ours.service.client.get(url).status_code for url in urls} == {200}


def _assert_as_if_unknown(
    app: App, names: list[str], unknown: str, call: Callable[[str], tuple[str, str, object]]
) -> None:
    """Whatever is asked of others' things is answered as of things that do not exist."""
    status, expected = app.told(*call(unknown))
    assert status >= 400
    for name in names:
        told = app.told(*call(name))
        assert json.loads(json.dumps(told).replace(name, unknown)) == [status, expected]


@pytest.mark.parametrize(
    "call",
    [
        lambda one: ("GET", f"/v2/inputs/{one}", None),
        lambda one: ("GET", f"/v2/inputs/{one}/", None),
        lambda one: ("DELETE", f"/v2/inputs/{one}", None),
        lambda one: ("DELETE", "/v2/inputs", {"ids": [one]}),
        lambda one: ("PATCH", "/v2/inputs", {"inputs": [{"id": one, "data": {}}]}),
        lambda one: (
            "PATCH",
            "/v2/inputs",
            {"inputs": [{"id": one, "data": {"metadata": {"x": 1}}}], "action": "overwrite"},
        ),
        lambda one: (
            "POST",
            "/v2/searches",
            {"query": {"ands": [{"output": {"input": {"id": one}}}]}},
        ),
        lambda one: ("POST", "/v2/visualizations", {"inputs": [{"id": one}]}),
        lambda one: ("GET", f"/v2/models/{one}", None),
        lambda one: ("GET", f"/v2/visualizations/{one}", None),
    ],
)
def test_the_inputs_of_the_other_app_are_as_if_they_did_not_exist(apps, call):
    ours, theirs = apps
    _assert_as_if_unknown(theirs, ours.ids, UNKNOWN, call)


def test_naming_them_beside_ones_own_tells_and_changes_nothing_of_them(apps):
    ours, theirs = apps
    mine = theirs.ids[0]
    _assert_as_if_unknown(
        theirs,
        ours.ids,
        UNKNOWN,
        lambda one: ("POST", "/v2/visualizations", {"inputs": [{"id": mine}, {"id": one}]}),
    )
    (extra,) = _posted(theirs, [_item(30)])
    status, reply = theirs.told("DELETE", "/v2/inputs", {"ids": [*ours.ids, extra["id"]]})
    assert (status, reply["status"]["code"]) == (200, 10010)
    assert extra["id"] not in reply["status"]["details"]
    patches = [{"id": one, "data": {"concepts": [{"id": "x"}]}} for one in [*ours.ids, mine]]
    status, reply = theirs.told("PATCH", "/v2/inputs", {"inputs": patches})
    assert (status, reply["status"]["code"]) == (200, 10010)
    codes = [one["status"]["code"] for one in reply["inputs"]]
    assert codes == [30102] * len(ours.ids) + [30000]
    assert SECRET not in json.dumps(reply)
    cleared = {"inputs": [{"id": mine, "data": {}}], "action": "overwrite"}
    assert theirs.told("PATCH", "/v2/inputs", cleared)[0] == 200


def test_pages_and_counts_are_of_ones_own(apps):
    ours, theirs = apps
    for path in ("?per_page=1000", "?page=1&app=shop", "?page=2&per_page=3", "?app_id=shop"):
        text = theirs.ask("GET", f"/v2/inputs{path}").text
        assert SECRET not in text
        assert not [one for one in ours.ids if one in text]
        assert '"shop"' not in text
        assert "/shop/" not in text
    _, reply = theirs.told("GET", "/v2/inputs?per_page=1000")
    assert [one["id"] for one in reply["inputs"]] == theirs.ids
    _, reply = theirs.told("GET", "/v2/inputs/status")
    none = {"to_process": 0, "errors": 0, "processing": 0}
    assert reply["counts"] == {"processed": len(theirs.ids), **none}


def test_posting_what_the_other_app_has_is_no_duplicate(apps, photos):
    ours, theirs = apps
    items = [
        _item(0),
        _item(31, id=ours.ids[1]),
        _item(2, id=ours.ids[2]),
        {"data": {"image": {"url": photos}}},
    ]
    posted = _posted(theirs, items)
    assert [one["id"] for one in posted[1:3]] == ours.ids[1:3]
    assert SECRET not in json.dumps(posted)
    assert ours.ids[0] not in json.dumps(posted)
    status, _ = theirs.told("DELETE", "/v2/inputs", {"ids": [one["id"] for one in posted]})
    assert status == 200
    # What was there twice is still there once: see `unharmed`.


def test_deleting_everything_deletes_ones_own(keys, service):
    other = App("sho", keys["sho"], service)
    _posted(other, [_item(0)])
    assert other.told("DELETE", "/v2/inputs", {"delete_all": True})[0] == 200
    assert other.told("GET", "/v2/inputs")[1]["inputs"] == []


@pytest.mark.parametrize(
    ("method", "suffix"),
    [("GET", ""), ("GET", "/"), ("GET", "/image"), ("DELETE", ""), ("DELETE", "/")],
)
def test_the_visualizations_of_the_other_app_are_as_if_they_did_not_exist(apps, method, suffix):
    ours, theirs = apps
    ids = [ours.ready["id"], ours.pending["id"], ours.ready["id"].upper()]
    _assert_as_if_unknown(
        theirs, ids, UNKNOWN_RUN, lambda one: (method, f"/v2/visualizations/{one}{suffix}", None)
    )


def test_the_newest_visualization_is_ones_own(apps, keys, service):
    _, theirs = apps
    _, reply = theirs.told("GET", "/v2/visualizations/app")
    assert reply["output"] == theirs.ready
    other = App("sho", keys["sho"], service)
    assert other.told("GET", "/v2/visualizations/app")[1]["status"]["code"] == 42004
    assert other.told("POST", "/v2/visualizations")[1]["status"]["code"] == 42003


def test_the_same_inputs_and_options_are_not_answered_from_the_other_app(apps, keys, service):
    ours, _ = apps
    other = App("twin", keys["twin"], service)
    items = [_item(seed) for seed in (*range(N_PHOTOS), LINKED, LAST)]
    for item in items:
        item["data"]["concepts"] = [{"id": SECRET}]
    _posted(other, items)
    begun = _visualization(other)
    assert begun["status"]["code"] == PENDING
    assert begun["id"] not in (ours.ready["id"], ours.pending["id"])
    assert other.told("DELETE", f"/v2/visualizations/{begun['id']}")[0] == 200


def test_searches_find_ones_own_photos_alone(apps):
    ours, theirs = apps
    for seed in (0, 1, LAST, LINKED):
        own_hits = ours.told("POST", "/v2/searches", _query(seed))[1]["hits"]
        assert own_hits[0]["score"] > 0.999
        response = theirs.ask("POST", "/v2/searches/", _query(seed))
        hits = response.json()["hits"]
        assert {hit["input"]["id"] for hit in hits} == set(theirs.ids)
        assert max(hit["score"] for hit in hits) < 0.999
        assert SECRET not in response.text
        assert "details" not in response.json()["status"]
    for wanted in (
        {"data": {"metadata": {"note": SECRET}}},
        {"data": {"concepts": [{"id": SECRET}]}},
        {"data": {"image": {"url": ours.inputs[N_PHOTOS]["data"]["image"]["url"]}}},
        {"id": ours.ids[0]},
    ):
        query = {"query": {"ands": [{"input": wanted}]}}
        assert ours.told("POST", "/v2/searches", query)[1]["hits"]
        assert theirs.told("POST", "/v2/searches", query)[1]["hits"] == []
    far = _query(0, page=2, per_page=len(theirs.ids))
    assert theirs.told("POST", "/v2/searches", far)[1]["hits"] == []


@pytest.mark.parametrize("model", ["nsfw-v1.0", "general"])
def test_models_tell_nothing_of_who_else_has_a_photo(apps, model):
    ours, theirs = apps
    version = theirs.ask("GET", f"/v2/models/{model}").json()["model"]["model_version"]["id"]
    body = {"inputs": [_item(seed) for seed in (0, 40)]}
    for path in (f"/v2/models/{model}/outputs", f"/v2/models/{model}/versions/{version}/outputs"):
        known, new = theirs.ask("POST", path, body).json()["outputs"]
        assert known["data"].keys() == new["data"].keys()
        assert not {known["input"]["id"], new["input"]["id"]} & set(ours.ids)
        assert SECRET not in json.dumps([known, new])
    _assert_as_if_unknown(
        theirs,
        ours.ids,
        UNKNOWN,
        lambda one: ("POST", f"/v2/models/{model}/versions/{one}/outputs", body),
    )


# ---- what only hand-made requests can say ----


def _raw(
    service: Served, target: str, *headers: bytes, method: str = "GET", host: str = "127.0.0.1"
) -> tuple[int, bytes]:
    """Send a target as it is: clients would put it in order."""
    address = httpx.URL(service.base)
    lines = [f"{method} {target} HTTP/1.1".encode(), b"Host: " + host.encode()]
    with socket.create_connection((address.host, address.port), timeout=30) as connection:
        connection.sendall(b"\r\n".join([*lines, b"Connection: close", *headers, b"", b""]))
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        return response.status, response.read()


def _path(url: str) -> str:
    return httpx.URL(url).path


def _addressed(one: dict) -> tuple[str, str]:
    """Return the image_id and the token in the address of an input's picture."""
    image, token = _path(one["data"]["image"]["url"]).split("/")[-2:]
    return image, token


def _forged(ours: App, theirs: App, twin: dict) -> list[str]:
    """Addresses of the other app's pictures, made of its ids and of what one has oneself.

    ``twin`` is an input of one's own with the bytes of the other app's first.
    """
    (image, token), run = _addressed(ours.inputs[0]), ours.ready["id"]
    (own_image, own_token), own = _addressed(theirs.inputs[0]), f"/pictures/inputs/{THEIRS}"
    page, own_page = (_path(app.ready["data"]["page"]["url"]) for app in (ours, theirs))
    own_run_token = own_page.split("/")[-2]
    forged = [
        f"/pictures/inputs/shop/{image}",
        f"/pictures/inputs/shop/{image}/",
        f"/pictures/inputs/shop/{own_image}/{token}",
        f"/pictures/inputs/shop/{image.upper()}/{token}",
        f"/pictures/inputs/shop/{image[:-1]}/{token}",
        f"/pictures/inputs/SHOP/{image}/{token}",
        f"/pictures/visualizations/{run}/{token}/page",
        page.replace(run, run.upper()),
        page.replace(run, theirs.ready["id"]),
        page.replace("page", "..%2fpage"),
    ]
    for other in (own_token, own_run_token, _addressed(twin)[1]):
        forged += [
            f"/pictures/inputs/shop/{image}/{other}",
            f"/pictures/inputs/shop/{image}/{other}/",
            f"/pictures/inputs/shop%2f{image}/{other}",
            f"/pictures/inputs/%73hop/{image}/{other}",
            f"/pictures/inputs/shop%00/{image}/{other}",
            f"/pictures/inputs//shop/{image}/{other}",
            f"/pictures/inputs/visualizations/{run}/{other}",
            f"/pictures/visualizations/inputs/{other}/{image}",
            f"/pictures/visualizations/{ours.pending['id']}/{other}/page",
        ]
        forged += [
            f"/pictures/visualizations/{run}/{other}/{name}"
            for name in ("page", "mosaic.jpg", "mosaic.png", "figure.png")
        ]
    for altered in (
        token.upper(), token[:-1], token[:20], token[1:], token + "0", token + "%00", token + "%0a",
        token + "%20", token + ".png", token + ";", token + "%23", token[:-1] + "%EF%BC%90", "*",
        "%2a", "null", "0" * 40, "%ff", "%c0%80",
    ):  # fmt: skip
        forged += [f"/pictures/inputs/{app}/{image}/{altered}" for app in (OURS, THEIRS)]
    for climb in (
        "..",
        "%2e%2e",
        ".%2e",
        "%252e%252e",
        "..;",
        "%c0%ae%c0%ae",
        "%EF%BC%8E%EF%BC%8E",
    ):
        for slash in ("/", "%2f", "%252f", "//", "\\", "%5c", "%EF%BC%8F", "%c0%af", "%00/"):
            up = climb + slash
            forged += [
                f"{own}/{own_image}/{own_token}/{up}{up}{up}shop/{image}/{own_token}",
                f"{own}{slash}{up}shop{slash}{image}/{own_token}",
                f"{own}/{up}{up}shop{slash}files{slash}{image[:2]}{slash}{image}/{own_token}",
                f"{own_page}/{up}{up}{up}{run}/{own_run_token}/page",
                f"{own_page.removesuffix('page')}{up}{up}{run}{slash}mosaic.jpg",
                f"/pictures/{up}inputs/shop/files/{image[:2]}/{image}",
            ]
    return forged


def test_no_address_leads_from_ones_own_pictures_to_others(apps):
    ours, theirs = apps
    (twin,) = _posted(theirs, [_item(0)])
    twin_path = _path(twin["data"]["image"]["url"])
    assert _raw(ours.service, twin_path)[0] == 200
    key = f"Authorization: Key {theirs.key}".encode()
    unknown = f"/pictures/inputs/shop/{'0' * 64}/{'0' * 40}"
    expected = theirs.told("GET", unknown)
    for target in _forged(ours, theirs, twin):
        status, body = _raw(ours.service, target, key)
        assert (status, json.loads(body)["status"]["code"]) == (404, NO_ROUTE), target
        assert _raw(ours.service, target, method="HEAD")[0] == 404, target
    forged = f"/pictures/inputs/shop/{'/'.join(_addressed(twin))}"
    assert theirs.told("GET", forged) == expected
    assert theirs.told("DELETE", f"/v2/inputs/{twin['id']}")[0] == 200
    # The other app has the same file still.
    assert _raw(ours.service, twin_path)[0] == 404


@pytest.mark.parametrize(
    "target",
    [
        "/v2/visualizations/{own}/../{run}",
        "/v2/visualizations/{own}%2f..%2f{run}",
        "/v2/visualizations/{run}%00",
        "/v2/visualizations/{run}%0a",
        "/v2/visualizations/{run}%20",
        "/v2/visualizations/%7b{run}%7d",
        "/v2/visualizations//{run}",
        "/v2//visualizations/{run}",
        "//v2/visualizations/{run}",
        "/v2/visualizations/{run}/image%0a",
        "/v2/visualizations/{run}%2fimage",
        "/v2/visualizations/*",
        "/v2/visualizations/%25",
        "/v2/visualizations/_",
        "/v2/inputs/{input}%00",
        "/v2/inputs/{input}%0a",
        "/v2/inputs/%2e%2e%2f%2e%2e%2fshop%2finputs%2f{input}",
        "/v2/inputs/../../shop/inputs/{input}",
        "/v2/inputs/..%5c..%5cshop%5c{input}",
        "/v2/inputs/%",
        "/v2/inputs/*",
        "/v2/inputs/{input}%EF%BC%8F",
        "/v2/inputs/{image}",
        "http://shop/v2/inputs/{input}",
    ],
)
def test_no_trick_with_a_path_leads_to_the_other_app(apps, target):
    ours, theirs = apps
    image = ours.inputs[0]["data"]["image"]["url"].split("/")[-2]
    names = {"own": theirs.ready["id"], "run": ours.ready["id"]}
    target = target.format(**names, input=ours.ids[0], image=image)
    key = f"Authorization: Key {theirs.key}".encode()
    for method in ("GET", "DELETE"):
        status, body = _raw(ours.service, target, key, method=method)
        assert status in (404, 405), body
        assert SECRET.encode() not in body


def test_what_is_no_key_opens_nothing(apps):
    ours, theirs = apps
    (ours_id, ours_text), (their_id, their_text) = ours.key.split("."), theirs.key.split(".")
    texts = [
        b"", b"Key", b"Key ", b"Key  \t", b"Key null", b"Key .", b"Key *", b"Key \xff\xfe",
        *[f"{word} {ours.key}".encode() for word in ("Bearer", "Basic", "Token", "Keys", "")],
        *[
            f"Key {text}".encode()
            for text in (
                ours_id, f"{ours_id}.", f".{ours_text}", ours_text, f"{ours_id}.{their_text}",
                f"{their_id}.{ours_text}", f"{ours_id}.{theirs.key}", f"{ours.key}.", ours.key[:-1],
                f"{ours.key}a", ours.key.swapcase(), f"{ours_id} .{ours_text}", f"'{ours.key}'",
                f'"{ours.key}"', f"{theirs.key} {ours.key}", f"{theirs.key},{ours.key}",
                f"{theirs.key};app=shop", f"../keys/{ours_id}", f"{ours_id}.json", "secret",
            )
        ],
        ours.key.encode(),
    ]  # fmt: skip
    told = set()
    for text in texts:
        status, body = _raw(ours.service, "/v2/inputs", b"Authorization: " + text)
        reply = json.loads(body)
        del reply["status"]["req_id"]
        assert (status, reply["status"]["code"]) == (401, NO_KEY), text
        told.add(json.dumps(reply))
    status, body = _raw(ours.service, "/v2/inputs")
    assert status == 401
    # A key that is half right is refused as one that is none.
    assert len(told) == 1


@pytest.mark.parametrize(
    "place", ["?key={}", "?Authorization=Key%20{}", "?api_key={}&app=shop", "#Key {}", ";key={}"]
)
def test_a_key_in_an_address_opens_nothing(apps, place):
    ours, _ = apps
    target = "/v2/inputs" + place.format(ours.key).replace(" ", "%20")
    assert _raw(ours.service, target)[0] == 401


@pytest.mark.parametrize(
    "header",
    ["X-API-Key: {}", "Proxy-Authorization: Key {}", "Cookie: Authorization=Key {}", "Key: {}"],
)
def test_a_key_in_another_header_opens_nothing(apps, header):
    ours, _ = apps
    assert _raw(ours.service, "/v2/inputs", header.format(ours.key).encode())[0] == 401


def test_no_other_header_says_which_app(apps):
    ours, theirs = apps
    expected = theirs.told("GET", "/v2/inputs")
    key = f"authorization: kEY   {theirs.key}  ".encode()
    for header in (
        b"X-App-Id: shop", b"X-Original-URL: /v2/inputs/ours-0",
        b"X-HTTP-Method-Override: DELETE", b"X-Forwarded-Prefix: /shop", b"X-Forwarded-User: shop",
        b"Authorization: Key", b"Authorization: Key " + ours.key.split(".")[0].encode(),
    ):  # fmt: skip
        host = httpx.URL(theirs.service.base).netloc.decode()
        status, body = _raw(theirs.service, "/v2/inputs", key, header, host=host)
        reply = json.loads(body)
        del reply["status"]["req_id"]
        assert (status, reply) == expected


def test_of_two_keys_only_the_first_counts(apps):
    ours, theirs = apps
    both = [f"Authorization: Key {app.key}".encode() for app in (theirs, ours)]
    status, body = _raw(ours.service, "/v2/inputs", *both)
    assert status == 200
    assert SECRET.encode() not in body
    assert _raw(ours.service, "/v2/inputs", b"Authorization: Key x", both[1])[0] == 401


def test_a_revoked_key_is_worthless_at_once(apps, keys, tessera):
    ours, _ = apps
    revoked = App("revoked", keys["revoked"], ours.service)
    assert revoked.told("GET", "/v2/inputs/status")[0] == 200
    assert tessera("key", "revoke", revoked.key.split(".")[0]).code == 0
    status, reply = revoked.told("GET", "/v2/inputs/status")
    assert (status, reply["status"]["code"]) == (401, NO_KEY)
    assert ours.told("GET", "/v2/inputs/status")[0] == 200


@pytest.mark.parametrize("target", ["/metrics", "/metrics%0a", "http://127.0.0.1/metrics"])
def test_the_metrics_are_not_for_other_sites(apps, target):
    ours, _ = apps
    assert _raw(ours.service, target, host="example.com")[0] == 401


def test_what_everybody_may_read_names_no_app(apps):
    ours, _ = apps
    names = [*ours.ids, ours.ready["id"], ours.key.split(".")[0], SECRET]
    for path in ("/metrics", "/healthz", "/readyz", "/openapi.json", "/docs"):
        text = ours.service.client.get(path).text
        assert not [name for name in names if name in text]
        assert not re.search(r"\bshop2?\b", text)


def test_neither_logs_nor_files_hold_keys_addresses_or_pictures(apps, shared_home, service):
    for app in apps:
        app.ask("GET", f"/v2/inputs?key={app.key}")
        service.client.get(f"/v2/inputs?key={app.key}")
        service.client.get("/v2/inputs", headers={"Authorization": f"Key {app.key}x"})
        app.ask("POST", "/v2/inputs", [_item(0)])
        app.ask("POST", "/v2/searches", {"query": _item(0)})
    secrets = [app.key.split(".")[1].encode() for app in apps]
    secrets += [_addressed(app.inputs[0])[1].encode() for app in apps]
    secrets += [_path(app.ready["data"]["page"]["url"]).split("/")[-2].encode() for app in apps]
    log = service.log.read_bytes()
    assert b'"event": "request"' in log
    for text in (*secrets, packed(picture(0))[:40].encode(), SECRET.encode(), b"key="):
        assert text not in log
    # No word of a log is as long as a picture in base64.
    assert not re.search(rb"[A-Za-z0-9+/]{100}", log)
    for file in shared_home.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert not [text for text in secrets if text in content], file
