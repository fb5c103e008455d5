"""`tessera deconv`: what it writes and tracks, and what it says of bad input."""

import json

import numpy as np
import pandas as pd
import pytest

from assets.resources.tracking import Tracking

EVERY_RESULT = {
    "figure.png",
    "report.json",
    "reconstruction.npy",
    "reconstruction.png",
    "changed.png",
}


@pytest.fixture
def photo(photo_folder):
    """A photo that is wider than high."""
    return photo_folder(1) / "photo_000.png"


def test_the_results_have_the_shape_of_the_photo_and_are_tracked(
    tessera, shared_home, photo, tmp_path
):
    options = ("--layer", "relu_stage3_block2")
    ran = tessera("deconv", photo, "--out", tmp_path / "out", *options)
    assert ran.code == 0, ran.err
    (folder,) = (tmp_path / "out").glob("photo_000-*/")
    assert {file.name for file in folder.iterdir()} == EVERY_RESULT
    reconstruction = np.load(folder / "reconstruction.npy", allow_pickle=False)
    assert reconstruction.shape == (48, 64, 3)
    assert reconstruction.any()
    report = json.loads((folder / "report.json").read_text())
    assert report["start"]["layer"] == "relu_stage3_block2"
    assert report["changed_score"] > report["square_score"]
    assert f"padded to a square {report['square_score']:.4f}, after" in ran.out
    assert f"  {report['notes'][0]}\n" in ran.out
    assert "reconstructed from relu_stage3_block2, channel" in ran.out
    tracking = Tracking(home=str(shared_home))
    (run,) = tracking.client.search_runs([tracking.experiment_id], "run_name = 'deconv'")
    assert run.info.status == "FINISHED"
    logged = tracking.client.list_artifacts(run.info.run_id, folder.name)
    assert logged


def test_a_file_that_is_no_image_costs_the_others_nothing_and_each_network_answers(
    tessera, photo, tmp_path
):
    bad = tmp_path / "bad.png"
    bad.write_text("not a photo")
    models = ("--model", "open_nsfw", "--model", "efficientnet-lite0")
    classes = ("--class", "nsfw", "--class", "military uniform")
    ran = tessera("deconv", bad, photo, "--out", tmp_path / "out", *models, *classes)
    assert ran.code == 2
    assert f"{bad} was left out" in ran.err
    table = pd.read_csv(tmp_path / "out" / "index.csv")
    assert set(table.model) == {"open_nsfw", "efficientnet-lite0"}
    for row in table.itertuples():
        report = json.loads((tmp_path / "out" / str(row.report)).read_text())
        assert (report["model"], report["class"]) == (
            row.model,
            classes[1] if row.model == "open_nsfw" else classes[3],
        )
        assert (tmp_path / "out" / str(row.figure)).is_file()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model", "skin-baseline"], "does not show its own"),
        (["--layer", "no_such_layer"], "no_such_layer"),
        (["--place", "1", "2", "3"], "A place is given without a layer"),
        (["--layer", "relu_stage3_block2", "--place", "9999", "0", "0"], "9999"),
        (["--class", "lewd"], "There is no class lewd: choose sfw or nsfw."),
        (["--model", "efficientnet-lite0", "--class", "lewd"], "There is no class lewd"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(tessera, photo, tmp_path, options, sentence):
    ran = tessera("deconv", photo, "--out", tmp_path / "out", *options)
    assert ran.code == 2
    assert sentence in ran.err
    assert "Traceback" not in ran.err
