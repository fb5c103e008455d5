"""Data for the page as scripts: from ``file:`` a browser loads no data, but scripts.

Columns of numbers are in base64, little-endian; texts are JSON. No text can end the script or its
strings, whatever is in it.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

# The types of columns that a browser has arrays for.
_TYPES = {
    "int8": "int8", "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "int32": "int32",
    "float32": "float32", "float64": "float64",
}  # fmt: skip


def data_script(part: str, fields: Mapping[str, Any]) -> bytes:
    """Return the script that gives the page a part of its data.

    Arrays among the fields become columns; their types are those that a browser has arrays for.
    """
    plain = {name: _plain(field) for name, field in fields.items()}
    text = json.dumps(plain, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    # A page that somebody pastes the script into would end it there.
    text = text.replace("</", "<\\/")
    return f'tessera.data.receive("{part}",{text});\n'.encode()


def fields_of(script: bytes) -> dict[str, Any]:
    """Return the fields of a script from ``data_script``, with columns as they are written."""
    return json.loads(script[script.index(b",") + 1 : script.rindex(b")")])


def smallest_type(values: np.ndarray) -> np.ndarray:
    """Return whole numbers from 0 in the smallest unsigned type that holds them all."""
    largest = int(values.max(initial=0))
    kind = next(one for one in (np.uint8, np.uint16, np.uint32) if largest <= np.iinfo(one).max)
    return values.astype(kind)


def _plain(field: Any) -> Any:
    if not isinstance(field, np.ndarray):
        return field
    little = np.ascontiguousarray(field, field.dtype.newbyteorder("<"))
    return {
        "type": _TYPES[field.dtype.name],
        "base64": base64.b64encode(little.tobytes()).decode(),
    }
