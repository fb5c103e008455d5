"""Commands that remove, back up or restore, killed at random moments, and their repeats.

Each is a process of its own, forked from one that has imported what they need: of a process that
begins anew nearly all of the time is that of imports.
"""

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from bench.kills.state import difference, state_of, state_of_backup, unfinished_in
from bench.kills.tally import (
    LONGEST_SECONDS,
    Tally,
    draw_photos,
    last_line_of,
)

# The files stand beside the home of the trial.
COMMANDS = {
    "gc": ("gc", "--keep", "1"),
    "remove": ("remove", "birds", "--yes"),
    "purge": ("remove", "birds", "--purge", "--mlflow", "--yes"),
    "backup": ("backup", "home.tar"),
    "restore": ("restore", "whole.tar"),
}
N_NIGHTS, N_PHOTOS, N_CHANGED = 3, 24, 4
# One kill in so many is at any moment, also while the command is imported; the others come while
# it is at work.
ONE_AT_ANY_MOMENT_IN = 5
_TWO_HOURS = 7200
_IMPORTED = [
    *(f"orchestration.cli.{name}" for name in ("gc", "remove", "backup", "restore", "list")),
    *("orchestration.definitions", "mlflow.store.tracking.sqlalchemy_store", "mlflow.pyfunc"),
    *("orchestration.cli.map", "orchestration.cli.score", "openTSNE", "torchvision", "timm"),
]
# What a repeat says of a command that had done all before it was killed.
_DONE = ("There is no collection", "is not empty")


@dataclass(frozen=True)
class Trial:
    """A command on a copy of the home, which is always at the same place."""

    place: Path
    name: str

    @property
    def home(self) -> Path:
        return self.place / "home"

    @property
    def backup(self) -> Path:
        return self.place / "home.tar"

    @property
    def log(self) -> Path:
        return self.place / "log.txt"

    def prepare(self, has_older_backup: bool) -> None:
        """Put the home there as it was, and nothing else; for ``restore``, no home."""
        for place in (self.home, self.backup, self.log, *unfinished_in(self.place)):
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
        if self.name != "restore":
            # Files with two names stay so.
            subprocess.run(["cp", "-a", self.place / "template", self.home], check=True)
        if self.name == "backup" and has_older_backup:
            shutil.copyfile(self.place / "whole.tar", self.backup)

    def start(self) -> BaseProcess:
        """Start the command."""
        command = [
            str(self.place / part) if part.endswith(".tar") else part
            for part in COMMANDS[self.name]
        ]
        return _start(command, self.home, self.log)

    def has_begun(self) -> bool:
        """Whether the command changes the disk by now."""
        if self.name == "backup":
            return any(self.place.glob(".*"))
        if self.name == "restore":
            return self.home.exists()
        if self.name == "gc":
            # Values are the first that goes.
            return len(_values(self.home)) < len(_values(self.place / "template"))
        return self.log.exists() and self.log.stat().st_size > 0

    def state(self) -> dict[str, str]:
        """Return what the command has made: the backup, or the home."""
        if self.name == "backup":
            return state_of_backup(self.backup)
        return state_of(self.home)


def _start(arguments: Sequence[str], home: Path, log: Path) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    process = context.Process(target=_tessera, args=(list(arguments), str(home), str(log)))
    process.start()
    return process


def _tessera(arguments: list[str], home: str, log: str) -> None:
    from orchestration.cli.main import main

    os.environ["TESSERA_HOME"] = home
    with open(log, "ab") as output:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(output.fileno(), stream.fileno())
    sys.argv = ["tessera", *arguments]
    main()


def _exit_code(process: BaseProcess) -> int | None:
    process.join(LONGEST_SECONDS)
    return process.exitcode


def _values(home: Path) -> list[Path]:
    return list(home.glob("outputs/*/*/[0-9a-f]*/"))


def run(place: Path, counts: Mapping[str, int], tally: Tally) -> None:
    """Carry out so many trials of each command."""
    place.mkdir()
    _make_home(place)
    for name, count in counts.items():
        if count:
            _run(Trial(place, name), count, tally)


def _run(trial: Trial, count: int, tally: Tally) -> None:
    trial.prepare(has_older_backup=False)
    process, begun = trial.start(), time.monotonic()
    _wait_until_it_begins(trial, process)
    idle = time.monotonic() - begun
    code = _exit_code(process)
    busy = time.monotonic() - begun - idle
    left = unfinished_in(trial.place)
    if code != 0 or left:
        raise RuntimeError(f"undisturbed: {code}, {left}, {last_line_of(trial.log)}")
    expected = trial.state()
    print(f"{trial.name}: {idle:.1f} s until it begins, {busy:.2f} s at work", flush=True)
    for number in range(count):
        trial.prepare(has_older_backup=number % 2 == 1)
        process = trial.start()
        if number % ONE_AT_ANY_MOMENT_IN == 0:
            process.join(tally.random.uniform(0, idle + busy))
        else:
            _wait_until_it_begins(trial, process)
            time.sleep(tally.random.uniform(0, busy))
        process.kill()
        process.join()
        tally.note(f"{trial.name} killed", _fault(trial, expected))


def _wait_until_it_begins(trial: Trial, process: BaseProcess) -> None:
    while process.is_alive() and not trial.has_begun():
        time.sleep(0.001)


def _fault(trial: Trial, expected: dict[str, str]) -> str | None:
    """Return what is wrong after a kill, and after the repeat; None if nothing is."""
    found = difference(trial.state(), expected)
    if trial.backup.exists() and found:
        return f"a backup that is not whole: {found}"
    if (trial.home / ".restoring").exists() and (told := _told_by_others(trial)):
        return f"others were not told that the home is half restored: {told}"
    code = _exit_code(trial.start())
    last = last_line_of(trial.log)
    if code != 0 and not (found is None and any(one in last for one in _DONE)):
        return f"the repeat ended with {code}: {last}"
    if found := difference(trial.state(), expected):
        return found
    left = unfinished_in(trial.place)
    return f"left: {', '.join(str(one.relative_to(trial.place)) for one in left)}" if left else None


def _told_by_others(trial: Trial) -> str | None:
    """Return what another command says of a half restored home, unless it is what it should say."""
    log = trial.place / "other.txt"
    log.unlink(missing_ok=True)
    code = _exit_code(_start(["list"], trial.home, log))
    is_right = code == 2 and "is half restored" in log.read_text()
    return None if is_right else f"{code}: {last_line_of(log)}"


def _make_home(place: Path) -> None:
    """Make a home of two collections, of which three photos are the same, and a backup of it."""
    home = place / "home"
    for night in range(N_NIGHTS):
        for name, first in (("birds", 0), ("cats", N_PHOTOS - 3)):
            photos = place / name
            shutil.rmtree(photos, ignore_errors=True)
            begin = first + night * N_CHANGED * (name == "birds")
            draw_photos(photos, range(begin, begin + N_PHOTOS))
            draw_photos(photos, [1000 + night])
            _finish(place, "map", photos, "--name", name, "--out", place / "out")
        _finish(place, "score", place / "birds", "--name", "birds", "--out", place / "scores.csv")
    (home / "history" / "runs.db.corrupt").touch()
    (home / "outputs" / "mosaic" / "cats.corrupt").touch()
    # A network and a downloaded model that nothing refers to.
    for folder in ("projections/birds", "models/mlflow/0000000000000000"):
        (home / folder).mkdir(parents=True)
        (home / folder / f"drlim-{'0' * 16}.safetensors").touch()
    for file in home.rglob("*"):
        # What was made within an hour may be in use.
        state = file.lstat()
        ns = state.st_mtime_ns - _TWO_HOURS * 10**9
        os.utime(file, ns=(ns, ns), follow_symlinks=False)
    _finish(place, "backup", place / "whole.tar")
    home.rename(place / "template")


def _finish(place: Path, *arguments: str | Path) -> None:
    log = place / "log.txt"
    code = _exit_code(_start([str(one) for one in arguments], place / "home", log))
    if code != 0:
        raise RuntimeError(f"{arguments}: {code}, {last_line_of(log)}")
