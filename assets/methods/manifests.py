"""Manifests: CSV or Parquet tables whose column uri names photos, with an optional label."""

import csv
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from assets.methods.errors import UserError
from assets.methods.local_files import local_file, local_path, local_uri
from assets.methods.rejects import Reason, Reject
from assets.methods.source_files import WEB, Listing, SourceFile, protocol_of, sorted_listing

_SUFFIXES = (".csv", ".parquet")
# A manifest may come from elsewhere: its rows may name object stores, but not other servers, whose
# addresses nobody would check.
_ROW_PROTOCOLS = {
    *WEB,
    *("abfs", "abfss", "adl", "az", "gcs", "gs", "hf", "memory", "oci", "oss", "s3", "s3a"),
}


@dataclass(frozen=True)
class _Row:
    """A row of a manifest: what stands in its column uri, its label, and where it stands."""

    value: str
    label: str | None
    where: str


def is_manifest(name: str) -> bool:
    """Whether a file of this name is read as a manifest."""
    return name.lower().endswith(_SUFFIXES)


def list_local_manifest(data: bytes, path: Path) -> Listing:
    """The files that a manifest at ``path`` names. Raises UserError if ``data`` is no manifest."""
    rows = _rows(data, path.name, local_uri(str(path)))
    return _rows_listing(rows, lambda row: _local_row(row, path.parent))


def list_remote_manifest(data: bytes, url: str) -> Listing:
    """The files that a remote manifest names. Raises UserError if ``data`` is no manifest."""
    rows = _rows(data, urlsplit(url).path, url)
    return _rows_listing(rows, lambda row: _row_beside(row, url))


def _rows_listing(rows: list[_Row], locate: Callable[[_Row], SourceFile | Reject]) -> Listing:
    """Every file that the rows name, once: of rows for the same file the first one counts."""
    found: dict[str, SourceFile | Reject] = {}
    for row in rows:
        entry = locate(row) if row.value else _nameless(row)
        found.setdefault(entry.uri, entry)
    return sorted_listing(found.values(), ignored=0)


def _nameless(row: _Row) -> Reject:
    return Reject(row.where, Reason.UNREADABLE, "The row of the manifest names no file.")


def _rows(data: bytes, name: str, manifest: str) -> list[_Row]:
    try:
        is_parquet = name.lower().endswith(".parquet")
        values, labels = _parquet_columns(data) if is_parquet else _csv_columns(data)
    except (pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"The manifest {manifest} is damaged or not what its name says.") from error
    except KeyError as error:
        raise UserError(f"The manifest {manifest} has no column named uri.") from error
    if not values:
        raise UserError(f"The manifest {manifest} has no rows.")
    return [
        _Row(value or "", label or None, f"{manifest}#{number}")
        for number, (value, label) in enumerate(zip(values, labels, strict=True), start=1)
    ]


def _csv_columns(data: bytes) -> tuple[list[str | None], list[str | None]]:
    text = io.StringIO(data.decode("utf-8-sig"), newline="")
    reader = csv.DictReader(text, strict=True)
    if "uri" not in (reader.fieldnames or ()):
        raise KeyError("uri")
    rows = list(reader)
    return [row["uri"] for row in rows], [row.get("label") for row in rows]


def _parquet_columns(data: bytes) -> tuple[list[str | None], list[str | None]]:
    table = pq.read_table(pa.BufferReader(data))
    values = table["uri"].cast(pa.string()).to_pylist()
    if "label" not in table.column_names:
        return values, [None] * len(values)
    return values, table["label"].cast(pa.string()).to_pylist()


def _local_row(row: _Row, folder: Path) -> SourceFile | Reject:
    """The file that a row of a manifest in ``folder`` names."""
    if protocol_of(row.value) in (None, "file"):
        return local_file(os.path.abspath(folder / local_path(row.value)), row.label)
    return _remote_row(row, row.value)


def _row_beside(row: _Row, manifest: str) -> SourceFile | Reject:
    """The file that a row of a remote manifest names: never one of this machine."""
    return _remote_row(row, row.value if protocol_of(row.value) else _beside(manifest, row.value))


def _beside(manifest: str, relative: str) -> str:
    if protocol_of(manifest) in WEB:
        return urljoin(manifest, quote(relative))
    return manifest.rpartition("/")[0] + "/" + relative.lstrip("/")


def _remote_row(row: _Row, url: str) -> SourceFile | Reject:
    protocol = protocol_of(url)
    if protocol not in _ROW_PROTOCOLS or ("::" in url and protocol not in WEB):
        return Reject(
            url,
            Reason.UNSUPPORTED,
            "A row of a manifest names a path, an http or https address, or an object store.",
        )
    return SourceFile(url, stamp=None, n_bytes=None, label=row.label)
