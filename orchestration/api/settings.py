"""How the service is run."""

import ipaddress
from dataclasses import dataclass, field

from assets.resources.compute import Compute


@dataclass(frozen=True)
class ServeSettings:
    """How the service is run.

    ``download_seconds`` bounds one download in all; ``wait_seconds`` is how long the posting of
    inputs waits for its downloads before it answers that they are pending. ``public_url`` is the
    base of the addresses in replies where it is not that of the request.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    runs_at_once: int = 1
    download_seconds: float = 20.0
    wait_seconds: float = 30.0
    image_megabytes: float = 32.0
    allow_private_addresses: bool = False
    public_url: str | None = None
    compute: Compute = field(default_factory=Compute)


def is_loopback(host: str) -> bool:
    """Whether a name or an address is one by which a machine reaches itself."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
