import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from PIL import Image

from assets.io_managers import KEPT, UNTOUCHED_SECONDS, FolderIOManager
from assets.methods.page.folder import damaged_files, page_files
from assets.resources.collections import Collection
from assets.resources.compute import Compute
from assets.resources.input_store import NewInput
from assets.resources.tracking import DAGSTER_RUN, Tracking
from assets.values import EncodedImage, Mosaic
from orchestration.api.contract import ApiError, Code, InputReference, PostVisualization
from orchestration.api.settings import ServeSettings
from orchestration.api.visualizations.run_follower import RunFollower
from orchestration.api.visualizations.served_visualizations import Visualizations
from orchestration.instance import register
from support.app_inputs import make_app, new_input
from support.served_here import runs_carried_out_here

N = 12
PENDING, READY = Code.VISUALIZATION_PENDING, Code.VISUALIZATION_READY
FAILED = Code.VISUALIZATION_FAILED


@pytest.fixture
def store(home, instance, photo_folder):
    with closing(make_app(home, instance, photo_folder(N))) as store:
        yield store


@pytest.fixture
def make(home, store):
    """Returns a function that makes one more service's visualizations."""
    opened = []

    def make() -> Visualizations:
        made = Visualizations(home, ServeSettings(), lambda app: store)
        made.start()
        opened.append(made)
        return made

    yield make
    for made in opened:
        made.close()


@pytest.fixture
def idle(make, monkeypatch):
    """Visualizations that are looked at when a test says so, and that nobody carries out."""
    monkeypatch.setattr(RunFollower, "_work", lambda self: None)
    return make()


def ask(visualizations, *ids: str, app: str = "birds", **options):
    if ids:
        options["inputs"] = [InputReference(id=one) for one in ids]
    return visualizations.request(app, PostVisualization(**options))


def refusal(visualizations, *ids: str, app: str = "birds", **options) -> str:
    with pytest.raises(ApiError) as caught:
        ask(visualizations, *ids, app=app, **options)
    assert caught.value.code is Code.INVALID_VISUALIZATION
    return caught.value.details


def is_gone(visualizations, run_id: str, app: str = "birds") -> bool:
    try:
        visualizations.find(app, run_id)
    except ApiError as error:
        return error.code is Code.NO_SUCH_VISUALIZATION
    return False


def snapshots(home) -> list[str]:
    return sorted(path.stem for path in home.glob("inputs/*/snapshots/*"))


# ---- what is asked for ----


def test_a_visualization_is_a_run_over_the_inputs_of_that_moment(idle, store, instance, home):
    asked = ask(idle, grid="4x3", tile=32)
    assert (asked.app, asked.n_photos, asked.code) == ("birds", N, PENDING)
    assert asked.progress.percent == 0
    assert asked.progress.seconds_left > 10
    idle._follower.look()
    run = instance.get_run_by_id(asked.id)
    assert (run.job_name, run.status) == ("photo_map", dg.DagsterRunStatus.QUEUED)
    assert run.tags["dagster/partition"] == "birds"
    settings = {asset: op["config"] for asset, op in run.run_config["ops"].items()}
    manifest = settings["raw_images"].pop("manifest")
    assert settings == {
        "raw_images": {},
        "grid_assignment": {"shape": "4x3"},
        "mosaic": {"tile": 32},
    }
    assert snapshots(home) == [asked.id]
    store.delete_all()
    # Below the home, which may be moved or copied while a run waits.
    assert manifest == f"inputs/birds/snapshots/{asked.id}.csv"
    assert len(pd.read_csv(home / manifest)) == N


def test_the_settings_of_the_collection_count_where_nothing_is_asked_for(idle, instance):
    settings = {"tsne_2d": {"method": "pca", "seed": 3}, "mosaic": {"tile": 24, "gap": 0}}
    register(instance, Collection("birds", "inputs:", settings))
    plain, asked = ask(idle), ask(idle, type="tsne", tile=48)
    idle._follower.look()
    ops = instance.get_run_by_id(plain.id).run_config["ops"]
    assert ops["tsne_2d"]["config"] == {"method": "pca", "seed": 3}
    ops = instance.get_run_by_id(asked.id).run_config["ops"]
    assert ops["tsne_2d"]["config"] == {"method": "tsne", "seed": 3}
    assert ops["mosaic"]["config"] == {"tile": 48, "gap": 0}


def test_a_map_of_some_inputs_leaves_the_map_of_the_app_alone(idle, instance):
    some, whole = ask(idle, "0", "3"), ask(idle)
    idle._follower.look()
    for asked, apart in ((some, True), (whole, None)):
        ops = instance.get_run_by_id(asked.id).run_config["ops"]
        for asset in ("tsne_2d", "grid_assignment"):
            assert ops.get(asset, {}).get("config", {}).get("apart") is apart


def test_the_same_again_is_the_same_visualization(idle, store):
    everything = [str(number) for number in range(N)]
    first = ask(idle)
    assert ask(idle).id == first.id
    assert ask(idle, *reversed(everything)).id == first.id
    assert ask(idle, type="tsne", tile=96, grid="auto").id == first.id


def test_anything_else_is_another(idle, store, photo_folder):
    ids = {ask(idle).id, ask(idle, *map(str, range(N - 1))).id, ask(idle, tile=95).id}
    ids |= {ask(idle, type="pca").id, ask(idle, grid="6x2").id}
    (photo,) = photo_folder(1, "more").iterdir()
    Image.open(photo).rotate(90).save(photo)
    store.add([new_input("more", photo)], 100)
    ids.add(ask(idle).id)
    assert len(ids) == 6


def test_many_at_once_make_one_run(idle, instance):
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: ask(idle).id, range(16)))
    assert len(ids) == 1
    assert idle.count()["waiting"] == 1


@pytest.mark.parametrize(
    ("ids", "options", "told"),
    [
        ((), {"grid": "3x3"}, "9 cells, too few for 12 photos"),
        ((), {"grid": "round"}, "'round' is not understood"),
        ((), {"grid": "20000x1"}, "16,384"),
        (("0", "nobody", "1"), {}, "'nobody'"),
        (("0", "pending"), {}, "'pending'"),
    ],
)
def test_what_cannot_be_mapped_is_refused_before_there_is_a_run(
    idle, store, instance, home, ids, options, told
):
    store.add([NewInput("pending", url="http://example.com/a.jpg")], 100)
    assert told in refusal(idle, *ids, **options)
    assert idle.count()["waiting"] == 0
    assert snapshots(home) == []


def test_an_app_without_inputs_has_no_visualization(idle, store):
    assert "no inputs" in refusal(idle, app="nobody")
    store.delete_all()
    assert "no inputs" in refusal(idle)


# ---- how it is found ----


def test_an_app_sees_its_own_alone(idle, instance):
    asked = ask(idle)
    assert is_gone(idle, asked.id, "cats")
    assert is_gone(idle, "nothing")
    with pytest.raises(ApiError):
        idle.delete("cats", asked.id)
    assert idle.find("birds", asked.id).code is PENDING


def test_a_failure_has_its_reason_and_the_same_again_is_another(idle, instance):
    asked = ask(idle)
    idle._store.end(asked.id, "failed", "There is no space left.")
    found = idle.find("birds", asked.id)
    assert (found.code, found.reason) == (FAILED, "There is no space left.")
    assert ask(idle).id != asked.id


def test_where_to_compute_is_passed_on_to_the_run(home, store, monkeypatch):
    monkeypatch.setattr(RunFollower, "_work", lambda self: None)
    compute = Compute(threads=1, device="cpu")
    with closing(
        Visualizations(home, ServeSettings(compute=compute), lambda app: store)
    ) as visualizations:
        visualizations.start()
        asked = ask(visualizations)
        config = visualizations._store.find(asked.id).request.run_config
    assert config["resources"]["compute"]["config"] == {"device": "cpu", "threads": 1}


# ---- how it ends before its time ----


def test_one_that_is_pending_is_cancelled(idle):
    asked = ask(idle)
    idle.delete("birds", asked.id)
    found = idle.find("birds", asked.id)
    assert (found.code, found.reason) == (FAILED, "Cancelled.")
    assert ask(idle).id != asked.id
    idle.delete("birds", asked.id)
    assert is_gone(idle, asked.id)


def test_one_that_was_cancelled_in_dagsters_ui_is_cancelled(idle, instance):
    asked = ask(idle)
    idle._follower.look()
    instance.report_run_canceled(instance.get_run_by_id(asked.id))
    idle._follower.look()
    found = idle.find("birds", asked.id)
    assert (found.code, found.reason) == (FAILED, "Cancelled.")


def test_one_without_its_picture_is_not_ready(idle, instance):
    asked = ask(idle)
    idle._store.end(asked.id, "ready")
    found = idle.find("birds", asked.id)
    assert (found.code, found.reason) == (FAILED, "Its image has been removed.")
    with pytest.raises(ApiError):
        idle.files(asked.id)
    with pytest.raises(ApiError):
        idle.newest("birds")


def test_its_pictures_are_found_where_the_home_is_now(idle, home):
    asked = ask(idle)
    folder = home / "outputs" / "mosaic" / "birds" / ("0" * 32)
    folder.mkdir(parents=True)
    for name in ("mosaic.jpg", "figure.png", KEPT):
        (folder / name).touch()
    former = Path("/where/the/home/was", *folder.parts[-4:])
    idle._store.end(asked.id, "ready", folder=former)
    assert idle.files(asked.id) == (folder / "mosaic.jpg", folder / "figure.png")


def test_snapshots_that_no_run_needs_are_swept_away(idle, make, home):
    asked = ask(idle)
    folder = home / "inputs" / "birds" / "snapshots"
    for name in ("old", "new"):
        (folder / f"{name}.csv").touch()
    for name in ("old", asked.id):
        os.utime(folder / f"{name}.csv", (1, 1))
    make()
    assert snapshots(home) == sorted(["new", asked.id])


# ---- true runs ----


# Those that a process of the queue carries out: test_serve.py and test_dev.py in tests/e2e.


@pytest.fixture
def here(idle):
    """Visualizations whose runs are carried out in this process, when a test says so."""
    with runs_carried_out_here():
        yield idle


def carried_out(visualizations, run_id: str):
    """Let a run be carried out, and its end be seen."""
    for _ in range(2):
        visualizations._follower.look()
    return visualizations.find("birds", run_id)


def tracked(home, run_id: str) -> set[str]:
    tracking = Tracking(home=str(home))
    runs = tracking.client.search_runs(
        [tracking.experiment_id], f"tags.`{DAGSTER_RUN}` = '{run_id}'"
    )
    return {run.info.status for run in runs}


def newer_mosaics(home, n: int) -> None:
    """Materialise the mosaic of the collection so often, hours apart."""
    manager = FolderIOManager(base_folder=str(home / "outputs"))
    for _ in range(n):
        for generation in (home / "outputs" / "mosaic" / "birds").iterdir():
            long_ago = time.time() - 2 * UNTOUCHED_SECONDS
            os.utime(generation, (long_ago, long_ago))
        context = dg.build_output_context(
            asset_key=dg.AssetKey("mosaic"),
            asset_partitions_def=dg.StaticPartitionsDefinition(["birds"]),
            partition_key="birds",
        )
        picture = EncodedImage(b"newer", ".jpg")
        manager.handle_output(context, Mosaic(picture, picture, {}))


# Dagster starts processes that show what a run writes.
@pytest.mark.process
def test_visualizations_from_their_request_to_their_end(here, store, home):
    asked = ask(here, tile=32, grid="4x3")
    ready = carried_out(here, asked.id)
    assert ready.code is READY, ready.reason
    mosaic, figure = here.files(asked.id)
    with Image.open(mosaic) as picture:
        assert picture.size == (4 * 34 - 2, 3 * 34 - 2)
    assert figure.name == "figure.png"
    page = here.page(asked.id)
    assert damaged_files(page) == []
    assert {"index.html", "data/map.js"} <= set(page_files(page))
    assert here.newest("birds").id == asked.id
    about = here.about(asked.id)
    assert (about.app, about.n_photos, about.created_at) == ("birds", N, ready.created_at)
    assert here.count()["ready"] == 1
    assert not here._store.ended_but_open()
    assert snapshots(home) == []
    assert tracked(home, asked.id) == {"FINISHED"}

    newer_mosaics(home, 3)
    again = ask(here, tile=32, grid="4x3")
    assert (again.id, again.code) == (asked.id, READY)
    assert again.mosaic.exists()
    assert snapshots(home) == []

    here.delete("birds", asked.id)
    assert is_gone(here, asked.id)
    assert not mosaic.exists()
    assert not page.exists()
    with pytest.raises(ApiError):
        here.newest("birds")

    # One whose photos have gone away ends with a sentence.
    for known in store.done():
        store.path(known.image_id).write_bytes(b"no picture")
    failed = carried_out(here, ask(here).id)
    assert failed.code is FAILED
    assert failed.reason.startswith(
        f"None of the 12 files in inputs/birds/snapshots/{failed.id}.csv is a readable photo"
    )
    assert str(home) not in failed.reason
    assert not here._store.ended_but_open()
    assert tracked(home, failed.id) == {"FAILED"}
