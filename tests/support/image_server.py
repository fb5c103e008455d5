"""Pictures made on the spot, and a server on this machine that answers with them, or badly."""

import base64
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
from PIL import Image

Answer = Callable[[BaseHTTPRequestHandler], None]


def picture(seed: int = 0, width: int = 64, height: int = 48) -> bytes:
    """A PNG, another one for every seed."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, size=(6, 8, 3), dtype=np.uint8)
    png = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(png, "PNG")
    return png.getvalue()


def packed(data: bytes) -> str:
    """The bytes in base64."""
    return base64.b64encode(data).decode()


@contextmanager
def serving(answers: Mapping[str, bytes | Answer]) -> Iterator[str]:
    """Serve these by their paths: bytes as a file, a function as it likes; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path)
            try:
                if callable(answer):
                    answer(self)
                else:
                    reply(self, 404 if answer is None else 200, answer or b"")
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    """Answer with a status, headers (``_`` for ``-``) and a body."""
    handler.send_response(status)
    for name, value in ({"Content_Length": str(len(body))} | headers).items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)
