import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import dagster as dg
import pandas as pd
import pytest
from PIL import Image

from assets.io_managers import UNTOUCHED_SECONDS, FolderIOManager
from assets.resources.collections import Collection
from assets.resources.input_store import NewInput
from assets.resources.tracking import DAGSTER_RUN, Tracking
from assets.values import EncodedImage, Mosaic
from orchestration.api.contract import ApiError, Code, InputReference, PostVisualization
from orchestration.api.settings import ServeSettings
from orchestration.api.visualizations import run_dispatcher, served_visualizations
from orchestration.api.visualizations.map_runs import CLOSED, STATE, WAITING
from orchestration.api.visualizations.served_visualizations import Visualizations
from orchestration.instance import PROCESS_TAG, fail_run, process_number, register
from support.app_inputs import make_app, new_input
from support.served import wait_for

N = 12
PENDING, READY = Code.VISUALIZATION_PENDING, Code.VISUALIZATION_READY
FAILED = Code.VISUALIZATION_FAILED
RUN_START, RUN_SUCCESS = dg.DagsterEventType.RUN_START, dg.DagsterEventType.RUN_SUCCESS


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
        for worker in made._dispatcher._workers.values():
            worker.kill()
            worker.wait()


@pytest.fixture
def idle(make, monkeypatch):
    """Visualizations that nobody carries out."""
    monkeypatch.setattr(run_dispatcher.Dispatcher, "_work", lambda self: None)
    monkeypatch.setattr(served_visualizations, "_PENDING_SECONDS", 0.0)
    monkeypatch.setattr(served_visualizations, "_ENDED_SECONDS", 0.0)
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


def report(instance, run_id: str, kind: dg.DagsterEventType) -> None:
    instance.report_dagster_event(dg.DagsterEvent(kind.value, "photo_map"), run_id)


# ---- what is asked for ----


def test_a_visualization_is_a_run_over_the_inputs_of_that_moment(idle, store, instance, home):
    asked = ask(idle, grid="4x3", tile=32)
    assert (asked.app, asked.n_photos, asked.code) == ("birds", N, PENDING)
    assert asked.progress.percent == 0
    assert asked.progress.seconds_left > 10
    run = instance.get_run_by_id(asked.id)
    assert (run.job_name, run.status) == ("photo_map", WAITING)
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
    assert len(pd.read_csv(manifest)) == N


def test_the_settings_of_the_collection_count_where_nothing_is_asked_for(idle, instance):
    settings = {"tsne_2d": {"method": "pca", "seed": 3}, "mosaic": {"tile": 24, "gap": 0}}
    register(instance, Collection("birds", "inputs:", settings))
    plain, asked = ask(idle), ask(idle, type="tsne", tile=48)
    ops = instance.get_run_by_id(plain.id).run_config["ops"]
    assert ops["tsne_2d"]["config"] == {"method": "pca", "seed": 3}
    ops = instance.get_run_by_id(asked.id).run_config["ops"]
    assert ops["tsne_2d"]["config"] == {"method": "tsne", "seed": 3}
    assert ops["mosaic"]["config"] == {"tile": 48, "gap": 0}


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
    assert instance.get_runs_count() == 1


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
    assert instance.get_runs_count() == 0
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


def test_a_run_that_is_no_visualization_is_not_found(idle, instance):
    asked = ask(idle)
    run = instance.get_run_by_id(asked.id)
    fail_run(instance, run)
    idle._runs.retry(run)
    retry = idle._runs.runs_of(run)[1]
    assert is_gone(idle, retry.run_id)
    ours = instance.create_run_for_job(
        dg.GraphDefinition("mapping").to_job(), tags={"tessera/app": "birds"}
    )
    assert is_gone(idle, ours.run_id)


def test_a_failure_has_the_sentence_of_the_asset_that_refused(idle, instance):
    asked = ask(idle)
    instance.report_run_failed(instance.get_run_by_id(asked.id), "There is no space left.")
    found = idle.find("birds", asked.id)
    assert found.code is FAILED
    assert found.reason == "A fault of the service: There is no space left."
    assert ask(idle).id != asked.id


def test_a_run_whose_process_is_gone_is_pending_until_the_retry_has_ended(idle, instance):
    asked = ask(idle)
    first = instance.get_run_by_id(asked.id)
    report(instance, asked.id, RUN_START)
    before = idle.find("birds", asked.id).progress.percent
    assert before > 0
    fail_run(instance, first)
    assert idle.find("birds", asked.id).code is PENDING
    idle._runs.retry(first)
    idle._runs.retry(first)
    idle._runs.close(first)
    found = idle.find("birds", asked.id)
    assert (found.code, found.progress.percent) == (PENDING, before)
    assert ask(idle).id == asked.id
    (_, retry) = idle._runs.runs_of(first)
    fail_run(instance, retry)
    found = idle.find("birds", asked.id)
    assert found.code is FAILED
    assert found.reason.endswith("The process that carried out this run is gone.")


def test_the_place_in_the_queue_counts_for_the_time_left(idle):
    first, second, third = ask(idle), ask(idle, tile=32), ask(idle, tile=33)
    left = [idle.find("birds", one.id).progress.seconds_left for one in (first, second, third)]
    assert left[1] == pytest.approx(2 * left[0], rel=0.01)
    assert left[2] == pytest.approx(3 * left[0], rel=0.01)


def test_the_storage_is_asked_twice_a_second_at_most(idle, monkeypatch):
    monkeypatch.setattr(served_visualizations, "_PENDING_SECONDS", 0.5)
    asked = ask(idle)
    reads = []
    find = idle._runs.find
    monkeypatch.setattr(idle._runs, "find", lambda run_id: reads.append(1) or find(run_id))
    begun = time.monotonic()
    while time.monotonic() - begun < 1.2:
        idle.find("birds", asked.id)
    assert 1 <= len(reads) <= 3


def test_nobody_waits_for_one_who_reads(idle, monkeypatch):
    asked = ask(idle)
    reads, may_go_on = threading.Event(), threading.Event()
    find = idle._runs.find

    def slow(run_id):
        reads.set()
        may_go_on.wait(20)
        return find(run_id)

    monkeypatch.setattr(idle._runs, "find", slow)
    with ThreadPoolExecutor(1) as pool:
        slow_one = pool.submit(idle.find, "birds", asked.id)
        reads.wait(20)
        assert idle.find("birds", asked.id).code is PENDING
        assert not slow_one.done()
        may_go_on.set()


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
    instance.report_run_canceled(instance.get_run_by_id(asked.id))
    found = idle.find("birds", asked.id)
    assert (found.code, found.reason) == (FAILED, "Cancelled.")


def test_one_without_its_picture_is_not_ready(idle, instance):
    asked = ask(idle)
    report(instance, asked.id, RUN_SUCCESS)
    found = idle.find("birds", asked.id)
    assert (found.code, found.reason) == (FAILED, "Its image has been removed.")
    with pytest.raises(ApiError):
        idle.files(asked.id)
    with pytest.raises(ApiError):
        idle.newest("birds")


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


def ended(visualizations, run_id: str, seconds: float = 150):
    wait_for(
        lambda: visualizations.find("birds", run_id).code is not PENDING,
        seconds,
        "it is pending for ever",
    )
    return visualizations.find("birds", run_id)


def worker_of(instance, run_id: str) -> int:
    def number() -> int | None:
        run = instance.get_run_by_id(run_id)
        is_at_work = run.status is dg.DagsterRunStatus.STARTED
        return process_number(run.tags[PROCESS_TAG]) if is_at_work else None

    return wait_for(number, 60, "no worker has begun")


def closed(instance, run_id: str) -> None:
    wait_for(lambda: instance.get_run_by_id(run_id).tags[STATE] == CLOSED, 60, "it was not closed")


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


@pytest.mark.process
def test_a_visualization_from_its_request_to_its_end(make, instance, home):
    visualizations = make()
    asked = ask(visualizations, tile=32, grid="4x3")
    percents = []

    def look() -> bool:
        found = visualizations.find("birds", asked.id)
        if found.progress:
            percents.append(found.progress.percent)
        return found.code is not PENDING

    wait_for(look, 150, "it is pending for ever")
    assert percents == sorted(percents)
    assert percents[0] == 0
    assert len(set(percents)) >= 5
    assert percents[-1] < 100

    ready = visualizations.find("birds", asked.id)
    assert ready.code is READY, ready.reason
    mosaic, figure = visualizations.files(asked.id)
    with Image.open(mosaic) as picture:
        assert picture.size == (4 * 34 - 2, 3 * 34 - 2)
    assert figure.name == "figure.png"
    assert visualizations.newest("birds").id == asked.id
    about = visualizations.about(asked.id)
    assert (about.app, about.n_photos, about.created_at) == ("birds", N, ready.created_at)
    assert visualizations.count()["ready"] == 1
    closed(instance, asked.id)
    assert snapshots(home) == []
    assert list((home / "serve" / "runs").iterdir()) == []
    assert tracked(home, asked.id) == {"FINISHED"}

    newer_mosaics(home, 3)
    again = ask(visualizations, tile=32, grid="4x3")
    assert (again.id, again.code) == (asked.id, READY)
    assert again.mosaic.exists()
    assert snapshots(home) == []

    visualizations.delete("birds", asked.id)
    assert is_gone(visualizations, asked.id)
    assert not mosaic.exists()
    with pytest.raises(ApiError):
        visualizations.newest("birds")
    assert ask(visualizations, tile=32, grid="4x3").id != asked.id


# With the whole service, and in make test: test_serve.py.
@pytest.mark.slow
@pytest.mark.process
def test_a_service_that_is_restarted_and_a_process_that_is_killed_lose_nothing(make, instance):
    first = make()
    asked, next_one = ask(first, tile=32), ask(first, tile=33)
    worker = worker_of(instance, asked.id)
    first.close()
    second = make()
    assert second.find("birds", asked.id).code is PENDING
    assert worker_of(instance, asked.id) == worker
    os.kill(worker, signal.SIGKILL)
    assert ended(second, asked.id).code is READY
    assert ended(second, next_one.id).code is READY
    assert [run.status.value for run in second._runs.runs_of(instance.get_run_by_id(asked.id))] == [
        "FAILURE",
        "SUCCESS",
    ]
    assert len(second._runs.runs_of(instance.get_run_by_id(next_one.id))) == 1


@pytest.mark.process
def test_a_run_that_goes_on_is_cancelled_in_dagster_and_in_mlflow(make, instance, home):
    visualizations = make()
    asked = ask(visualizations)
    worker_of(instance, asked.id)
    wait_for(lambda: "RUNNING" in tracked(home, asked.id), 60, "nothing is tracked")
    visualizations.delete("birds", asked.id)
    assert visualizations.find("birds", asked.id).reason == "Cancelled."
    closed(instance, asked.id)
    assert instance.get_run_by_id(asked.id).status is dg.DagsterRunStatus.CANCELED
    assert tracked(home, asked.id) == {"KILLED"}
    assert snapshots(home) == []


@pytest.mark.process
def test_photos_that_went_away_are_told_in_a_sentence(make, store, instance, home):
    with closing(make()) as visualizations:
        for known in store.done():
            store.path(known.image_id).write_bytes(b"no picture")
        failed = ended(visualizations, ask(visualizations).id)
        assert failed.code is FAILED
        assert failed.reason.startswith(
            f"None of the 12 files in inputs/birds/snapshots/{failed.id}.csv is a readable photo"
        )
        assert str(home) not in failed.reason
        closed(instance, failed.id)
        assert tracked(home, failed.id) == {"FAILED"}
