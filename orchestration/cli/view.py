"""`tessera view`: the page of a map, served on this machine and opened in the browser."""

import socket
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from filelock import Timeout

from assets.config import MosaicConfig, config_of
from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import shown
from assets.methods.page.folder import MANIFEST
from assets.methods.photos.catalogue import Catalogue
from assets.resources.collections import CollectionRegistry
from assets.resources.photos import Photos
from assets.results.blurring import outputs_of
from assets.results.page import write_map_page
from assets.values import Embeddings, GridAssignment
from orchestration.instance import collection_lock, prepare_home

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

LOOPBACK = "127.0.0.1"
# Pages of other sites reach this machine by names of their own, which lead to it.
_HOSTS = [LOOPBACK, "localhost"]
# What is laid down in the page itself, and what cannot be laid down there.
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


@click.command("view")
@click.argument("name", metavar="COLLECTION", required=False)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port to listen on. 0 takes a free one.",
)
@click.option("--browser/--no-browser", default=True, help="Open the page in the browser.")
def command(name: str | None, port: int, browser: bool) -> None:
    """Serve the page of a collection's map on this machine until Ctrl-C, and open it.

    Without COLLECTION it is the one that was mapped last. If the collection was scored since, the
    page is brought up to date first.

    Example: tessera view demo
    """
    photos = Photos(home=str(prepare_home()))
    name = name or _last_mapped(photos)
    _update(photos, name)
    with suppress(KeyboardInterrupt), listening_on(port) as listening:
        address = f"http://{LOOPBACK}:{listening.getsockname()[1]}/"
        click.echo(f"The map of {name} is at {address} until Ctrl-C.")
        if browser:
            # A browser that asks before the server answers waits for it.
            webbrowser.open(address)
        build_server(photos.page_folder(name)).run(sockets=[listening])
    click.echo("stopped")


def build_app(folder: Path) -> "Starlette":
    """Return the application that serves the files of a page, and nothing else."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import Response
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    class PageFiles(StaticFiles):
        def file_response(self, *arguments: Any, **options: Any) -> Response:
            response = super().file_response(*arguments, **options)
            response.headers.update(_HEADERS)
            return response

    return Starlette(
        routes=[Mount("/", PageFiles(directory=folder, html=True))],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS),
            Middleware(GZipMiddleware, minimum_size=2000, compresslevel=1),
        ],
    )


def build_server(folder: Path) -> "uvicorn.Server":
    """Return the server of the files of a page."""
    import uvicorn

    config = uvicorn.Config(
        build_app(folder), log_config=None, access_log=False, server_header=False
    )
    return uvicorn.Server(config)


def _last_mapped(photos: Photos) -> str:
    names = [one.name for one in CollectionRegistry(Path(photos.home)).all()]
    names = [name for name in names if _has_page(photos, name)]
    if not names:
        raise UserError("No collection has a page yet: map one with `tessera map`.")
    # The page itself may be newer: it is also brought up to date when it is viewed.
    outputs = outputs_of(photos)
    return max(names, key=lambda name: (outputs.origin("mosaic", name).written_at, name))


def _has_page(photos: Photos, name: str) -> bool:
    return (photos.page_folder(name) / MANIFEST).exists()


def _update(photos: Photos, name: str) -> None:
    """Bring the page of a collection up to date, unless a run is at work on the collection."""
    collection = photos.registered(name)
    outputs = outputs_of(photos)
    try:
        with collection_lock(name, timeout=1):
            write_map_page(
                photos,
                name,
                outputs.read(GridAssignment, "grid_assignment", name),
                outputs.read(Catalogue, "raw_images", name),
                outputs.read(Embeddings, "embeddings", name),
                config_of(MosaicConfig, collection.settings),
            )
    except Timeout:
        if not _has_page(photos, name):
            raise UserError(f"{name} is being mapped: wait for it to end.") from None
        click.echo(shown(f"{name} is being mapped again: this is its page from before."), err=True)


def listening_on(port: int) -> socket.socket:
    """Return a socket on which a server listens on this machine; 0 takes a free port."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOOPBACK, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise UserError(f"Port {port} cannot be listened on: {error.strerror}.") from error
    return listening
