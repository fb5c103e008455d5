"""The page over loopback, in a browser: what it asks for at first, and that nothing is refused."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from assets.methods.page.page import write_page
from orchestration.cli.view import build_server
from support.album import make_album
from support.browser import CHROMIUM, chromium


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    album = make_album(tmp_path)
    write_page(tmp_path / "page", album.contents, album.load)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = build_server(tmp_path / "page")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        thread.join(timeout=30)


@pytest.mark.browser
@pytest.mark.process
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_first_view_asks_for_little_and_nothing_is_refused(address):
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        answers, faults = [], []
        page.on("response", lambda answer: answers.append(answer))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
        page.goto(address)
        page.wait_for_selector("html[data-ready]", state="attached")
        page.wait_for_timeout(500)
        assert len(answers) <= 60
        assert sum(len(one.body()) for one in answers) < 3_000_000
        page.evaluate("tessera.photo.open(3)")
        # From a server, the photo is its tile: the page reads no files of the machine.
        page.get_by_role("heading", name="The 10 most similar photos").wait_for()
        assert page.locator("#photo .shown canvas").count() == 1
        assert {one.url.startswith(address) for one in answers} == {True}
        assert {one.status for one in answers} == {200}
        assert faults == []
