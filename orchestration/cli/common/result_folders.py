"""Folders of results: what an earlier call wrote is replaced or removed, and nothing else.

The file `report.json` in a folder has the digests of the files that were written with it. A file
that a person has changed since, or put there, has another digest or none, and stays.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

from assets.methods.common.checksums import digest_of_file
from assets.methods.common.errors import UserError
from assets.methods.common.files import write_whole
from assets.results.originals import Original, folder_name, numbered, plain_folder_name

# Takes files and a report, and returns all paths, as ``write_results`` does.
ImageWriter = Callable[[Mapping[str, bytes], Mapping[str, Any]], dict[str, Path]]
REPORT = "report.json"
SHEET = "sheet"


def write_results(
    folder: Path, files: Mapping[str, bytes], report: Mapping[str, Any]
) -> dict[str, Path]:
    """Write files and a report, remove what else the last report names, and return all paths.

    Args:
        folder: is made if it is not there.
        files: the contents by the names.
        report: what `report.json` holds besides the digests of the files.
    """
    results = ResultFolder(folder)
    for name, data in files.items():
        results.add(name, data)
    return results.finish(report)


class ResultFolder:
    """A folder whose files are written one by one, and a report on them.

    ``identity`` stands at the beginning of the report, and tells the folder from others.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._folder, self._identity = folder, identity
        self._earlier = _digests(read_report(folder))
        self._digests: dict[str, str] = {}

    def add(self, name: str, data: bytes) -> None:
        """Write a file; the folder is made if it is not there."""
        write_whole(self._folder / name, data)
        self._digests[name] = hashlib.sha256(data).hexdigest()

    def note(self) -> None:
        """Write a report on what was added so far, and on what was there and is not replaced yet.

        A later call goes by it if this one is killed.
        """
        self._write_report({}, self._earlier | self._digests)

    def finish(self, report: Mapping[str, Any]) -> dict[str, Path]:
        """Remove what else the last report names, write the report, and return all paths."""
        for name in self._earlier.keys() - self._digests.keys():
            _remove_unchanged(self._folder / name, self._earlier[name])
        # The last one: if the process is killed before, the old report still names the old files.
        self._write_report(report, self._digests)
        return {name: self._folder / name for name in (*self._digests, REPORT)}

    def _write_report(self, report: Mapping[str, Any], digests: Mapping[str, str]) -> None:
        text = json.dumps({**self._identity, **report, "files": digests}, indent=2)
        write_whole(self._folder / REPORT, text.encode())


def check_replaceable(folder: Path, names: Iterable[str], command: str, flag: str) -> None:
    """Raise UserError if a file is in the way that ``command`` did not write, or changed since.

    ``flag`` named the folder. The report of ``command`` says so under that name.
    """
    report = read_report(folder)
    is_ours = report.get("command") == command
    digests = _digests(report) if is_ours else {}
    ours = {name for name, digest in digests.items() if _is_unchanged(folder / name, digest)}
    for name in (*names, REPORT):
        file = folder / name
        if os.path.lexists(file) and name not in ours and not (name == REPORT and is_ours):
            raise UserError(
                f"{flag} {folder} holds a file {name} that would be replaced, and that another "
                "command wrote or somebody has changed: name another folder, or move the file."
            )


class ImageFolders:
    """Gives the result of each image a folder of its own below ``out``.

    It is named after the image's file and its image_id. A folder that is there is used only if it
    holds the result of the same command for the same file with the same content, as its report
    says. Otherwise the name gets a number. Earlier versions named folders after the file alone:
    such a folder is used, too, if it holds that result.
    """

    def __init__(self, out: Path, command: str) -> None:
        self._out = out
        self._command = command
        self._given: set[Path] = set()

    def write(
        self, image: Original, files: Mapping[str, bytes], report: Mapping[str, Any]
    ) -> dict[str, Path]:
        """Write the result of an image as ``write_results`` does, in a folder of its own."""
        return self.writer(image)(files, report)

    def writer(self, image: Original) -> ImageWriter:
        """Return what writes the result of an image, and replaces it when it is called again."""
        identity = {"command": self._command, "image": image.uri, "image_id": image.image_id}
        # A folder without a report would be somebody else's: it is made with its first result.
        folder: Path | None = None

        def write(files: Mapping[str, bytes], report: Mapping[str, Any]) -> dict[str, Path]:
            nonlocal folder
            folder = folder or self._folder_of(image, identity)
            return write_results(folder, files, {**identity, **report})

        return write

    def open_sheet(self) -> ResultFolder:
        """Return the folder of a sheet of all images, which is there afterwards."""
        identity = {"command": self._command, "kind": SHEET}
        places = (self._out / name for name in numbered(SHEET))
        sheet = ResultFolder(next(one for one in places if self._take(one, identity)), identity)
        sheet.note()
        return sheet

    def _folder_of(self, image: Original, identity: Mapping[str, str]) -> Path:
        names = numbered(folder_name(image.uri, image.image_id))
        places = [*self._former(image.uri, identity)], (self._out / name for name in names)
        return next(one for one in chain(*places) if self._take(one, identity))

    def _former(self, uri: str, identity: Mapping[str, str]) -> Iterator[Path]:
        """Yield the folders named after the file alone that hold the same result."""
        for name in numbered(plain_folder_name(uri)):
            if not (self._out / name).is_dir():
                return
            if identity.items() <= read_report(self._out / name).items():
                yield self._out / name

    def _take(self, folder: Path, identity: Mapping[str, str]) -> bool:
        if folder in self._given:
            return False
        try:
            # It is made at once, so that two calls at the same time do not take the same one.
            folder.mkdir(parents=True)
        except FileExistsError:
            if not identity.items() <= read_report(folder).items():
                return False
        self._given.add(folder)
        return True


def read_report(folder: Path) -> dict[str, Any]:
    """Return what the report in a folder says; nothing if there is none that can be read."""
    try:
        report = json.loads((folder / REPORT).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) else {}


def _digests(report: Mapping[str, Any]) -> dict[str, str]:
    files = report.get("files")
    # A name with a folder in it would lead elsewhere, and no report of ours has one.
    return {
        name: digest
        for name, digest in (files.items() if isinstance(files, dict) else ())
        if Path(name).name == name != REPORT
    }


def _remove_unchanged(file: Path, digest: str) -> None:
    if _is_unchanged(file, digest):
        file.unlink(missing_ok=True)


def _is_unchanged(file: Path, digest: str) -> bool:
    return not file.is_symlink() and file.is_file() and digest_of_file(file) == digest
