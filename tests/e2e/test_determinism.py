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


# A first map, and one that starts from it.
_NIGHTS = """
import sys
from support.command_line import run_tessera
out, *listings = sys.argv[1:]
for listing in listings:
    code = run_tessera("map", listing, "--out", out, "--name", "nights", "--threads", "1")
    assert code == 0, code
"""


def test_threads_and_the_order_of_the_listing_change_no_byte(
    tessera, home_template, photo_folder, tmp_path
):
    photos = sorted(photo_folder(84).iterdir())
    nights = photos[:80], photos[3:]
    one, two = tmp_path / "one", tmp_path / "two"
    listings = [
        _manifest(tmp_path / f"one-{number}.csv", night) for number, night in enumerate(nights)
    ]
    # How many threads there can be, the libraries ask once in a process.
    subprocess.run(
        [sys.executable, "-c", _NIGHTS, one, *listings],
        env={
            **os.environ,
            "TESSERA_HOME": str(shutil.copytree(home_template, tmp_path / "home")),
            "OMP_NUM_THREADS": "1",
            "NUMBA_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        },
        cwd=ROOT,
        check=True,
    )
    for number, night in enumerate(nights):
        listing = _manifest(tmp_path / f"two-{number}.csv", night[::-1])
        ran = tessera("map", listing, "--out", two, "--name", "nights", "--threads", "2")
        assert ran.code == 0, ran.err
    assert "Since the map before, 4 came and 3 went" in ran.out
    for name in ("layout.parquet", "changes.csv"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
