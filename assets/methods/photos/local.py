"""Folders and files of this machine: found, stamped and read."""

import os
import stat
from collections import deque
from collections.abc import Iterator
from urllib.parse import quote, unquote_to_bytes

from assets.methods.photos.download import Fetched, too_large
from assets.methods.photos.listing import (
    Listing,
    SourceFile,
    is_ignored,
    protocol_of,
    sorted_listing,
)
from assets.methods.photos.rejects import Reason, Reject, Rejected

_NOT_FOLLOWED = (
    "The link leads out of the folder, and links out of it are not followed unless --follow-links "
    "asks for it."
)


def list_folder(folder: str, follow_links: bool = False) -> Listing:
    """Find the files below a folder. Raises OSError if the folder itself cannot be read.

    Links to what lies below the folder are followed. A link that leads out of it is a reject,
    unless ``follow_links`` is set.
    """
    with os.scandir(folder):
        pass
    return _Walk(folder, follow_links).below()


def local_path(uri: str) -> str:
    """Return the path of a uri, as the operating system's functions take it."""
    if protocol_of(uri) != "file":
        return uri
    return os.fsdecode(unquote_to_bytes(uri[len("file://") :].removeprefix("localhost")))


def local_uri(path: str) -> str:
    """Return the uri of a path, which is the path itself if it is valid text."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "file://" + quote(os.fsencode(path))
    return path


def local_file(path: str, label: str | None = None) -> SourceFile | Reject:
    """Return the file at ``path``, without opening it, or why it cannot be a photo."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        what = "link leads nowhere" if os.path.islink(path) else "file cannot be read"
        return _unreadable(path, f"The {what}: {error_cause(error)}.")
    if stat.S_ISDIR(status.st_mode):
        return _unreadable(path, "This is a folder, not a file.")
    if not stat.S_ISREG(status.st_mode):
        return Reject(
            local_uri(path), Reason.UNSUPPORTED, "This is a pipe, socket or device, not a file."
        )
    return SourceFile(local_uri(path), _local_stamp(status), status.st_size, label)


class _Walk:
    """A walk through a folder that follows links and enters every real folder once.

    Folders are entered before links to folders, so that a photo gets its own path if it lies below
    the source, and not the path through a link.
    """

    def __init__(self, top: str, follow_links: bool) -> None:
        self._top = top
        self._real_top = os.path.realpath(top)
        self._follow_links = follow_links
        self._entered: set[tuple[int, int]] = set()
        self._linked: deque[str] = deque()
        self._ignored = 0

    def below(self) -> Listing:
        """List everything below the top folder."""
        found = list(self._below(self._top))
        while self._linked:
            found.extend(self._below(self._linked.popleft()))
        return sorted_listing(found, self._ignored)

    def _below(self, top: str) -> Iterator[SourceFile | Reject]:
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            try:
                if not self._enters(folder):
                    continue
                with os.scandir(folder) as scan:
                    entries = sorted(scan, key=lambda entry: entry.name)
            except OSError as error:
                yield _unreadable(folder, f"The folder cannot be read: {error_cause(error)}.")
                continue
            for entry in entries:
                if is_ignored(entry.name):
                    self._ignored += 1
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif self._leads_out(entry):
                    yield Reject(local_uri(entry.path), Reason.NOT_FOLLOWED, _NOT_FOLLOWED)
                elif entry.is_symlink() and os.path.isdir(entry.path):
                    self._linked.append(entry.path)
                else:
                    yield local_file(entry.path)

    def _leads_out(self, entry: os.DirEntry[str]) -> bool:
        """Return whether an entry is a link out of the folder that is not to be followed."""
        if self._follow_links or not entry.is_symlink() or not os.path.exists(entry.path):
            return False
        target = os.path.realpath(entry.path)
        return os.path.commonpath([self._real_top, target]) != self._real_top

    def _enters(self, folder: str) -> bool:
        status = os.stat(folder)
        identity = (status.st_dev, status.st_ino)
        is_new = identity not in self._entered
        self._entered.add(identity)
        return is_new


def _local_stamp(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


def _unreadable(path: str, detail: str) -> Reject:
    return Reject(local_uri(path), Reason.UNREADABLE, detail)


def error_cause(error: Exception) -> str:
    """Return the operating system's message, without numbers and paths."""
    return (getattr(error, "strerror", None) or "the name is not valid").lower()


def read_local_head(file: SourceFile, n_bytes: int) -> bytes:
    """Read the first ``n_bytes`` of a file. Raises Rejected."""
    data, _ = _read_at_most(file, n_bytes)
    return data


def read_local(file: SourceFile, max_bytes: int) -> Fetched:
    """Read a file that is as it was when it was found. Raises Rejected."""
    data, stamp = _read_at_most(file, max_bytes + 1)
    if len(data) > max_bytes:
        raise too_large(None, max_bytes)
    if stamp != file.stamp:
        raise Rejected(Reason.UNREADABLE, "The file changed after it was found; try again.")
    return Fetched(data, stamp)


def _read_at_most(file: SourceFile, n_bytes: int) -> tuple[bytes, str]:
    """Return the first ``n_bytes`` of a file, and its stamp. Raises Rejected."""
    try:
        # If a pipe has replaced the file, opening it must not wait for a writer.
        handle = os.open(local_path(file.uri), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as opened:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Rejected(Reason.UNREADABLE, "The file was replaced by something else.")
            return opened.read(n_bytes), _local_stamp(os.fstat(handle))
    except (OSError, ValueError) as error:
        raise Rejected(
            Reason.UNREADABLE, f"The file cannot be read: {error_cause(error)}."
        ) from error
