"""An application of one router, with its errors, and a request's context as the gate leaves it."""

from collections.abc import Callable
from types import SimpleNamespace

from fastapi import APIRouter, FastAPI, Request

from orchestration.api.app import answer_errors
from orchestration.api.context import Caller, RequestContext
from orchestration.api.keys import KeyLimits

REQ_ID = "0" * 32


def app_of(
    router: APIRouter, app_id: str = "animals", max_inputs: int = 100, **service: object
) -> FastAPI:
    """The caller is the app in the header X-App, by default ``app_id``."""
    app = FastAPI(redirect_slashes=False)
    app.state.service = SimpleNamespace(**service)
    app.include_router(router)
    answer_errors(app)

    @app.middleware("http")
    async def with_context(request: Request, call_next: Callable) -> object:
        caller = Caller(request.headers.get("X-App", app_id), None, KeyLimits(inputs=max_inputs))
        request.state.context = RequestContext(REQ_ID, caller)
        return await call_next(request)

    return app
