from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd

from assets.config import GridConfig, TsneConfig
from assets.methods.photos.catalogue import Catalogue
from assets.photo_map import fresh_map, raw_images
from assets.resources.collections import PARTITIONS_NAME, Collection, CollectionRegistry
from assets.resources.compute import Compute
from assets.resources.partitions import COLLECTIONS
from assets.resources.photos import Photos
from assets.resources.progress import LogProgress
from assets.resources.tracking import Tracking
from assets.values import Embeddings, GridAssignment


def test_a_manifest_takes_the_place_of_the_source(tracking: Tracking, photo_folder, tmp_path: Path):
    folder = photo_folder(3)
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("uri\nphotos/photo_001.png\n")
    images = catalogue_of(tracking, Collection("album", str(folder)), manifest=str(manifest)).images
    assert images.uri.tolist() == [str(folder / "photo_001.png")]


def test_links_are_followed_if_the_collection_says_so(tracking: Tracking, photo_folder):
    folder = photo_folder(1)
    (folder / "more").symlink_to(photo_folder(2, "elsewhere"))
    found = catalogue_of(tracking, Collection("album", str(folder), follow_links=True))
    assert (len(found.images), len(found.rejects)) == (3, 0)
    found = catalogue_of(tracking, Collection("album", str(folder)))
    assert found.images.uri.tolist() == [str(folder / "photo_000.png")]
    assert found.rejects[["uri", "reason"]].values.tolist() == [
        [str(folder / "more"), "link not followed"]
    ]


def test_companions_are_counted_in_mlflow_and_listed(tracking: Tracking, photo_folder):
    folder = photo_folder(1)
    (folder / "photo_000.png.json").write_text("{}")
    catalogue_of(tracking, Collection("album", str(folder)))
    (run,) = tracking.client.search_runs(
        [tracking.experiment_id], "tags.`dagster.asset` = 'raw_images'"
    )
    counted = {name: run.data.metrics[name] for name in ("found", "photos", "companions")}
    assert counted == {"found": 2, "photos": 1, "companions": 1}
    file = tracking.client.download_artifacts(run.info.run_id, "companions.csv")
    assert Path(file).read_text() == (
        f"uri,belongs_to\n{folder}/photo_000.png.json,{folder}/photo_000.png\n"
    )


def test_what_a_map_made_anew_would_be_worth_is_logged_and_no_map_is_kept(tracking: Tracking):
    vectors = np.eye(12, dtype=np.float32)
    ids = [f"{number:02}" for number in range(12)]
    made_of = {"projection": TsneConfig().as_text(), "grid": GridConfig().as_text()}
    quality = {"quality": {"dpq16": 0.25}}

    @dg.asset(partitions_def=COLLECTIONS)
    def embeddings() -> Embeddings:
        return Embeddings.from_arrays(ids, vectors[[*range(6)] * 2], "network", 12)

    @dg.asset(partitions_def=COLLECTIONS)
    def grid_assignment() -> GridAssignment:
        return GridAssignment(pd.DataFrame({"image_id": ids}), 4, 3, quality, made_of)

    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(PARTITIONS_NAME, ["album"])
        result = dg.materialize(
            [embeddings, grid_assignment, fresh_map],
            partition_key="album",
            instance=instance,
            resources={
                "tracking": tracking,
                "progress": LogProgress(),
                "io_manager": dg.mem_io_manager,
            },
        )
    (made,) = result.asset_materializations_for_node("fresh_map")
    fresh = made.metadata["fresh_dpq16"].value
    assert isinstance(fresh, float)
    assert made.metadata["dpq16"].value == 0.25
    assert made.metadata["share_of_fresh"].value == 0.25 / fresh
    (run,) = tracking.client.search_runs(
        [tracking.experiment_id], "tags.`dagster.asset` = 'fresh_map'"
    )
    assert run.data.metrics["fresh_dpq16"] == fresh


def catalogue_of(tracking: Tracking, collection: Collection, **config: str) -> Catalogue:
    """Materialise raw_images of a collection."""
    CollectionRegistry(Path(tracking.home)).add(collection)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(PARTITIONS_NAME, [collection.name])
        result = dg.materialize(
            [raw_images],
            partition_key=collection.name,
            instance=instance,
            resources={
                "photos": Photos(home=tracking.home),
                "compute": Compute(device="cpu", threads=1),
                "tracking": tracking,
                "progress": LogProgress(),
            },
            run_config={"ops": {"raw_images": {"config": config}}},
        )
    return result.output_for_node("raw_images")
