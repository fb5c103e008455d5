import sqlite3
from collections import Counter
from contextlib import closing

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image

from assets.io_managers import outputs_of
from assets.resources.mlflow_runs import delete_runs, families_of_run
from assets.resources.progress import LogProgress
from assets.resources.tracking import MLFLOW_TAG, PARENT_TAG, Tracking
from assets.steps import MADE_IN, MLFLOW_RUN, step
from orchestration.housekeeping.dagster_history import compact_log, old_runs
from orchestration.housekeeping.unchanged_runs import UNCHANGED_TAG, shorten_record
from orchestration.instance import open_instance


@pytest.fixture
def night(kept_home):
    """Returns a function that runs a job on a value; returns its run and the one it replaces."""
    tracking = Tracking(home=str(kept_home))

    @dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="collections"))
    def layout(context: dg.AssetExecutionContext) -> pd.DataFrame:
        value = int(context.run.tags["value"])
        noise = np.random.default_rng(value).integers(0, 256, (300, 300, 3), np.uint8)
        with step(context, tracking, LogProgress()) as log:
            log.metrics({"cells": 1})
            log.image("mosaic.png", Image.fromarray(noise))
        return pd.DataFrame({"cell": [value]})

    @dg.asset_check(asset=layout)
    def sound(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        if "breaks" in context.run.tags:
            raise dg.Failure("The check broke off.")
        return dg.AssetCheckResult(passed="fails" not in context.run.tags)

    def run(value: int, **tags: str) -> tuple[str, str | None]:
        with open_instance() as instance:
            result = dg.materialize(
                [layout, sound],
                instance=instance,
                partition_key="birds",
                tags={"value": str(value), **tags},
                resources={"io_manager": outputs_of(kept_home)},
                raise_on_error=False,
            )
            return result.run_id, shorten_record(kept_home, instance, tracking, result.run_id)

    return run


def test_of_runs_in_which_nothing_changed_the_last_is_kept(kept_home, night):
    first, _ = night(1)
    second, replaced = night(1)
    # The one that made the value stays.
    assert replaced is None
    third, replaced = night(1)
    assert replaced == second
    assert night(1, fails="yes")[1] is None
    fifth, replaced = night(1)
    assert replaced is None
    assert night(2)[1] is None
    assert night(2)[1] is None
    with open_instance() as instance:
        runs = {run.run_id: run for run in instance.get_runs()}
        assert {first, third, fifth} <= runs.keys()
        assert second not in runs
        assert runs[third].tags[UNCHANGED_TAG] == "true"
        assert UNCHANGED_TAG not in runs[first].tags
    assert not list((kept_home / "history" / "runs").glob(f"{second}*"))
    assert not families_of_run(Tracking(home=str(kept_home)), second)


def _size(home) -> int:
    return sum(file.stat().st_size for file in home.rglob("*.db"))


def test_the_record_of_a_run_in_which_nothing_changed_is_short(kept_home, night):
    maker, _ = night(1)
    before = _size(kept_home)
    # Of one asset and one check: the picture alone would be three times 60 KB.
    second, _ = night(1)
    assert _size(kept_home) - before < 45_000
    third, replaced = night(1)
    assert replaced == second
    assert _size(kept_home) - before < 45_000

    tracking = Tracking(home=str(kept_home))
    (family,) = families_of_run(tracking, maker)
    assert not families_of_run(tracking, third)
    with open_instance() as instance:
        made = {
            record.run_id: record.asset_materialization.metadata
            for record in instance.fetch_materializations(dg.AssetKey("layout"), limit=9).records
        }
        tags = instance.get_run_by_id(third).tags
        # `tessera gc` leaves what it refers to.
        old = {item.name for item in old_runs(kept_home, instance, 0).items}
        assert old.isdisjoint({maker, third})
        kinds = {entry.dagster_event.event_type_value for entry in instance.all_logs(third)}
    assert made[maker]["mosaic"].value.startswith("![thumbnail](data:")
    told = made[third]
    # The chain of nights leads to the one that has it.
    assert told["mosaic"].value.startswith("[As on 2")
    assert told["mosaic"].value.endswith(f" UTC](/runs/{maker}), and not changed since.")
    assert told[MADE_IN].value == maker
    assert told["cells"].value == 1
    assert told[MLFLOW_RUN].value in family.run_ids
    assert tags[MLFLOW_TAG] in family.run_ids
    assert kinds == {
        "PIPELINE_START", "PIPELINE_SUCCESS", "STEP_START", "STEP_SUCCESS",
        "ASSET_CHECK_EVALUATION", "LOGS_CAPTURED",
    }  # fmt: skip
    with closing(sqlite3.connect(kept_home / "history" / "runs" / f"{third}.db")) as log:
        assert log.execute("PRAGMA journal_mode").fetchone() == ("wal",)

    # What changes has its picture again, and its whole log.
    changed, _ = night(2)
    with open_instance() as instance:
        newest = instance.fetch_materializations(dg.AssetKey("layout"), limit=1).records[0]
        kinds = {entry.dagster_event.event_type_value for entry in instance.all_logs(changed)}
    assert newest.asset_materialization.metadata["mosaic"].value.startswith("![thumbnail](data:")
    assert {"STEP_OUTPUT", "ASSET_MATERIALIZATION", "HANDLED_OUTPUT"} <= kinds


def test_mlflow_is_not_asked_in_a_run_in_which_nothing_is_new(kept_home, night, monkeypatch):
    counts = Counter[str]()

    def count(name: str) -> None:
        original = getattr(MlflowClient, name)

        def call(*arguments, **named):
            counts[name] += 1
            return original(*arguments, **named)

        monkeypatch.setattr(MlflowClient, name, call)

    for name in ("create_run", "log_batch", "search_runs", "set_terminated", "delete_run"):
        count(name)
    night(1)
    assert counts["create_run"] == 2
    # The settings and metrics of an asset go to its run at once, and to the parent.
    assert counts["log_batch"] == 2
    counts.clear()
    night(1)
    assert counts == {}
    # It has a record where something breaks off, where it takes long, and where something is new.
    tracking = Tracking(home=str(kept_home))
    failed, _ = night(1, breaks="yes")
    (family,) = families_of_run(tracking, failed)
    runs = [tracking.client.get_run(one) for one in family.run_ids]
    (parent,) = (run for run in runs if PARENT_TAG not in run.data.tags)
    (child,) = (run for run in runs if PARENT_TAG in run.data.tags)
    assert child.data.metrics == {"cells": 1}
    assert parent.data.metrics == {"layout.cells": 1}
    artifacts = tracking.local_artifacts(child.info.run_id)
    assert artifacts is not None
    assert (artifacts / "mosaic.png").is_file()
    with monkeypatch.context() as patch:
        patch.setattr("assets.resources.tracking.LONGEST_HELD", -1.0)
        counts.clear()
        night(1)
    assert counts["create_run"] == 2
    # Also where a run is said to be at work that is over.
    tracking.client.update_run(child.info.run_id, status="RUNNING")
    night(1)
    assert tracking.client.get_run(child.info.run_id).info.status != "RUNNING"
    assert families_of_run(tracking, night(2)[0])


def test_mlflow_keeps_the_run_if_it_has_lost_the_one_that_made_the_value(kept_home, night):
    maker, _ = night(1)
    tracking = Tracking(home=str(kept_home))
    (family,) = families_of_run(tracking, maker)
    delete_runs(tracking, family.run_ids)
    second, _ = night(1)
    assert families_of_run(tracking, second)


def test_a_log_that_somebody_reads_stays_as_it_is(kept_home, night, monkeypatch):
    monkeypatch.setattr("orchestration.housekeeping.dagster_history._SECONDS_TO_COMPACT", 0.1)
    run_id, _ = night(1)
    log = kept_home / "history" / "runs" / f"{run_id}.db"
    with closing(sqlite3.connect(log)) as reader:
        reader.execute("BEGIN")
        (n_events,) = reader.execute("SELECT count(*) FROM event_logs").fetchone()
        compact_log(kept_home, run_id, is_short=True)
        assert reader.execute("SELECT count(*) FROM event_logs").fetchone() == (n_events,)
    with open_instance() as instance:
        assert instance.all_logs(run_id)


def test_a_person_who_maps_by_day_does_not_take_the_place_of_the_night(night):
    by_schedule = {"dagster/schedule_name": "nightly"}
    night(1)
    of_night, _ = night(1, **by_schedule)
    by_day, replaced = night(1)
    assert replaced is None
    assert night(1, **by_schedule)[1] == of_night
    assert night(1)[1] == by_day


def test_a_visualization_keeps_its_run(night):
    night(1)
    for _ in range(3):
        assert night(1, **{"tessera/followed": "yes"})[1] is None
