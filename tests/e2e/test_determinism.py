"""The same photos and settings give the same bytes: whatever the threads, whatever the order."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _manifest(place: Path, photos: list[Path]) -> Path:
    place.write_text("\n".join(["uri", *map(str, photos), ""]))
    return place


def test_threads_and_the_order_of_the_listing_change_no_byte(
    tessera, home_template, photo_folder, tmp_path
):
    photos = sorted(photo_folder(80).iterdir())
    one, two = tmp_path / "one", tmp_path / "two"
    listing = _manifest(tmp_path / "one.csv", photos)
    # How many threads there can be, the libraries ask once in a process.
    subprocess.run(
        [sys.executable, "-m", "orchestration.cli", "map", listing, "--out", one, "--threads", "1"],
        env={
            **os.environ,
            "TESSERA_HOME": str(shutil.copytree(home_template, tmp_path / "home")),
            "OMP_NUM_THREADS": "1",
            "NUMBA_NUM_THREADS": "1",
        },
        cwd=ROOT,
        check=True,
    )
    listing = _manifest(tmp_path / "two.csv", photos[::-1])
    ran = tessera("map", listing, "--out", two, "--threads", "2")
    assert ran.code == 0, ran.err
    first, second = ((out / "layout.parquet").read_bytes() for out in (one, two))
    assert first == second
