from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from orchestration.api.metrics import Metrics
from orchestration.api.routes.operations import router
from support.small_app import REQ_ID, app_of


@pytest.fixture
def client():
    return TestClient(app_of(router, models=SimpleNamespace(ready=False)))


def test_a_service_that_starts_is_healthy_but_not_ready(client):
    assert client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]["code"]) == (503, 10020)
    assert int(answer.headers["retry-after"]) > 0


def test_a_service_that_is_warm_is_ready(client):
    client.app.state.service.models.ready = True
    ok = {"status": {"code": 10000, "description": "Ok", "req_id": REQ_ID}}
    assert client.get("/readyz").json() == client.get("/healthz").json() == ok


def test_prometheus_reads_the_metrics_as_text():
    answer = TestClient(app_of(router, metrics=Metrics())).get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "tessera_inputs_stored_total 0.0" in answer.text
