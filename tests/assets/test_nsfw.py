"""What is left of a run of the asset when an image, or every image, is gone from its place."""

import dataclasses
import io
import math
import sys
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from assets import nsfw
from assets.io_managers import outputs_of
from assets.methods.models.classifier_file import convert_open_nsfw, save_classifier
from assets.methods.models.identity import ModelIdentity
from assets.methods.photos.catalogue import catalogue_photos
from assets.resources.collections import PARTITIONS_NAME, Collection, CollectionRegistry
from assets.resources.compute import Compute
from assets.resources.models import Models
from assets.resources.partitions import COLLECTIONS
from assets.resources.photos import Photos
from assets.resources.progress import LogProgress
from assets.resources.registry import CHAMPION, CHAMPION_URI
from assets.resources.tracking import DAGSTER_RUN
from assets.results.scores import other_model_note
from assets.values import DeconvnetMaps, NsfwScores, OcclusionMaps
from support.brightness_network import ARCHITECTURE, PREPROCESSING, brightness_weights

UPSTREAM = ("raw_images", "nsfw_scores")
# A classifier of the user's own: the share of white in an image.
WHITENESS = """
import numpy as np


def white(images):
    return {"white": [float(np.asarray(image).mean()) / 255 for image in images]}
"""


@pytest.fixture
def run(tracking, tmp_path, monkeypatch):
    """Returns a function that materialises an asset of two photos, scored beforehand."""
    (tmp_path / "whiteness.py").write_text(WHITENESS)
    monkeypatch.syspath_prepend(str(tmp_path))
    # Another test imported it from its own folder, which is gone.
    monkeypatch.delitem(sys.modules, "whiteness", raising=False)
    home = Path(tracking.home)
    outputs = outputs_of(home)
    photos = Photos(home=str(home))
    folder = tmp_path / "photos"
    folder.mkdir()
    for level in (50, 200):
        Image.new("RGB", (24, 16), (level,) * 3).save(folder / f"{level}.png")

    def catalogue(source: Path) -> None:
        CollectionRegistry(home).add(Collection("demo", str(source)))
        found = catalogue_photos(str(source), photos.store)
        scores = found.images[["image_id"]].assign(score=0.5)
        values = {
            "raw_images": found,
            "nsfw_scores": NsfwScores(scores, "python:whiteness:white", "white", "f0", 2),
        }
        for asset, value in values.items():
            outputs.handle_output(
                dg.build_output_context(
                    asset_key=dg.AssetKey(asset),
                    asset_partitions_def=dg.StaticPartitionsDefinition(["demo"]),
                    partition_key="demo",
                ),
                value,
            )

    catalogue(folder)
    models = Models(home, tracking)

    def materialise(
        instance: dg.DagsterInstance, asset=nsfw.occlusion_maps, **config
    ) -> dg.ExecuteInProcessResult:
        instance.add_dynamic_partitions(PARTITIONS_NAME, ["demo"])
        name = asset.key.path[-1]
        upstream = [
            dg.AssetSpec(one, partitions_def=COLLECTIONS) for one in UPSTREAM if one != name
        ]
        if asset is nsfw.occlusion_maps:
            config = {"box": 8, "stride": 8} | config
        return dg.materialize(
            [*upstream, dg.AssetSpec("nsfw_model"), asset],
            partition_key="demo",
            instance=instance,
            resources={
                "io_manager": outputs,
                "photos": photos,
                "models": models,
                "compute": Compute(device="cpu"),
                "tracking": tracking,
                "progress": LogProgress(),
            },
            run_config={"ops": {asset.key.path[-1]: {"config": config}}},
            raise_on_error=False,
        )

    vars(materialise).update(
        folder=folder, outputs=outputs, catalogue=catalogue, photos=photos, models=models
    )
    return materialise


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def status(tracking, run_id: str) -> set[str]:
    query = f"tags.`{DAGSTER_RUN}` = '{run_id}'"
    found = tracking.client.search_runs([tracking.experiment_id], query)
    assert len(found) == 2
    return {run.info.status for run in found}


def test_a_photo_that_is_gone_is_a_reject_and_the_others_are_looked_into(run, tracking, instance):
    (run.folder / "200.png").unlink()
    result = run(instance)
    assert result.success
    assert status(tracking, result.run_id) == {"FINISHED"}
    value = run.outputs.read(OcclusionMaps, "occlusion_maps", "demo")
    assert set(value.table.uri) == {str(run.folder / "50.png")}
    assert value.rejects.uri.tolist() == [str(run.folder / "200.png")]
    metadata = result.asset_materializations_for_node("occlusion_maps")[0].metadata
    assert (metadata["images"].value, metadata["rejected"].value) == (1, 1)


def test_a_photo_whose_address_holds_a_token_is_read_again(run, instance, memory):
    # The catalogue does not hold the token: the manifest still does.
    memory.pipe("/store/a.png?token=s3cr3t", (run.folder / "50.png").read_bytes())
    manifest = run.folder / "list.csv"
    manifest.write_text("uri\nmemory://store/a.png?token=s3cr3t\n200.png\n")
    run.catalogue(manifest)
    result = run(instance)
    assert result.success
    value = run.outputs.read(OcclusionMaps, "occlusion_maps", "demo")
    assert len(value.rejects) == 0
    shown = {uri.rpartition("/")[2].partition("-")[0] for uri in value.table.uri}
    assert shown == {"a.png?token=hidden", "200.png"}
    assert "s3cr3t" not in repr(value)


def test_when_no_photo_is_left_the_run_fails_with_a_sentence(run, tracking, instance):
    for photo in run.folder.iterdir():
        photo.unlink()
    result = run(instance)
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    description = failure.step_failure_data.user_failure_data.description
    assert description.startswith("None of the 2 images could be read again, the first because: ")
    assert status(tracking, result.run_id) == {"FAILED"}


def test_the_maps_are_of_the_model_and_the_class_that_the_scores_are_of(run, instance):
    assert run(instance).success
    value = run.outputs.read(OcclusionMaps, "occlusion_maps", "demo")
    assert value.settings["model"] == "python:whiteness:white"
    assert value.settings["class_name"] == "white"
    # Of an even grey every window is as white as it is.
    seen = value.table[value.table.experiment == "seen"]
    assert sorted(seen["mean"]) == pytest.approx([50 / 255, 200 / 255])


@pytest.fixture(scope="module")
def open_nsfw(tmp_path_factory) -> str:
    """The file of the packaged network."""
    return str(convert_open_nsfw(tmp_path_factory.mktemp("open_nsfw")))


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    description = failure.step_failure_data.user_failure_data.description
    assert description is not None
    return description


def test_photos_are_carried_back_by_the_model_in_use(run, tracking, instance):
    result = run(instance, nsfw.deconvnet_maps, model=CHAMPION_URI, class_name="nsfw")
    assert result.success
    assert status(tracking, result.run_id) == {"FINISHED"}
    value = run.outputs.read(DeconvnetMaps, "deconvnet_maps", "demo")
    # Both have the same score: their order is that of the image_ids.
    assert value.table.image_id.tolist() == sorted(value.table.image_id)
    assert value.table["rank"].tolist() == [1, 2]
    assert set(value.table.uri) == {str(run.folder / name) for name in ("50.png", "200.png")}
    assert len(value.rejects) == 0
    assert value.reconstructions.keys() == value.figures.keys() == set(value.table.image_id)
    for reconstruction in value.reconstructions.values():
        assert reconstruction.shape == (16, 24, 3)
        assert np.isfinite(reconstruction).all()
        assert np.abs(reconstruction).max() > 0
    for figure in value.figures.values():
        assert Image.open(io.BytesIO(figure.data)).width == 1800
    assert value.settings == {
        "model": CHAMPION_URI,
        "class_name": "nsfw",
        "highest": 4,
        "images": [],
        "layer": None,
        "place": None,
    }
    metadata = result.asset_materializations_for_node("deconvnet_maps")[0].metadata
    assert (metadata["images"].value, metadata["rejected"].value) == (2, 0)
    assert metadata["highest"].value.startswith("![thumbnail](data:image/jpeg;base64,")
    child = tracking.client.get_run(metadata["mlflow_run"].value)
    assert all(math.isfinite(one) for one in child.data.metrics.values())
    folders = {item.path for item in tracking.client.list_artifacts(child.info.run_id)}
    names = zip(("200", "50"), value.table.image_id, strict=True)
    own = {f"{name}-{image_id[:8]}" for name, image_id in names}
    assert folders == {"deconvnet_maps.csv", "images", *own}


def register(run, folder: Path, slope: float) -> str:
    """Make a network the champion, and return its version."""
    file = folder / f"{slope}.safetensors"
    weights = brightness_weights(slope)
    save_classifier(file, weights, ARCHITECTURE, ("sfw", "nsfw"), PREPROCESSING)
    return run.models.registry.register(file, CHAMPION).version


def test_maps_of_another_version_than_the_scores_say_so(run, tracking, instance, tmp_path):
    assert register(run, tmp_path, 8) == "1"
    scored = run(instance, nsfw.nsfw_scores)
    assert run(instance).success
    alike = run.outputs.read(OcclusionMaps, "occlusion_maps", "demo")
    assert (alike.notes, alike.provenance["model_version"]) == ([], "1")

    assert register(run, tmp_path, 4) == "2"
    result = run(instance)
    maps = run.outputs.read(OcclusionMaps, "occlusion_maps", "demo")
    (note,) = maps.notes
    assert "the maps are of models:/nsfw@champion version 2, fingerprint " in note
    assert "nsfw_scores is of models:/nsfw@champion version 1, fingerprint " in note
    metadata = result.asset_materializations_for_node("occlusion_maps")[0].metadata
    assert (metadata["note"].value, metadata["model_version"].value) == (note, "2")
    tags = tracking.client.get_run(metadata["mlflow_run"].value).data.tags
    assert {**tags, **{name: str(part) for name, part in maps.provenance.items()}} == tags

    # Scores of before know the key of the stored probabilities alone.
    scores = run.outputs.read(NsfwScores, "nsfw_scores", "demo")
    former = dataclasses.replace(scores, provenance={})
    identity = ModelIdentity(CHAMPION_URI, "2", maps.provenance["model_fingerprint"])
    assert other_model_note(identity, former, run.models.registry.version_with) == note
    of_scores = scored.asset_materializations_for_node("nsfw_scores")[0].metadata
    assert of_scores["model_version"].value == "1"


def test_a_photo_that_is_gone_is_a_reject_of_the_deconvnet_too(run, instance, open_nsfw):
    (run.folder / "50.png").unlink()
    result = run(
        instance,
        nsfw.deconvnet_maps,
        model=open_nsfw,
        class_name="sfw",
        layer="relu_stage2_block0",
        place=[3, 1, 2],
    )
    assert result.success
    value = run.outputs.read(DeconvnetMaps, "deconvnet_maps", "demo")
    assert value.table.uri.tolist() == [str(run.folder / "200.png")]
    assert value.rejects.uri.tolist() == [str(run.folder / "50.png")]
    assert value.settings["place"] == [3, 1, 2]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, "this classifier does not show its own"),
        ({"model": "open_nsfw", "class_name": "nsfw", "layer": "conv"}, "There is no layer conv: "),
        (
            {"model": "open_nsfw", "class_name": "porn"},
            "There is no class porn: choose sfw or nsfw.",
        ),
        ({"place": [0, 0, 0]}, "A place is given without a layer"),
        ({"layer": "conv_1", "place": [0, 0]}, "give channel, row and column"),
        ({"images": ["/photos/other.png"]}, "/photos/other.png is not an image of this collection"),
    ],
)
def test_what_the_deconvnet_cannot_do_is_told_in_a_sentence(
    run, tracking, instance, open_nsfw, config, sentence
):
    if "model" in config:
        config = {**config, "model": open_nsfw}
    result = run(instance, nsfw.deconvnet_maps, **config)
    assert sentence in failure_of(result)
    assert "\n" not in failure_of(result)
    assert status(tracking, result.run_id) == {"FAILED"}


# Animations


def write_animation(path: Path, levels=(0, 120, 250, 60)) -> None:
    frames = [Image.new("RGB", (24, 16), (level,) * 3) for level in levels]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=500)


def test_an_animation_is_scored_by_its_highest_frame_which_is_explained(run, tracking, instance):
    write_animation(run.folder / "moving.gif")
    run.catalogue(run.folder)
    result = run(
        instance,
        nsfw.nsfw_scores,
        model="python:whiteness:white",
        class_name="white",
        threshold=0.75,
    )
    assert result.success
    metadata = result.asset_materializations_for_node("nsfw_scores")[0].metadata
    assert (metadata["flagged"].value, metadata["threshold"].value) == (2, 0.75)
    child = tracking.client.get_run(metadata["mlflow_run"].value)
    assert child.data.metrics["flagged"] == 2
    found = run.outputs.read(NsfwScores, "nsfw_scores", "demo")
    table = found.table.sort_values("score", ignore_index=True)
    # Before, the black first frame gave 0.
    assert table.score.tolist() == pytest.approx([50 / 255, 200 / 255, 250 / 255], abs=0.01)
    assert table.frame.tolist() == [pd.NA, pd.NA, 2]
    assert table.seconds[2] == 1.0
    assert found.n_computed == 3
    assert run(instance, images=[str(run.folder / "moving.gif")]).success
    maps = run.outputs.read(OcclusionMaps, "occlusion_maps", "demo").table
    assert maps.frame.tolist() == [2, 2]
    # The very pixels that were scored.
    assert maps.judged_score.tolist() == maps.read_score.tolist() == maps.score.tolist()


def test_scores_of_the_version_before_are_kept_for_all_but_animations(run, instance):
    write_animation(run.folder / "moving.gif")
    photos = run.photos.store
    for _ in range(2):
        run.catalogue(run.folder)
        run(instance, nsfw.nsfw_scores, model="python:whiteness:white", class_name="white")
        scores = run.outputs.read(NsfwScores, "nsfw_scores", "demo")
    assert scores.n_computed == 0
    ids = list(scores.table.image_id)
    stored = run.models.probabilities.find(scores.fingerprint, ids)
    # The plain photos have the keys that they had before.
    assert stored.keys() == set(ids) - photos.animations(ids).keys()
