"""Folders of results: what an earlier call wrote is replaced or removed, and nothing else.

The file `report.json` in a folder has the digests of the files that were written with it. A file
that a person has changed since, or put there, has another digest or none, and stays.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from assets.methods.common.errors import UserError
from assets.methods.common.files import write_whole
from assets.results.originals import Original, folder_names

REPORT = "report.json"


def write_results(
    folder: Path, files: Mapping[str, bytes], report: Mapping[str, Any]
) -> dict[str, Path]:
    """Write files and a report, remove what else the last report names, and return all paths.

    Args:
        folder: is made if it is not there.
        files: the contents by the names.
        report: what `report.json` holds besides the digests of the files.
    """
    earlier = _digests(_read_report(folder))
    for name, data in files.items():
        write_whole(folder / name, data)
    for name in earlier.keys() - files.keys():
        _remove_unchanged(folder / name, earlier[name])
    # The last one: if the process is killed before, the old report still names the old files.
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    text = json.dumps({**report, "files": digests}, indent=2)
    write_whole(folder / REPORT, text.encode())
    return {name: folder / name for name in (*files, REPORT)}


def check_replaceable(folder: Path, names: Iterable[str], command: str, flag: str) -> None:
    """Raise UserError if a file is in the way that ``command`` did not write, or changed since.

    ``flag`` named the folder. The report of ``command`` says so under that name.
    """
    report = _read_report(folder)
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
    """Gives the result of each image a folder of its own below ``out``, named after its file.

    A folder that is there is used only if it holds the result of the same command for the same
    file with the same content, as its report says. Otherwise the name gets a number.
    """

    def __init__(self, out: Path, command: str) -> None:
        self._out = out
        self._command = command
        self._given: set[Path] = set()

    def write(
        self, image: Original, files: Mapping[str, bytes], report: Mapping[str, Any]
    ) -> dict[str, Path]:
        """Write the result of an image as ``write_results`` does, in a folder of its own."""
        identity = {"command": self._command, "image": image.uri, "image_id": image.image_id}
        return write_results(self._folder(identity), files, {**identity, **report})

    def _folder(self, identity: Mapping[str, str]) -> Path:
        (base,) = folder_names([identity["image"]])
        for number in count(1):
            folder = self._out / (base if number == 1 else f"{base}-{number}")
            if folder not in self._given and self._is_free(folder, identity):
                self._given.add(folder)
                return folder
        raise AssertionError("there is always another number")

    def _is_free(self, folder: Path, identity: Mapping[str, str]) -> bool:
        try:
            # It is made at once, so that two calls at the same time do not take the same one.
            folder.mkdir(parents=True)
        except FileExistsError:
            return identity.items() <= _read_report(folder).items()
        return True


def _read_report(folder: Path) -> dict[str, Any]:
    try:
        report = json.loads((folder / REPORT).read_bytes())
    except (OSError, ValueError):
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
    if file.is_symlink() or not file.is_file():
        return False
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == digest
