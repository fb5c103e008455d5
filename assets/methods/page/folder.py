"""The folder of a page: what is in it already is not made again, and what is damaged is.

The file ``manifest.json`` beside the others has, for each of them, the digest of what it is made
of, its size and its SHA-256.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.methods.common.checksums import (
    DamagedFileError,
    digest_of_file,
    read_checked_json,
    write_checked_json,
)
from assets.methods.common.files import write_whole

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class PageFile:
    """A file of a page: the digest of what it is made of, its size in bytes, and its SHA-256."""

    source: str
    size: int
    sha256: str


class PageFolder:
    """A folder whose files are put in one by one; any number of threads may do so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._earlier, self._noted_at = _read(folder)
        self._files: dict[str, PageFile] = {}
        self.n_written = 0

    @property
    def files(self) -> dict[str, PageFile]:
        """The files that were put in or kept so far, by their names."""
        return dict(self._files)

    @property
    def n_bytes(self) -> int:
        """The size of all files so far."""
        return sum(one.size for one in self._files.values())

    def keeps(self, name: str, source: str) -> bool:
        """Whether a file is there that is made of ``source``; then it stays.

        A file whose size is another, or that was changed since the manifest was written and has
        not the content any more, is not.
        """
        known = self._earlier.get(name)
        if known is None or known.source != source or not self._is_whole(name, known):
            return False
        self._files[name] = known
        return True

    def put(self, name: str, data: bytes, source: str | None = None) -> None:
        """Put a file in, unless it is there; without a ``source`` it is made of its own content."""
        sha256 = hashlib.sha256(data).hexdigest()
        source = source or sha256
        if self.keeps(name, source):
            return
        write_whole(self.folder / name, data)
        self._files[name] = PageFile(source, len(data), sha256)
        self.n_written += 1

    @contextmanager
    def filled(self) -> Iterator[None]:
        """Write the manifest at the end, after what an earlier page alone had was removed.

        If the body raises, nothing is removed, and the next call goes on from what is done.
        """
        try:
            yield
        except BaseException:
            self._note(self._earlier | self._files)
            raise
        for name in self._earlier.keys() - self._files.keys():
            (self.folder / name).unlink(missing_ok=True)
        self._note(self._files)

    def _is_whole(self, name: str, known: PageFile) -> bool:
        path = self.folder / name
        try:
            found = path.stat()
        except OSError:
            return False
        if found.st_size != known.size:
            return False
        return found.st_mtime_ns <= self._noted_at or digest_of_file(path) == known.sha256

    def _note(self, files: dict[str, PageFile]) -> None:
        entries = {name: vars(files[name]) for name in sorted(files)}
        write_checked_json(self.folder / MANIFEST, {"files": entries}, MANIFEST)


def copy_page(source: Path, target: Path) -> PageFolder:
    """Bring a copy of a page up to date; files in ``target`` that are none of its own stay.

    Raises:
        DamagedFileError: a file of ``source`` is missing, or has not the content that was written.
    """
    copied = PageFolder(target)
    with copied.filled():
        for name, known in page_files(source).items():
            if copied.keeps(name, known.source):
                continue
            copied.put(name, _read_file(source / name, known), known.source)
    return copied


def link_newest_page(folder: Path) -> None:
    """Begin a new page with the files of the newest one beside it, each of which is shared.

    What has not changed takes no room again. No file of a page is written to in place.
    """
    others = [one for one in folder.parent.glob(f"*/{MANIFEST}") if one.parent != folder]
    if folder.exists() or not others:
        return
    newest = max(others, key=lambda one: one.stat().st_mtime_ns).parent
    # Not every disk has files of two names, and a page may be removed meanwhile.
    with suppress(OSError):
        shutil.copytree(newest, folder, copy_function=os.link)


def remove_page(folder: Path) -> None:
    """Remove the files of a page, and nothing else; there need not be one."""
    if not (folder / MANIFEST).exists():
        return
    page = PageFolder(folder)
    with page.filled():
        pass
    (folder / MANIFEST).unlink(missing_ok=True)
    # The deepest first: folders that are empty now.
    for inner in sorted((one for one in folder.rglob("*") if one.is_dir()), reverse=True):
        with suppress(OSError):
            inner.rmdir()
    with suppress(OSError):
        folder.rmdir()


def page_files(folder: Path) -> dict[str, PageFile]:
    """Return the files of a page, by their names; none if there is no page."""
    return _read(folder)[0]


def damaged_files(folder: Path) -> list[str]:
    """Return the names of the files of a page that have not the content that was written."""
    return [
        name
        for name, known in page_files(folder).items()
        if not (folder / name).is_file() or digest_of_file(folder / name) != known.sha256
    ]


def _read_file(path: Path, known: PageFile) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedFileError(f"{path} cannot be read") from error
    if hashlib.sha256(data).hexdigest() != known.sha256:
        # The next page that is written here has it again.
        path.unlink()
        raise DamagedFileError(f"{path} does not have the content that was written")
    return data


def _read(folder: Path) -> tuple[dict[str, PageFile], int]:
    """Return the files that the manifest names, and when it was written, in ns."""
    path = folder / MANIFEST
    try:
        written, was_checked = read_checked_json(path, MANIFEST)
        noted_at = path.stat().st_mtime_ns
        entries = written["files"] if was_checked else {}
        return {
            name: PageFile(**one) for name, one in entries.items() if _is_inside(name)
        }, noted_at
    except (OSError, DamagedFileError, KeyError, TypeError, AttributeError):
        return {}, 0


def _is_inside(name: Any) -> bool:
    """Whether a name leads to a file below the folder."""
    parts = Path(name).parts
    return bool(parts) and ".." not in parts and not Path(name).is_absolute()
