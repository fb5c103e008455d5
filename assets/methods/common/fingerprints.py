"""Digests that identify a network: networks with equal digests give equal numbers."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def digest_weights(weights: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256, in hex, of names, types, shapes and numbers, in the order given."""
    digest = hashlib.sha256()
    for name, values in weights.items():
        array = np.ascontiguousarray(values)
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def digest_parts(parts: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hex, of parts that JSON can write, in any order."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
