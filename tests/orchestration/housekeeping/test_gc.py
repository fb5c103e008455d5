import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from assets.io_managers import KEPT
from assets.methods.common.processes import this_process
from assets.methods.photos.photo_store import PhotoStore
from assets.resources.home import home_folder
from assets.resources.recent_use import POINTS, RecentUse
from assets.resources.registry import MODEL
from assets.resources.tracking import Tracking
from orchestration.cli.gc import command
from orchestration.dead_runs import PROCESS_TAG
from orchestration.definitions import build_definitions, build_resources
from orchestration.housekeeping.caches import UNTOUCHED_SECONDS
from orchestration.housekeeping.plan import plan_removals
from orchestration.instance import collection_lock, open_instance
from orchestration.run_queue import PARTITION_TAG
from support.jobs import nothing
from support.nights import NIGHTS, Killed, image_id, killed_at


def _gc(*arguments: str) -> list[str]:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def _files(home: Path) -> set[str]:
    """The files but those that processes leave: locks, and logs of databases."""
    return {
        path.relative_to(home).as_posix()
        for path in home.rglob("*")
        if path.is_file() and path.suffix not in (".lock",) and ".db-" not in path.name
    }


def _runs(home: Path) -> tuple[set[str], set[str]]:
    """The ids of the runs that Dagster and MLflow know."""
    with open_instance() as instance:
        dagster_runs = set(instance.get_run_ids())
    tracking = Tracking(home=str(home))
    tracked = tracking.client.search_runs([tracking.experiment_id])
    return dagster_runs, {run.info.run_id for run in tracked}


def test_a_dry_run_says_what_is_then_removed_and_removes_nothing(kept_home):
    before = _files(kept_home), _runs(kept_home)
    told = _gc("--dry-run", "--keep", "2")
    assert (_files(kept_home), _runs(kept_home)) == before
    assert _gc("--keep", "2") == told
    gone = before[0] - _files(kept_home)
    kinds = {line.split("\t")[0] for line in told}
    assert kinds == {
        "value", "MLflow run", "Dagster run", "cached photo", "cached vectors", "cached points",
        "cached windows", "mark of use",
    }  # fmt: skip
    for kind, name in (line.split("\t") for line in told):
        if kind in ("value", "cached vectors", "cached points", "cached windows", "mark of use"):
            assert any(file.startswith(name) for file in gone)
    assert _gc("--keep", "2") == []


def test_the_newest_of_each_collection_stay(kept_home):
    dagster_runs, tracked = _runs(kept_home)
    _gc("--keep", "2")
    assert len(dagster_runs) == 2 * NIGHTS
    assert len(tracked) == 2 * 2 * NIGHTS
    kept_runs, kept_tracked = _runs(kept_home)
    assert len(kept_runs) == 2 * 2
    assert len(kept_tracked) == 2 * 2 * 2
    names = {
        path.name for folder in ("points", "windows") for path in (kept_home / folder).iterdir()
    }
    assert names == {
        f"{name}{night}.{end}"
        for name in ("birds", "cats")
        for night in (NIGHTS - 2, NIGHTS - 1)
        for end in ("npy", "f32")
    }
    # The nights 1 and 2 had the photos 1 to 4.
    stored = PhotoStore(kept_home / "photos").image_ids()
    assert stored >= {image_id("birds", number) for number in range(1, 5)}
    assert image_id("birds", 0) not in stored
    assert not list((kept_home / "mlflow-artifacts").glob("*/.removed-*"))
    assert len(list((kept_home / "mlflow-artifacts").iterdir())) == 2 * 2


def test_rows_of_mlflow_go_with_their_runs_and_what_others_threw_away_stays(kept_home):
    tracking = Tracking(home=str(kept_home))
    client = tracking.client
    thrown_away = client.create_run(tracking.experiment_id).info.run_id
    client.delete_run(thrown_away)
    client.delete_experiment(client.create_experiment("thrown away"))
    _gc("--keep", "1")
    assert client.get_run(thrown_away).info.lifecycle_stage == "deleted"
    with closing(sqlite3.connect(kept_home / "mlflow.db")) as connection:
        for table in ("metrics", "latest_metrics", "params", "tags"):
            lost = f"SELECT count(*) FROM {table} WHERE run_uuid NOT IN (SELECT run_uuid FROM runs)"
            assert connection.execute(lost).fetchone() == (0,)
        deleted = "SELECT count(*) FROM experiments WHERE lifecycle_stage = 'deleted'"
        assert connection.execute(deleted).fetchone() == (1,)


def test_runs_that_models_came_from_stay(kept_home):
    tracking = Tracking(home=str(kept_home))
    client = tracking.client
    oldest = client.search_runs(
        [tracking.experiment_id],
        "tags.`dagster.asset` = 'raw_images'",
        order_by=["attributes.start_time"],
    )[0]
    client.create_registered_model(MODEL)
    client.create_model_version(MODEL, f"runs:/{oldest.info.run_id}/x", oldest.info.run_id)
    told = _gc("--keep", "1")
    family = {oldest.info.run_id, oldest.data.tags["mlflow.parentRunId"]}
    assert family <= _runs(kept_home)[1]
    assert not family & {line.split("\t")[1] for line in told}
    folder = tracking.local_artifacts(oldest.info.run_id)
    assert folder is not None
    assert (folder / "note.txt").exists()


def test_a_picture_that_was_given_out_stays(kept_home):
    values = kept_home / "outputs" / "raw_images" / "birds"
    current = (values / "current").read_text()
    oldest = min(
        (path for path in values.iterdir() if path.is_dir()),
        key=lambda path: (path / "checksums.json").stat().st_mtime_ns,
    )
    (oldest / KEPT).touch()
    _gc("--keep", "1")
    assert {path.name for path in values.iterdir() if path.is_dir()} == {current, oldest.name}


def test_a_current_value_stays_though_it_is_not_the_newest(kept_home):
    values = kept_home / "outputs" / "raw_images" / "birds"
    oldest = min(
        (path for path in values.iterdir() if path.is_dir()),
        key=lambda path: (path / "checksums.json").stat().st_mtime_ns,
    )
    (values / "current").write_text(oldest.name)
    _gc("--keep", "1")
    assert oldest.is_dir()


def test_the_run_of_the_last_materialization_stays_however_old_it_is(kept_home):
    partitions = dg.DynamicPartitionsDefinition(name="collections")

    @dg.asset(partitions_def=partitions)
    def nsfw_scores() -> None: ...

    @dg.asset_check(asset=nsfw_scores)
    def sound() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    def score(instance: dg.DagsterInstance) -> str:
        scored = dg.materialize([nsfw_scores, sound], instance=instance, partition_key="birds")
        return scored.run_id

    with open_instance() as instance:
        former, last = score(instance), score(instance)
        for _ in range(3):
            nothing.execute_in_process(instance=instance, tags={PARTITION_TAG: "birds"})
    _gc("--keep", "2")
    with open_instance() as instance:
        known = set(instance.get_run_ids())
        assert last in known
        assert former not in known
        assert instance.get_materialized_partitions(dg.AssetKey("nsfw_scores")) == {"birds"}
    with closing(sqlite3.connect(kept_home / "history" / "runs" / "index.db")) as connection:
        rows = connection.execute("SELECT DISTINCT run_id FROM asset_check_executions").fetchall()
    assert rows == [(last,)]


def test_a_run_or_a_command_at_work_is_waited_for(kept_home):
    with open_instance() as instance:
        run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED)
        instance.add_run_tags(run.run_id, {PROCESS_TAG: this_process(run.run_id)})
    result = CliRunner().invoke(command, ["--keep", "1"])
    assert "is at work on the home" in str(result.exception)
    with open_instance() as instance:
        instance.report_run_failed(instance.get_run_by_id(run.run_id))
    with collection_lock("birds"):
        result = CliRunner().invoke(command, ["--keep", "1"])
        assert "A tessera is at work on birds" in str(result.exception)
    assert _gc("--keep", "1")


def test_a_collection_of_an_older_home_keeps_its_points_and_its_photos(kept_home):
    shutil.rmtree(kept_home / "recent" / "birds")
    values = kept_home / "outputs" / "tsne_2d" / "birds"
    values.mkdir(parents=True)
    (values / "current").write_text("0" * 32)
    told = _gc("--keep", "1")
    assert "cached points" not in {line.split("\t")[0] for line in told}
    stored = PhotoStore(kept_home / "photos").image_ids()
    assert {image_id("birds", number) for number in range(2, 5)} <= stored


def test_a_damaged_mark_keeps_what_it_may_have_named(kept_home):
    (mark, *_) = RecentUse(kept_home).newest(POINTS, 1)
    mark.write_bytes(mark.read_bytes()[:-1] + b"x")
    assert "cached points" not in {line.split("\t")[0] for line in _gc("--keep", "1")}


def test_a_photo_that_was_just_posted_stays(kept_home):
    from PIL import Image

    store = PhotoStore(kept_home / "photos")
    posted, forgotten = "a" * 64, "b" * 64
    for one in (posted, forgotten):
        store.keep_working_copy(one, Image.new("RGB", (8, 8)))
    long_ago = time.time() - 2 * UNTOUCHED_SECONDS
    os.utime(store.working_copy_path(forgotten), (long_ago, long_ago))
    _gc("--keep", "1")
    assert posted in store.image_ids()
    assert forgotten not in store.image_ids()


def test_the_newest_maps_of_each_collection_stay(kept_home):
    for name, numbers in (("birds", (7, 8, 12)), ("cats", (1,))):
        (kept_home / "maps" / name).mkdir(parents=True)
        for number in numbers:
            (kept_home / f"maps/{name}/{number:06}.map").touch()
    told = [line for line in _gc("--keep", "2") if line.startswith("kept map")]
    assert told == ["kept map\tmaps/birds/000007.map"]
    assert sorted(file.name for file in (kept_home / "maps").rglob("*.map")) == [
        "000001.map",
        "000008.map",
        "000012.map",
    ]


def test_damaged_files_and_backups_beyond_the_newest_go(kept_home):
    backups = kept_home / "backups"
    backups.mkdir(exist_ok=True)
    for number in range(3):
        (backups / f"mlflow-{number}.db").touch()
        (kept_home / f"x.db.corrupt-{number}").touch()
        for place in (
            backups / f"mlflow-{number}.db",
            kept_home / f"x.db.corrupt-{number}",
        ):
            os.utime(place, (number, number))
    _gc("--keep", "1")
    assert [path.name for path in kept_home.glob("*.corrupt*")] == ["x.db.corrupt-2"]
    assert not list(backups.glob("mlflow-[01].db"))


def test_a_gc_that_is_killed_is_finished_by_the_next(copied_home, monkeypatch):
    """Killed at one of four changes of the disk."""
    whole = copied_home()
    with killed_at(-1, monkeypatch) as n_steps:
        _gc("--keep", "1")
        steps = n_steps()
    expected = _files(whole), _runs(whole)
    assert steps > 40
    for step in range(steps // 8, steps, steps // 4):
        home = copied_home()
        with pytest.raises(Killed), killed_at(step, monkeypatch):
            _gc("--keep", "1")
        _gc("--keep", "1")
        assert _files(home) ^ expected[0] == set()
        assert _runs(home) == expected[1]


def test_the_job_of_the_night_removes_the_same(kept_home):
    with open_instance() as instance:
        planned = plan_removals(home_folder(), instance, Tracking(home=str(kept_home)), 2)
        config = {"ops": {"remove_what_is_old": {"config": {"keep": 2}}}}
        definitions = build_definitions(build_resources())
        job = definitions.resolve_job_def("house_keeping")
        assert job.execute_in_process(instance=instance, run_config=config).success
    n_items = sum(len(one.items) for one in planned)
    assert n_items > 20
    assert _gc("--keep", "2") == []


def test_mlflow_on_a_server_is_told_what_is_deleted(kept_home, tmp_path, monkeypatch):
    """Its own `mlflow gc` removes it for good."""
    database = tmp_path / "server.db"
    shutil.copyfile(kept_home / "mlflow.db", database)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    told = [line for line in _gc("--keep", "1") if line.startswith("MLflow run")]
    assert len(told) == 2 * 2 * (NIGHTS - 1)
    tracking = Tracking(home=str(kept_home), tracking_uri=f"sqlite:///{database}")
    assert tracking.client.get_run(told[0].split("\t")[1]).info.lifecycle_stage == "deleted"
