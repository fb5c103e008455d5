from fastapi.testclient import TestClient

from orchestration.api.metrics import Metrics
from orchestration.api.routes.metrics import router
from support.small_app import app_of


def test_prometheus_reads_the_metrics_as_text():
    answer = TestClient(app_of(router, metrics=Metrics())).get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "tessera_inputs_stored_total 0.0" in answer.text
