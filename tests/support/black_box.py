"""A black box on loopback: a classifier behind the HTTP contract, with faults on demand."""

import base64
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import torch
from PIL import Image


class BlackBox:
    """Answers with a local classifier's probabilities.

    ``faults`` maps the number of a request, from 0, to what goes wrong with it: an HTTP status (or
    a pair of it and headers), "drop", "slow", "mixed" (every second image fails), "all fail", or
    bytes to be sent instead of the answer. It may replace ``classifier``, too.

    ``model_version`` stands in each output, ``header`` is the value of X-Model-Version; a body of
    more than ``most_bytes`` is refused.
    """

    def __init__(self, classifier, faults: Callable[[int], object] = lambda number: None) -> None:
        self.classifier, self.faults = classifier, faults
        self.requests: list[dict] = []
        self.slow_seconds = 0.05
        self.model_version: dict | None = None
        self.header: str | None = None
        self.most_bytes = 2**30
        self._lock = threading.Lock()

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        n_bytes = int(handler.headers["Content-Length"])
        body = json.loads(handler.rfile.read(n_bytes))
        with self._lock:
            number = len(self.requests)
            self.requests.append(
                {
                    "path": handler.path,
                    "headers": dict(handler.headers),
                    "n": len(body["inputs"]),
                    "n_bytes": n_bytes,
                    "images": [one["data"]["image"] for one in body["inputs"]],
                }
            )
        fault = self.faults(number)
        if n_bytes > self.most_bytes:
            self._reply(handler, 413, b"<html>too large</html>")
            return
        if fault == "slow":
            time.sleep(self.slow_seconds)
        if fault == "drop":
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
        elif isinstance(fault, bytes):
            self._reply(handler, 200, fault)
        elif isinstance(fault, int | tuple):
            status, headers = fault if isinstance(fault, tuple) else (fault, {})
            told = handler.headers.get("Authorization", "")
            self._reply(handler, status, _status(10020, f"failure {told}"), headers)
        else:
            headers = {"X-Model-Version": self.header} if self.header else {}
            self._reply(handler, 200, self._answer(body["inputs"], fault), headers)

    def _answer(self, inputs: list[dict], fault: object) -> bytes:
        images = [_decoded(one["data"]["image"]["base64"]) for one in inputs]
        with self._lock:
            probabilities = self.classifier.classify(images)
        outputs = []
        for number in range(len(images)):
            if fault == "all fail" or (fault == "mixed" and number % 2 == 0):
                outputs.append(
                    {"id": str(number), "status": {"code": 10020, "description": "busy"}}
                )
                continue
            concepts = [
                {"id": f"ai_{name}", "name": name, "value": float(values[number])}
                for name, values in probabilities.items()
            ]
            concepts.sort(key=lambda concept: -concept["value"])
            status = {"code": 10000, "description": "Ok"}
            output = {"id": str(number), "status": status, "data": {"concepts": concepts}}
            if self.model_version is not None:
                output["model"] = {"id": "m", "model_version": self.model_version}
            outputs.append(output)
        code = 10010 if fault in ("mixed", "all fail") else 10000
        return json.dumps({"status": {"code": code}, "outputs": outputs}).encode()

    def _reply(self, handler, status: int, body: bytes, headers: dict | None = None) -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@contextmanager
def serving(box: BlackBox) -> Iterator[str]:
    """Serve a black box on loopback; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            box.handle(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v2/models/m/outputs"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _status(code: int, description: str) -> bytes:
    return json.dumps({"status": {"code": code, "description": description}}).encode()


def _decoded(text: str) -> torch.Tensor:
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        assert image.format == "PNG"
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)
