"""What a route needs to know beside its arguments: the service, who asks, and the request's id."""

from dataclasses import dataclass

from fastapi import Request

from orchestration.api.keys import KeyLimits
from orchestration.api.service import Service


@dataclass(frozen=True)
class Caller:
    """Who asks: an app, the id of the key that was shown (None without keys), and its limits."""

    app: str
    key_id: str | None
    limits: KeyLimits


@dataclass
class RequestContext:
    """What the gate knows of a request.

    ``caller`` is None outside `/v2`. ``code`` is the status code of the reply, for the log.
    """

    req_id: str
    caller: Caller | None = None
    code: int | None = None


def service_of(request: Request) -> Service:
    """Return the service that the application was built for."""
    return request.app.state.service


def context_of(request: Request) -> RequestContext:
    """Return what the gate has put into the request's state."""
    return request.state.context


def caller_of(request: Request) -> Caller:
    """Return who asks; to be called by routes below `/v2` alone, where the gate has let them in."""
    caller = context_of(request).caller
    assert caller is not None  # noqa: S101 - the gate refuses requests below /v2 without one
    return caller
