"""What every request passes: it gets an id, its key is checked, and it is measured and logged."""

import asyncio
import time
import uuid
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assets.methods.common.loopback import is_loopback
from orchestration.api.context import Caller, RequestContext
from orchestration.api.contract import ApiError, Code
from orchestration.api.keys import OPEN_APP, KeyLimits
from orchestration.api.logs import log_fault, log_request
from orchestration.api.rate_limits import RateLimits
from orchestration.api.replies import error_response
from orchestration.api.service import Service

BODY_SECONDS = 60.0

_GUARDED = "/v2"
_METRICS = "/metrics"
# The status that nginx logs when the client closed the connection.
_CLIENT_GONE = 499
_NO_ROUTE = "none"


class Gate:
    """The middleware that checks keys, and answers every exception with the contract's JSON.

    It puts a ``RequestContext`` into the request's state; the routes read it by ``context_of``.
    Add it as the innermost middleware, so that exceptions reach it before Starlette answers them
    in plain text.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._rates = RateLimits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        with self._service.metrics.in_flight():
            try:
                await self._answer(exchange)
            finally:
                self._record(exchange)

    async def _answer(self, exchange: "_Exchange") -> None:
        try:
            await self._admit(exchange)
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            pass
        except ApiError as error:
            await exchange.refuse(error)
        except Exception:
            log_fault(exchange.context.req_id)
            await exchange.refuse(
                ApiError(
                    Code.FAILURE,
                    "The service failed. Its log has the details under this req_id.",
                    http_status=500,
                )
            )

    async def _admit(self, exchange: "_Exchange") -> None:
        # The pattern of a route ends in `$`, which also matches before a line end.
        path = exchange.scope["path"].removesuffix("\n")
        if path == _METRICS and not _is_from_this_machine(exchange):
            self._caller_by_key(exchange.headers)
        if path == _GUARDED or path.startswith(f"{_GUARDED}/"):
            _normalize(exchange.scope)
            caller = self._caller(exchange.headers)
            exchange.context.caller = caller
            self._rates.count(caller.key_id or "", caller.limits.requests_per_second)
            await exchange.read_body(caller.limits.request_megabytes)

    def _caller(self, headers: Headers) -> Caller:
        if self._service.is_open and "authorization" not in headers:
            if not _is_local_site(headers):
                raise ApiError(
                    Code.KEY_REFUSED,
                    "No key has been made, so the service answers only programs on this machine "
                    "and its own pages.",
                )
            return Caller(OPEN_APP, None, KeyLimits())
        return self._caller_by_key(headers)

    def _caller_by_key(self, headers: Headers) -> Caller:
        scheme, _, text = headers.get("authorization", "").partition(" ")
        key = self._service.keys.find(text.strip()) if scheme.lower() == "key" else None
        if key is None:
            raise ApiError(
                Code.KEY_REFUSED,
                "Send a valid key in the header `Authorization: Key ...`.",
                {"WWW-Authenticate": "Key"},
            )
        return Caller(key.app, key.id, key.limits)

    def _record(self, exchange: "_Exchange") -> None:
        scope, seconds, context = exchange.scope, exchange.seconds(), exchange.context
        route = getattr(scope.get("route"), "path", _NO_ROUTE)
        status = exchange.status or _CLIENT_GONE
        caller = context.caller
        self._service.metrics.count_request(scope["method"], route, status, seconds)
        log_request(
            req_id=context.req_id,
            method=scope["method"],
            route=route,
            status=status,
            code=context.code,
            app=caller and caller.app,
            key_id=caller and caller.key_id,
            milliseconds=round(1000 * seconds, 1),
            bytes_in=exchange.bytes_in,
            bytes_out=exchange.bytes_out,
        )


class _Exchange:
    """A request and its answer, counted and timed."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.context = RequestContext(uuid.uuid4().hex)
        self.scope = scope
        scope["state"] = {**scope.get("state", {}), "context": self.context}
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
            MutableHeaders(scope=message)["X-Request-Id"] = self.context.req_id
        else:
            self.bytes_out += len(message.get("body", b""))
        await self._send(message)

    async def refuse(self, error: ApiError) -> None:
        if self.status is not None:
            # Part of an answer has been sent. The client can only see that it ends too early.
            return
        response = error_response(self.context, error)
        await response(self.scope, self.receive, self.send)

    async def read_body(self, megabytes: float) -> None:
        """Read the whole body before the route is called.

        Raises:
            ApiError: the body is too large, or takes too long.
            ClientDisconnect: the client has gone.
        """
        length = self.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > megabytes * 2**20:
            raise _too_large(megabytes)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = b"".join(await self._parts(megabytes))
        except TimeoutError as error:
            raise ApiError(
                Code.INVALID_REQUEST, f"The body did not arrive within {BODY_SECONDS:g} seconds."
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
    details = f"The body is larger than {megabytes:,g} MB."
    return ApiError(Code.INVALID_REQUEST, details, http_status=413)


def _normalize(scope: Scope) -> None:
    """Remove one slash from the end of the path, and declare the body as JSON.

    curl declares every body as a form. A body that is not JSON is refused when it is parsed.
    """
    for name, slash in (("path", "/"), ("raw_path", b"/")):
        if scope.get(name):
            scope[name] = scope[name].removesuffix(slash)
    others = [header for header in scope["headers"] if header[0].lower() != b"content-type"]
    scope["headers"] = [*others, (b"content-type", b"application/json")]


def _is_from_this_machine(exchange: _Exchange) -> bool:
    client = exchange.scope.get("client")
    return client is not None and is_loopback(client[0]) and _is_local_site(exchange.headers)


def _is_local_site(headers: Headers) -> bool:
    """Whether the request cannot come from a page of another web site.

    A browser sends the site of the page as Origin. The name in Host is not a name of this machine
    when another site's name was made to resolve to it (DNS rebinding).
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return is_loopback(name) and origin in (None, f"http://{host}")
