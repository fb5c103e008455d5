"""API keys: each belongs to an app, and has limits.

A key's text is shown once, when it is made. Its SHA-256 is stored, one file for each key.
"""

import hashlib
import hmac
import json
import logging
import math
import os
import secrets
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from assets.methods.common.errors import UserError
from assets.methods.common.files import write_whole
from assets.methods.common.timestamps import now

_log = logging.getLogger(__name__)

# The app of every request while no key was ever made.
OPEN_APP = "default"

# Two changes within this time may leave the folder with the same time stamp.
_STAMP_SECONDS = 2.0
_NO_DIGEST = "0" * 64


@dataclass(frozen=True)
class KeyLimits:
    """The limits of a key.

    ``request_megabytes`` limits the body of a request (in 2**20 bytes), and ``inputs`` how many
    inputs the app stores.

    Raises:
        UserError: a limit is negative, infinite or not a number, or a rate or size is zero.
    """

    requests_per_second: float = 200
    request_megabytes: float = 64
    inputs: int = 100_000

    def __post_init__(self) -> None:
        for name in ("requests_per_second", "request_megabytes"):
            limit = getattr(self, name)
            if not 0 < limit < math.inf:
                raise UserError(f"{name} is {limit}: it has to be above 0 and finite.")
        if self.inputs < 0:
            raise UserError(f"inputs is {self.inputs}: it has to be at least 0.")


@dataclass(frozen=True)
class Key:
    """A key as it is stored; ``digest`` is the SHA-256 of its text, in hex."""

    id: str
    app: str
    digest: str
    created_at: str
    revoked_at: str | None = None
    limits: KeyLimits = field(default_factory=KeyLimits)


class KeyRing:
    """The keys in a folder, which only its owner may read.

    Any number of processes may use one folder; each sees at once what another one changes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: tuple[int, dict[str, Key]] | None = None

    def new_key(self, app: str, limits: KeyLimits) -> tuple[Key, str]:
        """Make a key for ``app``; return it with its text, which is not stored."""
        key_id = secrets.token_hex(8)
        text = f"{key_id}.{secrets.token_urlsafe(32)}"
        key = Key(key_id, app, _digest(text), now(), limits=limits)
        self._write(key)
        return key, text

    def revoke(self, key_id: str) -> Key:
        """Revoke a key; raises UserError if there is none with this id."""
        key = self._keys().get(key_id)
        if key is None:
            raise UserError(
                f"There is no key {key_id!r}: `tessera key list` shows the existing keys."
            )
        if key.revoked_at is None:
            key = replace(key, revoked_at=now())
            self._write(key)
        return key

    def all(self) -> list[Key]:
        """Return all keys, including the revoked ones, the oldest first."""
        return sorted(self._keys().values(), key=lambda key: (key.created_at, key.id))

    def any_ever(self) -> bool:
        """Whether a key was ever made, even if it is revoked now."""
        return any(self._files())

    def find(self, text: str) -> Key | None:
        """Return the key with this text; None if there is none or it was revoked.

        Takes as long for an unknown id as for a wrong text.
        """
        key = self._keys().get(text.partition(".")[0])
        # The text has 256 random bits, so a slow hash would not make it harder to guess.
        is_right = hmac.compare_digest(_digest(text), key.digest if key else _NO_DIGEST)
        return key if key and is_right and key.revoked_at is None else None

    def _keys(self) -> dict[str, Key]:
        try:
            stamp = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return {}
        if self._read is not None and self._read[0] == stamp:
            return self._read[1]
        found = map(_read_key, self._files())
        keys = {key.id: key for key in found if key is not None}
        is_stable = time.time_ns() - stamp > _STAMP_SECONDS * 1e9
        self._read = (stamp, keys) if is_stable else None
        return keys

    def _files(self) -> list[Path]:
        # The name of a file that is being written begins with a dot.
        return [path for path in self._folder.glob("*.json") if not path.name.startswith(".")]

    def _write(self, key: Key) -> None:
        write_private(self._folder / f"{key.id}.json", json.dumps(asdict(key)).encode())


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, into a folder that only its owner may enter."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    write_whole(path, data)
    os.chmod(path, 0o600)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read_key(path: Path) -> Key | None:
    """Return a key; None if its file is damaged, or was removed meanwhile."""
    try:
        fields = json.loads(path.read_text())
        return Key(**fields | {"limits": KeyLimits(**fields["limits"])})
    except (OSError, ValueError, TypeError, KeyError, UserError):
        _log.warning("%s is not a valid key file. Remove it, and make a new key.", path)
        return None
