"""Every command in the README runs, from a home that is not there yet."""

import json
from pathlib import Path

import pytest

from assets.methods.photos import demo
from support.homes import point_to
from support.pages import README, ROOT, commands


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory):
    """A home that the first command makes."""
    home = tmp_path_factory.mktemp("checkout") / ".tessera"
    with pytest.MonkeyPatch.context() as patch:
        point_to(home, patch)
        yield home


@pytest.fixture
def small_demo(monkeypatch) -> int:
    """A quarter of the demo; returns its number of tiles.

    `make check` maps the whole of it, and a clean clone does by `make demo` (test_installation.py).
    """
    monkeypatch.setattr(demo, "_TILES_PER_PHOTO", 16)
    monkeypatch.setattr(demo, "_CUT_PER_PHOTO", 20)
    return 256


def _report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


@pytest.mark.timeout(900)
def test_every_command_of_the_readme_runs_and_the_demo_makes_sense(checkout, small_demo, tmp_path):
    assert commands(README)[0] == "make demo"
    checkout.run_page(README)
    first = _report(tmp_path / "demo")
    assert first["counts"]["decoded_anew"] == first["counts"]["embedded_anew"] == small_demo
    assert first["assignment"]["certified"]
    assert len(first["checks"]) == 9
    assert all(first["checks"].values())
    quality = first["quality"]
    assert quality["neighbourhood_purity"] >= 5 * quality["random_purity"]

    again = checkout.run("tessera demo --out demo")
    assert str(Path("demo", "mosaic.jpg")) in again
    second = _report(tmp_path / "demo")
    assert second["counts"]["decoded_anew"] == second["counts"]["embedded_anew"] == 0
    assert _report(tmp_path / "map")["counts"]["shown"] == 12
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 13
    for folder in ("explained", "deconvolved"):
        assert len(list((tmp_path / folder).glob("photo-*/figure.png"))) == 1
    assert (tmp_path / "evaluated" / "evaluation.png").is_file()


def test_the_command_that_checks_a_release_is_run_by_ci():
    assert "make check" in commands(README, elsewhere=set())
    assert "\nmake check\n" in (ROOT / ".ci" / "run").read_text()
