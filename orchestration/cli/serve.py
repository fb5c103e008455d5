"""`tessera serve`: the HTTP service and what carries its visualizations out."""

import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from assets.methods.common.errors import UserError
from orchestration.api.keys import KeyRing
from orchestration.api.logs import configure_logs
from orchestration.api.service import Service
from orchestration.api.settings import ServeSettings, is_loopback

SECONDS_FOR_REQUESTS_TO_END = 10
IDLE_SECONDS = 30
BACKLOG = 1024


def serve(home: Path, settings: ServeSettings) -> None:
    """Serve until Ctrl-C.

    Raises UserError when the address cannot be listened on, when the home is being served already,
    or when others could reach a service that asks for no key.
    """
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
            # Its lines are no JSON otherwise.
            os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
            service = Service(home, settings)
            _announce(service, listening)
            _run(service, listening)
    except Timeout as error:
        raise UserError(f"{home} is being served by another `tessera serve` already.") from error


def _listening(settings: ServeSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        # Who reads that it is up may connect, even while it starts.
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
        "Ctrl-C ends it; a visualization that is being carried out is still finished.", flush=True
    )


def _run(service: Service, listening: socket.socket) -> None:
    import uvicorn

    from orchestration.api.app import build_app

    config = uvicorn.Config(
        build_app(service),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=SECONDS_FOR_REQUESTS_TO_END,
    )
    uvicorn.Server(config).run(sockets=[listening])
