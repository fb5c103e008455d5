"""Which caches the last runs of each collection used, so that older ones can be told from them.

A mark is a small sealed file with the keys that a run has used, named by their digest, and its time
is that of the last run that used exactly these: a run in which nothing changed makes no new one.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from assets.methods.common.checksums import DamagedFileError, read_sealed, write_sealed

# The kinds: image_ids; names of files in `points` and in `windows`.
PHOTOS, POINTS, WINDOWS = "photos", "points", "windows"
# What `tessera explain` used, which is of no collection: no collection's name begins with a dot.
EXPLAINED = ".explained"


class RecentUse:
    """The marks below a home, in ``recent/COLLECTION/KIND``."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "recent"

    def note(self, collection: str, kind: str, keys: Iterable[str]) -> None:
        """Write down that a run of a collection has used these keys."""
        content = "\n".join(sorted(set(keys))).encode()
        mark = self.folder_of(collection) / kind / hashlib.sha256(content).hexdigest()[:32]
        try:
            os.utime(mark)
        except FileNotFoundError:
            write_sealed(mark, content, kind)

    def folder_of(self, collection: str) -> Path:
        """Return where the marks of a collection are."""
        return self._folder / collection

    def collections(self, kind: str) -> set[str]:
        """Return the collections that have marks of a kind."""
        return {folder.parent.name for folder in self._folder.glob(f"*/{kind}")}

    def newest(self, kind: str, keep: int) -> Iterator[Path]:
        """Yield the ``keep`` newest marks of each collection."""
        for marks in self._marks(kind):
            yield from marks[:keep]

    def older(self, kind: str, keep: int) -> Iterator[Path]:
        """Yield the marks of each collection but the ``keep`` newest ones."""
        for marks in self._marks(kind):
            yield from marks[keep:]

    def _marks(self, kind: str) -> Iterator[list[Path]]:
        for folder in sorted(self._folder.glob(f"*/{kind}")):
            marks = folder.glob("[!.]*")
            yield sorted(marks, key=lambda mark: (mark.stat().st_mtime_ns, mark.name), reverse=True)


def keys_in(marks: Iterable[Path]) -> set[str] | None:
    """Return the keys in marks; None if one of them is damaged, and nobody knows what it held."""
    keys = set[str]()
    for mark in marks:
        try:
            content, _ = read_sealed(mark, mark.parent.name)
        except (DamagedFileError, OSError):
            return None
        keys.update(content.decode().splitlines())
    return keys
