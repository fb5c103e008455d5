"""`tessera serve`: the HTTP service and the runs of its visualizations."""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from filelock import FileLock, Timeout

from assets.config import RawImagesConfig
from assets.methods.common.errors import UserError
from assets.methods.common.loopback import is_loopback
from orchestration.api.keys import KeyRing
from orchestration.api.logs import configure_logs
from orchestration.api.service import Service
from orchestration.api.settings import ServeSettings
from orchestration.cli.common.options import (
    Options,
    allow_private_addresses,
    compute_options,
    pass_options,
)
from orchestration.instance import open_instance, prepare_home
from orchestration.run_queue import check_has_queue

if TYPE_CHECKING:
    import uvicorn

SECONDS_FOR_REQUESTS_TO_END = 10
IDLE_SECONDS = 30
BACKLOG = 1024
# A request may have many animations, and the images that a model is given are held in memory.
MOST_FRAMES = 64


@click.command("serve")
@click.option("--host", default=ServeSettings.host, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=ServeSettings.port,
    help="Port to listen on. 0 takes a free one.",
)
@click.option(
    "--runs",
    "runs_at_once",
    type=click.IntRange(1),
    help="Number of runs that compute at the same time. The others wait in Dagster's queue.",
    show_default="the limit of the pool gpu, at first 1",
)
@click.option(
    "--download-seconds",
    type=click.FloatRange(0, min_open=True),
    default=ServeSettings.download_seconds,
    help="Time limit of one download in seconds.",
)
@click.option(
    "--image-megabytes",
    type=click.FloatRange(0, min_open=True),
    default=ServeSettings.image_megabytes,
    help="Largest size of an image in megabytes. Larger images are refused.",
)
@click.option(
    "--frames",
    type=click.IntRange(1, MOST_FRAMES),
    default=ServeSettings.frames,
    help="Number of frames of an animation that a model looks at, spread over its whole length.",
)
@click.option(
    "--public-url",
    help="Address under which clients reach the service, such as https://photos.example.org, if it "
    "is behind a proxy.",
)
@allow_private_addresses
@compute_options
@pass_options
def command(options: Options, **settings: Any) -> None:
    """Serve images, models, searches and maps over HTTP until Ctrl-C.

    Without a key the service listens on this machine alone. `tessera key new COLLECTION` makes one.
    """
    private = options.config(RawImagesConfig).allow_private_addresses
    compute = options.compute()
    with suppress(KeyboardInterrupt):
        serve(
            prepare_home(),
            ServeSettings(**settings, allow_private_addresses=private, compute=compute),
        )
    click.echo("stopped")


def serve(home: Path, settings: ServeSettings) -> None:
    """Serve until Ctrl-C.

    Raises UserError when the address cannot be listened on, when the home is being served already,
    when its dagster.yaml has no queue, or when others could reach a service that asks for no key.
    """
    with open_instance() as instance:
        check_has_queue(instance)
    if not KeyRing(home / "keys").any_ever() and not is_loopback(settings.host):
        raise UserError(
            f"Without a key the service listens on loopback alone, not on {settings.host}: make "
            "one with `tessera key new COLLECTION`."
        )
    try:
        with (
            FileLock(home / "serve.lock", timeout=0),
            _listening(settings) as listening,
        ):
            configure_logs()
            # MLflow would write lines that are not JSON.
            os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
            service = Service(home, settings)
            _announce(service, listening)
            build_server(service).run(sockets=[listening])
    except Timeout as error:
        raise UserError(f"{home} is being served by another `tessera serve` already.") from error


def build_server(service: Service) -> "uvicorn.Server":
    """Return the server of HTTP, which starts and closes ``service``."""
    import uvicorn

    from orchestration.api.app import build_app

    return uvicorn.Server(
        uvicorn.Config(
            build_app(service),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=SECONDS_FOR_REQUESTS_TO_END,
        )
    )


def _listening(settings: ServeSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        # Clients may connect as soon as the address is printed, while the service still starts.
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise UserError(
            f"{settings.host} cannot be listened on at port {settings.port}: {error.strerror}."
        ) from error
    return listening


def _announce(service: Service, listening: socket.socket) -> None:
    host, port = listening.getsockname()[:2]
    base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    print(f"Service  {base}   (its description: {base}/docs)")
    if service.is_open:
        print(
            "No key has been made yet: it listens on loopback alone, and everyone on this machine "
            "is the app `default`.\nMake a key with `tessera key new COLLECTION`."
        )
    print(
        "Ctrl-C ends it; a visualization that is running goes on when it is started again.",
        flush=True,
    )
