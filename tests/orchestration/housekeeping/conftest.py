"""A home with the runs of several nights, made without computing anything."""

import shutil
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from assets.io_managers import outputs_of
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.catalogue import Catalogue
from assets.methods.photos.photo_store import PhotoStore
from assets.resources.collections import Collection
from assets.resources.recent_use import PHOTOS, POINTS, WINDOWS, RecentUse
from assets.resources.tracking import DAGSTER_RUN, Tracking
from orchestration.instance import open_instance, register
from orchestration.run_queue import PARTITION_TAG
from support.homes import point_to
from support.jobs import nothing
from support.nights import NIGHTS, image_id

# Dagster would start a process to catch what a run prints.
_SETTINGS = """\
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
telemetry: {enabled: false}
"""
PRINT = "fingerprint"


def one_night(home: Path, instance: dg.DagsterInstance, name: str, night: int) -> None:
    """Leave what a run leaves that has found the photos night, night + 1 and night + 2."""
    ids = [image_id(name, night + one) for one in range(3)]
    store, recent = PhotoStore(home / "photos"), RecentUse(home)
    new = ids if night == 0 else ids[-1:]
    for one in new:
        store.keep_working_copy(one, Image.new("RGB", (8, 8)))
        VectorStore(home / "vectors").append(PRINT, [one], np.zeros((1, 2), np.float32))
    images = pd.DataFrame({"image_id": ids, "uri": ids})
    rejects = pd.DataFrame({"uri": [], "reason": [], "detail": []})
    context = dg.build_output_context(
        asset_key=dg.AssetKey("raw_images"),
        asset_partitions_def=dg.StaticPartitionsDefinition([name]),
        partition_key=name,
    )
    outputs = outputs_of(home)
    outputs.handle_output(context, Catalogue(images, rejects, 3, len(new)))
    (home / "points").mkdir(exist_ok=True)
    (home / "points" / f"{name}{night}.npy").write_bytes(bytes(100))
    WindowScoreStore(home / "windows").open(f"{name}{night}", 4)
    recent.note(name, PHOTOS, ids)
    recent.note(name, POINTS, [f"{name}{night}"])
    recent.note(name, WINDOWS, [f"{name}{night}"])
    run = nothing.execute_in_process(instance=instance, tags={PARTITION_TAG: name})
    tracking = Tracking(home=str(home))
    tags = {DAGSTER_RUN: run.run_id, "dagster.partition": name}
    client, experiment = tracking.client, tracking.experiment_id
    parent = client.create_run(experiment, tags=tags).info.run_id
    child_tags = {**tags, "mlflow.parentRunId": parent, "dagster.asset": "raw_images"}
    child = client.create_run(experiment, tags=child_tags).info.run_id
    client.log_metric(child, "photos", 3)
    client.log_text(child, f"night {night}", "note.txt")
    for run_id in (child, parent):
        client.set_terminated(run_id)
    # Two nights are no two files of one time.
    time.sleep(0.002)


@pytest.fixture(scope="session")
def kept_template(home_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two collections, each with three nights; one photo is in both."""
    home = tmp_path_factory.mktemp("nights") / "home"
    shutil.copytree(home_template, home)
    with pytest.MonkeyPatch.context() as patch:
        point_to(home, patch)
        (home / "dagster.yaml").write_text(_SETTINGS)
        with open_instance() as instance:
            for name in ("birds", "cats"):
                register(instance, Collection(name, f"/{name}"))
                for night in range(NIGHTS):
                    one_night(home, instance, name, night)
            shared = [image_id("birds", NIGHTS + 1)]
            RecentUse(home).note("cats", PHOTOS, [*shared, image_id("cats", NIGHTS + 1)])
    return home


@pytest.fixture
def kept_home(kept_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to which the environment points."""
    home = tmp_path / "home"
    shutil.copytree(kept_template, home)
    point_to(home, monkeypatch)
    # MLflow's addresses of files follow it now, and not in the middle of a test.
    _ = Tracking(home=str(home)).client
    return home


@pytest.fixture
def copied_home(
    kept_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Path]:
    """Returns a function that copies it, and points the environment to the copy.

    SQLAlchemy keeps files open by their path: each copy has one of its own.
    """
    homes = (tmp_path / f"home-{number}" for number in count())

    def copy() -> Path:
        home = next(homes)
        shutil.copytree(kept_home, home, symlinks=True)
        point_to(home, monkeypatch)
        return home

    return copy
