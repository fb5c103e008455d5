from pathlib import Path

import dagster as dg

from assets.photo_map import raw_images
from assets.resources.collections import PARTITIONS_NAME, Collection, CollectionRegistry
from assets.resources.compute import Compute
from assets.resources.photos import Photos
from assets.resources.progress import LogProgress
from assets.resources.tracking import Tracking


def test_a_manifest_takes_the_place_of_the_source(tracking: Tracking, photo_folder, tmp_path: Path):
    folder = photo_folder(3)
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("uri\nphotos/photo_001.png\n")
    CollectionRegistry(Path(tracking.home)).add(Collection("album", str(folder)))
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(PARTITIONS_NAME, ["album"])
        result = dg.materialize(
            [raw_images],
            partition_key="album",
            instance=instance,
            resources={
                "photos": Photos(home=tracking.home),
                "compute": Compute(device="cpu", threads=1),
                "tracking": tracking,
                "progress": LogProgress(),
            },
            run_config={"ops": {"raw_images": {"config": {"manifest": str(manifest)}}}},
        )
    images = result.output_for_node("raw_images").images
    assert images.uri.tolist() == [str(folder / "photo_001.png")]
