"""A clean clone runs the README's first command, and a built wheel works without the repository.

Both install everything from the package index, which takes minutes and about 7 GB of disk.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder on the disk: pytest's are in memory, which is too small for this."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def run(folder: Path, *command: str | Path) -> str:
    """Run a command as a newcomer would, with nothing of this environment."""
    kept = {"PATH", "HOME", "LANG", "TMPDIR"}
    variables = {name: os.environ[name] for name in kept & set(os.environ)}
    here = str(Path(sys.executable).parent)
    variables["PATH"] = os.pathsep.join(
        place for place in variables["PATH"].split(os.pathsep) if place != here
    )
    ran = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def assert_demo_is_mapped(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    assert report["counts"]["shown"] == report["counts"]["decoded_anew"] == 1024
    assert all(report["checks"].values())
    assert report["quality"]["neighbourhood_purity"] >= 5 * report["quality"]["random_purity"]
    assert (folder / "mosaic.jpg").stat().st_size > 100_000


def test_a_clean_clone_maps_the_demo_by_one_command(folder):
    run(folder, "git", "clone", "--quiet", ROOT, "clone")
    written = run(folder / "clone", "make", f"PYTHON={sys.base_prefix}/bin/python3", "demo")
    assert "demo/mosaic.jpg" in written
    assert_demo_is_mapped(folder / "clone" / "demo")


def test_a_built_wheel_maps_the_demo_in_a_clean_environment(folder):
    run(folder, sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.startswith("tessera_photo_map-")
    run(folder, f"{sys.base_prefix}/bin/python3", "-m", "venv", "environment")
    bin_folder = folder / "environment" / "bin"
    run(folder, bin_folder / "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel)
    run(folder, bin_folder / "tessera", "demo", "--out", "demo")
    assert_demo_is_mapped(folder / "demo")
    origin = "import orchestration; print(orchestration.__file__)"
    assert run(folder, bin_folder / "python", "-c", origin).startswith(str(folder))
