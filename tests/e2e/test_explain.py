"""`tessera explain`: what it writes and tracks, how it goes on, and what it says of bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from assets.methods.attribution.occlusion import scale_down
from assets.methods.attribution.windows import place_windows
from assets.methods.common.checksums import read_sealed
from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.models.classifier_file import convert_open_nsfw, load_classifier
from assets.methods.photos.decode import image_id
from assets.resources.tracking import Tracking
from orchestration.cli import explain
from orchestration.cli.common.result_folders import ImageFolders
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


def short(path: Path) -> str:
    return image_id(path.read_bytes())[:8]


def test_maps_overlays_and_figure_are_written_and_tracked(tessera, shared_home, photo, tmp_path):
    path = photo("two [red] $words$.png")
    ran = tessera("explain", path, "--out", tmp_path / "out", "--box", "32", "--stride", "16")
    assert ran.code == 0, ran.err
    assert "40 windows." in ran.err
    assert "expected: " in ran.err
    (folder,) = (tmp_path / "out").glob("*/")
    assert folder.name == f"two__red___words_-{short(path)}"
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
    assert {Path(file.path).name for file in logged} == EVERY_RESULT
    series = tracking.client.list_artifacts(run.info.run_id, "images")
    assert len([file for file in series if file.path.endswith(".png")]) == 3


def test_a_second_time_nothing_is_scored(tessera, photo, tmp_path):
    command = ("explain", photo("a.png"), "--out", tmp_path / "out", "--stride", "32")
    assert tessera(*command).code == 0
    ran = tessera(*command)
    assert "all of them scored before" in ran.err
    assert ran.out.count(", 0 scored anew") == 2


def test_each_level_replaces_the_one_before_and_ctrl_c_keeps_the_last(
    tessera, photo, tmp_path, monkeypatch
):
    monkeypatch.setattr(explain, "SECONDS_BETWEEN_LEVELS", 0)
    options = ["--box", "32", "--stride", "4", "--experiment", "seen"]
    command = ("explain", photo("a.png"), "--out", tmp_path / "out", *options)
    write = ImageFolders.writer

    def interrupted(self, image):
        def keep(*arguments):
            write(self, image)(*arguments)
            raise KeyboardInterrupt

        return keep

    monkeypatch.setattr(ImageFolders, "writer", interrupted)
    ran = tessera(*command)
    assert ran.code == 130, ran.err
    monkeypatch.undo()
    (folder,) = (tmp_path / "out").glob("a-*/")
    report = json.loads((folder / "report.json").read_text())
    estimate = report["estimates"]["seen"]
    assert 0 < estimate["n_scored"] < estimate["n_windows"] == 17 * 11
    assert report["notes"][0].startswith("The map seen is an estimate from ")
    (row,) = pd.read_csv(tmp_path / "out" / "index.csv").itertuples()
    assert row.estimated_error == pytest.approx(estimate["error"])
    # The figure is that of the estimate, and the same command goes on from its windows.
    assert {file.name for file in folder.iterdir()} == EVERY_RESULT - {"hidden.npy", "hidden.png"}
    loose = tessera(*command, "--tolerance", "1")
    assert "all" not in loose.out
    assert ", 0 scored anew" in loose.out
    assert "  The map seen is an estimate from " in loose.out
    ran = tessera(*command)
    assert ran.code == 0, ran.err
    assert f"{17 * 11} windows, {estimate['n_scored']} of them scored before" in ran.err
    report = json.loads((folder / "report.json").read_text())
    assert "estimates" not in report
    assert report["notes"] == []
    assert len(list((tmp_path / "out").glob("a-*/"))) == 1
    assert tessera(*command, "--tolerance", "nan").code == 2


def test_an_image_is_scaled_once_and_its_windows_are_placed_once(
    tessera, photo, tmp_path, monkeypatch
):
    counts = count_calls(monkeypatch, scale_down, place_windows)
    command = ("explain", photo("a.png", 150, 120), "--out", tmp_path / "out", "--stride", "64")
    ran = tessera(*command, "--long-side", "100")
    assert ran.code == 0, ran.err
    assert counts == {"scale_down": 1, "place_windows": 1}
    (report,) = (
        json.loads(file.read_text()) for file in (tmp_path / "out").glob("a-*/report.json")
    )
    assert f"of which P(nsfw) is {report['read_score']:.4f}; the photo's " in report["notes"][0]
    assert f"a.png: P(nsfw) {report['score']:.4f}" in ran.out
    for note in report["notes"]:
        assert f"  {note}\n" in ran.out


def test_what_is_in_a_folder_is_of_one_image_and_its_last_call(tessera, photo, tmp_path):
    options = ("--out", tmp_path / "out", "--stride", "64")
    (tmp_path / "other").mkdir()
    one, other = photo("a.png"), photo("other/a.png", 72, 96)
    assert tessera("explain", one, *options).code == 0
    assert tessera("explain", other, *options, "--experiment", "seen", "--box", "200").code == 0
    first, second = (tmp_path / "out" / f"a-{short(path)}" for path in (one, other))
    assert {file.name for file in first.iterdir()} == EVERY_RESULT
    kept = {"figure.png", "report.json", "seen.npy", "seen.png"}
    assert {file.name for file in second.iterdir()} == kept
    report = json.loads((second / "report.json").read_text())
    # The box is cut to the image, as the figure says.
    assert (report["image"], report["box"], report["class"]) == (str(other), 96, "nsfw")
    # The same file again: what this call does not make goes.
    assert tessera("explain", one, *options, "--experiment", "seen").code == 0
    assert {file.name for file in first.iterdir()} == kept
    # Another content under the same path is another image.
    photo("a.png", 90, 90)
    ran = tessera("explain", one, *options, "--experiment", "seen")
    assert str(tmp_path / "out" / f"a-{short(one)}" / "figure.png") in ran.out
    assert len(list((tmp_path / "out").glob("a-*/figure.png"))) == 3


def test_several_images_and_models_lie_side_by_side(
    tessera, shared_home, photo, tmp_path, monkeypatch
):
    Path(tmp_path, "brightness.py").write_text(
        "import numpy\n\ndef bright(images):\n"
        "    means = [numpy.asarray(image).mean() / 255 for image in images]\n"
        "    return {'bright': means, 'dark': [1 - mean for mean in means]}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "out"
    images = [photo("<b>.png"), photo("c.png", 200, 20)]
    models = ("--model", "open_nsfw", "--model", "python:brightness:bright")
    classes = ("--class", "nsfw", "--class", "bright")
    ran = tessera("explain", *images, "--out", out, "--stride", "64", *models, *classes)
    assert ran.code == 0, ran.err
    assert "c.png: P(bright) 0." in ran.out
    assert f"{out / 'sheet' / 'page-1.png'}\n{out / 'index.csv'}\n" in ran.out
    table = pd.read_csv(out / "index.csv")
    pairs = {("<b>.png", "open_nsfw"), ("c.png", "open_nsfw")}
    pairs |= {(name, "python:brightness:bright") for name, _ in pairs}
    assert set(zip(table.file, table.model, strict=True)) == pairs
    for row in table.itertuples():
        report = json.loads((out / row.report).read_text())
        assert (report["model"], report["image_id"]) == (row.model, row.image_id)
        assert report["score"] == pytest.approx(row.score)
        window = report["strongest_windows"]["seen"]
        assert window["score"] == pytest.approx(row.seen_score)
        assert {file.name for file in (out / row.folder).iterdir()} == EVERY_RESULT
        model = row.folder.partition("/")[0]
        assert model.endswith(str(row.model_fingerprint)[:8])
    assert len({row.folder.partition("/")[0] for row in table.itertuples()}) == 2
    sheet = json.loads((out / "sheet" / "report.json").read_text())
    assert [one["model"] for one in sheet["models"]] == ["open_nsfw", "python:brightness:bright"]
    assert [one["image"] for one in sheet["images"]] == [str(image) for image in images]
    tracking = Tracking(home=str(shared_home))
    runs = tracking.client.search_runs([tracking.experiment_id], "params.stride = '64'")
    newest = runs[:2]
    assert {run.data.params["model"] for run in newest} == {one["model"] for one in sheet["models"]}
    for run in newest:
        logged = tracking.client.list_artifacts(run.info.run_id, "sheet")
        assert [file.path for file in logged] == ["sheet/page-1.png"]
    # One image alone is added to the index, and leaves the sheet as it is.
    before = (out / "sheet" / "page-1.png").read_bytes()
    alone = tessera("explain", photo("d.png"), "--out", out, "--stride", "64")
    assert alone.code == 0, alone.err
    assert len(pd.read_csv(out / "index.csv")) == 5
    assert (out / "sheet" / "page-1.png").read_bytes() == before


def test_an_index_of_another_is_not_overwritten_and_nothing_is_computed(tessera, photo, tmp_path):
    (tmp_path / "index.html").write_text("<html>mine</html>")
    ran = tessera("explain", photo("a.png"), "--out", tmp_path)
    assert ran.code == 2
    assert "holds a file index.html that Tessera did not write" in ran.err
    assert {file.name for file in tmp_path.iterdir()} == {"index.html", "a.png"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model", "open_nsfw", "--model", "open_nsfw"], "open_nsfw was given twice"),
        (["--class", "nsfw", "--class", "sfw"], "--class was given 2 times and --model 1 times"),
        (["--model", "open_nsfw", "--model", "efficientnet-lite0"], "There is no class nsfw"),
    ],
)
def test_models_and_classes_have_to_fit_each_other(tessera, photo, tmp_path, options, sentence):
    ran = tessera("explain", photo("a.png"), "--out", tmp_path / "out", *options)
    assert ran.code == 2
    assert sentence in ran.err


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
    assert list((tmp_path / "out").iterdir()) == []
    ran = tessera(*command)
    assert ran.code == 0
    assert "The model registry could not be asked" in ran.err
    assert "nothing more of explain is tracked" in ran.err
    (report,) = (tmp_path / "out").glob("a-*/report.json")
    assert json.loads(report.read_bytes())["not_tracked"]


def test_a_file_that_is_no_image_costs_the_others_nothing(tessera, photo, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("not a photo")
    good = photo("good.png")
    options = ("--experiment", "seen", "--stride", "64")
    ran = tessera("explain", bad, good, tmp_path / "none.png", "--out", tmp_path / "out", *options)
    assert ran.code == 2
    assert f"{bad} was left out: The file does not begin like any kind of image." in ran.err
    assert "none.png was left out: The file cannot be read" in ran.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"good-{short(good)}",
        "sheet",
        "index.csv",
        "index.html",
    }


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
    """How many windows have a score; the file of one number has the whole image's."""
    files = (home / "windows").glob("[!.]*.f32")
    contents = [read_sealed(file, file.stem)[0] for file in files]
    scores = [np.frombuffer(one, np.float32) for one in contents]
    return sum(int(np.isfinite(one).sum()) for one in scores if len(one) > 1)


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
    command = ("explain", photo("a.png", 150, 120), "--box", "40", "--stride", "16", "--out")
    local = tessera(*command, tmp_path / "local")
    with serving(moody) as url:
        remote = tessera(*command, tmp_path / "remote", "--model", url)
    assert local.code == remote.code == 0, remote.err
    assert len(moody.requests) > 8
    for experiment in ("seen", "hidden"):
        first, second = (
            np.load(tmp_path / side / f"a-{short(tmp_path / 'a.png')}" / f"{experiment}.npy")
            for side in SIDES
        )
        np.testing.assert_allclose(first, second, rtol=0, atol=1e-6)
