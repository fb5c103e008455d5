from prometheus_client.parser import text_string_to_metric_families

from orchestration.api.metrics import Metrics


def _samples(text):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_what_was_counted():
    metrics = Metrics()
    metrics.count_request("GET", "/v2/inputs", 200, 0.02)
    metrics.count_request("BREW", "/v2/inputs", 405, 0.02)
    metrics.count_batch("nsfw", 3)
    metrics.count_batch("nsfw", 5)
    metrics.count_inputs(7)
    metrics.watch_visualizations(lambda: {"pending": 2, "ready": 1})
    with metrics.in_flight():
        samples = _samples(metrics.text().decode())
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
    one.count_inputs(1)
    assert _samples(other.text().decode())["tessera_inputs_stored_total",] == 0


def test_nothing_is_in_flight_after_an_exception():
    metrics = Metrics()
    try:
        with metrics.in_flight():
            raise ValueError
    except ValueError:
        pass
    assert _samples(metrics.text().decode())["tessera_requests_in_flight",] == 0
