"""What every request passes: it gets an id, shows its key, is measured, and is logged."""

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestration.api.contract import ApiError, Code, Status, StatusReply
from orchestration.api.keys import OPEN_APP, KeyLimits
from orchestration.api.limits import RateLimits
from orchestration.api.logs import log_fault, log_request
from orchestration.api.settings import is_loopback

if TYPE_CHECKING:
    from orchestration.api.service import Service

BODY_SECONDS = 60.0

_GUARDED = "/v2"
_METRICS = "/metrics"
# As nginx counts a request whose client went away.
_CLIENT_GONE = 499
_NO_ROUTE = "none"


@dataclass(frozen=True)
class Caller:
    """Who asks: an app, the id of the key that was shown (None without keys), and its limits."""

    app: str
    key_id: str | None
    limits: KeyLimits


class Gate:
    """Lets in who shows a key, and turns whatever goes wrong inside into the contract's JSON.

    It leaves ``req_id`` and ``caller`` in the request's state, and logs and counts the request by
    the ``code`` that it finds there. To be added as the innermost middleware, so that exceptions
    reach it before Starlette makes a text of them.
    """

    def __init__(self, app: ASGIApp, service: "Service") -> None:
        self._app = app
        self._service = service
        self._rates = RateLimits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        with self._service.metrics.in_flight():
            try:
                await self._answer(exchange)
            finally:
                self._note(exchange)

    async def _answer(self, exchange: "_Exchange") -> None:
        try:
            await self._admit(exchange)
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            pass
        except ApiError as error:
            await exchange.refuse(error)
        except Exception:
            log_fault(exchange.req_id)
            await exchange.refuse(
                ApiError(
                    Code.FAILURE,
                    "A fault of the service; its log has more under this req_id.",
                    http_status=500,
                )
            )

    async def _admit(self, exchange: "_Exchange") -> None:
        # The pattern of a route ends in `$`, which lets a line end pass.
        path = exchange.scope["path"].removesuffix("\n")
        if path == _METRICS and not _is_of_this_machine(exchange):
            self._caller_by_key(exchange.headers)
        if path == _GUARDED or path.startswith(f"{_GUARDED}/"):
            _smooth(exchange)
            caller = self._caller(exchange.headers)
            exchange.state["caller"] = caller
            self._rates.count(caller.key_id or "", caller.limits.requests_per_second)
            await exchange.read_body(caller.limits.request_megabytes)

    def _caller(self, headers: Headers) -> Caller:
        if self._service.is_open and "authorization" not in headers:
            if not _is_local_site(headers):
                raise ApiError(
                    Code.KEY_REFUSED,
                    "Without keys the service answers this machine alone, and no other web site.",
                )
            return Caller(OPEN_APP, None, KeyLimits())
        return self._caller_by_key(headers)

    def _caller_by_key(self, headers: Headers) -> Caller:
        scheme, _, text = headers.get("authorization", "").partition(" ")
        key = self._service.keys.find(text.strip()) if scheme.lower() == "key" else None
        if key is None:
            raise ApiError(
                Code.KEY_REFUSED,
                "The header `Authorization: Key ...` has to have a valid key.",
                {"WWW-Authenticate": "Key"},
            )
        return Caller(key.app, key.id, key.limits)

    def _note(self, exchange: "_Exchange") -> None:
        scope, seconds = exchange.scope, exchange.seconds()
        route = getattr(scope.get("route"), "path", _NO_ROUTE)
        status = exchange.status or _CLIENT_GONE
        caller: Caller | None = exchange.state.get("caller")
        self._service.metrics.request(scope["method"], route, status, seconds)
        log_request(
            req_id=exchange.req_id,
            method=scope["method"],
            route=route,
            status=status,
            code=exchange.state.get("code"),
            app=caller and caller.app,
            key_id=caller and caller.key_id,
            milliseconds=round(1000 * seconds, 1),
            bytes_in=exchange.bytes_in,
            bytes_out=exchange.bytes_out,
        )


class _Exchange:
    """A request and its answer, measured as they pass."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.req_id = uuid.uuid4().hex
        self.state: dict[str, Any] = {**scope.get("state", {}), "req_id": self.req_id}
        self.scope = scope
        scope["state"] = self.state
        self.status: int | None = None
        self.bytes_in = self.bytes_out = 0
        self._receive, self._send = receive, send
        self._body: Message | None = None
        self._start = time.monotonic()

    @property
    def headers(self) -> Headers:
        return Headers(scope=self.scope)

    def seconds(self) -> float:
        return time.monotonic() - self._start

    async def receive(self) -> Message:
        if self._body is not None:
            message, self._body = self._body, None
            return message
        return await self._receive()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = self.req_id
        else:
            self.bytes_out += len(message.get("body", b""))
        await self._send(message)

    async def refuse(self, error: ApiError) -> None:
        if self.status is not None:
            # Half an answer is under way: that it breaks off is all that can still be said.
            return
        status = Status.of(error.code, error.details)
        status.req_id = self.req_id
        self.state["code"] = error.code.number
        reply = StatusReply(status=status).model_dump(exclude_none=True)
        response = JSONResponse(reply, error.http_status, error.headers)
        await response(self.scope, self.receive, self.send)

    async def read_body(self, megabytes: float) -> None:
        """Take the body in, so that what is wrong with it is told before a route is asked.

        Raises:
            ApiError: it is too large, or takes too long.
            ClientDisconnect: there is nobody left to answer.
        """
        length = self.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > megabytes * 2**20:
            raise _too_large(megabytes)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = b"".join(await self._parts(megabytes))
        except TimeoutError as error:
            raise ApiError(
                Code.INVALID_REQUEST, f"The body took longer than {BODY_SECONDS:g} seconds."
            ) from error
        self._body = {"type": "http.request", "body": body, "more_body": False}

    async def _parts(self, megabytes: float) -> list[bytes]:
        parts, more = [], True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part = message.get("body", b"")
            self.bytes_in += len(part)
            if self.bytes_in > megabytes * 2**20:
                raise _too_large(megabytes)
            parts.append(part)
            more = message.get("more_body", False)
        return parts


def _too_large(megabytes: float) -> ApiError:
    return ApiError(Code.INVALID_REQUEST, f"The body is larger than {megabytes:,g} MB.")


def _smooth(exchange: _Exchange) -> None:
    """Take one slash off the path's end, and call the body JSON, whatever it is called.

    curl calls every body a form, and what is no JSON is refused as such.
    """
    scope = exchange.scope
    for name, slash in (("path", "/"), ("raw_path", b"/")):
        if scope.get(name):
            scope[name] = scope[name].removesuffix(slash)
    others = [header for header in scope["headers"] if header[0].lower() != b"content-type"]
    scope["headers"] = [*others, (b"content-type", b"application/json")]


def _is_of_this_machine(exchange: _Exchange) -> bool:
    client = exchange.scope.get("client")
    return client is not None and is_loopback(client[0]) and _is_local_site(exchange.headers)


def _is_local_site(headers: Headers) -> bool:
    """Whether no page of another site can have caused the request.

    A browser sends a page's own host as Origin. The name in Host is this machine's only if no
    other's name was made to point here.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return is_loopback(name) and origin in (None, f"http://{host}")
