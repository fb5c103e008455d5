"""`tessera study`: what it writes and tracks, how it goes on, and what it finds at full size."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from PIL import Image

from assets.methods.study.study import StudySettings
from assets.resources.tracking import Tracking
from orchestration.cli import study as studying
from support.pages import DOCS, ELSEWHERE, origins_on_page

TINY = StudySettings(
    n_train=40,
    n_validation=8,
    n_test=24,
    n_explained=2,
    training=replace(StudySettings().training, epochs=2, batch_size=4),
    occlusion=replace(StudySettings().occlusion, box=28, stride=28),
)


@pytest.fixture
def small(monkeypatch):
    """The study as it is, with fewer dolls and wider windows."""
    monkeypatch.setattr(studying, "StudySettings", lambda: TINY)


def test_everything_is_written_and_one_experiment_holds_it(tessera, shared_home, small, tmp_path):
    out = tmp_path / "study"
    ran = tessera("study", "--out", out, "--threads", "1")
    assert ran.code == 0, ran.err
    on_page = {name for command, name in origins_on_page() if command == "study"}
    assert on_page == {file.name for file in out.iterdir() if file.is_file()} | {"labels.csv"}
    metrics = json.loads((out / "summary.json").read_text())
    summary = ran.out.splitlines()[-1]
    before, after = (metrics[f"{name}.occlusion_share_lips"] for name in ("before", "after"))
    assert summary.startswith(f"share on the lips {before:.2f} -> {after:.2f}, ")
    listed = {line.split()[0] for line in ran.out.splitlines() if line.startswith(f"  {out}")}
    assert listed == {str(file) for file in out.iterdir()}
    for name in ("study", "evaluation", "dolls"):
        with Image.open(out / f"{name}.png") as picture:
            assert picture.width > 1000
            assert picture.info["seed"] == "0"
            assert json.loads(picture.info["models"]) == metrics["provenance"]
    assert metrics["provenance"].keys() == {"before", "after", "skin-baseline", "OpenNSFW"}
    table = pd.read_csv(out / "dolls" / "labels.csv")
    assert len(table) == 24
    assert all((out / "dolls" / name).is_file() for name in table.uri)
    tracking = Tracking(home=str(shared_home)).in_experiment(studying.EXPERIMENT)
    (run,) = tracking.client.search_runs([tracking.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["before.auc_unflawed"] == metrics["before.auc_unflawed"]
    losses = tracking.client.get_metric_history(run.info.run_id, "after.train_loss")
    assert [point.step for point in losses] == [1, 2]
    files = {file.path for file in tracking.client.list_artifacts(run.info.run_id)}
    assert {"study.png", "evaluation.png", "dolls.png", "summary.json"} <= files

    again = tessera("study", "--out", tmp_path / "again", "--threads", "1")
    assert again.out.splitlines()[-1] == summary
    assert "training before" not in again.err
    for name in ("before", "after"):
        weights = (out / f"{name}.safetensors").read_bytes()
        assert (tmp_path / "again" / f"{name}.safetensors").read_bytes() == weights
        ran = tessera("score", out / "dolls", "--out", tmp_path / f"{name}.csv", "--model",
                      out / f"{name}.safetensors")  # fmt: skip
        assert ran.code == 0, ran.err


def test_a_file_in_the_way_is_one_sentence_and_exit_code_2(tessera, small, tmp_path):
    (tmp_path / "study").write_text("a file")
    ran = tessera("study", "--out", tmp_path / "study")
    assert ran.code == 2
    assert ran.err.count("\n") == 1


# Two and a half minutes. Small studies, here and in tests/assets/methods/study, go the same ways.
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_study_finds_and_mends_what_it_planted(checkout, tmp_path):
    """No test set with the flaw shows the shortcut; the maps do, and it is gone afterwards."""
    (page,) = (page for page in DOCS if page.name == "study.md")
    written = checkout.run_page(page, ELSEWHERE - {"make study"})
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
