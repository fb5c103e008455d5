"""Maps that are killed at random moments, or run out of disk, and the maps that follow."""

import argparse
import contextlib
import hashlib
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.kills.tally import (
    LONGEST_SECONDS,
    Tally,
    draw_photos,
    kill,
    last_line_of,
    start_tessera,
)

TRIALS = ("first", "later", "demo", "aimed", "disk")
N_PHOTOS, N_MORE = 64, 8
RESULTS = ("layout.parquet", "mosaic.jpg")
AT_WORK = ("NOT_STARTED", "QUEUED", "STARTING", "STARTED", "CANCELING")
# What appears below the home when a database is being made.
BEING_MADE = {
    "Dagster's databases": (".databases-*",),
    "MLflow's database": ("mlflow.db*", ".mlflow*"),
    "photos.sqlite": ("photos/photos.sqlite*",),
}


@dataclass(frozen=True)
class Trial:
    """A command on a home of its own."""

    place: Path
    command: tuple[str, ...]

    @property
    def home(self) -> Path:
        return self.place / "home"

    @property
    def out(self) -> Path:
        return self.place / "out"

    @property
    def log(self) -> Path:
        return self.place / "log.txt"

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command, its output in a file."""
        return start_tessera((*self.command, "--out", self.out), self.home, self.log)

    def finish(self) -> int:
        """Run the command to its end; return the exit code."""
        return self.start().wait(LONGEST_SECONDS)

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each result that is there."""
        return {
            name: self._digest(self.out / name) for name in RESULTS if (self.out / name).exists()
        }

    def _digest(self, file: Path) -> str:
        """Return the SHA-256 of a result; a table may name the home, where the demo's tiles lie."""
        data = file.read_bytes()
        if file.suffix == ".parquet":
            table = pd.read_parquet(file)
            here = table.uri.str.replace(str(self.place), "", regex=False)
            data = table.assign(uri=here).to_csv(index=False).encode()
        return hashlib.sha256(data).hexdigest()

    def remains(self) -> list[str]:
        """Return what should not be left: runs at work, and unfinished files."""
        found = _runs_at_work(self.home / "history/runs.db", AT_WORK)
        found += _runs_at_work(self.home / "mlflow.db", ("RUNNING", "SCHEDULED"))
        files = [*self.home.rglob(".*"), *self.out.rglob(".*")]
        return found + [f"file {file.name}" for file in files]


def _runs_at_work(database: Path, statuses: tuple[str, ...]) -> list[str]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        marks = ", ".join("?" * len(statuses))
        rows = connection.execute(f"SELECT status FROM runs WHERE status IN ({marks})", statuses)
        return [f"{database.name}: {status}" for (status,) in rows]


class Bench:
    """The photos, and what an undisturbed run makes of them."""

    def __init__(self, place: Path, tally: Tally) -> None:
        self.place = place
        self.random = tally.random
        self._tally = tally
        self._n_trials = 0

    def photos(self, name: str) -> Path:
        """Return a folder with photos of noise."""
        folder = self.place / name
        draw_photos(folder, range(N_PHOTOS))
        return folder

    @contextlib.contextmanager
    def trial(self, *command: str, home: Path | None = None) -> Iterator[Trial]:
        """Yield a command on a new home, or on a copy of one."""
        self._n_trials += 1
        place = self.place / f"trial-{self._n_trials}"
        place.mkdir()
        if home is not None:
            shutil.copytree(home, place / "home", symlinks=True)
        yield Trial(place, command)
        shutil.rmtree(place, ignore_errors=True)

    def reference(self, *command: str, home: Path | None = None) -> tuple[dict[str, str], float]:
        """Run a command undisturbed; return its results and its seconds."""
        with self.trial(*command, home=home) as trial:
            begun = time.monotonic()
            code = trial.finish()
            if code != 0 or trial.remains():
                raise RuntimeError(
                    f"undisturbed: {code}, {trial.remains()}, {last_line_of(trial.log)}"
                )
            return trial.digests(), time.monotonic() - begun

    def judge(self, what: str, trial: Trial, expected: dict[str, str]) -> None:
        """Run the command again, and note whether all is as if nothing had happened."""
        code = trial.finish()
        fault = None
        if code != 0:
            fault = f"the repeat ended with {code}: {last_line_of(trial.log)}"
        elif trial.digests() != expected:
            fault = "other bytes"
        elif remains := trial.remains():
            fault = f"left: {', '.join(remains[:3])}"
        self._tally.note(what, fault)


def kill_at_random(trial: Trial, seconds: float) -> None:
    """Start a command, and kill it with all that it started after so many seconds."""
    process = trial.start()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    kill(process)


def kill_while_a_database_is_made(trial: Trial, name: str, seconds: float) -> None:
    """Kill a first run so many seconds after a database of its home has begun to appear."""
    process = trial.start()
    while process.poll() is None and not any(
        any(trial.home.glob(pattern)) for pattern in BEING_MADE[name]
    ):
        time.sleep(0.001)
    time.sleep(seconds)
    kill(process)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: float) -> Iterator[Callable[[], None]]:
    """Mount a disk of so many MB; yield a function that makes it large."""
    folder.mkdir()
    # A size of 0 is no limit.
    size = f"size={max(4, int(megabytes * 1024))}k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)
    try:
        yield lambda: _enlarge(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _enlarge(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=4g", str(folder)], check=True)


def run(bench: Bench, counts: argparse.Namespace) -> None:
    """Carry out all trials."""
    photos = bench.photos("photos")
    command = ("map", str(photos), "--name", "killed")
    expected, seconds = bench.reference(*command)
    print(f"an undisturbed first run takes {seconds:.1f} s", flush=True)
    for _ in range(counts.first):
        with bench.trial(*command) as trial:
            kill_at_random(trial, bench.random.uniform(0.2, seconds))
            bench.judge("first run killed", trial, expected)
    for name in counts.aimed * list(BEING_MADE):
        with bench.trial(*command) as trial:
            kill_while_a_database_is_made(trial, name, bench.random.expovariate(5.0))
            bench.judge(f"killed while {name} began", trial, expected)
    if counts.later:
        _later(bench, command, photos, counts.later)
    if counts.demo:
        demo, seconds = bench.reference("demo")
        for _ in range(counts.demo):
            with bench.trial("demo") as trial:
                kill_at_random(trial, bench.random.uniform(1.0, seconds))
                bench.judge("demo killed", trial, demo)
    if counts.disk:
        _disk(bench, counts.disk)


def _later(bench: Bench, command: tuple[str, ...], photos: Path, n: int) -> None:
    with bench.trial(*command) as first:
        first.finish()
        draw_photos(photos, range(N_PHOTOS, N_PHOTOS + N_MORE))
        expected, seconds = bench.reference(*command, home=first.home)
        for _ in range(n):
            with bench.trial(*command, home=first.home) as trial:
                kill_at_random(trial, bench.random.uniform(0.2, seconds))
                bench.judge("later run killed", trial, expected)


def _disk(bench: Bench, n: int) -> None:
    photos = bench.photos("photos-for-disks")
    command = ("map", str(photos), "--name", "full")
    with bench.trial(*command) as whole:
        whole.finish()
        expected = whole.digests()
        n_bytes = sum(file.stat().st_size for file in whole.place.rglob("*") if file.is_file())
    for number in range(n):
        place = bench.place / f"disk-{number}"
        megabytes = n_bytes / 2**20 * number / n
        with small_disk(place, megabytes) as enlarge:
            trial = Trial(place, command)
            with contextlib.suppress(OSError):
                trial.finish()
            enlarge()
            bench.judge(f"disk of {megabytes:.1f} MB", trial, expected)
