from types import SimpleNamespace

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from orchestration.api.contract import ApiError
from orchestration.api.routes import health


@pytest.fixture
def client():
    app = FastAPI()
    app.state.service = SimpleNamespace(ready=False)
    app.include_router(health.router)

    @app.middleware("http")
    async def with_id(request: Request, call_next):
        request.state.req_id = "abc"
        return await call_next(request)

    @app.exception_handler(ApiError)
    def refuse(request, error):
        return JSONResponse({"code": error.code.number}, error.http_status, error.headers)

    return TestClient(app)


def test_a_service_that_starts_is_healthy_but_not_ready(client):
    assert client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"code": 10020})
    assert int(answer.headers["retry-after"]) > 0


def test_a_service_that_is_warm_is_ready(client):
    client.app.state.service.ready = True
    ok = {"status": {"code": 10000, "description": "Ok", "req_id": "abc"}}
    assert client.get("/readyz").json() == client.get("/healthz").json() == ok
