"""Pictures and pages, at addresses that nobody can guess: who has the address may look.

An address holds a token, an HMAC-SHA256 over what it addresses. So nothing is kept of the addresses
that were given out, and they stay valid as long as the secret of the home does.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from filelock import FileLock

from assets.methods.photos.file_formats import decoded_format
from orchestration.api.contract import ApiError, Code
from orchestration.api.keys import write_private
from orchestration.api.visualizations.picture_page import POLICY, draw_page

PAGE = "page"
FIGURE = "figure.png"

_SECRET_BYTES = 32
_TOKEN_DIGITS = 40
_HEAD_BYTES = 512
_MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
    "HEIF": "image/heif",
    "AVIF": "image/avif",
}
_ONE_RANGE = re.compile(r"bytes=(?:(\d{1,15})-(\d{1,15})?|-(\d{1,15}))")
_KEPT = "private, max-age=31536000, immutable"
_ASKED_ANEW = "private, no-cache"
# A file that somebody posted may be a picture and a page at once: it is to be a picture only.
_INERT = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter()


def _get_or_head(path: str) -> Callable[..., Any]:
    return router.api_route(path, methods=["GET", "HEAD"], include_in_schema=False)


class PictureAddresses:
    """Makes the addresses of pictures, and tells its own from others."""

    def __init__(self, home: Path) -> None:
        self._secret = _secret(home / "keys" / "secret")

    def visualization_url(self, request: Request, run_id: str, name: str) -> str:
        """Return the address of a file of a visualization: ``mosaic.jpg``, ``figure.png``."""
        token = self.token("visualizations", run_id)
        return f"{_base(request)}/pictures/visualizations/{run_id}/{token}/{name}"

    def page_url(self, request: Request, run_id: str) -> str:
        """Return the address of the page that shows a visualization."""
        return self.visualization_url(request, run_id, PAGE)

    def input_url(self, request: Request, app: str, image_id: str) -> str:
        """Return the address of the file of an input."""
        token = self.token("inputs", app, image_id)
        return f"{_base(request)}/pictures/inputs/{app}/{image_id}/{token}"

    def token(self, *addressed: str) -> str:
        """Return the token of what is addressed, 160 bits in hex."""
        message = json.dumps(addressed).encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()[:_TOKEN_DIGITS]

    def check(self, token: str, *addressed: str) -> None:
        """Raise ApiError unless this is the token of what is addressed."""
        if not hmac.compare_digest(token.encode(), self.token(*addressed).encode()):
            raise _nothing_here()


@_get_or_head("/pictures/visualizations/{run_id}/{token}/" + PAGE)
def visualization_page(request: Request, run_id: str, token: str) -> Response:
    """Return the page that shows a visualization."""
    service = request.app.state.service
    service.pictures.check(token, "visualizations", run_id)
    mosaic, _ = _files_of(request, run_id)
    text = draw_page(service.visualizations.about(run_id), f"mosaic{mosaic.suffix}", FIGURE)
    headers = _INERT | {"Content-Security-Policy": POLICY, "Cache-Control": _ASKED_ANEW}
    return HTMLResponse(text, headers=headers)


@_get_or_head("/pictures/visualizations/{run_id}/{token}/{name}")
def visualization_file(request: Request, run_id: str, token: str, name: str) -> Response:
    """Return the mosaic or the figure of a visualization."""
    request.app.state.service.pictures.check(token, "visualizations", run_id)
    mosaic, figure = _files_of(request, run_id)
    files = {f"mosaic{mosaic.suffix}": mosaic, FIGURE: figure}
    if name not in files:
        raise _nothing_here()
    return _picture(request, files[name], f"{run_id}-{name}", _KEPT)


@_get_or_head("/pictures/inputs/{app}/{image_id}/{token}")
def input_file(request: Request, app: str, image_id: str, token: str) -> Response:
    """Return the file of an input, as it was posted."""
    service = request.app.state.service
    service.pictures.check(token, "inputs", app, image_id)
    return _picture(request, service.intake.store(app).path(image_id), image_id, _KEPT)


@router.get(
    "/v2/visualizations/{run_id}/image",
    response_class=FileResponse,
    responses={
        200: {"content": {"image/jpeg": {}, "image/png": {}}},
        206: {"content": {"image/jpeg": {}, "image/png": {}}},
    },
)
def visualization_image(request: Request, run_id: str) -> Response:
    """Return the mosaic of a visualization that is ready."""
    service = request.app.state.service
    service.visualizations.find(request.state.caller.app, run_id)
    mosaic, _ = service.visualizations.files(run_id)
    return _picture(request, mosaic, f"{run_id}-mosaic{mosaic.suffix}", _ASKED_ANEW)


def _picture(request: Request, path: Path, identity: str, caching: str) -> Response:
    """Answer with a picture whose content never changes as long as it has this identity."""
    etag = f'"{identity}"'
    headers = _INERT | {"ETag": etag, "Cache-Control": caching}
    try:
        facts = path.stat()
        with path.open("rb") as file:
            image_format = decoded_format(file.read(_HEAD_BYTES))
    except FileNotFoundError as error:
        raise _nothing_here() from error
    if _is_known(request, etag):
        return Response(status_code=304, headers=headers)
    _check_range(request, etag, facts.st_size)
    media_type = _MEDIA_TYPES.get(image_format or "", "application/octet-stream")
    return FileResponse(path, headers=headers, media_type=media_type, stat_result=facts)


def _is_known(request: Request, etag: str) -> bool:
    known = request.headers.get("if-none-match", "")
    return known.strip() == "*" or etag in (
        one.strip().removeprefix("W/") for one in known.split(",")
    )


def _check_range(request: Request, etag: str, size: int) -> None:
    """Leave to FileResponse only the range that it can send: it refuses others in plain text."""
    asked = _ONE_RANGE.fullmatch(request.headers.get("range", ""))
    if asked is None or request.headers.get("if-range", etag) != etag or _is_reversed(asked):
        # A server may pass a range over, and send everything.
        others = [header for header in request.scope["headers"] if header[0] != b"range"]
        request.scope["headers"] = others
        return
    first, _, last_bytes = asked.groups()
    if (int(first) >= size) if first else (int(last_bytes) == 0):
        raise ApiError(
            Code.INVALID_REQUEST,
            f"The file has {size:,} bytes.",
            {"Content-Range": f"bytes */{size}"},
            http_status=416,
        )


def _is_reversed(asked: re.Match[str]) -> bool:
    first, last, _ = asked.groups()
    return last is not None and int(last) < int(first)


def _files_of(request: Request, run_id: str) -> tuple[Path, Path]:
    """Return mosaic and figure; one that is gone is no other than one that never was."""
    try:
        mosaic, figure = request.app.state.service.visualizations.files(run_id)
    except ApiError as error:
        raise _nothing_here() from error
    return mosaic, figure


def _nothing_here() -> ApiError:
    return ApiError(Code.NO_SUCH_ROUTE, "There is no picture at this address.")


def _base(request: Request) -> str:
    base = request.app.state.service.settings.public_url or str(request.base_url)
    return base.rstrip("/")


def _secret(path: Path) -> bytes:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            write_private(path, secrets.token_bytes(_SECRET_BYTES))
        return path.read_bytes()
