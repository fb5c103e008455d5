"""The routes of images and pages; whoever has the address of one may read it without a key.

A page is a folder of files, which lie beside it in its address.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

from assets.methods.page.page import INDEX
from assets.methods.photos.file_formats import decoded_format
from orchestration.api.context import caller_of, service_of
from orchestration.api.contract import ApiError, Code
from orchestration.api.image_addresses import PAGE, no_such_image
from orchestration.api.visualizations.kept_pages import page_file
from orchestration.api.visualizations.page import POLICY, render_page

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
_PAGE_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".jpg": "image/jpeg",
}
_ONE_RANGE = re.compile(r"bytes=(?:(\d{1,15})-(\d{1,15})?|-(\d{1,15}))")
_IMMUTABLE = "private, max-age=31536000, immutable"
_REVALIDATE = "private, no-cache"
# A file that somebody posted may be valid both as an image and as a page with scripts.
_NO_SCRIPTS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# A page has files of its own alone, and is shown in no other.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter()


def _get_or_head(path: str) -> Callable[..., Any]:
    return router.api_route(path, methods=["GET", "HEAD"], include_in_schema=False)


@_get_or_head("/pictures/visualizations/{run_id}/{token}/" + PAGE)
def visualization_page(request: Request, run_id: str, token: str) -> Response:
    """Return the page that shows a visualization."""
    service = service_of(request)
    service.image_addresses.check(token, "visualizations", run_id)
    mosaic, _ = _files_of(request, run_id)
    folder = service.visualizations.page(run_id)
    if folder is not None:
        return _page_response(request, folder, INDEX)
    # One of an older version, or of a collection whose settings make no page.
    text = render_page(service.visualizations.about(run_id), f"mosaic{mosaic.suffix}", FIGURE)
    headers = _NO_SCRIPTS | {"Content-Security-Policy": POLICY, "Cache-Control": _REVALIDATE}
    return HTMLResponse(text, headers=headers)


@_get_or_head("/pictures/visualizations/{run_id}/{token}/{name:path}")
def visualization_file(request: Request, run_id: str, token: str, name: str) -> Response:
    """Return the mosaic or the figure of a visualization, or a file of its page."""
    service_of(request).image_addresses.check(token, "visualizations", run_id)
    mosaic, figure = _files_of(request, run_id)
    files = {f"mosaic{mosaic.suffix}": mosaic, FIGURE: figure}
    if name not in files:
        folder = service_of(request).visualizations.page(run_id)
        if folder is None or name == INDEX:
            raise no_such_image()
        return _page_response(request, folder, name)
    return _image_response(request, files[name], f"{run_id}-{name}", _IMMUTABLE)


@_get_or_head("/pictures/inputs/{app}/{image_id}/{token}")
def input_file(request: Request, app: str, image_id: str, token: str) -> Response:
    """Return the file of an input, as it was posted."""
    service = service_of(request)
    service.image_addresses.check(token, "inputs", app, image_id)
    return _image_response(request, service.intake.store(app).path(image_id), image_id, _IMMUTABLE)


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
    visualizations = service_of(request).visualizations
    visualizations.find(caller_of(request).app, run_id)
    mosaic, _ = visualizations.files(run_id)
    return _image_response(request, mosaic, f"{run_id}-mosaic{mosaic.suffix}", _REVALIDATE)


def _page_response(request: Request, folder: Path, name: str) -> Response:
    """Return a file of a page, as its manifest names it."""
    known = page_file(folder, name)
    if known is None:
        raise no_such_image()
    is_page = name == INDEX
    headers = _NO_SCRIPTS | {"ETag": f'"{known.sha256}"', "Cache-Control": _IMMUTABLE}
    if is_page:
        # The page of a later version of the service may be another.
        headers |= {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": _REVALIDATE}
    path = folder / name
    media_type = _PAGE_TYPES.get(path.suffix, "text/plain; charset=utf-8")
    return _file_response(request, path, headers, lambda: media_type)


def _image_response(request: Request, path: Path, identity: str, caching: str) -> Response:
    """Return a file as an image; ``identity`` names content that never changes."""
    etag = f'"{identity}"'
    headers = _NO_SCRIPTS | {"ETag": etag, "Cache-Control": caching}

    def media_type() -> str:
        with path.open("rb") as file:
            image_format = decoded_format(file.read(_HEAD_BYTES))
        return _MEDIA_TYPES.get(image_format or "", "application/octet-stream")

    return _file_response(request, path, headers, media_type)


def _file_response(
    request: Request, path: Path, headers: dict[str, str], find_type: Callable[[], str]
) -> Response:
    etag = headers["ETag"]
    try:
        facts, media_type = path.stat(), find_type()
    except FileNotFoundError as error:
        raise no_such_image() from error
    if _is_known(request, etag):
        return Response(status_code=304, headers=headers)
    _check_range(request, etag, facts.st_size)
    return FileResponse(path, headers=headers, media_type=media_type, stat_result=facts)


def _is_known(request: Request, etag: str) -> bool:
    known = request.headers.get("if-none-match", "")
    return known.strip() == "*" or etag in (
        one.strip().removeprefix("W/") for one in known.split(",")
    )


def _check_range(request: Request, etag: str, size: int) -> None:
    """Remove a range that FileResponse would refuse; raise ApiError if it begins after the end."""
    asked = _ONE_RANGE.fullmatch(request.headers.get("range", ""))
    if asked is None or request.headers.get("if-range", etag) != etag or _is_reversed(asked):
        # A server may ignore a range, and send the whole file.
        others = [header for header in request.scope["headers"] if header[0] != b"range"]
        request.scope["headers"] = others
        return
    first, _, last_bytes = asked.groups()
    if (int(first) >= size) if first else (int(last_bytes) == 0):
        raise ApiError(
            Code.INVALID_REQUEST,
            f"The range begins after the end of the file, which has {size:,} bytes.",
            {"Content-Range": f"bytes */{size}"},
            http_status=416,
        )


def _is_reversed(asked: re.Match[str]) -> bool:
    first, last, _ = asked.groups()
    return last is not None and int(last) < int(first)


def _files_of(request: Request, run_id: str) -> tuple[Path, Path]:
    """Return mosaic and figure; the answer is the same whether they are gone or never were."""
    try:
        return service_of(request).visualizations.files(run_id)
    except ApiError as error:
        raise no_such_image() from error
