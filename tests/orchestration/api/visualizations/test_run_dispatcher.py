import logging
import os
import signal
import sys
from contextlib import suppress
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from filelock import FileLock

from orchestration.api.visualizations import run_dispatcher
from orchestration.api.visualizations.map_runs import (
    APP,
    CANCELLED,
    STATE,
    WAITING,
    MapRequest,
    MapRuns,
)
from orchestration.api.visualizations.run_dispatcher import Dispatcher
from orchestration.api.visualizations.run_worker import TAKEN, worker_lock, worker_log
from orchestration.instance import (
    PROCESS_GONE,
    PROCESS_TAG,
    collection_lock,
    fail_dead_runs,
    fail_orphaned_runs,
    this_process,
)
from support.served import wait_for

STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE
SUCCESS, CANCELED = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED

pytestmark = pytest.mark.process

# Stands in for the worker: it holds the lock and does nothing.
WORKER = """
import pathlib, signal, sys, time
from filelock import FileLock
lock, how, traces, run_id = sys.argv[1:]
signal.signal(signal.SIGINT, signal.SIG_IGN if how == "stubborn" else signal.SIG_DFL)
with open(pathlib.Path(traces), "a") as file:
    file.write(run_id + "\\n")
if how == "dies":
    sys.exit("Traceback:\\nMemoryError: too many photos")
if how == "taken":
    sys.exit(75)
with FileLock(lock, timeout=0):
    pathlib.Path(traces + "." + run_id).touch()
    time.sleep(120)
"""


class Bench:
    """Dispatchers at work on one home, with workers that stand in for the true ones."""

    def __init__(self, home, instance) -> None:
        self.home, self.instance, self.runs = home, instance, MapRuns(instance)
        self.how = "sleeps"
        self.settled: list[str] = []
        self.ended: list[str] = []
        self.dispatchers: list[Dispatcher] = []

    def command(self, run_id: str, compute: str) -> list[str]:
        lock = str(worker_lock(self.home, run_id))
        return [sys.executable, "-c", WORKER, lock, self.how, str(self.home / "traces"), run_id]

    def dispatch(self, runs_at_once: int = 1) -> Dispatcher:
        dispatcher = Dispatcher(
            self.home,
            self.runs,
            runs_at_once,
            lambda run: self.settled.append(run.run_id),
            lambda run: self.ended.append(run.run_id),
        )
        self.dispatchers.append(dispatcher)
        dispatcher.start()
        return dispatcher

    def ask(self, app: str = "birds") -> str:
        run_id = dg.DagsterRun("photo_map").run_id
        return self.runs.create(run_id, MapRequest(app, "digest", 12, {})).run_id

    def begun(self) -> list[str]:
        """The runs that workers were started for, in their order."""
        traces = self.home / "traces"
        return traces.read_text().split() if traces.exists() else []

    def holds(self, run_id: str) -> bool:
        return (self.home / f"traces.{run_id}").exists()

    def worker(self, run_id: str):
        return next(
            dispatcher._workers[run_id]
            for dispatcher in self.dispatchers
            if run_id in dispatcher._workers
        )

    def report(self, run_id: str, kind: dg.DagsterEventType) -> None:
        self.instance.report_dagster_event(dg.DagsterEvent(kind.value, "photo_map"), run_id)

    def start_run(self, run_id: str) -> None:
        """Have a run started by its worker, as the true one does."""
        wait_for(lambda: self.holds(run_id), 20, f"{run_id} has no worker")
        self.report(run_id, dg.DagsterEventType.RUN_START)

    def succeed(self, run_id: str) -> None:
        self.report(run_id, dg.DagsterEventType.RUN_SUCCESS)
        self.kill(run_id)

    def kill(self, run_id: str) -> None:
        self.worker(run_id).kill()

    def run(self, run_id: str) -> dg.DagsterRun:
        return self.instance.get_run_by_id(run_id)

    def wait_for_status(self, run_id: str, status: dg.DagsterRunStatus) -> None:
        wait_for(lambda: self.run(run_id).status is status, 20, f"it is not {status}")

    def retry_of(self, run_id: str) -> str | None:
        runs = self.runs.runs_of(self.run(run_id))
        return runs[1].run_id if len(runs) > 1 else None

    def wait_for_retry(self, run_id: str) -> str:
        return wait_for(lambda: self.retry_of(run_id), 20, "it was not tried again")

    def wait_until_ended(self, run_id: str) -> None:
        wait_for(lambda: run_id in self.ended, 20, "it has not ended")
        wait_for(lambda: not self.runs.open(), 20, "it was not closed")

    def looks(self) -> None:
        """Wait until the dispatchers have looked at everything twice."""
        counted = []
        seen = self.runs.open

        def counting():
            counted.append(1)
            return seen()

        self.runs.open = counting
        wait_for(lambda: len(counted) > 2, 20, "nobody looks")
        self.runs.open = seen

    def close(self) -> None:
        for dispatcher in self.dispatchers:
            dispatcher.close()
        for dispatcher in self.dispatchers:
            for worker in dispatcher._workers.values():
                with suppress(ProcessLookupError):
                    os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()


@pytest.fixture
def bench(home, instance, monkeypatch):
    bench = Bench(home, instance)
    monkeypatch.setattr(run_dispatcher, "worker_command", bench.command)
    monkeypatch.setattr(run_dispatcher, "_SECONDS_BETWEEN_LOOKS", 0.1)
    yield bench
    bench.close()


def test_the_oldest_are_carried_out_first_so_many_at_a_time(bench):
    first, second, third = (bench.ask(app) for app in ("a", "b", "c"))
    bench.dispatch(runs_at_once=2)
    bench.start_run(first)
    bench.start_run(second)
    bench.looks()
    assert sorted(bench.begun()) == sorted([first, second])
    bench.succeed(first)
    bench.start_run(third)
    bench.wait_for_status(third, STARTED)
    assert bench.ended == [first]
    assert bench.settled == []
    assert not worker_lock(bench.home, first).exists()
    assert not worker_log(bench.home, first).exists()


def test_a_collection_has_one_run_at_a_time_and_does_not_hold_up_others(bench):
    first, second, other = bench.ask("a"), bench.ask("a"), bench.ask("b")
    bench.dispatch(runs_at_once=3)
    bench.start_run(first)
    bench.start_run(other)
    bench.looks()
    assert sorted(bench.begun()) == sorted([first, other])
    bench.succeed(first)
    bench.start_run(second)


def test_a_collection_that_a_command_line_is_at_is_waited_for(bench):
    with collection_lock("a"):
        waiting, other = bench.ask("a"), bench.ask("b")
        bench.dispatch()
        bench.start_run(other)
        bench.succeed(other)
        bench.wait_for_status(other, SUCCESS)
        bench.looks()
        assert bench.begun() == [other]
    bench.start_run(waiting)


def run_of_others(bench, tags: dict[str, str]) -> str:
    """A run of the collection that is no visualization, and has started."""

    @dg.job
    def photo_map():
        pass

    tags = {"dagster/partition": "a", **tags}
    run_id = bench.instance.create_run_for_job(photo_map, tags=tags).run_id
    bench.report(run_id, dg.DagsterEventType.RUN_START)
    return run_id


def test_a_run_of_the_daemon_is_waited_for_as_long_as_the_daemon_lives(bench):
    theirs = run_of_others(bench, {})
    with FileLock(bench.home / "dev.lock"):
        ours = bench.ask("a")
        bench.dispatch()
        bench.looks()
        assert bench.begun() == []
    bench.start_run(ours)
    assert bench.run(theirs).status is STARTED


def test_a_run_of_a_command_line_is_waited_for_unless_it_is_dead(bench):
    theirs = run_of_others(bench, {PROCESS_TAG: this_process()})
    ours = bench.ask("a")
    bench.dispatch()
    bench.looks()
    assert bench.begun() == []
    number = this_process().split(":")[1]
    bench.instance.add_run_tags(theirs, {PROCESS_TAG: f"{os.uname().nodename}:{number}:1.00"})
    bench.start_run(ours)
    assert bench.run(theirs).status is FAILURE


def test_a_run_whose_process_is_killed_is_tried_once_more(bench):
    first = bench.ask()
    bench.dispatch()
    bench.start_run(first)
    bench.kill(first)
    second = bench.wait_for_retry(first)
    assert bench.run(first).status is FAILURE
    assert bench.run(second).parent_run_id == bench.run(second).root_run_id == first
    assert bench.run(second).tags[APP] == "birds"
    bench.start_run(second)
    bench.kill(second)
    bench.wait_until_ended(second)
    assert bench.run(second).status is FAILURE
    assert str(bench.runs.failure(bench.run(second))) == PROCESS_GONE
    assert bench.settled == [first, second]
    assert bench.ended == [second]
    assert len(bench.runs.runs_of(bench.run(first))) == 2


def test_a_worker_that_dies_before_its_run_begins_leaves_its_last_words(bench):
    bench.how = "dies"
    first = bench.ask()
    bench.dispatch()
    second = bench.wait_for_retry(first)
    bench.wait_until_ended(second)
    assert bench.begun() == [first, second]
    told = str(bench.runs.failure(bench.run(second)))
    assert told == f"{PROCESS_GONE} Its last output: MemoryError: too many photos"


def test_a_run_that_somebody_else_buried_is_tried_once_more(bench):
    run_id = bench.ask()
    dispatcher = bench.dispatch()
    bench.start_run(run_id)
    dispatcher.close()
    number = bench.worker(run_id).pid
    tag = f"{this_process().split(':')[0]}:{number}"
    bench.instance.add_run_tags(run_id, {PROCESS_TAG: tag})
    bench.kill(run_id)
    wait_for(lambda: fail_dead_runs(bench.instance), 20, "it was not buried")
    bench.dispatch()
    bench.start_run(bench.wait_for_retry(run_id))


def test_a_run_that_failed_by_itself_is_not_tried_again(bench):
    run_id = bench.ask()
    bench.dispatch()
    bench.start_run(run_id)
    bench.instance.report_run_failed(bench.run(run_id), "There are no photos.")
    bench.kill(run_id)
    bench.wait_until_ended(run_id)
    assert bench.retry_of(run_id) is None
    assert bench.settled == [run_id]


def test_a_worker_that_finds_another_at_its_run_costs_no_try(bench):
    bench.how = "taken"
    run_id = bench.ask()
    bench.dispatch()
    wait_for(lambda: len(bench.begun()) > 1, 20, "it was not started again")
    assert bench.run(run_id).status is WAITING
    bench.how = "sleeps"
    bench.start_run(run_id)
    assert bench.retry_of(run_id) is None


def test_another_dispatcher_goes_on_with_a_worker_that_lives(bench):
    run_id = bench.ask()
    first = bench.dispatch()
    wait_for(lambda: bench.holds(run_id), 20, "it was not started")
    first.close()
    bench.dispatch()
    bench.looks()
    assert bench.begun() == [run_id]
    bench.report(run_id, dg.DagsterEventType.RUN_START)
    bench.looks()
    assert bench.run(run_id).status is STARTED
    bench.kill(run_id)
    bench.worker(run_id).wait()
    bench.wait_for_retry(run_id)


def test_two_dispatchers_of_one_home_do_nothing_twice(bench):
    bench.dispatch(runs_at_once=4)
    bench.dispatch(runs_at_once=4)
    runs = [bench.ask(app) for app in ("a", "b", "c", "d")]
    for run_id in runs:
        wait_for(lambda run_id=run_id: bench.holds(run_id), 20, "it was not started")
    bench.looks()
    assert sorted(bench.begun()) == sorted(runs)


def test_a_run_that_waits_is_cancelled_without_a_worker(bench):
    running, waiting = bench.ask("a"), bench.ask("b")
    bench.dispatch()
    bench.start_run(running)
    bench.runs.mark(waiting, CANCELLED)
    bench.wait_for_status(waiting, CANCELED)
    wait_for(lambda: bench.ended == [waiting], 20, "it has not ended")
    assert bench.begun() == [running]
    assert bench.settled == [waiting]


@pytest.mark.parametrize("how", ["sleeps", "stubborn"])
def test_a_run_that_goes_on_is_interrupted_and_killed_if_that_is_not_enough(
    bench, monkeypatch, how
):
    monkeypatch.setattr(run_dispatcher, "SECONDS_TO_END", 0.5)
    bench.how = how
    run_id = bench.ask()
    bench.dispatch()
    bench.start_run(run_id)
    worker = bench.worker(run_id)
    bench.runs.mark(run_id, CANCELLED)
    bench.wait_for_status(run_id, CANCELED)
    assert worker.wait() == -(signal.SIGINT if how == "sleeps" else signal.SIGKILL)
    bench.wait_until_ended(run_id)
    assert bench.retry_of(run_id) is None


def test_the_worker_of_a_run_that_was_cancelled_in_the_ui_is_interrupted(bench):
    run_id = bench.ask()
    bench.dispatch()
    bench.start_run(run_id)
    worker = bench.worker(run_id)
    bench.instance.report_run_canceled(bench.run(run_id))
    bench.wait_until_ended(run_id)
    assert worker.wait() == -signal.SIGINT


def test_a_worker_that_does_not_end_after_its_run_is_killed(bench, monkeypatch):
    monkeypatch.setattr(run_dispatcher, "SECONDS_TO_END", 0.5)
    run_id = bench.ask()
    bench.dispatch()
    bench.start_run(run_id)
    worker = bench.worker(run_id)
    bench.report(run_id, dg.DagsterEventType.RUN_SUCCESS)
    bench.wait_until_ended(run_id)
    assert worker.wait() == -signal.SIGKILL


def test_the_worker_of_a_run_that_was_deleted_is_killed(bench):
    run_id = bench.ask()
    bench.dispatch()
    bench.start_run(run_id)
    worker = bench.worker(run_id)
    bench.instance.delete_run(run_id)
    assert worker.wait(timeout=20) == -signal.SIGKILL


def test_the_daemons_and_a_dev_that_starts_leave_runs_that_wait_and_go_on_alone(bench):
    waiting, running = bench.ask("a"), bench.ask("b")
    bench.instance.add_run_tags(running, {PROCESS_TAG: this_process()})
    bench.report(running, dg.DagsterEventType.RUN_START)
    fail_orphaned_runs(bench.instance)
    assert bench.run(waiting).status is WAITING
    assert bench.run(running).status is STARTED
    bench.instance.delete_run(running)
    # Collects nothing, so that it needs no workspace.
    daemon = SimpleNamespace(instance=bench.instance)
    assert not list(execute_run_monitoring_iteration(daemon, logging.getLogger()))
    assert bench.run(waiting).status is WAITING


def test_a_fault_in_one_look_is_logged_and_forgotten(bench, monkeypatch, caplog):
    monkeypatch.setattr(run_dispatcher, "_SECONDS_AFTER_A_FAULT", 0.1)
    look = bench.runs.open

    def fail():
        bench.runs.open = look
        raise OSError("the disk is full")

    bench.runs.open = fail
    run_id = bench.ask()
    bench.dispatch()
    bench.start_run(run_id)
    assert "the disk is full" in caplog.text


def test_a_run_that_cannot_be_seen_to_holds_up_no_other_and_is_given_up(bench, monkeypatch):
    broken, sound = bench.ask("a"), bench.ask("b")
    begin = Dispatcher._begin

    def begins(dispatcher: Dispatcher, run: dg.DagsterRun) -> None:
        if run.run_id == broken:
            raise RuntimeError("no")
        begin(dispatcher, run)

    monkeypatch.setattr(Dispatcher, "_begin", begins)
    bench.dispatch()
    wait_for(lambda: bench.holds(sound), 20, "it was held up")
    bench.succeed(sound)
    bench.wait_for_status(broken, dg.DagsterRunStatus.FAILURE)
    wait_for(lambda: not bench.runs.open(), 20, "it was not closed")


def test_a_run_that_has_ended_is_closed_for_good(bench):
    run_id = bench.ask()
    bench.dispatch()
    bench.start_run(run_id)
    bench.succeed(run_id)
    bench.wait_until_ended(run_id)
    tags = bench.run(run_id).tags
    assert (tags[STATE], tags[PROCESS_TAG]) == ("closed", "")


def test_the_code_of_the_stand_in_is_the_true_one():
    assert TAKEN == 75
