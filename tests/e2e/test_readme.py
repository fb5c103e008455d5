"""Every command in the README and in the pages it links to runs."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
# `make dev` is run by test_dev.py, which needs a browser, `tessera serve` by test_serve.py; this
# environment is the activated one.
ELSEWHERE = {"make dev", "tessera serve", "source .venv/bin/activate"}
# Pages whose commands build on a service in the background: one script, at any port.
SCRIPTS = {"http-service.md"}
# What takes minutes is run for one page alone.
ONLY_FOR = {"make study": "study.md"}
# Those weights would have to be downloaded.
WITHOUT_NETWORK = {"--backbone timm:resnet50": "--backbone efficientnet-lite0"}


@pytest.fixture
def run(
    tmp_path: Path, photo_folder, labelled_dolls
) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Returns a function that runs a command of the README, in a folder like a checkout."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(photo_folder(12) / "photo_000.png", tmp_path / "photo.jpg")
    shutil.copytree(labelled_dolls(64).parent, tmp_path, dirs_exist_ok=True)
    environment = Path(sys.executable).parent
    # Under `make test` they would tell this make that it is a part of that one.
    of_make = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}
    variables = {name: value for name, value in os.environ.items() if name not in of_make}
    variables |= {
        "PATH": f"{environment}:{os.environ['PATH']}",
        "TESSERA_HOME": str(tmp_path / ".tessera"),
    }

    def run_in_checkout(command: str) -> subprocess.CompletedProcess[str]:
        for with_network, without in WITHOUT_NETWORK.items():
            command = command.replace(with_network, without)
        if command.startswith("make "):
            # The environment that runs this test is installed already.
            marker = environment.parent / ".installed"
            command += f" VENV={environment.parent} -o {marker} -o {marker}-dev"
        return subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )

    return run_in_checkout


def _commands(page: Path) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.strip().split("\n")]
    return [
        line
        for line in lines
        if line not in ELSEWHERE and ONLY_FOR.get(line, page.name) == page.name
    ]


def _run_page(page: Path, run: Callable[[str], subprocess.CompletedProcess[str]]) -> list[str]:
    """Run a page's commands one after the other, as a reader would; return what each wrote.

    The later ones build on the earlier.
    """
    written = []
    for command in _commands(page):
        ran = run(command)
        assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
        assert "Traceback" not in ran.stderr
        written.append(ran.stdout)
    return written


def _report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


@pytest.mark.timeout(1800)
def test_every_command_of_the_readme_runs_and_the_demo_makes_sense(run, tmp_path):
    assert _commands(README)[0] == "make demo"
    _run_page(README, run)
    first = _report(tmp_path / "demo")
    assert first["counts"]["decoded_anew"] == first["counts"]["embedded_anew"] == 1024
    assert first["assignment"]["certified"]
    assert len(first["checks"]) == 8
    assert all(first["checks"].values())
    quality = first["quality"]
    assert quality["neighbourhood_purity"] >= 5 * quality["random_purity"]

    again = run("make demo")
    assert str(Path("demo", "mosaic.jpg")) in again.stdout
    second = _report(tmp_path / "demo")
    assert second["counts"]["decoded_anew"] == second["counts"]["embedded_anew"] == 0
    assert _report(tmp_path / "map")["counts"]["shown"] == 12
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 13
    for folder in ("explained", "deconvolved"):
        assert (tmp_path / folder / "photo" / "figure.png").is_file()
    assert (tmp_path / "evaluated" / "evaluation.png").is_file()


@pytest.mark.timeout(1800)
def test_the_study_finds_and_mends_what_it_planted(run, tmp_path):
    """No test set with the flaw shows the shortcut; the maps do, and it is gone afterwards."""
    written = _run_page(ROOT / "docs" / "study.md", run)
    metrics = json.loads((tmp_path / "study" / "summary.json").read_text())
    lips, auc, rate = "occlusion_share_lips", "auc_unflawed", "false_positive_rate_red_lips"
    assert metrics["before.auc_flawed"] >= 0.98
    assert metrics[f"before.{lips}"] >= 0.5
    assert metrics[f"after.{lips}"] <= 0.2
    assert metrics[f"after.{rate}"] <= metrics[f"before.{rate}"] / 2
    assert metrics[f"after.{auc}"] > metrics[f"before.{auc}"]
    summary = written[0].splitlines()[-1]
    for name, digits in ((lips, 2), (rate, 2), (auc, 3)):
        before, after = (metrics[f"{when}.{name}"] for when in ("before", "after"))
        assert f"{before:.{digits}f} -> {after:.{digits}f}" in summary


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES[1:] if page.name not in {"study.md", *SCRIPTS} and _commands(page)],
    ids=lambda page: page.name,
)
def test_every_command_of_a_page_runs(page, run):
    _run_page(page, run)


@pytest.mark.timeout(900)
def test_the_page_about_the_service_runs_from_its_start_to_its_end(run, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = "\n".join(_commands(ROOT / "docs" / "http-service.md"))
    ran = run("set -e\ntrap 'kill %1' ERR\n" + script.replace("8000", str(port)))
    log = (tmp_path / "requests.log").read_text()
    assert ran.returncode == 0, ran.stdout + ran.stderr + log
    assert '"code":42000' in (tmp_path / "map.json").read_text()
    with Image.open(tmp_path / "mosaic.jpg") as mosaic:
        assert mosaic.size == (4 * 66 - 2, 3 * 66 - 2)
    assert '"hits":[{"score":' in ran.stdout
    assert (tmp_path / "explained" / "photo" / "figure.png").is_file()
    assert "is revoked" in ran.stdout
    assert "traceback" not in log


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pictures_and_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\[[^]]*?\]\((?!http)(.*?)\)", page.read_text()):
        assert (page.parent / target).is_file(), target
