"""The application: routes, and errors as the contract writes them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from orchestration.api.contract import ApiError, Code, StatusReply
from orchestration.api.gate import Gate
from orchestration.api.replies import reply_status
from orchestration.api.routes import (
    health,
    images,
    inputs,
    metrics,
    models,
    searches,
    visualizations,
)
from orchestration.api.service import Service

DESCRIPTION = """
Post photos, post a visualization, fetch the picture; ask models, and search by likeness.
An app is a collection; the key says which: `Authorization: Key ...`.
"""
# Of every call, beside those of its own.
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": StatusReply} for status in (400, 401, 404, 405, 429, 500, 503)
}
# What is wrong with a body has a code of its own where the contract gives one.
CODE_OF_BODY = {
    "outputs": Code.INVALID_PREDICTION,
    "searches": Code.INVALID_SEARCH,
    "visualizations": Code.INVALID_VISUALIZATION,
}


def build_app(service: Service) -> FastAPI:
    """Return the application; ``service`` is started and closed with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.start)
        yield
        await run_in_threadpool(service.close)

    app = FastAPIOffline(
        redoc_url=None,
        title="Tessera",
        version=version("tessera"),
        description=DESCRIPTION,
        lifespan=lifespan,
        responses=ERRORS,
        redirect_slashes=False,
    )
    app.state.service = service
    for routes in (inputs, models, searches, visualizations, images, metrics, health):
        app.include_router(routes.router)
    answer_errors(app)
    app.add_middleware(Gate, service=service)
    _describe(app)
    return app


def answer_errors(app: FastAPI) -> None:
    """Have an application answer what is wrong with a request in the contract's words."""
    app.exception_handler(ApiError)(_refused)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_not_served)


def _refused(request: Request, error: ApiError) -> JSONResponse:
    return _reply(request, error.code, error.details, error.http_status, error.headers)


def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    # The first suffices, and never what was sent: it may be a picture.
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _reply(request, Code.NOT_JSON, "The body is not JSON.")
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    code = Code.INVALID_REQUEST
    if first["loc"][0] == "body":
        code = CODE_OF_BODY.get(request.url.path.rpartition("/")[2], code)
    return _reply(request, code, f"{where}: {first['msg'].removeprefix('Value error, ')}")


def _not_served(request: Request, error: HTTPException) -> JSONResponse:
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return _reply(request, Code.NO_SUCH_ROUTE, "There is nothing at this address.")
    if error.status_code == 405:
        return _reply(
            request, Code.NO_SUCH_METHOD, f"{request.method} is not served here.", headers=headers
        )
    # What FastAPI refuses before it looks at fields: bytes that are no text, too deep a nesting.
    return _reply(request, Code.NOT_JSON, "The body cannot be read as JSON.")


def _reply(
    request: Request,
    code: Code,
    details: str,
    http_status: int | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    reply = StatusReply(status=reply_status(request, code, details))
    return JSONResponse(
        reply.model_dump(exclude_none=True), http_status or code.http_status, headers
    )


def _describe(app: FastAPI) -> None:
    """Leave FastAPI's own error out of the description, and say how a key is given."""
    as_generated = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        description = as_generated()
        schemes = description.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["key"] = {"type": "apiKey", "in": "header", "name": "Authorization"}
        for path, calls in description["paths"].items():
            for call in calls.values():
                call["responses"].pop("422", None)
                if path.startswith("/v2"):
                    call["security"] = [{"key": []}, {}]
        return description

    app.openapi = described  # type: ignore[method-assign]
