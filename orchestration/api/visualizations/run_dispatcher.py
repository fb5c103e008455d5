"""Starts a worker process for each visualization in its turn, and handles those that end or die.

All state is in Dagster's storage and in locks that the workers hold, so another dispatcher can
continue when this one was killed. Workers outlive it.
"""

import logging
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout

from orchestration.api.visualizations.map_runs import APP, WAITING, MapRuns
from orchestration.api.visualizations.run_worker import (
    TAKEN,
    worker_command,
    worker_lock,
    worker_log,
)
from orchestration.instance import (
    PROCESS_TAG,
    UNFINISHED,
    collection_lock,
    fail_dead_runs,
    fail_run,
    process_number,
)

# Until a worker that was asked to end is killed.
SECONDS_TO_END = 10.0
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_AFTER_A_FAULT = 5.0
_MOST_FAULTS = 5
_STDERR_TAIL = 300  # characters
_PARTITION = "dagster/partition"

_log = logging.getLogger(__name__)


class Dispatcher:
    """Runs the visualizations of a home, ``runs_at_once`` at a time, the oldest first.

    ``finish_run`` is called with each run that did not succeed, and ``on_end`` with each that will
    not be retried. ``compute`` is the `Compute` of the workers, as JSON.
    """

    def __init__(
        self,
        home: Path,
        runs: MapRuns,
        runs_at_once: int,
        finish_run: Callable[[dg.DagsterRun], None],
        on_end: Callable[[dg.DagsterRun], None],
        compute: str = "{}",
    ) -> None:
        self._home = home
        self._runs = runs
        self._instance = runs.instance
        self._runs_at_once = runs_at_once
        self._finish_run = finish_run
        self._on_end = on_end
        self._compute = compute
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._interrupted_at: dict[str, float] = {}
        self._faults: Counter[str] = Counter()
        self._stopping = threading.Event()
        self._wake_up = threading.Event()
        self._thread = threading.Thread(target=self._work, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Start; a second dispatcher of the same home waits until the first has ended."""
        (self._home / "serve" / "runs").mkdir(parents=True, exist_ok=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; the workers go on."""
        self._stopping.set()
        self._wake_up.set()
        self._thread.join()

    def wake(self) -> None:
        """Look now: a visualization was posted or cancelled."""
        self._wake_up.set()

    def _work(self) -> None:
        lock = FileLock(self._home / "serve" / "dispatcher.lock", timeout=0)
        while not self._stopping.is_set():
            try:
                with lock:
                    self._dispatch()
            except Timeout:
                self._stopping.wait(1)

    def _dispatch(self) -> None:
        while not self._stopping.is_set():
            try:
                self._handle_all()
            except Exception:
                # The visualizations that wait must not wait for ever.
                _log.exception("The visualizations could not be handled. Another try follows.")
                self._stopping.wait(_SECONDS_AFTER_A_FAULT)
            self._wake_up.wait(_SECONDS_BETWEEN_LOOKS)
            self._wake_up.clear()

    def _handle_all(self) -> None:
        runs = self._runs.open()
        self._end_workers_of_nothing({run.run_id for run in runs})
        at_work = [run for run in runs if self._has_worker(run)]
        for run in at_work:
            self._watch(run)
        busy = {run.tags[APP] for run in at_work}
        n_free = self._runs_at_once - len(at_work)
        for run in self._without_worker(runs, at_work):
            try:
                has_begun = self._handle(run, n_free > 0 and run.tags[APP] not in busy)
            except Exception:
                self._note_fault(run)
                continue
            if has_begun:
                busy.add(run.tags[APP])
                n_free -= 1

    def _handle(self, run: dg.DagsterRun, may_begin: bool) -> bool:
        """Do what is next for a run without a worker; return whether a worker was started."""
        if run.is_finished:
            self._close(run)
        elif self._runs.is_cancelled(run):
            self._cancel(run)
        elif self._has_died(run):
            self._fail_dead(run)
        elif may_begin and not self._is_taken(run.tags[APP]):
            self._begin(run)
            return True
        return False

    def _note_fault(self, run: dg.DagsterRun) -> None:
        """Give up a run after some tries: it must neither hold others up nor wait for ever."""
        _log.exception("The visualization %s could not be handled.", run.run_id)
        self._faults[run.run_id] += 1
        if self._faults[run.run_id] < _MOST_FAULTS:
            return
        if not run.is_finished:
            self._instance.report_run_failed(run, "The service could not run it.")
        self._runs.close(run)

    def _without_worker(
        self, runs: list[dg.DagsterRun], at_work: list[dg.DagsterRun]
    ) -> Iterator[dg.DagsterRun]:
        ids_at_work = {run.run_id for run in at_work}
        for run in runs:
            if run.run_id not in ids_at_work:
                # Read again: its worker may have ended after the first reading.
                now = self._instance.get_run_by_id(run.run_id)
                if now is not None:
                    yield now

    # ---- runs whose worker lives ----

    def _has_worker(self, run: dg.DagsterRun) -> bool:
        worker = self._workers.get(run.run_id)
        is_ours = worker is not None and worker.poll() is None
        return is_ours or _is_held(worker_lock(self._home, run.run_id))

    def _watch(self, run: dg.DagsterRun) -> None:
        """End a worker whose run is not wanted, or has been over for a while."""
        if run.status is dg.DagsterRunStatus.CANCELED or self._runs.is_cancelled(run):
            self._end_worker(run, ask=True)
        elif run.is_finished:
            self._end_worker(run, ask=False)

    def _end_worker(self, run: dg.DagsterRun, ask: bool) -> None:
        number = self._number(run)
        if number is None:
            # It holds the lock and has not said its number yet.
            return
        now = time.monotonic()
        asked = self._interrupted_at.get(run.run_id)
        with suppress(ProcessLookupError):
            if asked is None:
                self._interrupted_at[run.run_id] = now
                if ask:
                    if not run.is_finished:
                        self._instance.report_run_canceling(run)
                    os.kill(number, signal.SIGINT)
            elif now - asked > SECONDS_TO_END:
                os.killpg(number, signal.SIGKILL)

    def _number(self, run: dg.DagsterRun) -> int | None:
        worker = self._workers.get(run.run_id)
        if worker is not None and worker.returncode is None:
            return worker.pid
        return process_number(run.tags.get(PROCESS_TAG, ""))

    def _end_workers_of_nothing(self, open_ids: set[str]) -> None:
        """Kill the workers of runs that somebody has deleted."""
        for run_id in self._workers.keys() - open_ids:
            worker = self._workers.pop(run_id)
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
            self._clear_away(run_id)

    # ---- runs that have none ----

    def _has_died(self, run: dg.DagsterRun) -> bool:
        worker = self._workers.get(run.run_id)
        if worker is not None and worker.returncode == TAKEN:
            del self._workers[run.run_id]
            worker = None
        return worker is not None or run.status in UNFINISHED

    def _fail_dead(self, run: dg.DagsterRun) -> None:
        has_begun = run.status is not WAITING and run.status is not dg.DagsterRunStatus.STARTING
        fail_run(self._instance, run, "" if has_begun else self._stderr_tail(run.run_id))

    def _cancel(self, run: dg.DagsterRun) -> None:
        self._instance.report_run_canceled(run, "Cancelled.")
        self._instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)

    def _close(self, run: dg.DagsterRun) -> None:
        """Do what is left to do for a run that has ended; all of it may be done twice."""
        is_final = True
        if run.status is not dg.DagsterRunStatus.SUCCESS:
            if run.status is dg.DagsterRunStatus.FAILURE and not self._runs.is_cancelled(run):
                failure = self._runs.failure(run)
                if self._runs.may_be_retried(run, failure):
                    self._runs.retry(run)
                    is_final = False
            self._finish_run(run)
        if is_final:
            self._on_end(run)
        self._workers.pop(run.run_id, None)
        self._runs.close(run)
        self._clear_away(run.run_id)

    def _clear_away(self, run_id: str) -> None:
        self._interrupted_at.pop(run_id, None)
        worker_log(self._home, run_id).unlink(missing_ok=True)
        worker_lock(self._home, run_id).unlink(missing_ok=True)

    def _stderr_tail(self, run_id: str) -> str:
        log = worker_log(self._home, run_id)
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return lines[-1][:_STDERR_TAIL] if lines else ""

    # ---- runs that wait ----

    def _begin(self, run: dg.DagsterRun) -> None:
        with worker_log(self._home, run.run_id).open("wb") as log:
            self._workers[run.run_id] = subprocess.Popen(  # noqa: S603
                worker_command(run.run_id, self._compute),
                env={**os.environ, "TESSERA_HOME": str(self._home)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _is_taken(self, collection: str) -> bool:
        """Whether something works on a collection: a worker, a command line, the daemon."""
        try:
            with collection_lock(collection, timeout=0):
                pass
        except Timeout:
            return True
        wanted = dg.RunsFilter(tags={_PARTITION: collection}, statuses=UNFINISHED)
        if not self._instance.get_runs(wanted, limit=1):
            return False
        fail_dead_runs(self._instance)
        # A run without a process in its tags belongs to `tessera dev`, which may have been killed.
        is_dev_there = _is_held(self._home / "dev.lock")
        return any(
            run.tags.get(PROCESS_TAG) or is_dev_there for run in self._instance.get_runs(wanted)
        )


def _is_held(lock: Path) -> bool:
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
