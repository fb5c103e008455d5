import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from assets.methods.attribution.occlusion import OcclusionSettings
from assets.methods.attribution.window_store import WindowScoreStore, window_score_key


def key(
    image=None, fingerprint="f", class_name="cat", experiment="hidden", device="cpu", **settings
):
    image = image or Image.new("RGB", (8, 4), (1, 2, 3))
    chosen = OcclusionSettings(**{"box": 4, "stride": 2, **settings})
    return window_score_key(image, fingerprint, class_name, experiment, chosen, device)


def test_nothing_is_known_at_first_and_what_is_assigned_is_found_again(tmp_path):
    store = WindowScoreStore(tmp_path / "scores")
    scores = store.open("key", 5)
    assert scores.dtype == np.float32
    assert np.isnan(scores).all()
    scores[[1, 3]] = 0.25, 0.5
    again = WindowScoreStore(tmp_path / "scores").open("key", 5)
    np.testing.assert_array_equal(again, [np.nan, 0.25, np.nan, 0.5, np.nan])
    assert np.isnan(store.open("other", 5)).all()


@pytest.mark.process
def test_what_was_assigned_outlives_a_killed_process(tmp_path):
    code = (
        "import os, pathlib, signal, sys\n"
        "from assets.methods.attribution.window_store import WindowScoreStore\n"
        "WindowScoreStore(pathlib.Path(sys.argv[1])).open('key', 3)[1] = 0.5\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    found = WindowScoreStore(tmp_path).open("key", 3)
    np.testing.assert_array_equal(found, [np.nan, 0.5, np.nan])


@pytest.mark.parametrize("count", [4, 6])
def test_a_file_of_the_wrong_size_is_put_aside(tmp_path, count, caplog):
    store = WindowScoreStore(tmp_path)
    store.open("key", 5)[:] = 0.5
    assert np.isnan(store.open("key", count)).all()
    assert "has not the size" in caplog.text
    assert (tmp_path / "key.corrupt").stat().st_size == 5 * 4


def test_all_that_decides_a_score_is_in_the_key():
    keys = [
        key(),
        key(image=Image.new("RGB", (8, 4), (1, 2, 4))),
        key(image=Image.new("RGB", (4, 8), (1, 2, 3))),
        key(fingerprint="g"),
        key(class_name="dog"),
        key(experiment="seen"),
        key(box=3),
        key(stride=1),
        key(fill="mean"),
        key(fill="blur"),
        key(device="cuda"),
        key(device="mps"),
    ]
    assert len(set(keys)) == len(keys)
    assert key() == keys[0]


def test_what_does_not_decide_a_score_is_not_in_the_key():
    assert key(experiment="seen", fill="mean") == key(experiment="seen")
    assert key(long_side=100) == key()


def test_keys_of_the_cpu_stay_what_they_were():
    assert key() == "84f66ed5151158e153056c9c425b4f2da20fc3480d5c1afbce28e6df51ad932a"


def test_finished_scores_are_sealed_and_scored_again_if_they_were_changed(tmp_path, caplog):
    store = WindowScoreStore(tmp_path)
    # A file of an older home has no seal, and gets one when it is opened.
    (tmp_path / "key.f32").write_bytes(np.full(5, 0.25, np.float32).tobytes())
    np.testing.assert_array_equal(store.open("key", 5), np.full(5, 0.25))
    assert (tmp_path / "key.f32").stat().st_size > 5 * 4
    np.memmap(tmp_path / "key.f32", np.float32, "r+", shape=(5,))[2] = 0.5
    assert np.isnan(store.open("key", 5)).all()
    assert "key.f32" in caplog.text


def test_scores_that_were_forgotten_meanwhile_are_not_sealed(tmp_path):
    store = WindowScoreStore(tmp_path)
    before = store.open("key", 3)
    before[:] = 0.5
    store.forget("key", 3)
    store.finish("key", before)
    assert np.isnan(store.open("key", 3)).all()
