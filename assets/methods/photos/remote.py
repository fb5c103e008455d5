"""Files of remote stores, through fsspec: found, stamped and read."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import without_secrets
from assets.methods.photos.download import Fetched, too_large
from assets.methods.photos.listing import (
    Listing,
    SourceFile,
    is_ignored,
    protocol_of,
    remote_file,
    sorted_listing,
)
from assets.methods.photos.rejects import Reason, Rejected

# Names that the filesystems of fsspec have for what changes with a file's content.
_STAMP_FIELDS = (
    *("ETag", "etag", "md5Hash", "md5", "crc32c", "generation", "sha", "sha256", "size"),
    *("LastModified", "last_modified", "updated", "modified", "modify", "mtime", "created"),
    "modificationTime",
)


def _filesystem(url: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of a URL, and the path in it."""
    if "::" in url:
        raise UserError(
            f"{without_secrets(url)} chains several addresses; give one folder or manifest."
        )
    protocol = protocol_of(url)
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise UserError(
            f"{protocol}:// needs a package that is not installed ({error})."
        ) from error
    except ValueError as error:
        raise UserError(f"{protocol}:// is not a kind of address that is known here.") from error


def read_remote_manifest(url: str) -> bytes | None:
    """Read the bytes of a manifest; None if there is no such file. Raises UserError."""
    filesystem, path = _filesystem(url)
    with _failure_as_user_error(url):
        data: bytes | None = filesystem.cat_file(path) if filesystem.isfile(path) else None
    return data


def list_remote_folder(url: str) -> Listing:
    """Find the files below a folder or prefix. Raises UserError."""
    filesystem, root = _filesystem(url)
    with _failure_as_user_error(url):
        filesystem.invalidate_cache()
        if not filesystem.isdir(root):
            raise UserError(f"There is no folder or manifest {without_secrets(url)}.")
        found: dict[str, dict[str, Any]] = filesystem.find(root, detail=True)
    prefix = len(root.rstrip("/")) + 1
    shown = {
        path: info
        for path, info in found.items()
        if not any(map(is_ignored, path[prefix:].split("/")))
    }
    files = (
        remote_file(filesystem.unstrip_protocol(path), _remote_stamp(info), info.get("size"))
        for path, info in shown.items()
    )
    return sorted_listing(files, ignored=len(found) - len(shown))


@contextmanager
def _failure_as_user_error(url: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    # Every package behind fsspec raises errors of its own kinds.
    except Exception as error:
        raise UserError(
            f"{without_secrets(url)} cannot be listed ({type(error).__name__})."
        ) from error


def _remote_stamp(info: dict[str, Any]) -> str | None:
    """Return what changes when the file does; None if the store gives only its size."""
    known = {name: str(info[name]) for name in _STAMP_FIELDS if name in info}
    return json.dumps(known) if known.keys() - {"size"} else None


def read_remote_head(file: SourceFile, n_bytes: int) -> bytes:
    """Read the first ``n_bytes`` of a file, and no more of it. Raises Rejected."""
    with _failure_as_rejected():
        filesystem, path = _filesystem(file.location)
        data: bytes = filesystem.cat_file(path, start=0, end=n_bytes)
    return data


def read_remote(file: SourceFile, max_bytes: int, known_stamp: str | None) -> Fetched:
    """Read the bytes of a file, unless it still has ``known_stamp``. Raises Rejected."""
    with _failure_as_rejected():
        filesystem, path = _filesystem(file.location)
        # Files of a folder were stamped when they were listed; those of a manifest were not.
        info = {} if file.stamp else filesystem.info(path)
        stamp = file.stamp or _remote_stamp(info)
        if stamp is not None and stamp == known_stamp:
            return Fetched(None, stamp)
        if (info.get("size") or 0) > max_bytes:
            raise too_large(info["size"], max_bytes)
        with filesystem.open(path, "rb") as opened:
            data = opened.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise too_large(None, max_bytes)
    return Fetched(data, stamp)


@contextmanager
def _failure_as_rejected() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise Rejected(Reason.DOWNLOAD_FAILED, str(error)) from error
    except FileNotFoundError as error:
        raise Rejected(Reason.DOWNLOAD_FAILED, "There is no such file in the store.") from error
    except Rejected:
        raise
    # Every package behind fsspec raises errors of its own kinds.
    except Exception as error:
        raise Rejected(
            Reason.DOWNLOAD_FAILED, f"The store did not give the file ({type(error).__name__})."
        ) from error
