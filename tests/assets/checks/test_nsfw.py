"""Each check passes on a sound value, and fails on one that is broken in its own way."""

import dataclasses
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import timm
import torch

from assets.checks import nsfw
from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.models.classifier_file import (
    describe_classifier,
    load_classifier,
    save_classifier,
)
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.models.reference_images import reference_images
from assets.methods.photos.catalogue import Catalogue
from assets.methods.photos.pixels import size_within
from assets.resources.models import Models
from assets.resources.registry import CHAMPION
from assets.values import DeconvnetMaps, NsfwModel, NsfwScores, OcclusionMaps

# Dagster declares that the call of a check returns an object of any kind.
nsfw_checks: Any = nsfw
COMPUTE = ComputeSettings(device="cpu")
IDS = ["a", "b", "c"]
SIZES = {"a": (9, 6), "b": (5, 8), "c": (7, 7)}  # width, height
REFERENCES = ("astronaut", "chelsea", "coffee")
# A bias so much larger makes another model of it, and no score another by more than 1e-5.
SLIGHTLY = 1e-5


@pytest.fixture
def models(tracking) -> Models:
    return Models(Path(tracking.home), tracking)


def save_tiny(file: Path, bias: float, reference_scores: dict[str, dict[str, float]]) -> Path:
    """Write a small network of random weights, ``bias`` added to its logit of nsfw."""
    torch.manual_seed(0)
    weights = timm.create_model("test_resnet", num_classes=2).state_dict()
    weights["fc.bias"] = weights["fc.bias"] + torch.tensor([0.0, bias])
    numbers = Preprocessing(40, 32, (0.5,) * 3, (0.5,) * 3, "bicubic")
    save_classifier(file, weights, "timm:test_resnet", ("sfw", "nsfw"), numbers, reference_scores)
    return file


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> dict[str, dict[str, float]]:
    """What the small network answers when nothing is added to its bias."""
    file = save_tiny(tmp_path_factory.mktemp("tiny") / "tiny.safetensors", 0, {})
    classifier = load_classifier(file, plan_compute(COMPUTE))
    images = reference_images()
    scores = classifier.classify(
        [torch.from_numpy(images[name]).permute(2, 0, 1) for name in REFERENCES]
    )["nsfw"]
    return {name: {"nsfw": float(score)} for name, score in zip(REFERENCES, scores, strict=True)}


@pytest.fixture
def put_to_use(models, tmp_path):
    """Returns a function that makes a small network the champion, and gives its file."""

    def put(bias: float, reference_scores: dict[str, dict[str, float]]) -> Path:
        file = save_tiny(tmp_path / "tiny.safetensors", bias, reference_scores)
        models.registry.register(file, CHAMPION)
        return file

    return put


def asset_value(file: Path) -> NsfwModel:
    """What nsfw_model holds of a file."""
    known = describe_classifier(file)
    return NsfwModel(
        "1",
        file.name,
        known.fingerprint,
        list(known.class_names),
        dataclasses.asdict(known.preprocessing),
    )


def known_answers(model: NsfwModel, models: Models) -> dg.AssetCheckResult:
    return nsfw_checks.model_gives_its_known_answers(model, models=models)


def test_the_packaged_model_gives_its_known_answers(models):
    file = models.packaged()
    result = known_answers(asset_value(file), models)
    assert result.passed
    assert result.description.startswith("3 reference images, largest difference ")


# A score near one half changes by a quarter of what is added to the logit.
@pytest.mark.parametrize(("bias", "passed"), [(0.001, False), (-0.001, False), (SLIGHTLY, True)])
def test_a_model_with_other_answers_than_it_says_fails(put_to_use, models, known, bias, passed):
    file = put_to_use(bias, known)
    assert known_answers(asset_value(file), models).passed == passed


@pytest.mark.parametrize("wrong", REFERENCES)
def test_each_known_answer_counts(put_to_use, models, known, wrong):
    file = put_to_use(0, {**known, wrong: {"nsfw": known[wrong]["nsfw"] + 2e-4}})
    assert not known_answers(asset_value(file), models).passed


def test_a_model_that_answers_what_is_no_number_fails(put_to_use, models, known):
    # Python's max overlooks a NaN that does not come first.
    file = put_to_use(0, {**known, "coffee": {"nsfw": float("nan")}})
    assert not known_answers(asset_value(file), models).passed


def test_an_alias_that_was_moved_to_another_model_fails(put_to_use, models, known):
    model = asset_value(put_to_use(0, known))
    put_to_use(SLIGHTLY, known)
    result = known_answers(model, models)
    assert not result.passed
    assert result.description.endswith("the alias names another model than nsfw_model holds")


def test_a_model_without_known_answers_fails(put_to_use, models):
    file = put_to_use(0, {})
    result = known_answers(asset_value(file), models)
    assert (result.passed, result.description) == (False, "the model has no known answers")


@pytest.mark.parametrize("unknown", [{"mona lisa": {"nsfw": 0.5}}, {"coffee": {"lewd": 0.5}}])
def test_known_answers_that_cannot_be_asked_for_fail(put_to_use, models, unknown):
    file = put_to_use(0, unknown)
    assert not known_answers(asset_value(file), models).passed


def test_a_model_that_does_not_answer_as_it_did_stops_what_comes_after():
    (spec,) = (
        spec
        for check in nsfw_checks.CHECKS
        for spec in check.check_specs
        if spec.name == "model_gives_its_known_answers"
    )
    assert spec.blocking


@pytest.fixture
def catalogue() -> Catalogue:
    images = pd.DataFrame(
        {
            # The last is a copy of the first.
            "image_id": [*IDS, "a"],
            "uri": [f"/photos/{name}.png" for name in (*IDS, "copy")],
            "width": [SIZES[name][0] for name in (*IDS, "a")],
            "height": [SIZES[name][1] for name in (*IDS, "a")],
        }
    )
    return Catalogue(images, pd.DataFrame(columns=["uri", "reason", "detail"]), 4, 3)


def scores_of(ids: list[str], scores: list[float]) -> NsfwScores:
    table = pd.DataFrame({"image_id": ids, "score": np.array(scores, np.float32)})
    return NsfwScores(table, "models:/nsfw@champion", "nsfw", "f0", len(ids))


def test_scores_are_probabilities(catalogue):
    check = nsfw_checks.scores_are_probabilities
    assert check(catalogue, scores_of(IDS, [0, 0.5, 1])).passed
    assert check(catalogue, scores_of(["c", "a", "b"], [0, 0.5, 1])).passed


@pytest.mark.parametrize("broken", [np.nan, np.inf, 1.2, -1e-3])
def test_a_score_that_is_no_probability_fails(catalogue, broken):
    result = nsfw_checks.scores_are_probabilities(catalogue, scores_of(IDS, [0, broken, 1]))
    assert not result.passed
    assert result.description == "3 scores, 1 outside [0, 1], one for each image"


@pytest.mark.parametrize(
    "ids",
    [["a", "b"], ["a", "b", "b"], ["a", "b", "c", "a"], ["a", "b", "d"], ["a", "b", "c", "d"]],
    ids=["missing", "twice", "a copy too", "another", "one more"],
)
def test_scores_that_are_not_one_for_each_image_fail(catalogue, ids):
    result = nsfw_checks.scores_are_probabilities(catalogue, scores_of(ids, [0.5] * len(ids)))
    assert not result.passed
    assert result.description.endswith("not one for each image")


@pytest.fixture
def maps() -> OcclusionMaps:
    """Sound maps of two images; hidden's window scores are low where its map is high."""
    numbers = np.random.default_rng(0)
    rows, values, scores = [], {}, {}
    for image_id in ("a", "b"):
        width, height = SIZES[image_id]
        for experiment in ("seen", "hidden"):
            key = f"{image_id}/{experiment}"
            worth = numbers.uniform(0.6, 0.9, (2, 3)).astype(np.float32)
            values[key] = numbers.uniform(worth.min(), worth.max(), (height, width)).astype("f4")
            scores[key] = worth if experiment == "seen" else 1 - worth
            rows.append({"image_id": image_id, "uri": f"/{image_id}.png", "experiment": experiment})
    return OcclusionMaps(pd.DataFrame(rows), pd.DataFrame(), values, scores, {}, {}, {})


def with_map(maps: OcclusionMaps, key: str, values: np.ndarray) -> OcclusionMaps:
    return dataclasses.replace(maps, maps={**maps.maps, key: values})


def faults(catalogue: Catalogue, maps: OcclusionMaps) -> list[str]:
    result = nsfw_checks.maps_are_sound(catalogue, maps)
    told = result.metadata["faults"].value
    assert result.passed == (not told)
    assert result.description.startswith(f"{len(maps.table)} maps, {len(told)} unsound")
    return told


def test_sound_maps_pass(catalogue, maps):
    assert faults(catalogue, maps) == []


def test_a_map_of_a_very_large_image_has_as_many_pixels_as_a_map_has_at_most(catalogue, maps):
    catalogue.images.loc[catalogue.images.image_id == "a", ["width", "height"]] = 20_000, 9_000
    assert len(faults(catalogue, maps)) == 2
    width, height = size_within((20_000, 9_000), 24_000_000)
    assert (width, height) == (7302, 3286)
    for experiment in ("seen", "hidden"):
        values = np.full((height, width), maps.maps[f"a/{experiment}"].mean(), np.float32)
        maps = with_map(maps, f"a/{experiment}", values)
    assert faults(catalogue, maps) == []


@pytest.mark.parametrize("key", ["a/seen", "b/hidden"])
def test_a_map_of_swapped_axes_fails(catalogue, maps, key):
    swapped = with_map(maps, key, maps.maps[key].T)
    image_id, experiment = key.split("/")
    assert faults(catalogue, swapped) == [
        f"/{image_id}.png: {experiment} is not of the image's size"
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_fails(catalogue, maps, value):
    values = maps.maps["a/seen"].copy()
    values[2, 3] = value
    assert faults(catalogue, with_map(maps, "a/seen", values)) == ["/a.png: seen is not finite"]


@pytest.mark.parametrize(
    ("key", "value", "passed"),
    [
        ("a/seen", 1e-4, False),
        ("a/seen", 5e-7, True),
        ("b/hidden", 1e-4, False),
        ("b/hidden", 5e-7, True),
    ],
)
@pytest.mark.parametrize("end", ["above", "below"])
def test_a_map_that_leaves_the_range_of_its_windows_fails(catalogue, maps, key, value, passed, end):
    scores = maps.window_scores[key]
    worth = scores if key.endswith("seen") else 1 - scores
    values = maps.maps[key].copy()
    values[1, 1] = worth.max() + value if end == "above" else worth.min() - value
    image_id, experiment = key.split("/")
    told = f"/{image_id}.png: {experiment} leaves the range of its windows"
    assert faults(catalogue, with_map(maps, key, values)) == ([] if passed else [told])


def test_the_scores_of_the_other_experiment_are_not_mistaken_for_its_own(catalogue, maps):
    hidden = 1 - maps.maps["a/hidden"]
    assert faults(catalogue, with_map(maps, "a/hidden", hidden)) == [
        "/a.png: hidden leaves the range of its windows"
    ]


def test_window_scores_that_are_no_numbers_vouch_for_no_map(catalogue, maps):
    scores = maps.window_scores["a/seen"].copy()
    scores[0, 0] = np.nan
    unsure = dataclasses.replace(maps, window_scores={**maps.window_scores, "a/seen": scores})
    assert faults(catalogue, unsure) == ["/a.png: seen has windows without a score"]
    none = np.full_like(scores, np.nan)
    unsure = dataclasses.replace(maps, window_scores={**maps.window_scores, "a/seen": none})
    assert faults(catalogue, unsure) == ["/a.png: seen has windows without a score"]


def test_an_estimate_has_as_many_scores_as_it_says(catalogue, maps):
    key, (first, *_) = "a/seen", maps.table.index
    scores = maps.window_scores[key].copy()
    scores.flat[scores.argmin()] = np.nan
    scores.flat[np.nanargmax(scores)] = np.nan
    few = scores[np.isfinite(scores)]
    assert 0 < len(few) < scores.size
    sizes = [
        maps.window_scores[f"{row.image_id}/{row.experiment}"].size
        for row in maps.table.itertuples()
    ]
    table = maps.table.assign(n_scored=sizes)
    estimate = dataclasses.replace(
        with_map(maps, key, maps.maps[key].clip(few.min(), few.max())),
        table=table,
        window_scores={**maps.window_scores, key: scores},
    )
    assert faults(catalogue, estimate) == ["/a.png: seen has windows without a score"]
    table.loc[first, "n_scored"] = len(few)
    assert faults(catalogue, estimate) == []
    values = estimate.maps[key].copy()
    values[0, 0] = few.max() + 0.01
    assert faults(catalogue, with_map(estimate, key, values)) == [
        "/a.png: seen leaves the range of its windows"
    ]


def test_maps_are_one_for_each_row(catalogue, maps):
    check = nsfw_checks.maps_are_sound
    assert not check(catalogue, dataclasses.replace(maps, table=maps.table.iloc[:-1])).passed
    assert not check(
        catalogue, dataclasses.replace(maps, table=maps.table.iloc[:0], maps={})
    ).passed


def test_a_map_of_an_image_that_left_the_catalogue_fails(catalogue, maps):
    left = dataclasses.replace(catalogue, images=catalogue.images[catalogue.images.image_id != "b"])
    assert len(faults(left, maps)) == 2


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda values: values, None),
        (lambda values: values * np.nan, "is not finite"),
        (lambda values: values * 0, "is blank"),
        (lambda values: values[:-1], "is not of the image's size"),
    ],
)
def test_reconstructions_are_finite_of_their_image_and_not_blank(catalogue, change, fault):
    width, height = SIZES["a"]
    values = change(np.ones((height, width, 3), np.float32))
    table = pd.DataFrame({"image_id": ["a"], "uri": ["/a.png"]})
    maps = DeconvnetMaps(table, pd.DataFrame(), {"a": values}, {}, {})
    result = nsfw_checks.reconstructions_are_sound(catalogue, maps)
    assert result.metadata["faults"].value == ([f"/a.png: {fault}"] if fault else [])
    assert result.passed == (fault is None)


def test_no_check_is_without_a_test():
    names = {spec.name for definition in nsfw_checks.CHECKS for spec in definition.check_specs}
    assert names == {
        "model_gives_its_known_answers",
        "scores_are_probabilities",
        "maps_are_sound",
        "reconstructions_are_sound",
    }
