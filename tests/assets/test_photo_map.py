from pathlib import Path

import dagster as dg

from assets.methods.photos.catalogue import Catalogue
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
