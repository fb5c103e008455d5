"""`tessera explain`: what it writes and tracks, how it goes on, and what it says of bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assets.methods.attribution.occlusion import scale_down
from assets.methods.attribution.windows import place_windows
from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.models.classifier_file import convert_open_nsfw, load_classifier
from assets.resources.tracking import Tracking
from support.black_box import BlackBox, serving
from support.calls import count_calls

ROOT = Path(__file__).parents[2]
SIDES = ("local", "remote")
EVERY_RESULT = {"figure.png", "report.json", "seen.npy", "seen.png", "hidden.npy", "hidden.png"}


@pytest.fixture
def photo(tmp_path):
    """Returns a function that makes a picture with features, of the size asked for."""

    def make(name: str, width: int = 96, height: int = 72) -> Path:
        coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        picture.save(tmp_path / name)
        return tmp_path / name

    return make


def test_maps_overlays_and_figure_are_written_and_tracked(tessera, shared_home, photo, tmp_path):
    path = photo("two [red] $words$.png")
    ran = tessera("explain", path, "--out", tmp_path / "out", "--box", "32", "--stride", "16")
    assert ran.code == 0, ran.err
    assert "40 windows." in ran.err
    assert "expected: " in ran.err
    (folder,) = (tmp_path / "out").iterdir()
    assert {file.name for file in folder.iterdir()} == EVERY_RESULT
    for experiment in ("seen", "hidden"):
        values = np.load(folder / f"{experiment}.npy", allow_pickle=False)
        assert values.shape == (72, 96)
        assert values.dtype == np.float32
        assert ((values >= 0) & (values <= 1)).all()
    tracking = Tracking(home=str(shared_home))
    (run,) = tracking.client.search_runs([tracking.experiment_id], "run_name = 'explain'")
    assert run.info.status == "FINISHED"
    assert run.data.params["box"] == "32"
    assert {"score", "seen.mean", "hidden.share_above_threshold"} <= run.data.metrics.keys()
    logged = tracking.client.list_artifacts(run.info.run_id, folder.name)
    assert {Path(file.path).name for file in logged} == EVERY_RESULT - {"report.json"}
    series = tracking.client.list_artifacts(run.info.run_id, "images")
    assert len([file for file in series if file.path.endswith(".png")]) == 3


def test_a_second_time_nothing_is_scored(tessera, photo, tmp_path):
    command = ("explain", photo("a.png"), "--out", tmp_path / "out", "--stride", "32")
    assert tessera(*command).code == 0
    ran = tessera(*command)
    assert "all of them scored before" in ran.err
    assert ran.out.count(", 0 scored anew") == 2


def test_an_image_is_scaled_once_and_its_windows_are_placed_once(
    tessera, photo, tmp_path, monkeypatch
):
    counts = count_calls(monkeypatch, scale_down, place_windows)
    command = ("explain", photo("a.png", 150, 120), "--out", tmp_path / "out", "--stride", "64")
    ran = tessera(*command, "--long-side", "100")
    assert ran.code == 0, ran.err
    assert counts == {"scale_down": 1, "place_windows": 1}


def test_what_is_in_a_folder_is_of_one_image_and_its_last_call(tessera, photo, tmp_path):
    options = ("--out", tmp_path / "out", "--stride", "64")
    (tmp_path / "other").mkdir()
    one, other = photo("a.png"), photo("other/a.png", 72, 96)
    assert tessera("explain", one, *options).code == 0
    assert tessera("explain", other, *options, "--experiment", "seen", "--box", "70").code == 0
    first, second = tmp_path / "out" / "a", tmp_path / "out" / "a-2"
    assert {file.name for file in first.iterdir()} == EVERY_RESULT
    kept = {"figure.png", "report.json", "seen.npy", "seen.png"}
    assert {file.name for file in second.iterdir()} == kept
    report = json.loads((second / "report.json").read_text())
    assert (report["image"], report["box"], report["class"]) == (str(other), 70, "nsfw")
    # The same file again: what this call does not make goes.
    assert tessera("explain", one, *options, "--experiment", "seen").code == 0
    assert {file.name for file in first.iterdir()} == kept
    # Another content under the same path is another image.
    photo("a.png", 90, 90)
    ran = tessera("explain", one, *options, "--experiment", "seen")
    assert str(tmp_path / "out" / "a-3" / "figure.png") in ran.out


def test_a_name_that_is_not_text_is_explained_like_any_other(tessera, photo, tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    photo("a.png").rename(odd)
    ran = tessera("explain", odd, "--out", tmp_path / "out", "--stride", "64")
    assert ran.code == 0, ran.err
    assert "caf\ufffd.png: P(nsfw)" in ran.out


def test_strict_tracking_fails_when_mlflow_is_down(tessera, photo, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    command = ("explain", photo("a.png"), "--out", tmp_path / "out", "--stride", "64")
    assert tessera(*command, "--strict-tracking").code == 1
    assert not (tmp_path / "out" / "a").exists()
    ran = tessera(*command)
    assert ran.code == 0
    assert "The model registry could not be asked" in ran.err
    assert "nothing more of explain is tracked" in ran.err
    report = json.loads((tmp_path / "out" / "a" / "report.json").read_bytes())
    assert report["not_tracked"]


def test_a_file_that_is_no_image_costs_the_others_nothing(tessera, photo, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("not a photo")
    good = photo("good.png")
    options = ("--experiment", "seen", "--stride", "64")
    ran = tessera("explain", bad, good, tmp_path / "none.png", "--out", tmp_path / "out", *options)
    assert ran.code == 2
    assert f"{bad} was left out: The file does not begin like any kind of image." in ran.err
    assert "none.png was left out: The file cannot be read" in ran.err
    assert [folder.name for folder in (tmp_path / "out").iterdir()] == ["good"]


def test_a_folder_is_no_image_and_what_takes_it_is_told(tessera, tmp_path):
    # The model does not exist: it is not looked for when there is no image to explain.
    command = ("explain", tmp_path, "--out", tmp_path / "out", "--model", "timm:no_such_model")
    ran = tessera(*command)
    assert ran.code == 2
    assert f"{tmp_path} was left out: This is a folder, not a file." in ran.err
    assert "tessera score" in ran.err
    assert "no_such_model" not in ran.err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--stride", "65"], "leaves pixels between windows of 64 px uncovered"),
        (["--box", "0"], "The box is 0 px"),
        (["--class", "lewd"], "There is no class lewd: choose sfw or nsfw."),
        (["--model", "http://127.0.0.1:1/"], "127.0.0.1"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    tessera, photo, tmp_path, monkeypatch, options, sentence
):
    # A server that is down is asked again and again, with pauses in between.
    monkeypatch.setattr("assets.methods.models.http_classifier.time.sleep", lambda seconds: None)
    ran = tessera("explain", photo("a.png"), "--out", tmp_path / "out", *options)
    assert ran.code == 2
    assert sentence in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.slow
def test_a_map_that_was_killed_does_not_start_over(home, tessera, photo, tmp_path):
    options = ["--preset", "figure", "--experiment", "seen"]
    arguments = ["explain", str(photo("a.png", 100, 94)), "--out", str(tmp_path / "out"), *options]
    command = [sys.executable, "-m", "orchestration.cli", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ)
    deadline = time.monotonic() + 200
    while _n_scored(home) < 60:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    n_known = _n_scored(home)
    ran = tessera(*arguments)
    assert ran.code == 0, ran.err
    n_windows = len(range(0, 94 - 64, 3)) + 1
    n_windows *= len(range(0, 100 - 64, 3)) + 1
    assert f"{n_windows} windows, {n_known} of them scored before" in ran.err
    assert f"{n_windows} windows, {n_windows - n_known} scored anew" in ran.out


def _n_scored(home: Path) -> int:
    files = list((home / "windows").glob("[!.]*.f32"))
    return sum(int(np.isfinite(np.fromfile(file, np.float32)).sum()) for file in files)


@pytest.fixture
def moody(tmp_path):
    """A black box that answers slowly now and then, and now and then not at all."""
    plan = plan_compute(ComputeSettings(device="cpu", threads=1))
    classifier = load_classifier(convert_open_nsfw(tmp_path / "served"), plan)
    faults = {1: 503, 2: "slow", 3: "drop", 5: "mixed", 6: "slow", 8: 500}
    return BlackBox(classifier, faults.get)


def test_a_black_box_that_is_slow_and_fails_now_and_then_gives_the_same_maps(
    tessera, photo, tmp_path, moody
):
    command = ("explain", photo("a.png", 150, 120), "--box", "40", "--stride", "12", "--out")
    local = tessera(*command, tmp_path / "local")
    with serving(moody) as url:
        remote = tessera(*command, tmp_path / "remote", "--model", url)
    assert local.code == remote.code == 0, remote.err
    assert len(moody.requests) > 8
    for experiment in ("seen", "hidden"):
        first, second = (np.load(tmp_path / side / "a" / f"{experiment}.npy") for side in SIDES)
        np.testing.assert_allclose(first, second, rtol=0, atol=1e-6)
