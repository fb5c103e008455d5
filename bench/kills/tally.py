"""What the trials share: their random moments, their photos, the kill itself, and the verdicts."""

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

LONGEST_SECONDS = 600.0


class Tally:
    """How many trials of each kind were mended, and what was wrong with the others."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.outcomes = Counter[str]()
        self.faults: list[str] = []

    def note(self, what: str, fault: str | None) -> None:
        """Count a trial, and print its fault if it has one."""
        if fault is None:
            self.outcomes[f"{what}: mended"] += 1
            return
        self.outcomes[f"{what}: NOT mended"] += 1
        self.faults.append(f"{what}: {fault}")
        print(f"  {what}: {fault}", flush=True)


def start_tessera(
    arguments: Iterable[str | Path], home: Path, log: Path
) -> subprocess.Popen[bytes]:
    """Start a command on a home, in a session of its own; what it prints goes into a file."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "orchestration.cli", *map(str, arguments)],
            env={**os.environ, "TESSERA_HOME": str(home)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def last_line_of(log: Path) -> str:
    """Return what a command has written last."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a command with all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def draw_photos(folder: Path, numbers: Iterable[int]) -> None:
    """Write photos of noise, each drawn from its number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        pixels = np.random.default_rng(number).integers(0, 256, (9, 12, 3), np.uint8)
        Image.fromarray(pixels).resize((320, 240)).save(folder / f"{number:04}.jpg")
