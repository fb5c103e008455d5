"""What is in the data of a page, as a browser reads it."""

import base64
import json
from typing import Any


def fields_of(script: bytes, part: str) -> dict[str, Any]:
    """Return the fields of the script of a part; columns are still in base64."""
    text = script.decode("ascii")
    begin, end = f'tessera.data.receive("{part}",', ");\n"
    assert text.startswith(begin)
    assert text.endswith(end)
    return json.loads(text[len(begin) : -len(end)])


def columns_of(script: bytes, part: str) -> list[bytes]:
    """Return the bytes of the columns in the script of a part."""
    fields = fields_of(script, part).values()
    columns = [field for field in fields if isinstance(field, dict) and "base64" in field]
    return [base64.b64decode(column["base64"], validate=True) for column in columns]
