import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from assets.methods.photos import download as fetching
from assets.methods.photos.download import Fetched, FetchLimits, fetch
from assets.methods.photos.rejects import Reason, Rejected

LOCAL = FetchLimits(
    max_bytes=10_000,
    timeout_seconds=5,
    connect_timeout_seconds=1,
    retries=2,
    max_redirects=3,
    allow_private_addresses=True,
)


class Handler(BaseHTTPRequestHandler):
    answer: ClassVar[Callable[["Handler"], None]]
    asked: list[dict[str, str]]

    def do_GET(self) -> None:
        self.asked.append({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
        try:
            self.answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(
    answer: Callable[[Handler], None], certificate: Path | None = None
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server on this machine; gives its address and the list of what it is asked for."""
    asked: list[dict[str, str]] = []
    handler = type("Answering", (Handler,), {"answer": answer, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(fetching, "_FIRST_PAUSE_SECONDS", 0.01)


def refused(url: str, limits: FetchLimits = LOCAL) -> Rejected:
    with pytest.raises(Rejected) as caught:
        fetch(url, limits)
    assert caught.value.detail.endswith(".")
    return caught.value


def test_the_bytes_come_back():
    with serving(lambda handler: handler.reply(200, b"photo")) as (url, asked):
        assert fetch(f"{url}/a%20b;c.jpg?x=1#part", LOCAL) == Fetched(b"photo", None)
    assert asked[0]["path"] == "/a%20b;c.jpg?x=1"
    assert asked[0]["host"] == url.removeprefix("http://")
    assert asked[0]["accept-encoding"] == "identity"
    assert not {"cookie", "authorization", "referer"} & set(asked[0])


@pytest.mark.parametrize(
    ("headers", "stamp", "condition"),
    [
        ({"ETag": '"one"'}, 'etag "one"', ("if-none-match", '"one"')),
        (
            {"Last_Modified": "Wed, 01 May 2024 12:00:00 GMT"},
            "modified Wed, 01 May 2024 12:00:00 GMT",
            ("if-modified-since", "Wed, 01 May 2024 12:00:00 GMT"),
        ),
    ],
)
def test_what_has_not_changed_is_not_sent_again(headers, stamp, condition):
    def answer(handler: Handler) -> None:
        is_conditional = any(name.lower().startswith("if-") for name in handler.headers)
        handler.reply(304 if is_conditional else 200, b"" if is_conditional else b"x", **headers)

    with serving(answer) as (url, asked):
        assert fetch(url, LOCAL) == Fetched(b"x", stamp)
        assert fetch(url, LOCAL, known_stamp=stamp) == Fetched(None, stamp)
    assert asked[1][condition[0]] == condition[1]


def test_unasked_for_not_modified_is_a_failure():
    with serving(lambda handler: handler.reply(304)) as (url, _):
        assert "304" in refused(url).detail


def test_not_found_is_not_tried_again():
    with serving(lambda handler: handler.reply(404)) as (url, asked):
        rejected = refused(url)
    assert (rejected.reason, rejected.detail) == (
        Reason.DOWNLOAD_FAILED,
        "The server answered 404.",
    )
    assert len(asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_transient_failures_are_tried_again(status):
    answers = iter([status, status, 200])
    with serving(lambda handler: handler.reply(next(answers), b"ok")) as (url, asked):
        assert fetch(url, LOCAL).data == b"ok"
    assert len(asked) == 3


def test_retries_end():
    with serving(lambda handler: handler.reply(500)) as (url, asked):
        assert refused(url).detail == "The server answered 500."
    assert len(asked) == 3


def test_retry_after_beyond_the_deadline_is_not_waited_for():
    with serving(lambda handler: handler.reply(503, Retry_After="3600")) as (url, asked):
        started = time.monotonic()
        refused(url)
    assert time.monotonic() - started < 60
    assert len(asked) == 1


def test_a_connection_that_breaks_off_is_tried_again():
    breaks = iter([True, False])

    def answer(handler: Handler) -> None:
        if next(breaks):
            handler.send_response(200)
            handler.send_header("Content-Length", "100")
            handler.end_headers()
            handler.wfile.write(b"half")
            handler.close_connection = True
        else:
            handler.reply(200, b"whole")

    with serving(answer) as (url, _):
        assert fetch(url, LOCAL).data == b"whole"


def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        rejected = refused(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert rejected.reason == Reason.DOWNLOAD_FAILED


def test_announced_too_large_is_not_read():
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**12))
        handler.end_headers()

    with serving(answer) as (url, _):
        rejected = refused(url)
    assert rejected.reason == Reason.TOO_LARGE
    assert "1,000,000,000,000 bytes" in rejected.detail


def test_endless_is_cut_off():
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 4096)

    with serving(answer) as (url, _):
        assert refused(url).reason == Reason.TOO_LARGE


@pytest.mark.parametrize("part", ["header", "body", "silence"])
def test_the_time_limit_covers_every_part(part):
    refused_at_last = threading.Event()

    def answer(handler: Handler) -> None:
        if part == "silence":
            refused_at_last.wait(60)
            return
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        if part == "body":
            handler.wfile.write(b"Content-Length: 1000\r\n\r\n")
        for _ in range(600):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            if refused_at_last.wait(0.1):
                return

    with serving(answer) as (url, _):
        started = time.monotonic()
        rejected = refused(url, replace(LOCAL, timeout_seconds=0.5))
        seconds = time.monotonic() - started
        refused_at_last.set()
    assert seconds < 30
    assert rejected.reason == Reason.DOWNLOAD_FAILED


def test_compressed_answers_are_refused():
    with serving(lambda handler: handler.reply(200, b"x", Content_Encoding="gzip")) as (url, _):
        assert "compressed" in refused(url).detail


def test_redirects_are_followed():
    def answer(handler: Handler) -> None:
        if handler.path == "/end/photo.jpg":
            handler.reply(200, b"there")
        else:
            handler.reply(302, Location="/end/photo.jpg")

    with serving(answer) as (url, _):
        assert fetch(f"{url}/start", LOCAL).data == b"there"


def test_redirects_end():
    with serving(lambda handler: handler.reply(301, Location="/again")) as (url, asked):
        assert "redirects more than 3 times" in refused(url).detail
    assert len(asked) == 4


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://user:word@127.0.0.1/",
        "http://[",
        "http://xn--zzzzzz99999/",
        "http://\xe9..com/",
    ],
)
def test_redirects_elsewhere_are_refused(location):
    with serving(lambda handler: handler.reply(302, Location=location)) as (url, asked):
        assert refused(url).reason == Reason.DOWNLOAD_FAILED
    assert len(asked) == 1


def test_every_hop_is_checked(monkeypatch):
    # The first server counts as public here, the one it redirects to does not.
    with (
        serving(lambda handler: handler.reply(200, b"secret")) as (inner, inner_asked),
        serving(lambda handler: handler.reply(302, Location=f"{inner}/")) as (outer, _),
    ):
        port = int(outer.rpartition(":")[2])
        resolved = fetching._resolved
        monkeypatch.setattr(
            fetching,
            "_resolved",
            lambda host, asked_port: (
                [PretendPublic("127.0.0.1")] if asked_port == port else resolved(host, asked_port)
            ),
        )
        rejected = refused(outer, replace(LOCAL, allow_private_addresses=False))
    assert "not a public address" in rejected.detail
    assert not inner_asked


class PretendPublic(ipaddress.IPv4Address):
    is_global = True


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "localhost",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "192.0.0.8",
        "[fec0::1]",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fc00::1]",
        "[ff02::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:7f00:1::]",
    ],
)
def test_addresses_that_are_not_public(host):
    limits = replace(LOCAL, allow_private_addresses=False, retries=0)
    rejected = refused(f"http://{host}/", limits)
    assert rejected.reason == Reason.DOWNLOAD_FAILED
    assert "public" in rejected.detail


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34"])
def test_public_addresses(address):
    assert fetching._is_public(ipaddress.ip_address(address))


def test_one_private_address_among_several_is_enough_to_refuse(monkeypatch):
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *args, **options: [
            (0, 0, 0, "", ("93.184.216.34", 80)),
            (0, 0, 0, "", ("10.0.0.1", 80)),
        ],
    )
    rejected = refused("http://example.com/", replace(LOCAL, allow_private_addresses=False))
    assert "not a public address" in rejected.detail


def test_a_name_is_looked_up_once(monkeypatch):
    lookups = []

    def getaddrinfo(host: str, port: int, *args: object, **options: object) -> list:
        lookups.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with serving(lambda handler: handler.reply(200, b"ok")) as (url, asked):
        port = url.rpartition(":")[2]
        assert fetch(f"http://photos.test:{port}/", LOCAL).data == b"ok"
    # The second look-up is the socket module's own, of the address that was checked.
    assert lookups == ["photos.test", "127.0.0.1"]
    assert asked[0]["host"] == f"photos.test:{port}"


def test_an_unknown_name(monkeypatch):
    def getaddrinfo(*args: object, **options: object) -> list:
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert refused("http://nowhere.test/").detail == "There is no server named nowhere.test."


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/y",
        "file:///x",
        "http://",
        "http:///x",
        "x",
        "http://[::",
        "http://x:99999/",
        "http://x/\r\n",
    ],
)
def test_other_addresses_are_refused(url):
    assert refused(url).reason == Reason.DOWNLOAD_FAILED


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with serving(lambda handler: handler.reply(200, b"ok")) as (url, _):
        assert fetch(url, LOCAL).data == b"ok"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for photos.test that signs itself, with its key, as one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "photos.test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("photos.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(secret + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(("name", "is_trusted"), [("photos.test", True), ("other.test", False)])
def test_certificates_are_checked_against_the_name(monkeypatch, certificate, name, is_trusted):
    monkeypatch.setattr(fetching, "_resolved", lambda *_: [ipaddress.ip_address("127.0.0.1")])
    trusting = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(fetching, "_ssl_context", lambda: trusting)
    with serving(lambda handler: handler.reply(200, b"ok"), certificate) as (url, _):
        address = url.replace("http://127.0.0.1", f"https://{name}")
        if is_trusted:
            assert fetch(address, LOCAL).data == b"ok"
        else:
            assert refused(address).reason == Reason.DOWNLOAD_FAILED
