"""Checksums of files below the home, so that a damaged or exchanged one is recognised when read.

A file that is sealed has a seal at its end: a mark, and the SHA-256 of its key and its content. The
key says what the file is for, so that the valid file of another photo is recognised, too. Readers
of JPEG and NumPy files do not look beyond their end. A JSON object has its checksum among its
entries. Files of homes that are older than the checksums have none, and are no worse for it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from assets.methods.common.files import write_whole

_MARK = b"\x00TESSERA"
SEAL_BYTES = len(_MARK) + hashlib.sha256().digest_size
_CHECKSUM = "checksum"


class DamagedFileError(Exception):
    """A file has not the content that was written; the message is the predicate of a sentence."""


def write_sealed(path: Path, content: bytes, key: str) -> None:
    """Write a file that ends in a seal, whole or not at all."""
    write_whole(path, content + _seal(content, key))


def read_sealed(path: Path, key: str) -> tuple[bytes, bool]:
    """Return the content of a file, and whether it had a seal.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: the seal is that of another content, or of another key.
    """
    data = path.read_bytes()
    content, seal = data[:-SEAL_BYTES], data[-SEAL_BYTES:]
    if not seal.startswith(_MARK):
        return data, False
    if seal != _seal(content, key):
        raise DamagedFileError("does not have the content that was written")
    return content, True


def seal(path: Path, content: bytes, key: str) -> None:
    """Put a seal behind the content of a file, unless it has it or the file cannot be written."""
    wanted = _seal(content, key)
    try:
        with path.open("rb+") as file:
            # At its place and not at the end: another process may do the same at this moment.
            file.seek(len(content))
            if file.read() == wanted:
                return
            file.seek(len(content))
            file.write(wanted)
    except OSError:
        # It is a home that can only be read, or the file has gone meanwhile.
        return


def _seal(content: bytes, key: str) -> bytes:
    digest = hashlib.sha256(key.encode() + b"\x00")
    digest.update(content)
    return _MARK + digest.digest()


def write_checked_json(path: Path, entries: dict[str, Any], key: str) -> None:
    """Write a JSON object with its checksum, whole or not at all."""
    checked = {**entries, _CHECKSUM: _digest_of(entries, key)}
    write_whole(path, json.dumps(checked, indent=2).encode())


def read_checked_json(path: Path, key: str) -> tuple[dict[str, Any], bool]:
    """Return the entries of a JSON object without its checksum, and whether it had one.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: it is no JSON object, or has another checksum.
    """
    try:
        entries = json.loads(path.read_bytes())
    except ValueError as error:
        raise DamagedFileError("is not whole") from error
    if not isinstance(entries, dict):
        raise DamagedFileError("does not have the content that was written")
    checksum = entries.pop(_CHECKSUM, None)
    if checksum is not None and checksum != _digest_of(entries, key):
        raise DamagedFileError("does not have the content that was written")
    return entries, checksum is not None


def _digest_of(entries: dict[str, Any], key: str) -> str:
    return hashlib.sha256(json.dumps([key, entries], sort_keys=True).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """Return the SHA-256, in hex, of a file that may be large."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
