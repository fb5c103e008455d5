import threading
import time
import uuid
from contextlib import closing
from types import SimpleNamespace

import dagster as dg
import pytest

from orchestration.api.visualizations import run_follower
from orchestration.api.visualizations.map_runs import FIRST_PRIORITY, MapRuns
from orchestration.api.visualizations.run_follower import MOST_INTERRUPTS, RunFollower
from orchestration.api.visualizations.visualization_store import MapRequest, VisualizationStore
from orchestration.dead_runs import PROCESS_GONE, fail_run

QUEUED, CANCELED = dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.CANCELED
RUN_START, RUN_SUCCESS = dg.DagsterEventType.RUN_START, dg.DagsterEventType.RUN_SUCCESS


class Bench:
    """A follower that looks when it is told to, on an instance that nobody takes runs from."""

    def __init__(self, home, instance) -> None:
        self.instance = instance
        self.store = VisualizationStore(home / "serve" / "visualizations.sqlite")
        self.tidied: list[str] = []
        self.runs = MapRuns(instance)
        self.follower = self.another(home)

    def another(self, home) -> RunFollower:
        return RunFollower(
            home, self.store, self.runs, 1, lambda known: self.tidied.append(known.id)
        )

    def ask(self, app: str = "birds") -> str:
        identity = str(uuid.uuid4())
        self.store.add(identity, MapRequest(app, "digest", 12, {}))
        return identity

    def look(self) -> None:
        self.follower.look()

    def run(self, run_id: str) -> dg.DagsterRun:
        return self.instance.get_run_by_id(run_id)

    def report(self, run_id: str, kind: dg.DagsterEventType) -> None:
        self.instance.report_dagster_event(dg.DagsterEvent(kind.value, "photo_map"), run_id)

    def die(self, run_id: str) -> None:
        """Let Dagster see that the process of a run is gone; no daemon is there to retry it."""
        self.report(run_id, RUN_START)
        fail_run(self.instance, self.run(run_id))


@pytest.fixture
def bench(home, instance, monkeypatch):
    monkeypatch.setattr(run_follower, "_SECONDS_FOR_A_RETRY", 0.0)
    monkeypatch.setattr(run_follower, "_SECONDS_BETWEEN_SEARCHES", 0.0)
    monkeypatch.setattr(run_follower, "_SECONDS_BETWEEN_CANCELLATIONS", 0.0)
    bench = Bench(home, instance)
    with closing(bench.store):
        yield bench


def test_what_is_asked_for_is_put_into_dagsters_queue_once(bench):
    asked = bench.ask()
    for _ in range(2):
        bench.look()
    run = bench.run(asked)
    assert (run.status, run.job_name) == (QUEUED, "photo_map")
    assert run.remote_job_origin.location_name == "tessera"
    expected = {
        "dagster/partition": "birds",
        "dagster/max_retries": "1",
        "dagster/retry_strategy": "ALL_STEPS",
        "dagster/priority": str(FIRST_PRIORITY),
        "tessera/app": "birds",
        "tessera/keep": "mosaic",
        "tessera/followed": "yes",
    }
    assert expected.items() <= run.tags.items()
    assert bench.instance.get_runs_count() == 1


def test_a_service_killed_between_its_note_and_the_queue_submits_it_later(bench, monkeypatch):
    asked = bench.ask()

    def dies(identity: str) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "note_submitted", dies)
        with pytest.raises(SystemExit):
            bench.look()
    assert not bench.store.find(asked).is_submitted
    bench.look()
    assert bench.store.find(asked).is_submitted
    assert bench.instance.get_runs_count() == 1


def test_the_queue_begins_with_an_apps_first_before_anothers_second(bench):
    first, second, other = bench.ask("a"), bench.ask("a"), bench.ask("b")
    bench.look()
    priorities = [int(bench.run(one).tags["dagster/priority"]) for one in (first, second, other)]
    assert priorities[0] == priorities[2] > priorities[1]


def test_many_are_submitted_a_few_at_a_time(bench):
    asked = [bench.ask() for _ in range(6)]
    bench.look()
    assert bench.instance.get_runs_count() == 4
    bench.look()
    assert {run.run_id for run in bench.instance.get_runs()} == set(asked)


def test_a_run_that_succeeds_is_ready(bench):
    asked = bench.ask()
    bench.look()
    bench.report(asked, RUN_START)
    bench.look()
    assert bench.follower.n_at_work == 1
    assert bench.follower.progress(bench.store.find(asked)).share > 0
    bench.report(asked, RUN_SUCCESS)
    bench.look()
    assert bench.store.find(asked).state == "ready"
    assert (bench.tidied, bench.follower.n_at_work) == ([asked], 0)


def test_a_run_whose_process_is_killed_is_tried_once_more(bench):
    asked = bench.ask()
    bench.look()
    bench.die(asked)
    bench.look()
    bench.look()
    second = bench.store.find(asked).run_id
    assert second != asked
    run = bench.run(second)
    assert (run.status, run.root_run_id, run.parent_run_id) == (QUEUED, asked, asked)
    bench.die(second)
    bench.look()
    known = bench.store.find(asked)
    assert (known.state, known.reason) == ("failed", f"A fault of the service: {PROCESS_GONE}")
    assert bench.tidied == [asked]
    assert len(bench.runs.runs_of(asked)) == 2


def test_a_retry_of_dagsters_is_waited_for_and_followed(bench, monkeypatch):
    monkeypatch.setattr(run_follower, "_SECONDS_FOR_A_RETRY", 60.0)
    asked = bench.ask()
    bench.look()
    bench.die(asked)
    assert bench.run(asked).tags["dagster/will_retry"] == "true"
    bench.look()
    assert bench.store.find(asked).run_id == asked
    retry = bench.ask()
    bench.instance.add_run_tags(asked, {"dagster/auto_retry_run_id": retry})
    bench.look()
    known = bench.store.find(asked)
    assert (known.run_id, known.is_submitted, known.n_deaths) == (retry, True, 1)


def test_a_retry_that_dagster_gives_up_is_made_at_once(bench, monkeypatch):
    monkeypatch.setattr(run_follower, "_SECONDS_FOR_A_RETRY", 60.0)
    asked = bench.ask()
    bench.look()
    bench.die(asked)
    bench.instance.add_run_tags(asked, {"dagster/will_retry": "false"})
    bench.look()
    assert bench.store.find(asked).run_id != asked


def interrupted_run(instance, run_id: str) -> None:
    @dg.op
    def step() -> None:
        raise dg.DagsterExecutionInterruptedError

    @dg.job(name="photo_map")
    def job() -> None:
        step()

    instance.delete_run(run_id)
    job.execute_in_process(instance=instance, run_id=run_id, raise_on_error=False)


@pytest.mark.process
def test_a_run_that_the_end_of_the_service_interrupts_goes_on_and_counts_as_no_try(bench):
    asked = bench.ask()
    bench.look()
    for n_interrupts in range(1, 3):
        interrupted_run(bench.instance, bench.store.find(asked).run_id)
        bench.look()
        known = bench.store.find(asked)
        assert (known.state, known.n_interrupts, known.n_deaths) == ("pending", n_interrupts, 0)
        bench.look()
        assert bench.run(known.run_id).status is QUEUED
    with bench.store.transaction() as connection:
        connection.execute(f"UPDATE visualizations SET n_interrupts = {MOST_INTERRUPTS}")
    interrupted_run(bench.instance, bench.store.find(asked).run_id)
    bench.look()
    assert bench.store.find(asked).reason == "The run was interrupted."


@pytest.mark.process
def test_a_run_that_fails_by_itself_is_not_tried_again(bench, home):
    @dg.op
    def step() -> None:
        raise dg.Failure(f"There are no photos in {home}/photos.", allow_retries=False)

    @dg.job(name="photo_map")
    def job() -> None:
        step()

    asked = bench.ask()
    bench.look()
    bench.instance.delete_run(asked)
    job.execute_in_process(instance=bench.instance, run_id=asked, raise_on_error=False)
    bench.look()
    known = bench.store.find(asked)
    assert (known.state, known.reason) == ("failed", "There are no photos in photos.")


def test_one_that_waits_is_cancelled_in_the_queue(bench):
    asked, unsubmitted = bench.ask(), bench.ask()
    bench.look()
    for identity in (asked, unsubmitted):
        bench.store.end(identity, "cancelled", "Cancelled.")
    bench.look()
    assert bench.run(asked).status is CANCELED
    bench.look()
    assert sorted(bench.tidied) == sorted([asked, unsubmitted])
    assert bench.store.ended_but_open() == []


def test_one_that_runs_is_cancelled_by_the_launcher_again_and_again(bench, monkeypatch):
    asked = bench.ask()
    bench.look()
    bench.report(asked, RUN_START)
    told = []
    coordinator = SimpleNamespace(cancel_run=told.append)
    monkeypatch.setattr(type(bench.instance), "run_coordinator", coordinator)
    bench.store.end(asked, "cancelled", "Cancelled.")
    for _ in range(2):
        bench.look()
        time.sleep(0.01)
    assert told == [asked, asked]
    assert bench.tidied == []
    bench.instance.report_run_canceled(bench.run(asked))
    bench.look()
    assert bench.tidied == [asked]


def test_what_is_cancelled_or_deleted_in_dagsters_ui_is_cancelled(bench):
    cancelled, deleted = bench.ask(), bench.ask()
    bench.look()
    bench.instance.report_run_canceled(bench.run(cancelled))
    bench.instance.delete_run(deleted)
    bench.look()
    assert bench.store.find(cancelled).reason == "Cancelled."
    assert bench.store.find(deleted).reason == "Its run was deleted in Dagster."


def test_one_that_cannot_be_submitted_holds_up_no_other_and_is_given_up(bench, monkeypatch):
    broken, sound = bench.ask("a"), bench.ask("b")
    submit = bench.runs.submit

    def fails_for_one(known) -> None:
        if known.id == broken:
            raise RuntimeError("no")
        submit(known)

    monkeypatch.setattr(bench.runs, "submit", fails_for_one)
    for _ in range(5):
        bench.look()
    assert bench.run(sound).status is QUEUED
    assert bench.store.find(broken).state == "failed"


def test_the_place_in_the_queue_counts_for_the_time_left(bench):
    asked = [bench.ask() for _ in range(3)]
    bench.look()
    left = [bench.follower.progress(bench.store.find(one)).seconds_left for one in asked]
    assert left[1] == pytest.approx(2 * left[0], rel=0.01)
    assert left[2] == pytest.approx(3 * left[0], rel=0.01)


def test_a_fault_in_one_look_is_logged_and_forgotten(bench, monkeypatch, caplog):
    monkeypatch.setattr(run_follower, "_SECONDS_AFTER_A_FAULT", 0.1)
    looked = threading.Event()
    look = bench.follower.look

    def fails_once() -> None:
        monkeypatch.setattr(bench.follower, "look", lambda: (look(), looked.set()))
        raise OSError("the disk is full")

    monkeypatch.setattr(bench.follower, "look", fails_once)
    asked = bench.ask()
    bench.follower.start()
    assert looked.wait(30)
    bench.follower.close()
    assert "the disk is full" in caplog.text
    assert bench.run(asked).status is QUEUED
