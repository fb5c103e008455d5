"""The lint rule that keeps the arrows of DESIGN.md pointing one way."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("assets/methods/probe.py", "import dagster"),
        ("assets/methods/probe.py", "import mlflow"),
        ("assets/methods/probe.py", "from assets.resources.photos import Photos"),
        ("assets/methods/probe.py", "from orchestration import cli"),
        ("assets/methods/probe.py", "from assets.steps import step"),
        ("assets/methods/probe.py", "from assets.io_managers import save"),
        ("assets/resources/probe.py", "from assets.photo_map import mosaic"),
        ("assets/resources/probe.py", "from assets.figures import flat"),
        ("assets/probe.py", "from orchestration.jobs import photo_map_job"),
        ("assets/probe.py", "import torch"),
        ("orchestration/probe.py", "import torch"),
    ],
)
def test_an_import_against_the_arrows_is_refused(module, line):
    ruff = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--select", "TID", "--stdin-filename", module, "-"],
        input=f"{line}\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert ruff.returncode == 1, ruff.stdout + ruff.stderr
    assert "TID25" in ruff.stdout
