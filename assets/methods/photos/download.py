"""Downloads from web addresses that strangers may have chosen: bounded in bytes, time and reach.

Names are resolved here, every address is checked, and the connection goes to the checked address,
so that a name cannot point elsewhere between check and use. Proxies of the environment are not
used, because a proxy resolves names itself. Credentials and cookies are never sent.
"""

import functools
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from assets.methods.photos.rejects import Reason, Rejected

_TRANSIENT_STATUSES = {408, 425, 429, 500, 502, 503, 504}
_REDIRECT_STATUSES = {301, 302, 303, 307, 308}
_FIRST_PAUSE_SECONDS = 0.5
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PROTOCOL_ASSIGNMENTS = ipaddress.IPv4Network("192.0.0.0/24")  # RFC 6890

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class FetchLimits:
    """The limits for one file.

    ``timeout_seconds`` is for everything together: retries, pauses and redirects included.
    """

    max_bytes: int = 256 * 2**20
    timeout_seconds: float = 60.0
    connect_timeout_seconds: float = 10.0
    retries: int = 3
    max_redirects: int = 5
    allow_private_addresses: bool = False


@dataclass(frozen=True)
class Fetched:
    """The bytes of a file and its stamp; ``data`` is None if the file still has a known stamp.

    ``stamp`` changes with the file, as a server's ETag or Last-Modified; None if it is not known.
    """

    data: bytes | None
    stamp: str | None


def fetch(url: str, limits: FetchLimits, known_stamp: str | None = None) -> Fetched:
    """Download ``url`` (http or https), unless it still has ``known_stamp``.

    Raises Rejected: too large, or download failed.
    """
    deadline = time.monotonic() + limits.timeout_seconds
    for attempt in range(limits.retries + 1):
        try:
            return _follow(url, limits, known_stamp, deadline)
        except _Transient as failure:
            pause = max(failure.pause_seconds, _FIRST_PAUSE_SECONDS * 2**attempt)
            if attempt == limits.retries or time.monotonic() + pause >= deadline:
                raise _failed(failure.detail) from failure
            time.sleep(pause)
    raise AssertionError("unreachable: the last attempt returns or raises")


class _Transient(Exception):  # noqa: N818 - not an error until the retries are used up
    """A failure after which another try may succeed."""

    def __init__(self, detail: str, pause_seconds: float = 0.0):
        super().__init__(detail)
        self.detail = detail
        self.pause_seconds = pause_seconds


def _failed(detail: str) -> Rejected:
    return Rejected(Reason.DOWNLOAD_FAILED, detail)


def _follow(url: str, limits: FetchLimits, known_stamp: str | None, deadline: float) -> Fetched:
    """Request ``url`` and the addresses it redirects to; each of them is checked."""
    target = _parsed(url)
    for _ in range(limits.max_redirects + 1):
        answer = _ask(target, limits, known_stamp, deadline)
        if isinstance(answer, Fetched):
            return answer
        target = _parsed(answer, target)
    raise _failed(f"The server redirects more than {limits.max_redirects} times.")


def _parsed(url: str, beside: httpx.URL | None = None) -> httpx.URL:
    try:
        parsed = httpx.URL(url) if beside is None else beside.join(url)
        has_host = bool(parsed.host)  # Raises ValueError for an invalid international name.
    except (httpx.InvalidURL, ValueError) as error:
        raise _failed("The address is not a valid web address.") from error
    if parsed.scheme not in ("http", "https") or not has_host:
        raise _failed("Only http and https addresses are downloaded.")
    if parsed.userinfo:
        raise _failed("The address carries a user name or password; those are never sent.")
    return parsed


def _ask(
    url: httpx.URL, limits: FetchLimits, known_stamp: str | None, deadline: float
) -> Fetched | str:
    """Send one request; return what was fetched, or the address that the server redirects to."""
    backend = _CheckedBackend(limits, deadline)
    # In parts, because httpcore drops everything after a semicolon when it parses an address.
    address = httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
    )
    try:
        with (
            httpcore.ConnectionPool(ssl_context=_ssl_context(), network_backend=backend) as pool,
            pool.stream("GET", address, headers=_headers(url, known_stamp)) as response,
        ):
            return _read_answer(response, limits, known_stamp)
    except (httpcore.TimeoutException, TimeoutError) as error:
        raise _Transient("The server did not answer in time.") from error
    except (httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
        raise _Transient(f"The connection to {url.host} failed or broke off.") from error
    except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
        raise _failed(f"The address cannot be asked for from {url.host}.") from error


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _headers(url: httpx.URL, known_stamp: str | None) -> list[tuple[str, str]]:
    headers = {
        "Host": url.netloc.decode("ascii"),
        "User-Agent": "tessera",
        "Accept": "image/*,*/*;q=0.5",
        # A compressed answer could be a decompression bomb.
        "Accept-Encoding": "identity",
    }
    kind, _, value = (known_stamp or "").partition(" ")
    if kind == "etag":
        headers["If-None-Match"] = value
    elif kind == "modified":
        headers["If-Modified-Since"] = value
    return list(headers.items())


def _read_answer(
    response: httpcore.Response, limits: FetchLimits, known_stamp: str | None
) -> Fetched | str:
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
    }
    status = response.status
    if status in _REDIRECT_STATUSES and "location" in headers:
        return headers["location"]
    if status == 304 and known_stamp is not None:
        return Fetched(None, known_stamp)
    if status in _TRANSIENT_STATUSES:
        raise _Transient(f"The server answered {status}.", _retry_after(headers))
    if status != 200:
        raise _failed(f"The server answered {status}.")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise _failed("The server sent the file compressed although it was asked not to.")
    return Fetched(_body(response, headers, limits.max_bytes), _stamp(headers))


def _stamp(headers: dict[str, str]) -> str | None:
    if "etag" in headers:
        return f"etag {headers['etag']}"
    return f"modified {headers['last-modified']}" if "last-modified" in headers else None


def _retry_after(headers: dict[str, str]) -> float:
    text = headers.get("retry-after", "")
    return float(text) if text.isdecimal() and len(text) < 10 else 0.0


def _body(response: httpcore.Response, headers: dict[str, str], max_bytes: int) -> bytes:
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise too_large(int(announced), max_bytes)
    chunks = []
    size = 0
    for chunk in response.iter_stream():
        size += len(chunk)
        if size > max_bytes:
            raise too_large(None, max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


def too_large(n_bytes: int | None, max_bytes: int) -> Rejected:
    """Return the verdict on a file of ``n_bytes``; None if only known to be over the limit."""
    size = "more" if n_bytes is None else f"{n_bytes:,} bytes"
    return Rejected(Reason.TOO_LARGE, f"The file has {size}; at most {max_bytes:,} bytes are read.")


class _CheckedBackend(httpcore.NetworkBackend):
    """Connects to checked addresses only; every operation ends at the deadline."""

    def __init__(self, limits: FetchLimits, deadline: float):
        self._limits = limits
        self._deadline = deadline
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Resolve ``host``, refuse it if any of its addresses is not public, and connect."""
        addresses = _resolved(host, port)
        if not self._limits.allow_private_addresses and not all(map(_is_public, addresses)):
            raise _failed(f"{host} is not a public address; only public ones are downloaded from.")
        failure: Exception | None = None
        for address in addresses:
            allowed = min(self._limits.connect_timeout_seconds, _remaining(self._deadline))
            try:
                stream = self._backend.connect_tcp(str(address), port, allowed)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _DeadlineStream(stream, self._deadline)
        raise failure or httpcore.ConnectError(f"{host} has no address")


class _DeadlineStream(httpcore.NetworkStream):
    """A stream; every operation ends at the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float):
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read at most ``max_bytes`` bytes."""
        return self._stream.read(max_bytes, _remaining(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write ``buffer``."""
        self._stream.write(buffer, _remaining(self._deadline))

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """Encrypt; the certificate is checked against the name, not the address."""
        encrypted = self._stream.start_tls(ssl_context, server_hostname, _remaining(self._deadline))
        return _DeadlineStream(encrypted, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore asks about the socket."""
        return self._stream.get_extra_info(info)


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise httpcore.ReadTimeout("the time for this file is used up")
    return remaining


def _resolved(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, OverflowError) as error:
        if getattr(error, "errno", None) == socket.EAI_AGAIN:
            raise _Transient(f"The name {host} could not be looked up.") from error
        raise _failed(f"There is no server named {host}.") from error
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _is_public(address: Address) -> bool:
    """Return whether an address, in any notation, can be reached from everywhere."""
    if isinstance(address, ipaddress.IPv6Address):
        if any(not _is_public(inner) for inner in _embedded(address)):
            return False
        if address.ipv4_mapped is not None:
            return True
        if address.is_site_local:
            return False
    elif address in _PROTOCOL_ASSIGNMENTS:
        return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


def _embedded(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses inside an IPv6 address: mapped, 6to4, Teredo and NAT64."""
    embedded = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        embedded.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [inner for inner in embedded if inner is not None]
