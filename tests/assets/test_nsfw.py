"""What is left of a run of the asset when an image, or every image, is gone from its place."""

from pathlib import Path

import dagster as dg
import pytest
from PIL import Image

from assets import nsfw
from assets.io_managers import FolderIOManager
from assets.methods.cataloguing import catalogue_photos
from assets.resources.collections import (
    COLLECTIONS,
    PARTITIONS_NAME,
    Collection,
    CollectionRegistry,
)
from assets.resources.compute import Compute
from assets.resources.models import Models
from assets.resources.photos import Photos
from assets.resources.progress import LogProgress
from assets.resources.tracking import DAGSTER_RUN
from assets.values import NsfwScores, OcclusionMaps

# A classifier of the user's own: the share of white in an image.
WHITENESS = """
import numpy as np


def white(images):
    return {"white": [float(np.asarray(image).mean()) / 255 for image in images]}
"""


@pytest.fixture
def run(tracking, tmp_path, monkeypatch):
    """Returns a function that materialises occlusion_maps of two photos, scored beforehand."""
    (tmp_path / "whiteness.py").write_text(WHITENESS)
    monkeypatch.syspath_prepend(str(tmp_path))
    home = Path(tracking.home)
    outputs = FolderIOManager(base_folder=str(home / "outputs"))
    photos = Photos(home=str(home))
    folder = tmp_path / "photos"
    folder.mkdir()
    for level in (50, 200):
        Image.new("RGB", (24, 16), (level,) * 3).save(folder / f"{level}.png")
    CollectionRegistry(home).add(Collection("demo", str(folder)))
    catalogue = catalogue_photos(str(folder), photos.store)
    scores = catalogue.images[["image_id"]].assign(score=0.5)
    values = {
        "raw_images": catalogue,
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
    upstream = [dg.AssetSpec(asset, partitions_def=COLLECTIONS) for asset in values]

    def materialise(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
        instance.add_dynamic_partitions(PARTITIONS_NAME, ["demo"])
        config = {"box": 8, "stride": 8}
        return dg.materialize(
            [*upstream, dg.AssetSpec("nsfw_model"), nsfw.occlusion_maps],
            partition_key="demo",
            instance=instance,
            resources={
                "io_manager": outputs,
                "photos": photos,
                "models": Models(home, tracking),
                "compute": Compute(device="cpu"),
                "tracking": tracking,
                "progress": LogProgress(),
            },
            run_config={"ops": {"occlusion_maps": {"config": config}}},
            raise_on_error=False,
        )

    materialise.folder, materialise.outputs = folder, outputs
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
