"""Receivers of notices on this machine, which also fail, hang, are down and come back."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller


@dataclass
class Post:
    """What was posted, and with which headers."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class WebReceiver:
    """A server that keeps what is posted to it.

    It answers with ``status``; while ``hangs`` is set, it reads a request and answers never, or,
    if ``drips``, with one byte after the other.
    """

    port: int
    status: int = 200
    location: str = ""
    drips: bool = False
    hangs: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    taken: list[Post] = field(default_factory=list)
    refused: list[Post] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/secret-of-the-path"

    @property
    def ids(self) -> list[str]:
        """The ids of the notices that were taken."""
        return [post.body["id"] for post in self.taken]

    @property
    def events(self) -> list[tuple[str, str, str | None]]:
        """Event, kind and collection of the notices that were taken."""
        return [(one.body["event"], one.body["kind"], one.body["collection"]) for one in self.taken]

    @contextmanager
    def up(self) -> Iterator["WebReceiver"]:
        """Serve within the body."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                post = Post(self.path, dict(self.headers), json.loads(data))
                if receiver.hangs.is_set():
                    receiver.refused.append(post)
                    receiver.drip(self)
                    return
                is_taken = receiver.status < 300
                (receiver.taken if is_taken else receiver.refused).append(post)
                self.send_response(receiver.status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.end_headers()

            def do_GET(self) -> None:
                raise AssertionError("a redirect was followed")

            def log_message(self, *arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.released.set()
            server.shutdown()
            server.server_close()
            thread.join()

    def drip(self, handler: BaseHTTPRequestHandler) -> None:
        while not self.released.wait(0.05):
            if self.drips:
                try:
                    handler.wfile.write(b"H")
                except OSError:
                    return


class MailReceiver:
    """An SMTP server that keeps the mails it takes; ``answer`` is what it says to their data."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answer = "250 OK"
        self.answer_to_address = ""
        self.hangs = False
        self.mails: list[EmailMessage] = []
        self.receivers: list[list[str]] = []

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if self.answer_to_address:
            return self.answer_to_address
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        import asyncio

        while self.hangs:
            await asyncio.sleep(0.02)
        if self.answer.startswith("250"):
            mail = message_from_bytes(envelope.content, policy=policy.default)
            self.mails.append(mail)
            self.receivers.append(envelope.rcpt_tos)
        return self.answer

    @contextmanager
    def up(self, **options: Any) -> Iterator["MailReceiver"]:
        """Serve within the body; ``options`` are those of aiosmtpd."""
        controller = Controller(self, hostname="127.0.0.1", port=self.port, **options)
        controller.start()
        try:
            yield self
        finally:
            self.hangs = False
            controller.stop()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
