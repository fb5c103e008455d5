"""The command line in a real terminal, and under real signals."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image

from assets.resources.tracking import DAGSTER_RUN, Tracking

ROOT = Path(__file__).parents[2]
TESSERA = [sys.executable, "-m", "orchestration.cli"]


@pytest.fixture
def many_photos(tmp_path):
    """Enough distinct photos for embedding to take seconds."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(200):
        colour = (number, number * 7 % 256, 99)
        Image.new("RGB", (64, 48 + number % 16), colour).save(folder / f"{number}.png")
    return folder


def _started(home: Path, folder: Path, out: Path) -> tuple[subprocess.Popen, int]:
    """Start a map in a terminal of its own; returns the process and the terminal's other end."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*TESSERA, "map", str(folder), "--name", "many", "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "TESSERA_HOME": str(home), "COLUMNS": "120", "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    return process, ours


def _read_until(terminal: int, pattern: str, seconds: float = 120) -> str:
    """Read what the terminal shows until ``pattern`` is there."""
    shown = ""
    deadline = time.monotonic() + seconds
    while not re.search(pattern, shown):
        assert time.monotonic() < deadline, shown
        try:
            shown += os.read(terminal, 4096).decode(errors="replace")
        except OSError:
            raise AssertionError(f"the terminal closed before {pattern!r}: {shown}") from None
    return shown


def _exit_code(process: subprocess.Popen, terminal: int) -> int:
    """Read until the process lets go of the terminal; closed earlier, its last words would fail."""
    with contextlib.suppress(OSError):
        while os.read(terminal, 4096):
            pass
    os.close(terminal)
    return process.wait(timeout=60)


# The bars are drawn over each other without a line's end: another one's figures must not count.
EMBEDDING = r"embeddings((?!raw_images)[^\n])*?[^\d]{}/200"


def test_the_bars_move_while_the_work_goes_on_and_ctrl_c_ends_it_well(home, many_photos, tmp_path):
    process, terminal = _started(home, many_photos, tmp_path / "map")
    shown = _read_until(terminal, EMBEDDING.format(r"[1-9]\d*"))
    assert process.poll() is None
    assert not re.search(EMBEDDING.format("200"), shown)
    process.send_signal(signal.SIGINT)
    _read_until(terminal, "interrupted; the next run goes on")
    assert _exit_code(process, terminal) == 130
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.CANCELED
    tracking = Tracking(home=str(home))
    runs = tracking.client.search_runs(
        [tracking.experiment_id], f"tags.`{DAGSTER_RUN}` = '{run.run_id}'"
    )
    statuses = {one.data.tags["dagster.asset"]: one.info.status for one in runs}
    assert statuses == {"": "KILLED", "raw_images": "FINISHED", "embeddings": "KILLED"}


def test_a_run_that_was_killed_is_picked_up_by_the_next(
    shared_home, tessera, many_photos, tmp_path
):
    process, terminal = _started(shared_home, many_photos, tmp_path / "map")
    # Vectors are stored 128 at a time.
    _read_until(terminal, EMBEDDING.format(r"1[4-9]\d"))
    process.kill()
    process.wait()
    os.close(terminal)
    ran = tessera("map", many_photos, "--name", "many", "--out", tmp_path / "map")
    assert ran.code == 0, ran.err
    assert " 0 decoded" in ran.out
    embedded = re.search(r"([\d,]+) *embedded anew", ran.out)
    assert embedded is not None
    assert 0 < int(embedded[1]) < 200
    with dg.DagsterInstance.from_config(str(shared_home)) as instance:
        statuses = [run.status.value for run in instance.get_runs()]
    assert statuses == ["SUCCESS", "FAILURE"]
