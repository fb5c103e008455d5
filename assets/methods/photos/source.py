"""Sources of photos, listed and read: a folder, an fsspec URL or a manifest."""

import hashlib
import json
import os
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd

from assets.methods.common.errors import NotApplicableError, UserError
from assets.methods.common.shown_text import without_secrets
from assets.methods.photos.class_folders import class_folder_rows
from assets.methods.photos.download import Fetched, FetchLimits, fetch, too_large
from assets.methods.photos.listing import WEB, Listing, SourceFile, protocol_of
from assets.methods.photos.local import (
    error_cause,
    list_folder,
    local_path,
    local_uri,
    read_local,
    read_local_head,
)
from assets.methods.photos.manifest import (
    Manifest,
    is_manifest,
    parse_local_manifest,
    parse_remote_manifest,
)
from assets.methods.photos.rejects import Rejected
from assets.methods.photos.remote import (
    list_remote_folder,
    read_remote,
    read_remote_head,
    read_remote_manifest,
)


def list_source(
    source: str, limits: FetchLimits | None = None, follow_links: bool = False
) -> Listing:
    """Find the files of a folder, of an fsspec URL (``s3://...``) or of a manifest.

    ``limits`` are for the download of a manifest on the web, ``follow_links`` is for links out of a
    local folder. Raises UserError when the source cannot be listed.
    """
    manifest = _find_manifest(source, limits or FetchLimits())
    return _list_folder(source, follow_links) if manifest is None else manifest.listing()


def read_labels(
    source: str,
    limits: FetchLimits | None = None,
    follow_links: bool = False,
    need_labels: bool = True,
) -> pd.DataFrame:
    """Return the rows of a labelled manifest, or of folders of classes, indexed from 1.

    A manifest's rows have all its columns, as strings, empty ones null; column uri holds the
    identity of the file, as in the listing. Columns that cannot be written as text, such as
    vectors, are left out. The rows of a folder are those of `class_folder_rows`. ``limits`` and
    ``follow_links`` are those of `list_source`. Raises UserError when a manifest cannot be read,
    and, where ``need_labels``, NotApplicableError when it has no column label, or a folder has no
    photos in folders.
    """
    manifest = _find_manifest(source, limits or FetchLimits())
    if manifest is not None:
        return manifest.labelled_rows(need_labels)
    root = str(_absolute_path(source)) if _is_local(source) else source
    rows = class_folder_rows(_list_folder(source, follow_links), root)
    if need_labels and rows["label"].isna().all():
        raise NotApplicableError(
            f"There is no manifest at {without_secrets(source)}, and no folder in it: labelled "
            "data is a CSV or Parquet file with a column uri, of paths or URLs, and a column "
            "label, or a folder with a folder for each class."
        )
    return rows


def listing_digest(listing: Listing) -> str:
    """Return the SHA-256 over every (uri, stamp, label), in hex; it changes with the source."""
    digest = hashlib.sha256()
    for file in listing.files:
        digest.update(json.dumps([file.uri, file.stamp, file.label]).encode() + b"\n")
    return digest.hexdigest()


def read_bytes(file: SourceFile, limits: FetchLimits) -> bytes:
    """Read the bytes of a file. Raises Rejected: too large, unreadable, or download failed."""
    return read_if_changed(file, limits, known_stamp=None).data or b""


def read_head(file: SourceFile, n_bytes: int) -> bytes:
    """Read the first ``n_bytes`` of a file of a folder. Raises Rejected."""
    if protocol_of(file.uri) in (None, "file"):
        return read_local_head(file, n_bytes)
    return read_remote_head(file, n_bytes)


def read_if_changed(file: SourceFile, limits: FetchLimits, known_stamp: str | None) -> Fetched:
    """Read the bytes of a file and its stamp; no bytes if the file still has ``known_stamp``.

    Raises Rejected: too large, unreadable, or download failed. The size is checked before reading
    if it is known, and always while reading.
    """
    if file.n_bytes is not None and file.n_bytes > limits.max_bytes:
        raise too_large(file.n_bytes, limits.max_bytes)
    if file.stamp is not None and file.stamp == known_stamp:
        return Fetched(None, known_stamp)
    protocol = protocol_of(file.uri)
    if protocol in WEB:
        return fetch(file.location, limits, known_stamp)
    if protocol in (None, "file"):
        return read_local(file, limits.max_bytes)
    return read_remote(file, limits.max_bytes, known_stamp)


def _find_manifest(source: str, limits: FetchLimits) -> Manifest | None:
    """Read the manifest at ``source``; None if it may be a folder. Raises UserError."""
    if protocol_of(source) in WEB:
        return _find_web_manifest(source, limits)
    if _is_local(source):
        return _find_local_manifest(_absolute_path(source))
    data = read_remote_manifest(source) if is_manifest(source) else None
    return None if data is None else parse_remote_manifest(data, source)


def _list_folder(source: str, follow_links: bool) -> Listing:
    if _is_local(source):
        return _list_local_folder(_absolute_path(source), follow_links)
    return list_remote_folder(source)


def _is_local(source: str) -> bool:
    return protocol_of(source) in (None, "file")


def _absolute_path(source: str) -> Path:
    return Path(os.path.abspath(local_path(source)))


def _list_local_folder(path: Path, follow_links: bool) -> Listing:
    try:
        return list_folder(str(path), follow_links)
    except OSError as error:
        raise _unreadable(path, error) from error


def _find_local_manifest(path: Path) -> Manifest | None:
    shown = local_uri(str(path))
    try:
        if path.is_dir():
            return None
        if is_manifest(path.name) and path.is_file():
            return parse_local_manifest(path.read_bytes(), path)
        exists = path.exists()
    except OSError as error:
        raise _unreadable(path, error) from error
    if exists:
        raise UserError(f"{shown} is neither a folder nor a manifest (.csv or .parquet).")
    raise UserError(f"There is no folder or manifest {shown}.")


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{local_uri(str(path))} cannot be read: {error_cause(error)}.")


def _find_web_manifest(url: str, limits: FetchLimits) -> Manifest:
    shown = without_secrets(url)
    if not is_manifest(urlsplit(url).path):
        raise UserError(f"{shown} is not a manifest: a web address has to end in .csv or .parquet.")
    try:
        data = fetch(url, limits).data or b""
    except Rejected as error:
        raise UserError(f"The manifest {shown} cannot be downloaded. {error.detail}") from error
    return parse_remote_manifest(data, url)
