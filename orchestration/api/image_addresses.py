"""URLs of images and pages that nobody can guess: whoever has the URL needs no key.

A URL contains a token, an HMAC-SHA256 (RFC 2104) over what it addresses. So no list of the URLs has
to be kept, and they stay valid as long as the secret of the home.
"""

import hashlib
import hmac
import json
import secrets
from pathlib import Path

from fastapi import Request
from filelock import FileLock

from orchestration.api.contract import ApiError, Code
from orchestration.api.keys import write_private

PAGE = "page"

_SECRET_BYTES = 32
_TOKEN_DIGITS = 40


class ImageAddresses:
    """Makes the URLs of images, and checks the tokens in them.

    ``public_url`` is the base of the URLs; None takes it from each request.
    """

    def __init__(self, home: Path, public_url: str | None = None) -> None:
        self._secret = _secret(home / "keys" / "secret")
        self._public_url = public_url

    def visualization_url(self, request: Request, run_id: str, name: str) -> str:
        """Return the URL of a file of a visualization, or of its page, which is called PAGE."""
        token = self.token("visualizations", run_id)
        return f"{self._base(request)}/pictures/visualizations/{run_id}/{token}/{name}"

    def input_url(self, request: Request, app: str, image_id: str) -> str:
        """Return the URL of the file of an input."""
        token = self.token("inputs", app, image_id)
        return f"{self._base(request)}/pictures/inputs/{app}/{image_id}/{token}"

    def token(self, *addressed: str) -> str:
        """Return the token for what is addressed, 160 bits in hex."""
        message = json.dumps(addressed).encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()[:_TOKEN_DIGITS]

    def check(self, token: str, *addressed: str) -> None:
        """Raise ApiError unless this is the token for what is addressed."""
        if not hmac.compare_digest(token.encode(), self.token(*addressed).encode()):
            raise no_such_image()

    def _base(self, request: Request) -> str:
        return (self._public_url or str(request.base_url)).rstrip("/")


def no_such_image() -> ApiError:
    """Return the error for a URL with a wrong token, or whose file is gone."""
    return ApiError(Code.NO_SUCH_ROUTE, "There is no image at this address.")


def _secret(path: Path) -> bytes:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            write_private(path, secrets.token_bytes(_SECRET_BYTES))
        return path.read_bytes()
