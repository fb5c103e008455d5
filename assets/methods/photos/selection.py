"""Selections: tables that name photos by their image_id, as the page of a map saves them."""

import re
from dataclasses import dataclass
from pathlib import Path

from assets.methods.common.errors import UserError
from assets.methods.common.tables import without_apostrophe
from assets.methods.photos.local import error_cause
from assets.methods.photos.manifest import Table, read_table

ID_COLUMN = "image_id"

_ID = re.compile(r"[0-9a-f]{64}")
_WHERE_FROM = (
    "Save one on the page of a map, or give another table of photos that has this column, such as "
    "layout.parquet."
)


@dataclass(frozen=True)
class Selection:
    """The photos that a table names, and their labels, None where it has none."""

    location: str
    labels: dict[str, str | None]


def read_selection(location: str) -> Selection:
    """Read the selection in the CSV or Parquet file ``location``.

    A photo may be named several times.

    Raises:
        UserError: it cannot be read, does not name photos, or gives one photo two labels.
    """
    called = f"selection {location}"
    try:
        data = Path(location).read_bytes()
    except OSError as error:
        raise UserError(f"The {called} cannot be read: {error_cause(error)}.") from error
    table = read_table(data, location, called)
    for fault in table.faults.values():
        raise UserError(f"The {called} cannot be read. {fault}")
    ids = _column(table, ID_COLUMN)
    if ids is None:
        found = ", ".join(repr(name) for name in table.columns) or "none"
        raise UserError(
            f"The {called} has no column named {ID_COLUMN}: its columns are {found}. {_WHERE_FROM}"
        )
    given = _column(table, "label") or [None] * len(ids)
    labels: dict[str, str | None] = {}
    for row, (text, label) in enumerate(zip(ids, given, strict=True), start=1):
        if _is_empty(table, row - 1):
            continue
        image_id = (text or "").strip().lower()
        if not _ID.fullmatch(image_id):
            raise UserError(
                f"Row {row:,} of the {called} has no {ID_COLUMN}, which is 64 digits and letters "
                f"from a to f, but {text or ''!r}. {_WHERE_FROM}"
            )
        one = without_apostrophe((label or "").strip()) or None
        before = labels.setdefault(image_id, one)
        if before != one:
            raise UserError(
                f"Row {row:,} of the {called} gives a photo the label {one!r}, and a row before it "
                f"{before!r}: keep one of them."
            )
    if not labels:
        raise UserError(f"The {called} has no rows: select photos first.")
    return Selection(location, labels)


def read_corrections(locations: list[str]) -> dict[str, str]:
    """Return the labels of photos in several selections, by image_id; later ones count.

    Raises:
        UserError: also if a selection has no label at all.
    """
    found: dict[str, str] = {}
    for location in locations:
        labels = read_selection(location).labels
        given = {image_id: label for image_id, label in labels.items() if label is not None}
        if not given:
            raise UserError(
                f"The selection {location} has no labels: name one on the page before you save it, "
                "or write one for each photo in a column label."
            )
        found |= given
    return found


def _column(table: Table, wanted: str) -> list[str | None] | None:
    named = (column for name, column in table.columns.items() if name.casefold() == wanted)
    return next(named, None)


def _is_empty(table: Table, row: int) -> bool:
    return not any((column[row] or "").strip() for column in table.columns.values())
