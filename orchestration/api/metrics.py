"""The metrics of the service, for Prometheus."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "tessera_requests",
            "Requests answered; status 499 means that the client closed the connection.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "tessera_request_seconds",
            "Seconds from the headers of a request to the end of the answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._in_flight = Gauge(
            "tessera_requests_in_flight", "Requests being answered.", registry=self.registry
        )
        self._images = Counter(
            "tessera_images_predicted",
            "Images given to a model.",
            ["model"],
            registry=self.registry,
        )
        self._batch_sizes = Histogram(
            "tessera_batch_size",
            "Images in a forward pass.",
            ["model"],
            buckets=_BATCH_SIZES,
            registry=self.registry,
        )
        self._inputs = Counter("tessera_inputs_stored", "Inputs stored.", registry=self.registry)
        ProcessCollector(registry=self.registry)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; ``route`` is the template of its address."""
        # A client can send any word as the method, and each would become a time series.
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def in_flight(self) -> AbstractContextManager[None]:
        """Count a request while it is being answered."""
        return self._in_flight.track_inprogress()

    def count_batch(self, model: str, size: int) -> None:
        """Count a forward pass of ``size`` images."""
        self._images.labels(model).inc(size)
        self._batch_sizes.labels(model).observe(size)

    def count_inputs(self, n: int) -> None:
        """Count ``n`` inputs that were stored."""
        self._inputs.inc(n)

    def watch_visualizations(self, count: Callable[[], Mapping[str, int]]) -> None:
        """Call ``count`` at each reading; it returns the number of visualizations in each state."""
        self.registry.register(_Visualizations(count))

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Visualizations(Collector):
    def __init__(self, count: Callable[[], Mapping[str, int]]) -> None:
        self._count = count

    def collect(self) -> Iterable[GaugeMetricFamily]:
        states = GaugeMetricFamily(
            "tessera_visualizations", "Visualizations by state.", labels=["state"]
        )
        for state, n in self._count().items():
            states.add_metric([state], n)
        yield states
