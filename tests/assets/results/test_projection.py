"""The asset tsne_2d with an inductive method."""

from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from assets.io_managers import outputs_of
from assets.kept_maps import KeptMaps
from assets.photo_map import tsne_2d
from assets.resources.collections import PARTITIONS_NAME
from assets.resources.compute import Compute
from assets.resources.partitions import COLLECTIONS
from assets.resources.photos import Photos
from assets.resources.progress import LogProgress
from assets.resources.tracking import Tracking
from assets.values import Embeddings

PHOTOS = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)


def materialise(home: Path, n: int, tracking: Tracking, **config) -> tuple[pd.DataFrame, dict]:
    """Return the points of the first n photos, and the metadata."""

    @dg.asset(partitions_def=COLLECTIONS)
    def embeddings() -> Embeddings:
        return Embeddings.from_arrays([f"photo {one:02}" for one in range(n)], PHOTOS[:n], "fp", 0)

    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(PARTITIONS_NAME, ["birds"])
        result = dg.materialize(
            [embeddings, tsne_2d],
            partition_key="birds",
            instance=instance,
            resources={
                "io_manager": outputs_of(home),
                "photos": Photos(home=str(home)),
                "maps": KeptMaps(home=str(home)),
                "compute": Compute(device="cpu", threads=1),
                "tracking": tracking,
                "progress": LogProgress(),
            },
            run_config={"ops": {"tsne_2d": {"config": {"method": "drlim", **config}}}},
        )
        (made,) = result.asset_materializations_for_node("tsne_2d")
    metadata = {name: value.value for name, value in made.metadata.items()}
    return result.output_for_node("tsne_2d"), metadata


def test_a_network_is_trained_registered_and_used_again(home, tracking):
    table, first = materialise(home, 30, tracking)
    assert list(table.columns) == ["image_id", "x", "y", "projection", "network"]
    assert set(table.network) == {first["network"]}
    assert (first["projected_anew"], first["network_version"], first["network_fitted"]) == (
        True,
        "1",
        30,
    )
    assert first["network_reason"].startswith("Trained, as no network was kept")
    assert 0 < first["trustworthiness_fitted"] <= 1
    assert 0 < first["tsne_trustworthiness_fitted"] <= 1
    run = tracking.client.get_run(first["mlflow_run"])
    assert run.data.metrics["trustworthiness_fitted"] == first["trustworthiness_fitted"]

    # With a server that is down, and five new photos that it places without training.
    down = Tracking(home=str(home), tracking_uri="http://127.0.0.1:9")
    grown, second = materialise(home, 35, down)
    pd.testing.assert_frame_equal(grown[:30], table)
    assert (second["projected_anew"], second["network"]) == (False, first["network"])
    assert second["network_version"] == "not registered"
    assert second["network_unknown_share"] == pytest.approx(5 / 35)

    # The home's file is lost: the registry has it.
    for file in (home / "projections" / "birds").glob("*.safetensors"):
        file.unlink()
    _, third = materialise(home, 30, tracking)
    assert (third["projected_anew"], third["network"]) == (False, first["network"])


def test_few_photos_have_points_without_a_network(home, tracking):
    table, metadata = materialise(home, 3, tracking)
    assert list(table.columns) == ["image_id", "x", "y", "projection"]
    assert metadata["network_reason"].startswith("No network was trained")
