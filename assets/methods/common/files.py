"""Files that appear whole or not at all."""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_log = logging.getLogger(__name__)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; afterwards the file is synced and renamed to ``path``.

    If the body raises, no file is left behind and an older file at ``path`` stays as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        with beside.open("rb+") as written:
            os.fsync(written.fileno())
        # Only the owner can read what mkstemp makes; results are ordinary files.
        beside.chmod(0o644)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all."""
    with written_whole(path) as beside:
        beside.write_bytes(data)


def set_aside(path: Path, fault: str) -> None:
    """Rename a damaged file to ``.corrupt`` and warn: "Moved PATH, which ``fault``, ..."."""
    aside = path.with_suffix(".corrupt")
    _log.warning("Moved %s, which %s, to %s", path, fault, aside.name)
    # Another process may have moved it first.
    with contextlib.suppress(FileNotFoundError):
        path.replace(aside)
