"""Follows the runs of visualizations, and writes down how they end.

It submits the runs of new visualizations to Dagster's queue and ends those of cancelled ones. It
also puts another run in the place of one that was ended from outside and that Dagster does not
retry: Dagster gives up when the code server is away at that moment, and never retries a run that
was interrupted, as by the end of the service.
"""

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from assets.methods.common.errors import UserError
from orchestration.api.visualizations.kept_pages import release_map
from orchestration.api.visualizations.map_runs import MapRuns
from orchestration.api.visualizations.progress_of_runs import (
    RunProgress,
    RunWatch,
    expected_total,
)
from orchestration.api.visualizations.visualization_store import (
    StoredVisualization,
    VisualizationStore,
)
from orchestration.runs import ProcessGoneError

CANCELLED_REASON = "Cancelled."
MOST_INTERRUPTS = 20
DELETED_REASON = "Its run was deleted in Dagster."

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_BETWEEN_SEARCHES = 10.0
_SECONDS_AFTER_A_FAULT = 5.0
_MOST_FAULTS = 5
# Each takes a fifth of a second, in which nobody's progress is seen.
_SUBMITTED_A_LOOK = 4
# Dagster retries within seconds, if it does.
_SECONDS_FOR_A_RETRY = 60.0
_SECONDS_BETWEEN_CANCELLATIONS = 10.0

_log = logging.getLogger(__name__)


class RunFollower:
    """Follows the runs of the visualizations in ``store``, from ``start`` to ``close``.

    ``runs_at_once`` is how many run at a time. ``tidy`` is called with each visualization that has
    ended, when none of its runs goes on any more.
    """

    def __init__(
        self,
        home: Path,
        store: VisualizationStore,
        runs: MapRuns,
        runs_at_once: int,
        tidy: Callable[[StoredVisualization], None],
    ) -> None:
        self._home = home
        self._store = store
        self._runs = runs
        self._runs_at_once = runs_at_once
        self._tidy = tidy
        self._progress: dict[str, RunProgress] = {}
        self._watches: dict[str, _Watch] = {}
        self._cancelled_at: dict[str, float] = {}
        self._faults: Counter[str] = Counter()
        self._searched_at = self._began = time.time()
        self._stopping = threading.Event()
        self._wake_up = threading.Event()
        self._thread = threading.Thread(target=self._work, name="run follower", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def close(self) -> None:
        """Stop; the runs go on."""
        self._stopping.set()
        self._wake_up.set()
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """Look now: a visualization was posted or cancelled."""
        self._wake_up.set()

    def progress(self, known: StoredVisualization) -> RunProgress:
        """Return how far a pending visualization was when its run was last looked at."""
        waiting = RunProgress(0.0, expected_total(known.request.n_photos))
        return self._progress.get(known.id, waiting)

    @property
    def n_at_work(self) -> int:
        """The number of pending visualizations whose run has left the queue."""
        return len(self._watches)

    def look(self) -> None:
        """Do what is next for every visualization that is pending, or not over for Dagster."""
        pending = self._store.pending()
        self._submit([known for known in pending if not known.is_submitted])
        submitted = {known.run_id: known for known in pending if known.is_submitted}
        for record in self._runs.ended(submitted):
            self._guarded(self._note_end, submitted[record.dagster_run.run_id], record)
        self._note_progress(self._store.pending())
        if time.time() - self._searched_at > _SECONDS_BETWEEN_SEARCHES:
            self._searched_at = time.time()
            self._note_deleted(submitted)
        for known in self._store.ended_but_open():
            self._guarded(self._clear_away, known)

    def _work(self) -> None:
        self._runs.prepare()
        while not self._stopping.is_set():
            try:
                self.look()
            except Exception:
                # The visualizations that wait must not wait for ever.
                _log.exception("The visualizations could not be looked at. Another try follows.")
                self._stopping.wait(_SECONDS_AFTER_A_FAULT)
            self._wake_up.wait(_SECONDS_BETWEEN_LOOKS)
            self._wake_up.clear()

    def _guarded(
        self, call: Callable[..., None], known: StoredVisualization, *arguments: Any
    ) -> None:
        """Call something for a visualization; a fault in it holds up no other."""
        try:
            call(known, *arguments)
        except Exception:
            _log.exception("The visualization %s could not be seen to.", known.id)

    # ---- into the queue ----

    def _submit(self, waiting: list[StoredVisualization]) -> None:
        for known in waiting[:_SUBMITTED_A_LOOK]:
            try:
                self._runs.submit(known)
                self._store.note_submitted(known.id)
            except Exception:
                self._note_fault(known)
        if len(waiting) > _SUBMITTED_A_LOOK:
            self._wake_up.set()

    def _note_fault(self, known: StoredVisualization) -> None:
        """Give a visualization up after some tries: it must not wait for ever."""
        _log.exception("The visualization %s could not be submitted.", known.id)
        self._faults[known.id] += 1
        if self._faults[known.id] >= _MOST_FAULTS:
            self._store.end(known.id, "failed", "The service could not submit its run.")

    # ---- out of it ----

    def _note_end(self, known: StoredVisualization, record: dg.RunRecord) -> None:
        run = record.dagster_run
        if run.status is dg.DagsterRunStatus.SUCCESS:
            self._store.end(known.id, "ready", folder=self._runs.folder(run))
        elif run.status is dg.DagsterRunStatus.CANCELED:
            self._store.end(known.id, "cancelled", CANCELLED_REASON)
        else:
            self._note_failure(known, record)

    def _note_failure(self, known: StoredVisualization, record: dg.RunRecord) -> None:
        failure = self._runs.failure(record.dagster_run)
        is_interrupted = isinstance(failure, KeyboardInterrupt)
        retry = self._runs.retry_of(record.dagster_run)
        if retry is not None:
            self._store.go_on(known, retry, is_submitted=True, died=not is_interrupted)
        elif self._awaits_retry(record):
            return
        elif self._may_go_on(known, failure):
            # Always the same, so that a service that was killed here does not submit two.
            n_before = known.n_deaths + known.n_interrupts
            another = str(uuid.uuid5(uuid.UUID(known.id), str(n_before)))
            self._store.go_on(known, another, is_submitted=False, died=not is_interrupted)
            self._wake_up.set()
        else:
            self._store.end(known.id, "failed", _reason(failure, self._home))

    def _awaits_retry(self, record: dg.RunRecord) -> bool:
        """Whether Dagster may still retry a run; its daemon has begun when this service has."""
        waited = time.time() - max(record.end_time or 0.0, self._began)
        return waited < _SECONDS_FOR_A_RETRY and self._runs.may_be_retried(record)

    def _may_go_on(self, known: StoredVisualization, failure: BaseException) -> bool:
        """Whether another run takes the place of one that Dagster does not retry."""
        if isinstance(failure, KeyboardInterrupt):
            # By the end of the service, as a rule.
            return known.n_interrupts < MOST_INTERRUPTS
        return isinstance(failure, ProcessGoneError) and known.n_deaths == 0

    def _note_deleted(self, submitted: dict[str, StoredVisualization]) -> None:
        existing = self._runs.existing(submitted)
        for run_id, known in submitted.items():
            if run_id not in existing:
                self._store.end(known.id, "cancelled", DELETED_REASON)

    def _clear_away(self, known: StoredVisualization) -> None:
        """End what still runs of a visualization that has ended, and remove what it has left."""
        runs = self._runs.runs_of(known.id)
        going_on = [run for run in runs if not run.is_finished]
        for run in going_on:
            self._cancel(run)
        failed = [run.run_id for run in runs if run.status is dg.DagsterRunStatus.FAILURE]
        awaits_retry = any(
            self._runs.retry_of(record.dagster_run) is None and self._awaits_retry(record)
            for record in self._runs.ended(failed)
        )
        if going_on or (known.state == "cancelled" and awaits_retry):
            return
        for run in runs:
            self._cancelled_at.pop(run.run_id, None)
            folder = self._runs.folder(run)
            if folder is not None and folder != known.folder:
                release_map(self._home, folder)
        self._tidy(known)
        self._store.close_one(known.id)
        self._forget(known.id)

    def _cancel(self, run: dg.DagsterRun) -> None:
        now = time.monotonic()
        if now - self._cancelled_at.get(run.run_id, -now) > _SECONDS_BETWEEN_CANCELLATIONS:
            self._cancelled_at[run.run_id] = now
            self._runs.cancel(run)

    def _forget(self, identity: str) -> None:
        self._progress.pop(identity, None)
        self._faults.pop(identity, None)

    # ---- how far they are ----

    def _note_progress(self, pending: list[StoredVisualization]) -> None:
        at_work = {run.run_id for run in self._runs.at_work([known.run_id for known in pending])}
        self._watches = {
            known.run_id: self._watches.get(known.run_id) or _Watch(known)
            for known in pending
            if known.run_id in at_work
        }
        seconds_before = 0.0
        for known in sorted(pending, key=lambda one: one.run_id not in at_work):
            before = self._progress.get(known.id)
            share = before.share if before else 0.0
            if known.run_id in at_work:
                told = self._watches[known.run_id].look(self._runs.instance)
                progress = RunProgress(max(share, told.share), told.seconds_left)
                seconds_before += told.seconds_left / self._runs_at_once
            else:
                seconds = expected_total(known.request.n_photos)
                progress = RunProgress(share, seconds_before + seconds)
                seconds_before += seconds / self._runs_at_once
            self._progress[known.id] = progress


class _Watch:
    """Reads the events of one run, each once."""

    def __init__(self, known: StoredVisualization) -> None:
        self._run_id = known.run_id
        self._watch = RunWatch(known.request.n_photos)
        self._cursor: str | None = None

    def look(self, instance: dg.DagsterInstance) -> RunProgress:
        page = instance.get_records_for_run(self._run_id, self._cursor)
        self._cursor = page.cursor
        self._watch.follow(record.event_log_entry for record in page.records)
        return self._watch.at(time.time())


def _reason(failure: BaseException, home: Path) -> str:
    reason = str(failure)
    if isinstance(failure, KeyboardInterrupt):
        reason = "The run was interrupted."
    elif not isinstance(failure, UserError):
        reason = f"A fault of the service: {reason}"
    # Clients must not learn the path of the home.
    return reason.replace(f"{home}/", "")
