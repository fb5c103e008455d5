"""An application of one router, with its errors, and a request's state as the gate leaves it."""

from collections.abc import Callable
from types import SimpleNamespace

from fastapi import APIRouter, FastAPI, Request

from orchestration.api.app import answer_errors

REQ_ID = "0" * 32


def app_of(
    router: APIRouter, app_id: str = "animals", max_inputs: int = 100, **service: object
) -> FastAPI:
    """The app that asks is the one that the header X-App names, by default ``app_id``."""
    app = FastAPI(redirect_slashes=False)
    app.state.service = SimpleNamespace(**service)
    app.include_router(router)
    answer_errors(app)

    @app.middleware("http")
    async def let_in(request: Request, call_next: Callable) -> object:
        request.state.req_id = REQ_ID
        request.state.caller = SimpleNamespace(
            app=request.headers.get("X-App", app_id), limits=SimpleNamespace(inputs=max_inputs)
        )
        return await call_next(request)

    return app
