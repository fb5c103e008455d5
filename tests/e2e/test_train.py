"""`tessera train`: the version it makes, how it goes on when killed, and bad input."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from assets.resources.collections import CollectionRegistry
from assets.resources.tracking import Tracking
from assets.results.training import CHAMPION_OF_BEFORE, NEW
from assets.values import NsfwTraining
from orchestration.cli.train import report_version

ROOT = Path(__file__).parents[2]
NOW_USED = "score, explain, deconv, evaluate and the nightly runs now use it; to go back:"
SMALL = ("--base", "plain_convnet", "--from-scratch", "--train", "all", "--threads", "1")


def test_a_head_that_was_trained_is_judged_and_registered(tessera, shared_home, labelled_dolls):
    manifest = labelled_dolls(48)
    ran = tessera("train", manifest, "--epochs", "1", "--name", "dolls")
    assert ran.code == 0, ran.err
    assert "Trained for 1 epoch; " in ran.out
    assert "version 2 is champion" in ran.out or "version 2 is challenger" in ran.out
    assert "  --model models:/nsfw/2\n" in ran.out
    assert "classifier.safetensors" not in ran.out
    assert ("to go back: tessera promote 1\n" in ran.out) == ("2 is champion" in ran.out)
    again = tessera("train", manifest, "--epochs", "1", "--name", "dolls")
    assert again.code == 0, again.err
    assert "version 2 is " in again.out
    assert "to go back" not in again.out or "2 is challenger" in ran.out


# In this process, without the command: tests/assets/test_training.py.
@pytest.mark.slow
def test_a_worse_model_does_not_become_champion(tessera, shared_home, labelled_dolls):
    """One that is trained on the wrong labels ranks worse than the champion, whichever that is."""
    manifest = labelled_dolls(96)
    rows = manifest.read_text().splitlines()
    swapped = {"sfw": "nsfw", "nsfw": "sfw"}
    for number, row in enumerate(rows):
        name, label, split, *others = row.split(",")
        if split in ("train", "validation"):
            rows[number] = ",".join([name, swapped[label], split, *others])
    wrong = manifest.with_name("wrong.csv")
    wrong.write_text("\n".join(rows) + "\n")
    ran = tessera("train", wrong, "--epochs", "2", "--learning-rate", "0.05")
    assert ran.code == 0, ran.err
    assert "is challenger: AUC" in ran.out
    assert "below the champion's." in ran.out
    champion = Tracking(home=str(shared_home)).client.get_model_version_by_alias("nsfw", "champion")
    assert f"version {champion.version} is challenger" not in ran.out
    assert "to go back" not in ran.out


@pytest.mark.parametrize(
    ("version", "alias", "before", "lines"),
    [
        ("3", "champion", "1", ["--model models:/nsfw/3", f"{NOW_USED} tessera promote 1"]),
        ("3", "champion", "3", ["--model models:/nsfw/3"]),
        ("3", "challenger", "1", ["--model models:/nsfw/3"]),
        ("", "", "", ["{home}/trainings/dolls/classifier.safetensors"]),
    ],
)
def test_what_can_be_done_with_the_version_is_told(
    shared_home, capsys, version, alias, before, lines
):
    comparison = pd.DataFrame({"model": [NEW, CHAMPION_OF_BEFORE], "version": [version, before]})
    weights, history = "classifier.safetensors", pd.DataFrame()
    result = NsfwTraining(history, comparison, weights, "", version, alias, "So it is.", 1)
    report_version(result, "dolls")
    first, *others = capsys.readouterr().out.splitlines()
    what = f"version {version} is {alias}" if version else "not registered"
    assert first == f"{what}: So it is."
    assert [line.strip() for line in others] == [line.format(home=shared_home) for line in lines]


@pytest.mark.parametrize(
    ("alias", "low", "is_told"),
    [("challenger", 0.9, True), ("challenger", 0.4, False), ("champion", 0.9, False)],
)
def test_how_to_promote_a_version_whose_labels_are_right_all_the_same_is_told(
    capsys, alias, low, is_told
):
    comparison = pd.DataFrame(
        {"model": [NEW, CHAMPION_OF_BEFORE], "version": ["3", "1"], "auc_low": [low, 0.0]}
    )
    result = NsfwTraining(
        pd.DataFrame(), comparison, "w", "", "3", alias, "Labels swapped?", 1, "Labels swapped?"
    )
    report_version(result, "dolls")
    said = capsys.readouterr().out
    assert ("if the labels are right: tessera promote 3\n" in said) == is_told


@pytest.mark.slow
def test_a_training_that_was_killed_goes_on_and_ends_in_the_same_bytes(
    tessera, shared_home, labelled_dolls
):
    manifest = labelled_dolls(64)
    options = (*SMALL, "--epochs", "6", "--patience", "0")
    command = [sys.executable, "-m", "orchestration.cli", "train", str(manifest), *options]
    process = subprocess.Popen(
        [*command, "--name", "killed"], cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ
    )
    folder = shared_home / "trainings"
    deadline = time.monotonic() + 300
    while not list((folder / "killed").glob("*checkpoint*")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "killed" / "classifier.safetensors").exists()
    assert tessera("train", manifest, *options, "--name", "killed").code == 0
    assert tessera("train", manifest, *options, "--name", "unbroken").code == 0
    killed, unbroken = (
        (folder / name / "classifier.safetensors").read_bytes() for name in ("killed", "unbroken")
    )
    assert killed == unbroken


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--epochs", "0"], "epochs"),
        (["--learning-rate", "-1"], "learning_rate is -1.0: it has to be above 0."),
        (["--positive", "lewd"], "lewd"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(tessera, labelled_dolls, options, sentence):
    ran = tessera("train", labelled_dolls(96), *options)
    assert ran.code == 2
    assert sentence in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--base", "no_such_net"], "There is no network no_such_net to train"),
        (["--base", "timm:no_such_net"], "There is no network timm:no_such_net"),
        (["--base", "gone.safetensors"], "There is no weights file gone.safetensors"),
        ([*SMALL, "--input-side", "2"], "plain_convnet cannot read squares of 2 px"),
        ([*SMALL, "--input-side", "4097"], "input_side is 4097: it has to be at most 4096."),
        (["--base", "torchvision:squeezenet1_1"], "set trained to all (--train all)"),
        (["--base", "plain_convnet"], "(--from-scratch --train all)"),
        (["--base", "plain_convnet", "--from-scratch"], "set trained to all (--train all)"),
    ],
)
def test_a_base_that_cannot_be_trained_is_told_of_before_a_photo_is_decoded(
    tessera, shared_home, tmp_path, options, sentence
):
    """The photos are not there: a run would end with another sentence."""
    manifest = tmp_path / "nothing.csv"
    manifest.write_text("uri,label\ngone.png,sfw\ngone.jpg,nsfw\n")
    ran = tessera("train", manifest, *options)
    assert ran.code == 2
    assert sentence in ran.err
    assert "Traceback" not in ran.err
    assert CollectionRegistry(shared_home).find("nothing") is None


def test_a_damaged_base_is_told_of_before_a_photo_is_decoded(tessera, tmp_path):
    manifest, base = tmp_path / "nothing.csv", tmp_path / "damaged.safetensors"
    manifest.write_text("uri,label\ngone.png,sfw\ngone.jpg,nsfw\n")
    base.write_bytes(b"damaged")
    ran = tessera("train", manifest, "--base", base)
    assert ran.code == 2
    assert "damaged.safetensors is not a whole safetensors file" in ran.err


def test_a_test_split_that_is_too_small_is_told_of_before_anything_is_trained(
    tessera, labelled_dolls
):
    ran = tessera("train", labelled_dolls(16))
    assert ran.code == 2
    assert "The split test has 2 images of the class" in ran.err
    assert "Trained" not in ran.out
