"""A home in one file, and a home made of such a file.

The file is a tar archive. Databases in it are consistent copies, whoever writes to them meanwhile.
Its last member says that it is whole.
"""

import fcntl
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from assets.methods.common.errors import UserError
from assets.methods.common.files import new_unfinished, remove, remove_unfinished, written_whole
from assets.methods.common.sqlite_files import copy_database, is_log, logs_of, size_of
from assets.methods.common.timestamps import now
from assets.methods.models.provenance import tessera_version
from assets.resources.home import RESTORING
from orchestration.databases import LONGEST_LOCKED

# The last member of a backup: {"tessera": version, "made_at": time, "members": how many others}.
LAST_MEMBER = "tessera-backup.json"
PRIVATE = 0o600
_SQLITE_BEGINS = b"SQLite format 3\x00"


def back_up(home: Path, file: Path) -> int:
    """Write a home into a file that only its owner can read; return how many members it has.

    Raises:
        UserError: the file lies in the home, or a database cannot be copied.
    """
    if file.resolve().is_relative_to(home.resolve()):
        raise UserError(f"{file} lies in the home itself: name a file elsewhere.")
    if file.is_dir():
        raise UserError(f"{file} is a folder: name a file.")
    folder, n_members = file.absolute().parent, 0
    # Of an earlier call that was killed.
    remove_unfinished(folder, deep=False)
    with (
        written_whole(file, PRIVATE) as beside,
        tarfile.open(beside, "w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for place in _places(home):
            n_members += _add(archive, place, place.relative_to(home), folder)
        _add_last(archive, n_members)
    return n_members


def restore(file: Path, home: Path) -> int:
    """Make a home of a backup; return how many members it has.

    What an earlier call has left that was killed is removed first.

    Raises:
        UserError: the home holds something else, or another call restores into it; the file is no
            backup, is not whole, does not fit on the disk, or has a member that would lie outside
            of the home.
    """
    if not file.is_file():
        raise UserError(f"There is no backup {file}.")
    if home.exists() and not home.is_dir():
        raise UserError(_not_empty(home))
    with _opened(file) as archive:
        members = _checked_members(archive, file, home)
        home.mkdir(parents=True, exist_ok=True)
        with _alone_in(home):
            _check_room(home, members)
            _unpack(archive, members, home)
    return len(members)


def _not_empty(home: Path) -> str:
    return (
        f"{home} is not empty: a backup is restored into a new home. Move it away, or set "
        "TESSERA_HOME to another folder."
    )


@contextmanager
def _alone_in(home: Path) -> Iterator[None]:
    """Hold a lock on the folder itself, which leaves no file in a home that has to be empty.

    Raises UserError if another process holds it.
    """
    descriptor = os.open(home, os.O_RDONLY)
    try:
        _lock(descriptor, home)
        yield
    finally:
        os.close(descriptor)


def _lock(folder: int, home: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"Another `tessera restore` is at work on {home}: wait for it.") from error
    except OSError:
        # Some network file systems know no locks of folders: there, nobody looks out for another.
        return


def _check_room(home: Path, members: list[tarfile.TarInfo]) -> None:
    """Raise UserError if the home holds something else, or its disk has too little room."""
    if (home / RESTORING).is_dir():
        return
    if any(home.iterdir()):
        raise UserError(_not_empty(home))
    needed, free = sum(one.size for one in members), shutil.disk_usage(home).free
    if needed > free:
        raise UserError(
            f"The backup has {needed / 2**20:,.0f} MB, and the disk of {home} has "
            f"{free / 2**20:,.0f} MB left."
        )


def _unpack(archive: tarfile.TarFile, members: list[tarfile.TarInfo], home: Path) -> None:
    beside = home / RESTORING
    # The folder that says so goes last, so that the next call knows what to do with the rest.
    for left in sorted(home.iterdir()):
        if left != beside:
            remove(left)
    if beside.exists():
        shutil.rmtree(beside)
    beside.mkdir(mode=0o700)
    archive.extractall(beside, members, filter="data")
    for place in sorted(beside.iterdir()):
        place.rename(home / place.name)
    beside.rmdir()


def _opened(file: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(file)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(f"{file} is no backup of a home ({error}).") from error


def _checked_members(archive: tarfile.TarFile, file: Path, home: Path) -> list[tarfile.TarInfo]:
    """Return the members of a whole backup but the last, each of which may be unpacked."""
    try:
        *members, last = archive.getmembers() or [tarfile.TarInfo()]
        content = archive.extractfile(last) if last.isfile() else None
        about = json.loads(content.read()) if content and last.name == LAST_MEMBER else {}
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise UserError(f"{file} is not whole ({error}): take another backup.") from error
    if about.get("members") != len(members):
        raise UserError(f"{file} is no backup of a home, or is not whole: take another one.")
    for member in members:
        try:
            is_inside = not PurePosixPath(member.name).is_absolute()
            tarfile.data_filter(member, str(home / RESTORING))
        except tarfile.FilterError:
            is_inside = False
        if not is_inside:
            raise UserError(
                f"{file} has a member that would lie outside of the home or is no file, "
                f"{member.name!r}: it was not made by `tessera backup`. Nothing was unpacked."
            )
    return members


def _places(home: Path) -> Iterator[Path]:
    """Yield what belongs into a backup, in the order of the names, each folder before its files."""
    for parent, folders, files in os.walk(home):
        # What is being written, and what is half removed.
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        place = Path(parent)
        if place != home:
            yield place
        for name in sorted(files):
            if not name.startswith(".") and not name.endswith(".lock"):
                yield place / name


def _add(archive: tarfile.TarFile, place: Path, name: Path, folder: Path) -> int:
    """Add a file or a folder; return 0 if it has gone, or is no part of a backup.

    A database is copied into ``folder`` first.
    """
    with suppress(FileNotFoundError):
        mode = place.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or is_log(place):
            # A link into the checkout is made again, and a socket by its server.
            return 0
        if stat.S_ISREG(mode) and _is_database(place):
            copy = new_unfinished(folder)
            try:
                _copy_database(place, copy)
                member = archive.gettarinfo(copy, name.as_posix())
                member.mode, member.mtime = stat.S_IMODE(mode), place.stat().st_mtime
                with copy.open("rb") as content:
                    archive.addfile(member, content)
            finally:
                copy.unlink()
        else:
            archive.add(place, name.as_posix(), recursive=False)
        return 1
    return 0


def _copy_database(database: Path, copy: Path) -> None:
    try:
        copy_database(database, copy, LONGEST_LOCKED)
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"The database {database} cannot be copied ({error}): `tessera doctor` looks for what "
            "is wrong."
        ) from error


def _is_database(file: Path) -> bool:
    with file.open("rb") as content:
        return content.read(len(_SQLITE_BEGINS)) == _SQLITE_BEGINS or (
            size_of(file) == 0 and bool(logs_of(file))
        )


def _add_last(archive: tarfile.TarFile, n_members: int) -> None:
    about = {"tessera": tessera_version(), "made_at": now(), "members": n_members}
    content = json.dumps(about).encode()
    member = tarfile.TarInfo(LAST_MEMBER)
    member.size, member.mode = len(content), PRIVATE
    archive.addfile(member, io.BytesIO(content))
