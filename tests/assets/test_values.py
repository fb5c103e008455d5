import dataclasses

import numpy as np
import pandas as pd
import pytest

from assets.io_managers import load, save
from assets.methods.common.errors import UserError
from assets.methods.photos.rejects import Reason, Reject, rejects_table
from assets.values import (
    DeconvnetMaps,
    Embeddings,
    EncodedImage,
    NsfwEvaluation,
    NsfwTraining,
    with_points,
)


def test_copies_of_a_photo_share_its_vector_and_its_point():
    embeddings = Embeddings.from_arrays(["a", "b"], np.eye(2, dtype=np.float32), "print", 2)
    np.testing.assert_array_equal(embeddings.of(["b", "a", "b"]), [[0, 1], [1, 0], [0, 1]])
    photos = pd.DataFrame({"image_id": ["b", "a", "b"], "uri": ["1", "2", "3"]})
    points = pd.DataFrame({"image_id": ["a", "b"], "x": [1.0, 2.0], "y": [0.0, 0.0]})
    joined = with_points(photos, points)
    assert joined.uri.tolist() == ["1", "2", "3"]
    assert joined.x.tolist() == [2.0, 1.0, 2.0]


def test_a_photo_without_a_point_is_not_dropped_in_silence():
    photos = pd.DataFrame({"image_id": ["a", "new"]})
    points = pd.DataFrame({"image_id": ["a"], "x": [1.0], "y": [0.0]})
    with pytest.raises(UserError, match="1 of 2 photos have no point"):
        with_points(photos, points)


def assert_same(loaded, value) -> None:
    """Compare two values a field at a time."""
    assert type(loaded) is type(value)
    for field in dataclasses.fields(value):
        before, after = getattr(value, field.name), getattr(loaded, field.name)
        if isinstance(before, pd.DataFrame):
            pd.testing.assert_frame_equal(after, before)
        elif isinstance(before, dict) and any(isinstance(x, np.ndarray) for x in before.values()):
            assert before.keys() == after.keys()
            for name, array in before.items():
                np.testing.assert_array_equal(after[name], array, strict=True)
        else:
            assert after == before


REJECT = Reject("/photos/b.png", Reason.UNREADABLE, "The file is gone.")


@pytest.mark.parametrize("rejects", [[], [REJECT]])
def test_reconstructions_outlive_the_process(tmp_path, rejects):
    row = {
        "rank": 1,
        "image_id": "ab",
        "uri": "/photos/a.png",
        "score": 0.75,
        "square_score": 0.5,
        "changed_score": 0.625,
    }
    random = np.random.default_rng(0)
    value = DeconvnetMaps(
        table=pd.DataFrame([row]),
        rejects=rejects_table(rejects),
        reconstructions={"ab": random.normal(size=(3, 5, 3)).astype(np.float32)},
        figures={"ab": EncodedImage(b"png", ".png")},
        settings={"layer": None, "place": [1, 2, 3]},
    )
    save(value, tmp_path / "value")
    assert_same(load(DeconvnetMaps, tmp_path / "value"), value)


@pytest.mark.parametrize("champion_auc", [0.875, None])
def test_a_training_outlives_the_process_whether_or_not_its_champion_could_be_asked(
    tmp_path, champion_auc
):
    aucs = {"auc": [0.9, champion_auc], "auc_low": [0.8, champion_auc]}
    comparison = pd.DataFrame({"model": ["new", "champion"], "version": ["2", ""], **aucs})
    value = NsfwTraining(
        history=pd.DataFrame({"epoch": [1, 2], "validation_loss": [0.5, 0.25]}),
        comparison=comparison.astype({"auc": "float64", "auc_low": "float64"}),
        weights="classifier.safetensors",
        fingerprint="f0",
        version="2",
        alias="challenger",
        reason="The champion is better.",
        best_epoch=2,
    )
    save(value, tmp_path / "value")
    assert_same(load(NsfwTraining, tmp_path / "value"), value)


def test_an_evaluation_outlives_the_process_with_figures_that_have_no_interval(tmp_path):
    metrics = pd.DataFrame(
        [("m", "auc", 0.9, 0.8, 0.95), ("m", "n", 20.0, np.nan, np.nan)],
        columns=["model", "metric", "value", "low", "high"],
    )
    slices = pd.DataFrame(
        {
            "model": pd.Series(dtype=object),
            "slice": pd.Series(dtype=object),
            "n": pd.Series(dtype=int),
        }
    )
    value = NsfwEvaluation(
        positive="nsfw",
        models=["m"],
        fingerprints=["f0"],
        metrics=metrics,
        slices=slices,
        curves=pd.DataFrame({"model": ["m"], "curve": ["roc"], "x": [0.5], "y": [0.5]}),
        reliability=pd.DataFrame({"model": ["m"], "scaled": [True], "n": [3]}),
        scores=pd.DataFrame({"image_id": ["ab"], "model": ["m"], "score": [0.7]}),
        figure=EncodedImage(b"page", ".png"),
        worst={"model_1": EncodedImage(b"sheet", ".png")},
        notes=["m: No score reaches the threshold."],
        settings={"models": ["m"], "threshold": 0.5},
    )
    save(value, tmp_path / "value")
    assert_same(load(NsfwEvaluation, tmp_path / "value"), value)
