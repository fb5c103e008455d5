import os
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urljoin, urlsplit

import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from PIL import Image

from assets.methods.page.folder import PageFolder
from orchestration.api.contract import ApiError, Code
from orchestration.api.image_addresses import PAGE, ImageAddresses
from orchestration.api.routes import images
from orchestration.api.visualizations.page import AboutVisualization
from support.small_app import app_of

RUN, OTHER_RUN = "7f0c0000-0000-4000-8000-000000000000", "7f0c0000-0000-4000-8000-000000000001"
IMAGE = "ab" * 32


class _Visualizations:
    """Knows one that is ready, of the app birds."""

    def __init__(self, folder: Path) -> None:
        self.mosaic, self.figure = folder / "mosaic.jpg", folder / "figure.png"
        Image.new("RGB", (64, 48), "red").save(self.mosaic)
        Image.new("RGB", (32, 16), "blue").save(self.figure)
        self.is_there = True
        self.folder: Path | None = None

    def page(self, run_id):
        self.files(run_id)
        return self.folder

    def files(self, run_id):
        if run_id != RUN or not self.is_there:
            raise ApiError(Code.NO_SUCH_VISUALIZATION, "none")
        return self.mosaic, self.figure

    def find(self, app, run_id):
        if (app, run_id) != ("birds", RUN):
            raise ApiError(Code.NO_SUCH_VISUALIZATION, "none")

    def about(self, run_id):
        return AboutVisualization("birds", 1024, datetime(2026, 11, 5, 9, 7, tzinfo=UTC))


@pytest.fixture
def service(tmp_path):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    Image.new("RGB", (8, 8), "green").save(inputs / IMAGE, "WEBP")
    (tmp_path / "secret.txt").write_text("not to be served")
    return SimpleNamespace(
        image_addresses=ImageAddresses(tmp_path / "home"),
        visualizations=_Visualizations(tmp_path),
        intake=SimpleNamespace(
            store=lambda app: SimpleNamespace(path=lambda image_id: inputs / image_id)
        ),
    )


@pytest.fixture
def client(service):
    app = app_of(images.router, "birds", **vars(service))

    @app.get("/addresses")
    def addresses(request: Request) -> dict:
        made = service.image_addresses
        return {
            "mosaic": made.visualization_url(request, RUN, "mosaic.jpg"),
            "figure": made.visualization_url(request, RUN, "figure.png"),
            "page": made.visualization_url(request, RUN, PAGE),
            "other": made.visualization_url(request, OTHER_RUN, "mosaic.jpg"),
            "input": made.input_url(request, "birds", IMAGE),
        }

    return TestClient(app, "http://photos.example")


@pytest.fixture
def addresses(client):
    return client.get("/addresses").json()


def _is_refused(answer, status=404, code=11101):
    assert (answer.status_code, answer.json()["status"]["code"]) == (status, code)
    return True


def test_the_mosaic_is_had_by_its_address(client, service, addresses):
    answer = client.get(addresses["mosaic"])
    assert answer.content == service.visualizations.mosaic.read_bytes()
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["accept-ranges"] == "bytes"


def test_so_is_the_figure(client, service, addresses):
    answer = client.get(addresses["figure"])
    assert answer.content == service.visualizations.figure.read_bytes()
    assert answer.headers["content-type"] == "image/png"


def test_a_picture_is_called_what_it_is(client, service, addresses):
    assert client.get(addresses["input"]).headers["content-type"] == "image/webp"


def test_what_is_no_picture_is_called_none(client, service, addresses):
    service.visualizations.mosaic.write_text("<script>")
    assert client.get(addresses["mosaic"]).headers["content-type"] == "application/octet-stream"


def test_head_tells_the_same_without_the_picture(client, addresses):
    whole, head = client.get(addresses["mosaic"]), client.head(addresses["mosaic"])
    assert head.content == b""
    assert head.headers == whole.headers


def test_pictures_have_etags_of_their_own(client, addresses):
    etags = [client.get(addresses[name]).headers["etag"] for name in ("mosaic", "figure", "input")]
    assert len(set(etags)) == 3
    assert etags[2] == f'"{IMAGE}"'
    assert not any(etag.startswith("W/") for etag in etags)


@pytest.mark.parametrize("known", ["{}", "W/{}", '"x", {}', "*"])
def test_what_the_browser_has_is_not_sent_again(client, addresses, known):
    etag = client.get(addresses["mosaic"]).headers["etag"]
    answer = client.get(addresses["mosaic"], headers={"If-None-Match": known.format(etag)})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == etag
    assert "max-age" in answer.headers["cache-control"]


def test_what_the_browser_does_not_have_is_sent(client, addresses):
    answer = client.get(addresses["mosaic"], headers={"If-None-Match": '"x"'})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("asked", "part"),
    [("0-0", slice(0, 1)), ("5-9", slice(5, 10)), ("10-", slice(10, None)),
     ("-7", slice(-7, None)), ("-999999", slice(None)), ("3-999999", slice(3, None))],
)  # fmt: skip
def test_a_range_is_served(client, addresses, asked, part):
    whole = client.get(addresses["mosaic"]).content
    answer = client.get(addresses["mosaic"], headers={"Range": f"bytes={asked}"})
    assert (answer.status_code, answer.content) == (206, whole[part])
    start = range(len(whole))[part].start
    assert answer.headers["content-range"] == (
        f"bytes {start}-{start + len(answer.content) - 1}/{len(whole)}"
    )


@pytest.mark.parametrize("asked", ["999999-", "999999-9999999", "-0"])
def test_a_range_outside_is_refused(client, addresses, asked):
    size = len(client.get(addresses["mosaic"]).content)
    answer = client.get(addresses["mosaic"], headers={"Range": f"bytes={asked}"})
    assert _is_refused(answer, 416, 11102)
    assert answer.headers["content-range"] == f"bytes */{size}"


@pytest.mark.parametrize(
    "asked",
    ["bytes=5-2", "bytes=a-b", "bytes=0-1,4-5", "lines=1-2", "bytes", "", f"bytes={'9' * 5000}-"],
)
def test_what_is_no_single_range_is_passed_over(client, addresses, asked):
    assert client.get(addresses["mosaic"], headers={"Range": asked}).status_code == 200


def test_a_range_of_another_picture_is_passed_over(client, addresses):
    headers = {"Range": "bytes=0-1", "If-Range": '"x"'}
    assert client.get(addresses["mosaic"], headers=headers).status_code == 200
    headers["If-Range"] = client.get(addresses["mosaic"]).headers["etag"]
    assert client.get(addresses["mosaic"], headers=headers).status_code == 206


def test_the_token_of_one_picture_opens_no_other(client, addresses):
    token = urlsplit(addresses["mosaic"]).path.split("/")[4]
    for path in (
        f"/pictures/visualizations/{OTHER_RUN}/{token}/mosaic.jpg",
        f"/pictures/inputs/birds/{IMAGE}/{token}",
        f"/pictures/inputs/visualizations/{RUN}/{token}",
    ):
        assert _is_refused(client.get(path))


@pytest.mark.parametrize(
    "token", ["", "x", "0" * 40, "\xe9", "%00", "..", "%2e%2e", "{}0", "{}%20", "{}%0a"]
)
def test_other_tokens_open_nothing(client, addresses, token):
    right = urlsplit(addresses["mosaic"]).path.split("/")[4]
    token = token.format(right)
    assert _is_refused(client.get(f"/pictures/visualizations/{RUN}/{token}/mosaic.jpg"))
    assert _is_refused(client.get(f"/pictures/visualizations/{RUN}/{token}/page"))


@pytest.mark.parametrize(
    "name",
    ["mosaic.png", "secret.txt", "../secret.txt", "..%2fsecret.txt", "%2e%2e%2fsecret.txt",
     "/etc/passwd", "..%5csecret.txt", "mosaic.jpg%00.png", "mosaic.jpg/", ".", ""],
)  # fmt: skip
def test_no_other_file_is_served(client, addresses, name):
    start = addresses["mosaic"].removesuffix("mosaic.jpg")
    assert _is_refused(client.get(start + name))


def test_the_picture_of_a_visualization_that_is_gone_is_gone(client, service, addresses):
    service.visualizations.is_there = False
    for name in ("mosaic", "figure", "page"):
        assert _is_refused(client.get(addresses[name]))
    assert _is_refused(client.get(addresses["other"]))


def test_the_picture_of_an_input_that_is_gone_is_gone(client, addresses, tmp_path):
    os.remove(tmp_path / "inputs" / IMAGE)
    assert _is_refused(client.get(addresses["input"]))


def test_addresses_begin_as_the_request_does_or_as_the_settings_say(
    client, service, addresses, tmp_path
):
    assert addresses["mosaic"].startswith("http://photos.example/pictures/")
    service.image_addresses = ImageAddresses(tmp_path / "home", "https://maps.example/tessera/")
    address = client.get("/addresses").json()["mosaic"]
    assert address.startswith("https://maps.example/tessera/pictures/")


def test_with_its_key_an_app_has_its_picture(client, service):
    answer = client.get(f"/v2/visualizations/{RUN}/image")
    assert answer.content == service.visualizations.mosaic.read_bytes()
    assert answer.headers["cache-control"] == "private, no-cache"
    assert _is_refused(client.get(f"/v2/visualizations/{OTHER_RUN}/image"), 404, 42004)
    other = client.get(f"/v2/visualizations/{RUN}/image", headers={"X-App": "cats"})
    assert _is_refused(other, 404, 42004)


def test_the_page_shows_mosaic_and_figure_and_runs_nothing(client, addresses):
    answer = client.get(addresses["page"])
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "1,024 photos" in answer.text
    assert "5 November 2026, 09:07 UTC" in answer.text
    assert 'src="mosaic.jpg"' in answer.text
    assert 'src="figure.png"' in answer.text
    assert "<script" not in answer.text
    assert "//" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy


def test_the_page_has_no_markup_of_others(client, service, addresses, monkeypatch):
    about = AboutVisualization("<script>&", 1, datetime(2026, 1, 1, tzinfo=UTC))
    monkeypatch.setattr(service.visualizations, "about", lambda run_id: about)
    text = client.get(addresses["page"]).text
    assert "<script" not in text
    assert "&lt;script&gt;&amp;" in text
    assert "1 photo ·" in text


@pytest.fixture
def page_of_files(service, tmp_path):
    """The visualization has a page of files: its folder, and the files by their names."""
    files = {
        "index.html": b"<!doctype html><script src='page/page.js'></script>",
        "page/page.js": b"let one = 1;",
        "page/page.css": b"body {}",
        "tiles/3/0-1.jpg": b"\xff\xd8\xff" + bytes(600),
        "leaflet/LICENSE": b"words",
    }
    service.visualizations.folder = tmp_path / "kept"
    page = PageFolder(tmp_path / "kept")
    with page.filled():
        for name, data in files.items():
            page.put(name, data)
    return files


def test_the_files_of_a_page_lie_beside_it_and_are_called_what_they_are(
    client, addresses, page_of_files
):
    answer = client.get(addresses["page"])
    assert answer.content == page_of_files["index.html"]
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "private, no-cache"
    policy = answer.headers["content-security-policy"]
    for part in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"):
        assert part in policy
    assert "unsafe" not in policy
    types = {
        "page/page.js": "text/javascript; charset=utf-8",
        "page/page.css": "text/css; charset=utf-8",
        "tiles/3/0-1.jpg": "image/jpeg",
        "leaflet/LICENSE": "text/plain; charset=utf-8",
    }
    for name, media_type in types.items():
        url = urljoin(addresses["page"], name)
        answer = client.get(url)
        assert answer.content == page_of_files[name]
        assert answer.headers["content-type"] == media_type
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert client.head(url).headers == answer.headers
        known = client.get(url, headers={"If-None-Match": answer.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
    part = client.get(url, headers={"Range": "bytes=1-2"})
    assert (part.status_code, part.content) == (206, b"or")
    # The pictures of before are there, too.
    assert client.get(addresses["mosaic"]).headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize(
    "name",
    ["index.html", "manifest.json", "page/../manifest.json", "../secret.txt", "tiles", "page/",
     "..%2fsecret.txt", "page%2f..%2f..%2fsecret.txt", "%2e%2e/secret.txt", "/etc/passwd",
     "//etc/passwd", "page/page.js%00", "page\\page.js", "PAGE/page.js", "page/none.js"],
)  # fmt: skip
def test_no_other_file_than_those_of_the_page_is_served(client, addresses, page_of_files, name):
    start = addresses["mosaic"].removesuffix("mosaic.jpg")
    assert _is_refused(client.get(start + name))


def test_a_page_is_refused_without_its_token_and_when_it_is_gone(
    client, service, addresses, page_of_files
):
    start = addresses["other"].removesuffix("mosaic.jpg")
    token = urlsplit(addresses["other"]).path.split("/")[-2]
    for url in (f"{start}page/page.js", addresses["page"].replace("/page", "0/page"),
                f"/pictures/visualizations/{RUN}/{token}/page/page.js"):  # fmt: skip
        assert _is_refused(client.get(url))
    (service.visualizations.folder / "page" / "page.css").unlink()
    assert _is_refused(client.get(urljoin(addresses["page"], "page/page.css")))
    service.visualizations.is_there = False
    assert _is_refused(client.get(urljoin(addresses["page"], "page/page.js")))
