"""The FastAPI application: its routes, and its errors in the contract's JSON."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from assets.methods.models.provenance import tessera_version
from orchestration.api.context import context_of
from orchestration.api.contract import ApiError, Code, StatusReply
from orchestration.api.gate import Gate
from orchestration.api.replies import error_response
from orchestration.api.routes import images, inputs, models, operations, searches, visualizations
from orchestration.api.service import Service

DESCRIPTION = """
Post photos, post a visualization, and fetch the picture; run models, and search by similarity or
by metadata.
An app is a collection. The key in the header `Authorization: Key ...` decides which.
"""
# Every call may return these errors.
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": StatusReply} for status in (400, 401, 404, 405, 429, 500, 503)
}
# These routes have a code of their own for an invalid body.
CODE_OF_INVALID_BODY = {
    "outputs": Code.INVALID_PREDICTION,
    "placements": Code.INVALID_VISUALIZATION,
    "searches": Code.INVALID_SEARCH,
    "visualizations": Code.INVALID_VISUALIZATION,
}


def build_app(service: Service) -> FastAPI:
    """Return the application, which starts and closes ``service``."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.start)
        yield
        await run_in_threadpool(service.close)

    app = FastAPIOffline(
        redoc_url=None,
        title="Tessera",
        version=tessera_version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        responses=ERRORS,
        redirect_slashes=False,
    )
    app.state.service = service
    for routes in (inputs, models, searches, visualizations, images, operations):
        app.include_router(routes.router)
    answer_errors(app)
    app.add_middleware(Gate, service=service)
    _adapt_openapi(app)
    return app


def answer_errors(app: FastAPI) -> None:
    """Let an application answer errors with the contract's JSON."""
    app.exception_handler(ApiError)(_on_api_error)
    app.exception_handler(RequestValidationError)(_on_invalid_request)
    app.exception_handler(HTTPException)(_on_http_error)


def _on_api_error(request: Request, error: ApiError) -> JSONResponse:
    return error_response(context_of(request), error)


def _on_invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
    # Only the first problem, and never the input, which may be a whole image.
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _on_api_error(request, ApiError(Code.NOT_JSON, "The body is not JSON."))
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    code = Code.INVALID_REQUEST
    if first["loc"][0] == "body":
        code = CODE_OF_INVALID_BODY.get(request.url.path.rpartition("/")[2], code)
    details = f"{where}: {first['msg'].removeprefix('Value error, ')}"
    return _on_api_error(request, ApiError(code, details))


def _on_http_error(request: Request, error: HTTPException) -> JSONResponse:
    # FastAPI refuses bytes that are not text, and too many levels, before it validates fields.
    refusal = ApiError(Code.NOT_JSON, "The body cannot be read as JSON.")
    if error.status_code == 404:
        refusal = ApiError(Code.NO_SUCH_ROUTE, "There is no route with this path.")
    elif error.status_code == 405:
        details = f"This route does not accept {request.method}."
        refusal = ApiError(Code.NO_SUCH_METHOD, details, dict(error.headers or {}))
    return _on_api_error(request, refusal)


def _adapt_openapi(app: FastAPI) -> None:
    """Adapt the OpenAPI description: without FastAPI's own error, and with the key."""
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
