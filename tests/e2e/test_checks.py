"""The README's job for CI, and what becomes of a map with a failed check."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import yaml

from assets.io_managers import FolderIOManager, outputs_of
from assets.values import GridAssignment
from support.pages import README
from support.stored_values import plant, with_vector


def _steps() -> list[str]:
    """Return the commands of the README's job, but for the one that installs."""
    (job,) = re.findall(r"```yaml\n(.*?)```", README.read_text(), flags=re.DOTALL)
    steps = yaml.safe_load(job)["jobs"]["photos"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    assert commands[0].startswith("python -m pip install")
    return commands[1:]


def _in_one_cell(value: GridAssignment) -> GridAssignment:
    value.table.loc[1, ["row", "col"]] = value.table.loc[0, ["row", "col"]].to_numpy()
    return value


def _corrupt(files: FolderIOManager) -> None:
    folder = files.checked("tsne_2d", "photos")
    assert folder is not None
    (folder / "table.parquet").write_bytes(b"PAR1 and nothing else PAR1")


FAULTS = {
    "vectors_are_sound": lambda files: plant(
        files, "embeddings", "photos", lambda value: with_vector(value, np.nan)
    ),
    "assignment_is_a_bijection": lambda files: plant(
        files, "grid_assignment", "photos", _in_one_cell
    ),
    "coordinates_are_finite": _corrupt,
}


@pytest.mark.timeout(600)
def test_the_job_for_ci_is_green_and_red_with_each_planted_fault(
    checkout, tessera, shared_home, tmp_path
):
    map_, check = _steps()
    checkout.run(map_)
    checkout.run(check)
    assert ElementTree.parse(tmp_path / "checks.xml").getroot().get("failures") == "0"
    assert json.loads((tmp_path / "checks.json").read_text())["passed"]
    files = outputs_of(shared_home)
    for name, plant_fault in FAULTS.items():
        plant_fault(files)
        ran = tessera(*check.split()[1:])
        assert ran.code == 1
        assert f"check {name} failed" in ran.err
        root = ElementTree.parse(tmp_path / "checks.xml").getroot()
        failed = [
            one.get("name") for one in root.iter("testcase") if one.find("failure") is not None
        ]
        assert name in failed
        assert not json.loads((tmp_path / "checks.json").read_text())["passed"]
    # Mapping again makes all of it anew.
    checkout.run(map_)
    checkout.run(check)


def _report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


@pytest.mark.timeout(600)
def test_the_last_good_map_stays_until_a_person_accepts_the_new_one(
    tessera, photo_folder, tmp_path
):
    folder, out = photo_folder(6), tmp_path / "map"
    arguments = ("map", folder, "--name", "album", "--out", out, "--tile", "32")
    assert tessera(*arguments).code == 0
    assert _report(out)["accepted"] is True
    before = (out / "layout.parquet").read_bytes()
    (folder / "photo_000.png").unlink()
    for number in range(6):
        (folder / f"broken_{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    ran = tessera(*arguments)
    assert ran.code == 1
    assert "check few_files_are_rejected failed: 54.5% of 11 files are rejected" in ran.err
    assert "`tessera accept album` makes it current" in ran.err
    assert (out / "layout.parquet").read_bytes() == before
    ran = tessera("accept", "album", "--out", out)
    assert ran.code == 0
    assert "raw_images/few_files_are_rejected" in ran.out
    assert len(pd.read_parquet(out / "layout.parquet")) == 5
    report = _report(out)
    assert report["accepted"] is True
    assert report["checks"]["few_files_are_rejected"] is False
    assert report["seconds"]["mosaic"] > 0


@pytest.mark.timeout(600)
def test_a_first_map_is_shown_and_marked(tessera, photo_folder, tmp_path):
    folder, out = photo_folder(2), tmp_path / "map"
    for number in range(3):
        (folder / f"broken_{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    ran = tessera("map", folder, "--name", "first", "--out", out, "--tile", "32")
    assert ran.code == 1
    assert (out / "mosaic.jpg").is_file()
    assert _report(out)["accepted"] is False
    assert "is shown, but not accepted: `tessera accept first` accepts it." in ran.err
