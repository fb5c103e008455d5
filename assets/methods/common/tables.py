"""Tables as CSV files that people open."""

import re

import pandas as pd

from assets.methods.common.shown_text import printable, printable_uri

# Spreadsheets take a text that begins so for a formula, and some carry it out.
_FORMULA = re.compile(r"'*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_URI_COLUMNS = ("uri", "belongs_to")


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
