"""Files that appear whole or not at all.

The name of a file that is being written says which process of which machine writes it, so that what
a killed process has left behind is recognised.
"""

import contextlib
import filecmp
import hashlib
import logging
import os
import re
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import psutil

_log = logging.getLogger(__name__)

_REMOVED = ".removed-"
# The last part is that of what SQLite writes beside a database.
_UNFINISHED = re.compile(r"\.([0-9a-f]{8})-(\d+)-\w+(\.\w+)?(-(journal|wal|shm))?")


@contextmanager
def written_whole(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Yield a temporary path to write to; afterwards the file is synced and renamed to ``path``.

    Until then only the owner can read it, and afterwards whom ``mode`` lets.

    If the body raises, no file is left behind and an older file at ``path`` stays as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = new_unfinished(path.parent, path.suffix)
    try:
        yield beside
        with beside.open("rb+") as written:
            os.fsync(written.fileno())
        # Only the owner can read what mkstemp makes; results are ordinary files.
        beside.chmod(mode)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def new_unfinished(folder: Path, suffix: str = "") -> Path:
    """Make a file that only the owner can read, and that is removed if this process is killed."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=_prefix(), suffix=suffix)
    os.close(handle)
    return Path(name)


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all."""
    with written_whole(path) as beside:
        beside.write_bytes(data)


def remove(place: Path) -> None:
    """Remove a file or a folder; a folder vanishes as a whole, or what is left is recognised."""
    if not place.is_dir() or place.is_symlink():
        place.unlink(missing_ok=True)
        return
    if not place.name.startswith(_REMOVED):
        beside = place.with_name(f"{_REMOVED}{place.name}")
        if beside.exists():
            # What a process has left that was killed here.
            shutil.rmtree(beside)
        place = place.rename(beside)
    shutil.rmtree(place)


def half_removed(folder: Path) -> list[Path]:
    """Return the folders below ``folder`` whose removal was interrupted."""
    return sorted(place for place in folder.rglob(f"{_REMOVED}*") if place.is_dir())


def share(new: Path, old: Path) -> bool:
    """Make two files of the same bytes one file with two names; return whether it is one.

    Afterwards neither may be written to in place: it would change the other.
    """
    # Named like what is being written, so that it is found if this process is killed.
    beside = new.with_name(f"{_prefix()}{uuid.uuid4().hex}")
    # A file may have gone, and not every disk has files of two names.
    try:
        if new.samefile(old):
            return True
        if not filecmp.cmp(new, old, shallow=False):
            return False
        beside.hardlink_to(old)
        beside.replace(new)
    except OSError:
        return False
    finally:
        beside.unlink(missing_ok=True)
    return True


def share_equal_files(folder: Path, older: Path) -> None:
    """``share`` each file below ``folder`` with one below ``older``, whatever they are called."""
    by_size: dict[int, list[Path]] = {}
    for old in _files_below(older):
        by_size.setdefault(old.stat().st_size, []).append(old)
    for new in _files_below(folder):
        any(share(new, old) for old in by_size.get(new.stat().st_size, ()))


def _files_below(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("[!.]*")) if path.is_file()]


def remove_unfinished(folder: Path, only_look: bool = False, deep: bool = True) -> list[Path]:
    """Remove what processes of this machine that were killed have left in a folder.

    Returns what was removed, or would be if it were not to ``only_look``. What a process is still
    writing stays. ``deep``: also in the folders below it.
    """
    walk = os.walk(folder) if deep else islice(os.walk(folder), 1)
    left = [
        Path(parent, name)
        for parent, _, names in walk
        for name in names
        if (found := _UNFINISHED.fullmatch(name)) and found[1] == _machine()
        if not psutil.pid_exists(int(found[2]))
    ]
    for file in left:
        if not only_look:
            file.unlink(missing_ok=True)
    return left


def _prefix() -> str:
    """Return how the names begin of what this process has not finished: see ``_UNFINISHED``."""
    return f".{_machine()}-{os.getpid()}-"


def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def set_aside(path: Path, fault: str) -> None:
    """Rename a damaged file to ``.corrupt`` and warn: "Moved PATH, which ``fault``, ..."."""
    aside = path.with_suffix(".corrupt")
    _log.warning("Moved %s, which %s, to %s", path, fault, aside.name)
    # Another process may have moved it first.
    with contextlib.suppress(FileNotFoundError):
        path.replace(aside)
