"""Tables as files: CSV for people, Parquet and JSON for programs."""

import io
import json
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from assets.methods.common.shown_text import printable, printable_uri

# The endings of names of files in which `table_bytes` writes tables.
TABLE_ENDINGS = (".csv", ".parquet", ".json")
# Spreadsheets take a text that begins so for a formula, and some carry it out.
_FORMULA = re.compile(r"'*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_URI_COLUMNS = ("uri", "belongs_to")


def table_bytes(
    table: pd.DataFrame, ending: str, same_in_all_rows: Mapping[str, str | float]
) -> bytes:
    """Return a table as the content of a file, without the index.

    CSV and Parquet have a further column for each of ``same_in_all_rows``. JSON is an object with
    these once, as ``provenance``, and the ``rows``.

    Args:
        table: columns whose types Parquet and JSON have.
        ending: of the file's name, one of ``TABLE_ENDINGS`` in any case.
        same_in_all_rows: names and values, such as the origin of all numbers of the table.
    """
    if ending.lower() == ".json":
        return json_bytes(table, {"provenance": dict(same_in_all_rows)})
    # `assign` would take the names for those of its own arguments.
    whole = table.copy()
    for name, value in same_in_all_rows.items():
        whole[name] = pd.Series(value, table.index, "string" if isinstance(value, str) else None)
    return csv_bytes(whole) if ending.lower() == ".csv" else parquet_bytes(whole)


def csv_bytes(table: pd.DataFrame) -> bytes:
    """Return a table as a CSV file for people, UTF-8, without the index.

    Columns uri and belongs_to are as `printable_uri` gives them, other texts as `printable` does.
    A text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    columns = {
        _cell(name): column
        if pd.api.types.is_numeric_dtype(column.dtype)
        else column.map(printable_uri if name in _URI_COLUMNS else _cell, na_action="ignore")
        for name, column in table.items()
    }
    return pd.DataFrame(columns).to_csv(index=False).encode()


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """Return a table as a Parquet file, without the index."""
    content = pa.Table.from_pandas(table, preserve_index=False)
    file = io.BytesIO()
    pq.write_table(content.replace_schema_metadata(None), file)
    return file.getvalue()


def json_bytes(table: pd.DataFrame, head: Mapping[str, Any]) -> bytes:
    """Return ``head`` and the ``rows`` of a table as a JSON object; what is missing is null."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return json.dumps({**head, "rows": rows}, indent=2, allow_nan=False).encode()


def without_apostrophe(text: str) -> str:
    """Return a text from a cell of `csv_bytes` as it was; others as they are."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
