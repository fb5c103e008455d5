"""Addresses that strangers have the HTTP service download from: refused, and nothing stays."""

import socket
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socket import create_connection, getaddrinfo
from typing import Any

import httpx
import pytest

from orchestration.api.settings import ServeSettings
from support.image_server import packed, picture, reply, serving
from support.served import Served
from support.served_here import served_here

FAILED, UNSUPPORTED, INVALID_SEARCH = 30002, 30101, 40002
INPUTS, OUTPUTS, SEARCHES = "/v2/inputs", "/v2/models/nsfw-v1.0/outputs", "/v2/searches"
DOWNLOAD_SECONDS = 2
MOST_GROWTH = 100 * 2**20

# A host of the wide world, which in truth is this machine.
PUBLIC_HOST, PUBLIC_ADDRESS = "photos.test", "93.184.216.34"
# The tests' own connections are made from there, by which they are told from the service's.
FROM = "127.0.0.1"
LOOPBACK = [
    "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0.0.0.0",
    "127.8.8.8", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
]  # fmt: skip
PRIVATE = ["10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "[fd00::1]"]
REFUSED_ADDRESS = "not a public address"
TOO_LATE, TOO_LARGE = "did not answer in time", "at most 1,048,576"

pytestmark = pytest.mark.timeout(600)


def _dribble(handler: BaseHTTPRequestHandler, part: bytes) -> None:
    """Begin an answer that never ends, and never is silent for long."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(part)
        time.sleep(0.02)


def _flood(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        handler.wfile.write(b"x" * 100_000)


def _huge_picture() -> bytes:
    """A PNG that says of itself that it has 50,000 x 50,000 pixels."""
    png = bytearray(picture())
    png[16:24] = (50_000).to_bytes(4, "big") * 2
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    return bytes(png)


def _answer(status: int, body: bytes = b"", **headers: str) -> Callable:
    return lambda handler: reply(handler, status, body, **headers)


def _redirect(location: str) -> Callable:
    return _answer(302, Location=location)


# What a public server answers with, the code of that, and a part of the reason that is told.
ANSWERS: dict[str, tuple[bytes | Callable, int, str]] = {
    "/dribbled": (partial(_dribble, part=b"\r\n"), FAILED, TOO_LATE),
    "/headers": (partial(_dribble, part=b"X: x\r\n"), FAILED, TOO_LATE),
    "/silent": (lambda _: time.sleep(5 * DOWNLOAD_SECONDS), FAILED, TOO_LATE),
    "/10gb": (_answer(200, Content_Length=str(10 * 2**30)), FAILED, TOO_LARGE),
    "/flood": (_flood, FAILED, TOO_LARGE),
    "/packed": (_answer(200, picture(), Content_Encoding="gzip"), FAILED, "compressed"),
    "/page": (b"<!doctype html><html></html>", UNSUPPORTED, "like any kind of image"),
    "/cut.png": (picture(3)[:200], UNSUPPORTED, "before the picture is complete"),
    "/huge.png": (_huge_picture(), UNSUPPORTED, "50,000"),
    "/nothing": (_answer(404), FAILED, "The server answered 404."),
    "/broken": (_answer(500), FAILED, "The server answered 500."),
    "/circle": (_redirect("/circle"), FAILED, "redirects more than"),
    "/file": (_redirect("file:///etc/hostname"), FAILED, "Only http and https"),
    "/twice": (_redirect("/to/127.0.0.1"), FAILED, REFUSED_ADDRESS),
}


@dataclass
class World:
    """What is outside: a public server, and one of this machine that is nobody's business."""

    public: str = ""
    inner_port: int = 0
    asked_inside: list[str] = field(default_factory=list)
    # The hosts that the service has connected to.
    connected: set[str] = field(default_factory=set)

    def look_up(self, host: str, *arguments: Any, **options: Any) -> list:
        """Whatever is not the public host is what it is."""
        return getaddrinfo(PUBLIC_ADDRESS if host == PUBLIC_HOST else host, *arguments, **options)

    def connect(self, address: tuple, *arguments: Any, **options: Any) -> socket.socket:
        """Note a connection of the service."""
        if not options.get("source_address"):
            self.connected.add(address[0])
        if address[0] == PUBLIC_ADDRESS:
            address = ("127.0.0.1", address[1])
        return create_connection(address, *arguments, **options)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()

    def secret(handler: BaseHTTPRequestHandler) -> None:
        world.asked_inside.append(handler.path)
        reply(handler, 200, picture(1))

    with serving({"/secret.png": secret}) as inner:
        port = httpx.URL(inner).port
        assert port is not None
        world.inner_port = port
        answers = {path: answer for path, (answer, _, _) in ANSWERS.items()}
        for host in LOOPBACK + PRIVATE:
            answers[f"/to/{host}"] = _redirect(f"http://{host}:{world.inner_port}/secret.png")
        with serving({"/photo.png": picture(2), **answers}) as public:
            world.public = public.replace("127.0.0.1", PUBLIC_HOST)
            yield world


@pytest.fixture(scope="module")
def service(shared_home, world) -> Iterator[Served]:
    """A service that refuses private addresses; every route has answered once."""
    (shared_home.parent / "temporary").mkdir()
    settings = ServeSettings(download_seconds=DOWNLOAD_SECONDS, image_megabytes=1)
    with (
        served_here(shared_home, settings) as service,
        httpx.HTTPTransport(local_address=FROM) as transport,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(socket, "getaddrinfo", world.look_up)
        patch.setattr(socket, "create_connection", world.connect)
        patch.setattr(tempfile, "tempdir", str(shared_home.parent / "temporary"))
        service.client = httpx.Client(
            base_url=service.base, timeout=120, trust_env=False, transport=transport
        )
        photo = f"{world.public}/photo.png"
        for route in (INPUTS, OUTPUTS, SEARCHES):
            assert _post(service, route, photo)[0] == 200
        client = service.client
        assert client.request("DELETE", INPUTS, json={"delete_all": True}).status_code == 200
        yield service


@pytest.fixture(autouse=True)
def nothing_left(shared_home, service) -> Iterator[None]:
    """After each test there is no input, no file and no collection that was not there before."""
    before = _files(shared_home.parent)
    yield
    assert service.client.get(INPUTS).json()["inputs"] == []
    counts = service.client.get(f"{INPUTS}/status").json()["counts"]
    assert counts == {"processed": 0, "to_process": 0, "errors": 0, "processing": 0}
    assert _files(shared_home.parent) == before
    assert not [path for path in before if path.match("home/inputs/*/files/*/*")]
    assert not list((shared_home / "collections").glob("*"))


def _files(folder: Path) -> set[Path]:
    """Return the files below, save those that SQLite keeps beside a database for a while."""
    beside = ("-wal", "-shm", "-journal")
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder) for path in files if not path.name.endswith(beside)}


def _post(service: Served, route: str, *urls: str) -> tuple[int, dict]:
    items = [{"data": {"image": {"url": url}}} for url in urls]
    body: dict = {"inputs": items}
    if route == SEARCHES:
        body = {"query": {"ands": [{"output": {"input": item}} for item in items]}}
    response = service.client.post(route, json=body)
    return response.status_code, response.json()


def _verdicts(service: Served, route: str, urls: list[str]) -> list[tuple[int, str]]:
    """Return the code and the reason for each address, none of which may be any good."""
    if route == SEARCHES:
        with ThreadPoolExecutor(8) as asking:
            told = list(asking.map(partial(_post, service, route), urls))
        assert {status for status, _ in told} == {400}
        statuses = [reply["status"] for _, reply in told]
    else:
        status, reply = _post(service, route, *urls)
        assert (status, reply["status"]["code"]) == (400, 10020)
        statuses = [one["status"] for one in reply["inputs" if route == INPUTS else "outputs"]]
    return [(status["code"], status["details"]) for status in statuses]


def _many(url: str, n: int) -> list[str]:
    """Return addresses that are different ones, although the server is asked for the same."""
    return [f"{url}#{number}" for number in range(n)]


@pytest.mark.parametrize("route", [INPUTS, OUTPUTS, SEARCHES])
def test_what_a_public_server_answers_badly_is_refused_with_its_reason(world, service, route):
    verdicts = _verdicts(service, route, [world.public + path for path in ANSWERS])
    for (path, (_, code, reason)), (told_code, told_reason) in zip(
        ANSWERS.items(), verdicts, strict=True
    ):
        assert told_code == (INVALID_SEARCH if route == SEARCHES else code), path
        assert reason in told_reason, path
        assert told_reason.endswith("."), path
    assert world.asked_inside == []


@pytest.mark.parametrize("route", [INPUTS, OUTPUTS, SEARCHES])
@pytest.mark.parametrize("way", ["direct", "redirected"])
def test_addresses_that_are_not_public_are_never_connected_to(world, service, route, way):
    urls = [f"http://{host}:{world.inner_port}/secret.png" for host in LOOPBACK + PRIVATE]
    if way == "redirected":
        urls = [f"{world.public}/to/{host}" for host in LOOPBACK + PRIVATE]
    verdicts = _verdicts(service, route, urls)
    code = INVALID_SEARCH if route == SEARCHES else FAILED
    assert [told for told, _ in verdicts] == [code] * len(urls)
    assert not [reason for _, reason in verdicts if REFUSED_ADDRESS not in reason]
    assert world.asked_inside == []
    assert world.connected == {PUBLIC_ADDRESS}


def test_addresses_that_only_look_public_are_never_connected_to(world, service):
    port, photo = world.inner_port, f":{world.inner_port}/secret.png"
    urls = [
        f"http://{PUBLIC_HOST}@127.0.0.1{photo}",
        f"http://127.0.0.1:{port}\\@{PUBLIC_HOST}/secret.png",
        f"http://{PUBLIC_HOST}\\@127.0.0.1{photo}",
        f"http://①②⑦.⓪.⓪.①{photo}",
        f"http://127。0。0。1{photo}",
        f"http://127.0.0.1.{photo}",
        f"http://0177.0.0.1{photo}",
        f"http://LOCALHOST{photo}",
        f"http://localhost.{photo}",
        f"http://%31%32%37.0.0.1{photo}",
        f" http://127.0.0.1{photo}",
        f"http:/127.0.0.1{photo}",
        f"//127.0.0.1{photo}",
        f"http://127.0.0.1%00.{PUBLIC_HOST}{photo}",
        f"gopher://127.0.0.1{photo}",
        f"file:///proc/self/environ?{photo}",
        "data:image/png;base64," + packed(picture()),
        f"{service.base}/metrics",
    ]
    verdicts = _verdicts(service, INPUTS, urls)
    assert {code for code, _ in verdicts} == {FAILED}
    assert world.asked_inside == []
    assert world.connected == {PUBLIC_ADDRESS}


def test_good_addresses_beside_bad_ones_are_taken(world, service):
    for route, name in ((INPUTS, "inputs"), (OUTPUTS, "outputs")):
        urls = (f"{world.public}/10gb", f"{world.public}/photo.png", f"{world.public}/dribbled")
        status, reply = _post(service, route, *urls)
        assert (status, reply["status"]["code"]) == (200, 10010)
        good = 30000 if route == INPUTS else 10000
        assert [one["status"]["code"] for one in reply[name]] == [FAILED, good, FAILED]
    stored = service.client.get(INPUTS).json()["inputs"]
    assert [one["data"]["image"]["url"] for one in stored] == [f"{world.public}/photo.png"]
    service.client.request("DELETE", INPUTS, json={"delete_all": True})


@pytest.mark.parametrize("route", [INPUTS, OUTPUTS, SEARCHES])
@pytest.mark.parametrize("path", ["/flood", "/10gb"])
def test_large_downloads_do_not_fill_the_memory(world, service, route, path):
    process = service.process
    before = most = process.memory_info().rss
    urls = _many(world.public + path, 64)
    with ThreadPoolExecutor(1) as asking:
        asked = asking.submit(_verdicts, service, route, urls)
        while not asked.done():
            most = max(most, process.memory_info().rss)
            time.sleep(0.01)
    # On a busy machine the time may be up before the bytes are.
    assert all(TOO_LARGE in reason or TOO_LATE in reason for _, reason in asked.result())
    assert most - before < MOST_GROWTH


def test_while_downloads_do_not_end_others_are_answered(world, service):
    with ThreadPoolExecutor(3) as asking:
        urls = _many(f"{world.public}/dribbled", 24)
        asked = [
            asking.submit(_verdicts, service, route, urls) for route in (INPUTS, OUTPUTS, SEARCHES)
        ]
        time.sleep(0.3)
        assert service.client.get("/readyz").status_code == 200
        image = {"data": {"image": {"base64": packed(picture(5))}}}
        assert service.client.post(OUTPUTS, json={"inputs": [image]}).status_code == 200
        assert not any(one.done() for one in asked)
        for one in asked:
            assert all(TOO_LATE in reason for _, reason in one.result())
