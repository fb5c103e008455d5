"""`tessera view`: the page of a map, with the scores that came later, on this machine alone."""

import os
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from orchestration.cli import view
from orchestration.instance import collection_lock


class Server:
    """Stands for the server: it notes what it was to serve, and ends."""

    served: ClassVar[list[Path]] = []

    def __init__(self, folder: Path) -> None:
        self.served.append(folder)

    def run(self, sockets: list) -> None:
        assert sockets[0].getsockname()[0] == "127.0.0.1"


def test_the_last_map_is_opened_and_has_the_scores_that_came_after_it(
    tessera, shared_home, photo_folder, tmp_path, monkeypatch
):
    opened: list[str] = []
    monkeypatch.setattr(view, "build_server", Server)
    monkeypatch.setattr(view.webbrowser, "open", opened.append)
    folder, out = photo_folder(5), tmp_path / "map"
    ran = tessera("map", folder, "--out", out, "--name", "seen", "--projection", "pca")
    assert ran.code == 0, ran.err
    assert f"page        {out / 'page' / 'index.html'}" in ran.out
    page = shared_home / "pages" / "seen"
    data = page / "data" / "map.js"
    assert '"scores":null' in data.read_text()
    assert (out / "page" / "data" / "map.js").read_bytes() == data.read_bytes()

    ran = tessera("score", folder, "--name", "seen", "--out", tmp_path / "scores.csv")
    assert ran.code == 0, ran.err
    # Another one, mapped before, whose page was viewed since.
    assert tessera("add", "zoo", folder).code == 0
    viewed = shared_home / "pages" / "zoo" / "manifest.json"
    viewed.parent.mkdir()
    viewed.write_text("{}")
    later = time.time() + 1
    os.utime(viewed, (later, later))
    ran = tessera("view")
    assert ran.code == 0, ran.err
    assert Server.served == [page]
    (address,) = opened
    assert f"The map of seen is at {address} until Ctrl-C." in ran.out
    assert '"scores":{"type":"uint16"' in data.read_text()

    # A page that was damaged is whole again.
    data.write_text("nothing")
    with collection_lock("seen", timeout=1):
        ran = tessera("view", "seen", "--no-browser")
        assert "this is its page from before" in ran.err
        assert data.read_text() == "nothing"
    assert tessera("view", "seen", "--no-browser").code == 0
    assert '"scores":{"type":"uint16"' in data.read_text()
    assert len(opened) == 1

    # Where nobody knows what is to be blurred, the page stays as it was, and the map is made.
    for table in (shared_home / "outputs" / "nsfw_scores" / "seen").glob("*/table.parquet"):
        table.write_bytes(b"nothing")
    before = data.read_bytes()
    ran = tessera("view", "seen", "--no-browser")
    assert ran.code == 2
    assert "The value of nsfw_scores for seen" in ran.err
    ran = tessera("map", folder, "--out", out, "--name", "seen", "--projection", "pca")
    assert ran.code == 0, ran.err
    assert "page        " not in ran.out
    assert data.read_bytes() == before
    assert "All photos of seen are drawn blurred" in ran.out
    with Image.open(out / "mosaic.jpg") as mosaic:
        tile = np.asarray(mosaic.convert("RGB"), int)[:96, :96]
    assert np.ptp(tile, axis=2).max() < 8


def test_what_cannot_be_viewed_is_an_error_of_one_sentence(tessera, home):
    ran = tessera("view")
    assert ran.code == 2
    assert "No collection has a page yet: map one with `tessera map`." in ran.err
    ran = tessera("view", "nobody")
    assert ran.code == 2
    assert len(ran.err.strip().split("\n")) == 1


def test_other_sites_and_other_folders_are_not_served(tmp_path):
    from starlette.testclient import TestClient

    (tmp_path / "page").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "page" / "index.html").write_text("<!doctype html>")
    client = TestClient(view.build_app(tmp_path / "page"), "http://127.0.0.1")
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/", headers={"host": "photos.example.org"}).status_code == 400
    for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/nothing"):
        assert client.get(path).status_code == 404
    assert client.post("/").status_code == 405
