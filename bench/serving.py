"""The HTTP service under a bounded load on loopback, from a process that is not its own.

It measures two things. The first is the latency of GET of a visualization, at 100 requests a second
while its run goes on. The second is the throughput of 16 clients that have images classified,
divided by the throughput of an offline batch over the same files; the two alternate. It exits with
1 when the 95th percentile of the latency is above 50 ms, or the median ratio is below 0.8.
Run: python bench/serving.py
"""

import argparse
import base64
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from assets.methods.photos.demo import write_demo_collection

N_IMAGES = 384
N_CLIENTS = 16
REQUESTS_A_SECOND = 100
LONGEST_LOAD_SECONDS = 60
ROUNDS = 3
LOWEST_RATIO = 0.8
LONGEST_P95 = 50
JSON_BODY = {"Content-Type": "application/json"}


class Connection:
    """A client that keeps its connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def request(self, method: str, path: str, body: bytes | None = None) -> dict:
        """Return the reply; raises RuntimeError unless the status is a success."""
        self._connection.request(method, path, body, JSON_BODY)
        response = self._connection.getresponse()
        content = response.read()
        if response.status not in (200, 202):
            raise RuntimeError(content.decode())
        return json.loads(content)


@contextlib.contextmanager
def running_service(home: Path, *options: str) -> Iterator[int]:
    """Run `tessera serve` until the end of the block; gives its port when its models are loaded."""
    with subprocess.Popen(
        [sys.executable, "-m", "orchestration.cli", "serve", "--port", "0", *options],
        env={**os.environ, "TESSERA_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as service:
        assert service.stdout is not None
        try:
            port = int(service.stdout.readline().split()[1].rpartition(":")[2])
            while not _is_ready(port):
                time.sleep(0.2)
            yield port
        finally:
            service.send_signal(signal.SIGTERM)


def _is_ready(port: int) -> bool:
    try:
        Connection(port).request("GET", "/readyz")
    except RuntimeError:
        return False
    return True


def measure_latency(port: int, photos: list[Path]) -> float:
    """Send requests at a fixed rate during a run; return the 95th percentile in ms."""
    client = Connection(port)
    for start in range(0, len(photos), 128):
        client.request("POST", "/v2/inputs", body_of(photos[start : start + 128]))
    identity = client.request("POST", "/v2/visualizations")["output"]["id"]
    path = f"/v2/visualizations/{identity}"
    while client.request("GET", path)["output"]["status"]["percent_completed"] == 0:
        time.sleep(0.1)
    # There are several connections, so that a slow reply does not lower the rate.
    connections = [Connection(port) for _ in range(N_CLIENTS)]
    seconds: list[float] = []
    pending = True
    begun = time.monotonic()

    def send(number: int) -> None:
        nonlocal pending
        due = begun + number / REQUESTS_A_SECOND
        while pending and due < begun + LONGEST_LOAD_SECONDS:
            time.sleep(max(0.0, due - time.monotonic()))
            sent = time.monotonic()
            output = connections[number].request("GET", path)["output"]
            seconds.append(time.monotonic() - sent)
            pending = output["status"]["code"] == 42001
            due += N_CLIENTS / REQUESTS_A_SECOND

    in_parallel(send)
    lasted = time.monotonic() - begun
    milliseconds = 1000 * np.array(seconds)
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99])
    print(
        f"GET of a visualization while it runs: {len(seconds)} requests in {lasted:.0f} s "
        f"({len(seconds) / lasted:.0f} a second): p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f}, "
        f"longest {milliseconds.max():.0f} ms"
    )
    # The end of the service would interrupt the run.
    while Connection(port).request("GET", path)["output"]["status"]["code"] == 42001:
        time.sleep(0.5)
    return p95


def images_a_second(port: int, photos: list[Path]) -> float:
    """Return how many images are classified in a second, with one image a request."""
    bodies = [body_of([photo]) for photo in photos]
    path = "/v2/models/nsfw-v1.0/outputs"
    connections = [Connection(port) for _ in range(N_CLIENTS)]

    def send(number: int) -> None:
        for body in bodies[number::N_CLIENTS]:
            connections[number].request("POST", path, body)

    begun = time.monotonic()
    in_parallel(send)
    return len(photos) / (time.monotonic() - begun)


def in_parallel(send: Callable[[int], None]) -> None:
    """Call ``send`` with the number of each client, at the same time."""
    threads = [threading.Thread(target=send, args=(number,)) for number in range(N_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def body_of(photos: list[Path]) -> bytes:
    """Return the body of a request with these photos."""
    encoded = [base64.b64encode(photo.read_bytes()).decode() for photo in photos]
    return json.dumps(
        {"inputs": [{"data": {"image": {"base64": one}}} for one in encoded]}
    ).encode()


def offline_process() -> subprocess.Popen:
    """Start the process that classifies offline, for comparison."""
    return subprocess.Popen(
        [sys.executable, __file__, "--offline"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def offline_batches() -> None:
    """Read lines of paths; classify the files of each line, and print the images a second.

    This is the work of the service without HTTP: each file is decoded to its working copy, and the
    same network classifies them on the same number of threads.
    """
    from assets.methods.common.devices import ComputeSettings, plan_compute
    from assets.methods.models.classifier import image_tensors
    from assets.methods.models.classifier_file import convert_open_nsfw, load_classifier
    from assets.methods.models.forward import unsplit_pool
    from assets.methods.models.torch_classifier import CPU_BATCH_SIZE
    from orchestration.api.inputs.images import working_copy

    with tempfile.TemporaryDirectory() as folder:
        plan = plan_compute(ComputeSettings(), CPU_BATCH_SIZE)
        classifier = load_classifier(convert_open_nsfw(Path(folder)), plan)

    def classified(photos: list[str]) -> None:
        copies = [np.array(working_copy(Path(photo).read_bytes())) for photo in photos]
        classifier.classify(image_tensors(classifier, copies))

    for line in sys.stdin:
        photos = json.loads(line)
        size = classifier.batch_size
        batches = [photos[start : start + size] for start in range(0, len(photos), size)]
        begun = time.monotonic()
        with unsplit_pool(classifier.workers) as pool:
            list(pool.map(classified, batches))
        print(len(photos) / (time.monotonic() - begun), flush=True)


def measure_throughput(port: int, photos: list[Path]) -> float:
    """Return the median ratio of the throughputs of the service and of an offline batch."""
    offline = offline_process()
    to_offline, from_offline = offline.stdin, offline.stdout
    assert to_offline is not None
    assert from_offline is not None

    def offline_images_a_second() -> float:
        to_offline.write(json.dumps([str(photo) for photo in photos]) + "\n")
        to_offline.flush()
        return float(from_offline.readline())

    offline_images_a_second()
    images_a_second(port, photos[:64])
    ratios = []
    for _ in range(ROUNDS):
        alone, over_http = offline_images_a_second(), images_a_second(port, photos)
        ratios.append(over_http / alone)
        print(
            f"{N_CLIENTS} clients, one image a request: {over_http:.1f} images/s; offline batch: "
            f"{alone:.1f} images/s; ratio {ratios[-1]:.2f}"
        )
    to_offline.close()
    offline.wait()
    return float(np.median(ratios))


def main() -> None:
    """Run both measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--offline", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().offline:
        offline_batches()
        return
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_demo_collection(Path(folder) / "demo")
        photos = sorted(manifest.parent.glob("*.jpg"))
        with running_service(Path(folder) / "home") as port:
            ratio = measure_throughput(port, photos[:N_IMAGES])
            p95 = measure_latency(port, photos)
    print(f"median ratio {ratio:.2f} (at least 0.8), p95 {p95:.1f} ms (at most 50)")
    sys.exit(ratio < LOWEST_RATIO or p95 > LONGEST_P95)


if __name__ == "__main__":
    main()
