"""`tessera evaluate`: what it writes and tracks, and what it says of bad input."""

import json

import pandas as pd
import pytest

from assets.resources.tracking import Tracking

PAIR = ("--model", "models:/nsfw@champion", "--model", "skin-baseline")
# A model of the user's own, which knows no nsfw.
SHADES = """
def shade(images):
    bright = [image.convert("L").resize((1, 1)).getpixel((0, 0)) / 255 for image in images]
    return {"dark": [1 - one for one in bright], "fair, pale": [0.7 * one for one in bright],
            "red=rosy": [0.3 * one for one in bright]}
"""
SHADE = "python:shades:shade"
EVERY_RESULT = {
    "curves.csv",
    "evaluation.png",
    "metrics.csv",
    "findings.csv",
    "reliability.csv",
    "report.json",
    "scores.csv",
    "slices.csv",
    "worst_errors.csv",
    "worst_errors_model_1.png",
    "worst_errors_model_2.png",
    "worst_errors_model_3.png",
}


def test_models_are_compared_and_every_row_is_accounted_for(
    tessera, shared_home, labelled_dolls, tmp_path, monkeypatch
):
    (tmp_path / "shades.py").write_text(SHADES)
    monkeypatch.syspath_prepend(str(tmp_path))
    manifest = labelled_dolls(64)
    with manifest.open("a") as rows:
        rows.write("gone.png,sfw,test,plain\ndoll_000.png,lewd,test,red\n")
    out = tmp_path / "out"
    ran = tessera(
        *("evaluate", manifest, "--out", out, "--split", "all", *PAIR, "--model", SHADE),
        *("--class", f"{SHADE}=fair, pale", "--class", f"{SHADE}=red=rosy"),
    )
    assert ran.code == 0, ran.err
    assert {file.name for file in out.iterdir()} == EVERY_RESULT
    listed = dict(line.split(maxsplit=1) for line in ran.out.splitlines() if f"  {out}" in line)
    assert {*listed} == {str(out / name) for name in EVERY_RESULT}
    assert (
        listed[str(out / "worst_errors_model_2.png")]
        == "the worst errors of skin-baseline, blurred"
    )
    metrics = pd.read_csv(out / "metrics.csv").set_index(["model", "metric"])
    for model in ("models:/nsfw@champion", "skin-baseline"):
        assert metrics.value[model, "n"] == 64
        auc = metrics.loc[(model, "auc")]
        assert auc.low <= auc.value <= auc.high
        assert f"{model}: 64 images, 32 of them nsfw" in ran.out
    scores = pd.read_csv(out / "scores.csv")
    assert len(scores) == 3 * 64
    assert {*zip(scores["model"], scores["class"], strict=True)} == {
        (PAIR[1], "nsfw"),
        (PAIR[3], "nsfw"),
        (SHADE, "fair, pale + red=rosy"),
    }
    assert f"  {'score':<26}P(fair, pale) + P(red=rosy) for nsfw\n" in ran.out
    findings = pd.read_csv(out / "findings.csv")
    assert dict(zip(findings.row, findings.left_out, strict=True)) == {65: True, 66: True}
    assert "1 row: unknown label; for example row 66" in ran.out
    slices = pd.read_csv(out / "slices.csv")
    assert set(slices.value) == {"red", "plain"}
    assert (slices.n_negative == 16).all()
    report = json.loads((out / "report.json").read_text())
    assert report["classes"] == {
        PAIR[1]: ["nsfw"],
        PAIR[3]: ["nsfw"],
        SHADE: ["fair, pale", "red=rosy"],
    }
    for row in slices.to_dict("records"):
        found = report["slices"][row["model"]]["lips"][row["value"]]
        for rate in ("recall", "precision", "false_positive_rate"):
            ends = [row[rate], row[f"{rate}_low"], row[f"{rate}_high"]]
            expected = found[rate] or [float("nan")] * 3
            assert ends == pytest.approx(expected, nan_ok=True)
            assert found[rate] or row["n_flagged"] == 0
    assert all(report["checks"].values())
    tracking = Tracking(home=str(shared_home))
    query = "metrics.`model_2.n` = 64"
    (run,) = tracking.client.search_runs([tracking.experiment_id], query)
    assert run.data.metrics["model_2.auc"] == metrics.value["skin-baseline", "auc"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--model", "efficientnet-lite0"],
            "efficientnet-lite0 cannot be evaluated: it has no class nsfw but 1,000 others, so "
            "name each of its classes that stands for nsfw by --class 'efficientnet-lite0=CLASS'",
        ),
        (
            ["--model", "skin-baseline", "--class", "skin-baseline=nude"],
            "skin-baseline cannot be evaluated: There is no class nude: choose sfw or nsfw.",
        ),
        (
            ["--model", "skin-baseline", "--class", "nude"],
            "--class nude does not name a class of a model that is evaluated: write "
            "skin-baseline=CLASS.",
        ),
        (["--threshold", "2"], "The threshold is 2.0: choose one from 0 to 1."),
        (["--prevalence", "0"], "The prevalence is 0.0"),
        (["--worst", "100"], "1<=x<=50"),
        (["--positive", "sfw"], "give two names that differ"),
        (
            ["--positive", "lewd"],
            "Nothing has the label lewd: the labels are 'sfw', ",
        ),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    tessera, labelled_dolls, tmp_path, options, sentence
):
    ran = tessera("evaluate", labelled_dolls(16), "--out", tmp_path / "out", *options)
    assert ran.code == 2
    assert sentence in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "out" / "metrics.csv").exists()


def test_too_few_positives_are_told_of_and_no_figure_is_made_up(tessera, labelled_dolls, tmp_path):
    ran = tessera("evaluate", labelled_dolls(16), "--out", tmp_path / "out", "--model", PAIR[3])
    assert ran.code == 2
    assert "The split test has 2 images of the class sfw" in ran.err
    assert "--split all" in ran.err
    assert "nan" not in ran.err.lower()
    assert not (tmp_path / "out" / "metrics.csv").exists()


def test_a_call_says_all_that_it_wants(tessera, labelled_dolls, tmp_path):
    """What an earlier call asked for is not kept: a default is what the help says it is."""
    command = ("evaluate", labelled_dolls(64), "--out", tmp_path / "out", "--model", PAIR[3])
    assert (
        "(split all, threshold 0.3,"
        in tessera(*command, "--split", "all", "--threshold", "0.3").out
    )
    assert "16 images, 8 of them nsfw (split test, threshold 0.5," in tessera(*command).out


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("uri,label\n", "no rows"),
        ("path,label\na.png,sfw\n", "uri"),
        ("uri\na.png\n", "label"),
    ],
)
def test_a_manifest_that_is_none_is_one_sentence(tessera, tmp_path, text, sentence):
    (tmp_path / "labels.csv").write_text(text)
    ran = tessera("evaluate", tmp_path / "labels.csv", "--out", tmp_path / "out")
    assert ran.code == 2
    assert sentence in ran.err
    assert ran.err.count("\n") == 1


def test_a_folder_is_no_manifest(tessera, photo_folder, tmp_path):
    ran = tessera("evaluate", photo_folder(3), "--out", tmp_path / "out")
    assert ran.code == 2
    assert "manifest" in ran.err
