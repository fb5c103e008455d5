"""Manifests: CSV or Parquet tables whose column uri names photos, with an optional label."""

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import without_secrets
from assets.methods.photos.listing import (
    WEB,
    Listing,
    SourceFile,
    protocol_of,
    remote_file,
    sorted_listing,
)
from assets.methods.photos.local import local_file, local_path, local_uri
from assets.methods.photos.rejects import Reason, Reject

_SUFFIXES = (".csv", ".parquet")
_READ_COLUMNS = ("uri", "label", "split")
# A manifest may come from a stranger: its rows may name object stores, but no other servers, as
# their addresses are not checked.
_ROW_PROTOCOLS = {
    *WEB,
    *("abfs", "abfss", "adl", "az", "gcs", "gs", "hf", "memory", "oci", "oss", "s3", "s3a"),
}


@dataclass(frozen=True)
class Manifest:
    """A manifest that was read.

    Attributes:
        location: its path or URL, without secrets.
        columns: the values of each column as text, one a row; columns without a name are left out.
        entries: for each row the file that it names, or why it names none.
    """

    location: str
    columns: dict[str, list[str | None]]
    entries: list[SourceFile | Reject]

    def listing(self) -> Listing:
        """Return every file that the rows name once, with the label of its first row."""
        found: dict[str, SourceFile | Reject] = {}
        for entry in self.entries:
            found.setdefault(entry.uri, entry)
        return sorted_listing(found.values(), ignored=0)

    def labelled_rows(self) -> pd.DataFrame:
        """Return every row with all its columns, as strings, empty ones null, indexed from 1.

        Column uri holds the identity of the file, as in the listing. Raises UserError if there is
        no column label, or if a name differs from uri, label or split in case or spaces only.
        """
        for name in self.columns:
            meant = name.strip().casefold()
            if meant in _READ_COLUMNS and name != meant:
                # If column "Split" were read as a slice, test photos would get into training.
                raise UserError(
                    f"The manifest {self.location} has a column named {name!r}: name it {meant}."
                )
        if "label" not in self.columns:
            raise UserError(_without("label", self.location, self.columns))
        index = pd.RangeIndex(1, len(self.entries) + 1)
        rows = pd.DataFrame(self.columns, index, dtype="string").replace("", pd.NA)
        return rows.assign(uri=pd.array([entry.uri for entry in self.entries], dtype="string"))


@dataclass(frozen=True)
class _Row:
    """A row of a manifest: its value of column uri, its label, and its place in the manifest."""

    value: str
    label: str | None
    where: str


def is_manifest(name: str) -> bool:
    """Return whether a file with this name is read as a manifest."""
    return name.lower().endswith(_SUFFIXES)


def parse_local_manifest(data: bytes, path: Path) -> Manifest:
    """Parse the manifest at ``path``. Raises UserError if ``data`` is not a manifest."""
    return _parse(data, path.name, local_uri(str(path)), lambda row: _local_row(row, path.parent))


def parse_remote_manifest(data: bytes, url: str) -> Manifest:
    """Parse the manifest at ``url``. Raises UserError if ``data`` is not a manifest."""
    return _parse(data, urlsplit(url).path, without_secrets(url), lambda row: _row_beside(row, url))


def _parse(
    data: bytes, name: str, location: str, locate: Callable[[_Row], SourceFile | Reject]
) -> Manifest:
    try:
        is_parquet = name.lower().endswith(".parquet")
        columns = _parquet_columns(data) if is_parquet else _csv_columns(data)
    except UnicodeDecodeError as error:
        raise UserError(f"The manifest {location} is not encoded in UTF-8.") from error
    except (pa.ArrowException, csv.Error) as error:
        raise UserError(f"The manifest {location} is damaged or not what its name says.") from error
    if "uri" not in columns:
        raise UserError(_without("uri", location, columns))
    values = columns["uri"]
    if not values:
        raise UserError(f"The manifest {location} has no rows.")
    labels = columns.get("label", [None] * len(values))
    rows = [
        _Row(value or "", label or None, f"{location}#{number}")
        for number, (value, label) in enumerate(zip(values, labels, strict=True), start=1)
    ]
    return Manifest(
        location, columns, [locate(row) if row.value else _nameless(row) for row in rows]
    )


def _without(column: str, location: str, columns: Iterable[str]) -> str:
    found = ", ".join(repr(name) for name in columns) or "none"
    return f"The manifest {location} has no column named {column}: its columns are {found}."


def _nameless(row: _Row) -> Reject:
    return Reject(row.where, Reason.UNREADABLE, "The row of the manifest names no file.")


def _csv_columns(data: bytes) -> dict[str, list[str | None]]:
    text = io.StringIO(data.decode("utf-8-sig"), newline="")
    reader = csv.DictReader(text, strict=True)
    rows = list(reader)
    names = [name for name in reader.fieldnames or () if name]
    _check_names(names)
    return {name: [row[name] for row in rows] for name in names}


def _parquet_columns(data: bytes) -> dict[str, list[str | None]]:
    table = pq.read_table(pa.BufferReader(data))
    _check_names(table.column_names)
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            columns[name] = column.cast(pa.string()).to_pylist()
        except pa.ArrowException:
            # Other columns may hold vectors or images, which are not text.
            if name in _READ_COLUMNS:
                raise UserError(f"The manifest's column {name} does not hold text.") from None
    return columns


def _check_names(names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"The manifest has two columns named {twice[0]}: keep one of them.")


def _local_row(row: _Row, folder: Path) -> SourceFile | Reject:
    """Find the file that a row of a manifest in ``folder`` names."""
    if protocol_of(row.value) in (None, "file"):
        return local_file(os.path.abspath(folder / local_path(row.value)), row.label)
    return _remote_row(row, row.value)


def _row_beside(row: _Row, manifest: str) -> SourceFile | Reject:
    """Find the file that a row of a remote manifest names, which is never a local one."""
    return _remote_row(row, row.value if protocol_of(row.value) else _beside(manifest, row.value))


def _beside(manifest: str, relative: str) -> str:
    if protocol_of(manifest) in WEB:
        return urljoin(manifest, quote(relative))
    return manifest.rpartition("/")[0] + "/" + relative.lstrip("/")


def _remote_row(row: _Row, url: str) -> SourceFile | Reject:
    protocol = protocol_of(url)
    if protocol not in _ROW_PROTOCOLS or ("::" in url and protocol not in WEB):
        return Reject(
            without_secrets(url),
            Reason.UNSUPPORTED,
            "A row of a manifest names a path, an http or https address, or an object store.",
        )
    return remote_file(url, label=row.label)
