import threading

import dagster as dg
import pytest

from orchestration.api.visualizations.map_runs import (
    APP,
    CANCELLED,
    DELETED,
    DIGEST,
    WAITING,
    MapRequest,
    MapRuns,
)
from orchestration.instance import PROCESS_TAG, fail_run

SUCCESS = dg.DagsterRunStatus.SUCCESS


@pytest.fixture
def runs(instance):
    return MapRuns(instance)


def create(runs: MapRuns, app: str = "birds", digest: str = "digest") -> dg.DagsterRun:
    run_id = dg.DagsterRun("photo_map").run_id
    return runs.create(run_id, MapRequest(app, digest, 12, {}))


def succeed(runs: MapRuns, run: dg.DagsterRun) -> None:
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, "photo_map")
    runs.instance.report_dagster_event(event, run.run_id)


def test_the_oldest_run_comes_first_and_one_that_is_closed_not_at_all(runs):
    first, second, third = (create(runs) for _ in range(3))
    assert [run.run_id for run in runs.open()] == [first.run_id, second.run_id, third.run_id]
    runs.close(second)
    assert [run.run_id for run in runs.open()] == [first.run_id, third.run_id]
    assert not runs.is_open(second)


def test_visualizations_are_found_by_their_tags_the_newest_first(runs):
    made = [create(runs, digest=str(number % 2)) for number in range(45)]
    create(runs, app="cats", digest="0")
    found = list(runs.roots({APP: "birds", DIGEST: "0"}))
    assert found == [run.run_id for run in reversed(made[::2])]
    succeed(runs, made[6])
    assert list(runs.roots({APP: "birds"}, SUCCESS)) == [made[6].run_id]
    assert (runs.count(SUCCESS), runs.count(WAITING)) == (1, 45)


def test_a_retry_belongs_to_the_first_and_is_made_once(runs):
    first = create(runs)
    fail_run(runs.instance, first)
    for _ in range(3):
        runs.retry(first)
    _, retry = runs.runs_of(first)
    assert retry.run_config == first.run_config
    assert retry.step_keys_to_execute == first.step_keys_to_execute
    assert (retry.status, retry.tags[PROCESS_TAG]) == (WAITING, "")
    assert list(runs.roots({APP: "birds"})) == [first.run_id]
    failure = runs.failure(runs.instance.get_run_by_id(first.run_id))
    assert runs.may_be_retried(first, failure)
    assert not runs.may_be_retried(retry, failure)


def test_what_is_marked_stays_marked_whoever_writes_at_the_same_time(runs):
    """Dagster reads all tags of a run and writes them back."""
    run = create(runs)

    def write(number: int) -> None:
        runs.instance.add_run_tags(run.run_id, {f"other/{number}": "x"})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    threads.append(threading.Thread(target=runs.mark, args=(run.run_id, CANCELLED)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runs.has(run.run_id, CANCELLED)
    assert runs.is_cancelled(run)
    assert not runs.has(run.run_id, DELETED)


def test_a_deleted_visualization_is_not_found(runs):
    run = create(runs)
    assert runs.find(run.run_id).dagster_run.run_id == run.run_id
    runs.mark(run.run_id, DELETED)
    runs.mark(run.run_id, DELETED)
    assert runs.find(run.run_id) is None
