"""The lint rules that keep imports pointing one way, heavy ones late, and private names out."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = "study -> training"
LAYOUT = "staying | network_store -> layout"

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, in which a test may plant an import."""
    copy = tmp_path_factory.mktemp("house")
    for name in ("assets", "orchestration"):
        shutil.copytree(
            ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.toml")
        )
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def lint_imports(house: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    return subprocess.run(
        [*command, "--no-logo", "--no-cache"],
        capture_output=True,
        text=True,
        cwd=house,
        # The name of a contract stays in one line.
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )


def test_the_house_keeps_its_contracts(house):
    linted = lint_imports(house)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert "0 broken" in linted.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("assets/methods/probe.py", "import dagster", "no dagster, no mlflow"),
        ("assets/methods/probe.py", "import mlflow", "no dagster, no mlflow"),
        ("assets/methods/probe.py", "import assets.resources.photos", "assets -> assets.resources"),
        ("assets/methods/probe.py", "import orchestration.cli", "orchestration -> assets"),
        ("assets/methods/probe.py", "import assets.steps", "assets -> assets.resources"),
        ("assets/methods/common/errors.py", "import assets.methods.photos.source", "no circles"),
        ("assets/resources/probe.py", "import assets.photo_map", "assets -> assets.resources"),
        (
            "assets/resources/probe.py",
            "import assets.results.photo_map",
            "assets -> assets.resources",
        ),
        ("assets/values.py", "import assets.photo_map", "assets -> assets.resources"),
        ("assets/values.py", "import orchestration.jobs", "orchestration -> assets"),
        ("assets/probe.py", "import assets.values", "assets -> assets.resources"),
        ("assets/methods/common/probe.py", "import assets.methods.photos", ROOMS),
        ("assets/methods/common/probe.py", "import assets.methods.plotting", ROOMS),
        ("assets/methods/photos/probe.py", "import assets.methods.plotting", ROOMS),
        ("assets/methods/plotting/probe.py", "import assets.methods.photos", ROOMS),
        ("assets/methods/photos/probe.py", "import assets.methods.models", ROOMS),
        ("assets/methods/models/probe.py", "import assets.methods.layout", ROOMS),
        ("assets/methods/layout/probe.py", "import assets.methods.evaluation", ROOMS),
        ("assets/methods/evaluation/probe.py", "import assets.methods.models", ROOMS),
        ("assets/methods/models/probe.py", "import assets.methods.attribution", ROOMS),
        ("assets/methods/attribution/probe.py", "import assets.methods.training", ROOMS),
        ("assets/methods/training/probe.py", "import assets.methods.attribution", ROOMS),
        ("assets/methods/training/probe.py", "import assets.methods.study", ROOMS),
        (
            "assets/methods/layout/projection/probe.py",
            "import assets.methods.layout.assignment",
            LAYOUT,
        ),
        ("orchestration/cli/common/probe.py", "import orchestration.cli.inputs", "commands -> cli"),
        # A new room has to be given a place among the others.
        ("assets/methods/attic/__init__.py", "", ROOMS),
        ("assets/methods/layout/attic/__init__.py", "", LAYOUT),
    ],
)
def test_an_import_against_the_arrows_is_refused(house, module, line, contract):
    place = house / module
    before = place.read_text() if place.exists() else None
    room_is_new = not place.parent.exists()
    place.parent.mkdir(exist_ok=True)
    place.write_text(f"{before or ''}\n{line}\n")
    try:
        linted = lint_imports(house)
    finally:
        if before is None:
            place.unlink()
            if room_is_new:
                place.parent.rmdir()
        else:
            place.write_text(before)
    assert linted.returncode == 1, linted.stdout + linted.stderr
    broken = [row for row in linted.stdout.splitlines() if row.endswith("BROKEN")]
    assert any(contract in row for row in broken), linted.stdout


def ruff(module: str, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--stdin-filename", module, "-"],
        input=f"{line}\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


@pytest.mark.parametrize("module", ["assets/probe.py", "orchestration/probe.py"])
def test_a_heavy_import_at_module_level_is_refused(module):
    checked = ruff(module, "import torch")
    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert "TID253" in checked.stdout or "banned-module-level-imports" in checked.stdout


@pytest.mark.parametrize(
    ("module", "line", "rule"),
    [
        (
            "orchestration/probe.py",
            "from dagster._core.storage.tags import PRIORITY_TAG",
            "import-private-name",
        ),
        ("tests/probe.py", "from dagster._grpc import client", "import-private-name"),
        ("bench/probe.py", "import dagster._daemon.controller", "banned-api"),
        ("assets/probe.py", "from dagster_shared.error import SerializableErrorInfo", "banned-api"),
        ("tests/probe.py", "from mlflow._spark import anything", "import-private-name"),
    ],
)
def test_a_private_name_of_a_library_is_refused(module, line, rule):
    checked = ruff(module, line)
    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert rule in checked.stdout


def test_no_private_name_of_dagsters_is_imported():
    found = subprocess.run(
        ["git", "grep", "-nE", r"^\s*(from|import) dagster(\._|_shared)", "--", "*.py"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert found.stdout == ""
