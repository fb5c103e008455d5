"""The same photos and settings give the same bytes: whatever the threads, whatever the order."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _layout(home: Path, tmp_path: Path, name: str, photos: list[Path], threads: int) -> bytes:
    """Map a listing of photos in a process and a copy of the home of its own."""
    manifest = tmp_path / f"{name}.csv"
    manifest.write_text("\n".join(["uri", *map(str, photos), ""]))
    environment = {
        **os.environ,
        "TESSERA_HOME": str(shutil.copytree(home, tmp_path / f"home-{name}")),
        "OMP_NUM_THREADS": str(threads),
        "NUMBA_NUM_THREADS": str(threads),
    }
    out = tmp_path / f"map-{name}"
    command = [
        sys.executable,
        "-m",
        "orchestration.cli",
        "map",
        str(manifest),
        "--out",
        str(out),
    ]
    command += ["--threads", str(threads)]
    subprocess.run(command, env=environment, cwd=ROOT, check=True)
    return (out / "layout.parquet").read_bytes()


def test_threads_and_the_order_of_the_listing_change_no_byte(home_template, photo_folder, tmp_path):
    photos = sorted(photo_folder(80).iterdir())
    first = _layout(home_template, tmp_path, "one", photos, threads=1)
    second = _layout(home_template, tmp_path, "two", photos[::-1], threads=2)
    assert first == second
