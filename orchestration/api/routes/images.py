"""The routes of images and pages: who has the address may look."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

from assets.methods.photos.file_formats import decoded_format
from orchestration.api.contract import ApiError, Code
from orchestration.api.image_addresses import PAGE, nothing_here
from orchestration.api.visualizations.picture_page import POLICY, draw_page

FIGURE = "figure.png"

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
        raise nothing_here()
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
        raise nothing_here() from error
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
        raise nothing_here() from error
    return mosaic, figure
