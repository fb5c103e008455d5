"""Manifests: CSV or Parquet tables whose column uri names photos, with an optional label."""

import codecs
import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from assets.methods.common.errors import NotApplicableError, UserError
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
# The column of labels in the table for reviewers that `tessera score` writes.
REVIEWER_LABEL = "reviewer_label"
# What every table of a selection that the page of a map writes has, besides uri and label.
_OF_SELECTIONS = {"image_id", "score", "row", "col", "x", "y"}
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_INVISIBLE = " \t\r\n\xa0\u200b\ufeff"
# The comma first: spreadsheets write the others in some languages.
_DELIMITERS = (",", ";", "\t")
# The largest that the csv module takes: captions and embeddings written as text are long.
_LONGEST_FIELD = 2**31 - 1
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
            Names have no blanks around them, and uri, label and split are in lower case.
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
        return sorted_listing(found.values(), ignored=0, is_manifest=True)

    def labelled_rows(self, need_labels: bool = True) -> pd.DataFrame:
        """Return every row with all its columns, as strings, empty ones null, indexed from 1.

        Column uri holds the identity of the file, as in the listing. Without a column label, all
        labels are null; NotApplicableError is raised if they are needed.
        """
        columns = self.columns
        if "label" not in columns:
            if need_labels:
                raise NotApplicableError(_without("label", self.location, columns))
            columns = columns | {"label": [None] * len(self.entries)}
        index = pd.RangeIndex(1, len(self.entries) + 1)
        rows = pd.DataFrame(columns, index, dtype="string").replace("", pd.NA)
        return rows.assign(uri=pd.array([entry.uri for entry in self.entries], dtype="string"))


@dataclass(frozen=True)
class Table:
    """The values of each column, and by its number, from 0, why a row cannot be read.

    Names have no blanks around them.
    """

    columns: dict[str, list[str | None]]
    faults: dict[int, str] = field(default_factory=dict)


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


def read_table(data: bytes, name: str, called: str) -> Table:
    """Read a CSV or Parquet table, as the ending of its name says.

    Args:
        data: the content of the file.
        name: of the file.
        called: what the table is, in messages, such as "manifest /photos/labels.csv".

    Raises:
        UserError: it cannot be read.
    """
    is_parquet = name.lower().endswith(".parquet")
    try:
        return _read_parquet(data, called) if is_parquet else _read_csv(data, called)
    except (pa.ArrowException, csv.Error) as error:
        raise UserError(f"The {called} is damaged or not what its name says.") from error


def _parse(
    data: bytes, name: str, location: str, locate: Callable[[_Row], SourceFile | Reject]
) -> Manifest:
    table = read_table(data, name, f"manifest {location}")
    columns = _without_marks(_without_review(table.columns))
    if "uri" not in columns:
        raise UserError(_without("uri", location, columns))
    values = columns["uri"]
    if not values:
        raise UserError(f"The manifest {location} has no rows.")
    labels = columns.get("label", [None] * len(values))
    entries: list[SourceFile | Reject] = []
    for number, (value, label) in enumerate(zip(values, labels, strict=True)):
        row = _Row(value or "", (label or "").strip() or None, f"{location}#{number + 1}")
        nameless = "" if row.value else "The row of the manifest names no file."
        fault = table.faults.get(number, nameless)
        entries.append(Reject(row.where, Reason.UNREADABLE, fault) if fault else locate(row))
    return Manifest(location, columns, entries)


def _without_review(columns: dict[str, list[str | None]]) -> dict[str, list[str | None]]:
    """Take the reviewers' labels as labels, if there are no others, and leave scores and such out.

    Otherwise scores, comments and thumbnails would be taken for slices.
    """
    if REVIEWER_LABEL not in columns or "label" in columns:
        return columns
    kept = {name: columns[name] for name in _READ_COLUMNS if name in columns}
    return kept | {"label": columns[REVIEWER_LABEL]}


def _without_marks(columns: dict[str, list[str | None]]) -> dict[str, list[str | None]]:
    """Leave out where the photos lie on a map, and their scores, in a selection from its page."""
    if not columns.keys() >= _OF_SELECTIONS:
        return columns
    return {name: columns[name] for name in _READ_COLUMNS if name in columns}


def _without(column: str, location: str, columns: Iterable[str]) -> str:
    found = ", ".join(repr(name) for name in columns) or "none"
    return f"The manifest {location} has no column named {column}: its columns are {found}."


def _read_csv(data: bytes, called: str) -> Table:
    lines = list(io.StringIO(_decoded(data, called), newline=""))
    delimiter, header = _header(lines, called)
    names = _names(header, called)
    columns: dict[str, list[str | None]] = {name: [] for name in names if name}
    faults: dict[int, str] = {}
    # After "uri, label", each value has a blank before it as well.
    has_blanks = any(name.startswith(" ") for name in header)
    rows = _csv_rows(lines, delimiter, has_blanks)
    next(rows)
    for row, (number, fields) in enumerate(rows):
        if fields is None:
            faults[row] = (
                f"Line {number:,} of the {called.partition(' ')[0]} cannot be read: a quotation "
                "mark in it is neither doubled nor around a whole value."
            )
        # Values without a name are passed over, and missing ones are empty.
        for name, value in zip_longest(names, (fields or [])[: len(names)]):
            if name:
                columns[name].append(value)
    return Table(columns, faults)


def _decoded(data: bytes, called: str) -> str:
    encoding = _encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        where = f": line {line:,} is not" if encoding == "utf-8-sig" else ""
        raise UserError(f"The {called} is not encoded in UTF-8 or UTF-16{where}.") from error


def _encoding(data: bytes) -> str:
    """Return UTF-8, or UTF-16 by its mark or by the zero byte of its first character."""
    if data.startswith(_UTF_16):
        return "utf-16"
    zero = data[:2].find(b"\0")
    return {0: "utf-16-be", 1: "utf-16-le"}.get(zero, "utf-8-sig")


def _header(lines: Sequence[str], called: str) -> tuple[str, list[str]]:
    """Return the delimiter, and the names of the columns as they are written.

    The delimiter is the first that makes a column uri, or else the most columns.
    """
    headers = {}
    for delimiter in _DELIMITERS:
        number, names = next(_csv_rows(lines, delimiter), (0, []))
        if number == 0:
            raise UserError(f"The {called} is empty.")
        if names is not None:
            headers[delimiter] = names
    if not headers:
        raise csv.Error
    return max(
        headers.items(),
        key=lambda found: ("uri" in map(_column_name, found[1]), len(found[1])),
    )


def _csv_rows(
    lines: Sequence[str], delimiter: str, has_blanks: bool = False
) -> Iterator[tuple[int, list[str] | None]]:
    """Yield the number of the line, from 1, in which each row begins, and its values.

    The values are None where quotation marks are wrong. Then the next line is a row of its own,
    because a value that does not end would take in all that follow. Empty lines are no rows.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    start = 0
    while start < len(lines):
        begin = start
        reader = csv.reader(
            (lines[number] for number in range(begin, len(lines))),
            delimiter=delimiter,
            skipinitialspace=has_blanks,
            strict=True,
        )
        try:
            for fields in reader:
                if fields:
                    yield start + 1, fields
                start = begin + reader.line_num
        except csv.Error:
            yield start + 1, None
            start += 1


def _read_parquet(data: bytes, called: str) -> Table:
    table = pq.read_table(pa.BufferReader(data))
    columns = {}
    names = _names(table.column_names, called)
    for name, column in zip(names, table.columns, strict=True):
        try:
            columns[name] = column.cast(pa.string()).to_pylist()
        except pa.ArrowException:
            # Other columns may hold vectors or images, which are not text.
            if name in _READ_COLUMNS:
                raise UserError(f"The column {name} of the {called} does not hold text.") from None
    return Table(columns)


def _names(written: Sequence[str], called: str) -> list[str]:
    """Return the names of columns without what a person does not see. Raises UserError."""
    names = [_column_name(name) for name in written]
    for name in filter(None, names):
        alike = [one for one, other in zip(written, names, strict=True) if other == name]
        if len(alike) > 1:
            raise UserError(
                f"The {called} has two columns named {name} "
                f"({alike[0]!r} and {alike[1]!r}): keep one of them."
            )
    return names


def _column_name(written: str) -> str:
    name = written.strip(_INVISIBLE)
    # If column "Split" were another one than split, test photos would get into training.
    return name.lower() if name.lower() in _READ_COLUMNS else name


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
