"""The settings of the HTTP service."""

from dataclasses import dataclass, field

from assets.methods.common.loopback import LOOPBACK
from assets.methods.photos.animation import DEFAULT_FRAMES
from assets.resources.compute import Compute


@dataclass(frozen=True)
class ServeSettings:
    """The settings of the HTTP service.

    ``download_seconds`` limits the time of one download. ``wait_seconds`` is how long a post of
    inputs waits for its downloads before it returns them as pending. ``public_url`` is the base of
    the URLs in replies; None takes it from each request. ``runs_at_once`` becomes the limit of
    Dagster's pool; None leaves the limit as it is, which is 1 unless somebody has set another.
    ``frames`` of an animation that is sent to a model are scored.
    """

    host: str = LOOPBACK
    port: int = 8000
    runs_at_once: int | None = None
    download_seconds: float = 20.0
    wait_seconds: float = 30.0
    image_megabytes: float = 32.0
    frames: int = DEFAULT_FRAMES
    allow_private_addresses: bool = False
    public_url: str | None = None
    compute: Compute = field(default_factory=Compute)
