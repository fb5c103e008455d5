from types import SimpleNamespace

from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from orchestration.api.metrics import Metrics, router


def _samples(text):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_what_was_counted():
    metrics = Metrics()
    metrics.request("GET", "/v2/inputs", 200, 0.02)
    metrics.request("BREW", "/v2/inputs", 405, 0.02)
    metrics.batch("nsfw", 3)
    metrics.batch("nsfw", 5)
    metrics.inputs_stored(7)
    metrics.watch_visualizations(lambda: {"pending": 2, "ready": 1})
    app = FastAPI()
    app.include_router(router)
    app.state.service = SimpleNamespace(metrics=metrics)
    with metrics.in_flight():
        answer = TestClient(app).get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = _samples(answer.text)
    assert samples["tessera_requests_total", "GET", "/v2/inputs", "200"] == 1
    assert samples["tessera_requests_total", "other", "/v2/inputs", "405"] == 1
    assert samples["tessera_request_seconds_bucket", "0.025", "/v2/inputs"] == 2
    assert samples["tessera_images_predicted_total", "nsfw"] == 8
    assert samples["tessera_batch_size_bucket", "4.0", "nsfw"] == 1
    assert samples["tessera_inputs_stored_total",] == 7
    assert samples["tessera_visualizations", "pending"] == 2
    assert samples["tessera_requests_in_flight",] == 1


def test_two_services_count_for_themselves():
    one, other = Metrics(), Metrics()
    one.inputs_stored(1)
    assert _samples(other.text().decode())["tessera_inputs_stored_total",] == 0


def test_nothing_is_in_flight_after_an_exception():
    metrics = Metrics()
    try:
        with metrics.in_flight():
            raise ValueError
    except ValueError:
        pass
    assert _samples(metrics.text().decode())["tessera_requests_in_flight",] == 0
