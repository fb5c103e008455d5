"""Visualizations in Dagster's storage: runs of the photo map, and the tags that tell of them.

A visualization is a run and, if that run's process was killed, another in its place: a family,
known by the id of its root. What is said of it is said by tags that are written once. They are read
by asking for the runs that have them: two writers at once may lose a tag of ``DagsterRun.tags``,
but never one of the table behind ``RunsFilter``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.tags import PARENT_RUN_ID_TAG, PARTITION_NAME_TAG, ROOT_RUN_ID_TAG

from assets.io_managers import KEEP_TAG
from orchestration.instance import PROCESS_TAG
from orchestration.runs import ProcessGoneError, failure_of

JOB = "photo_map"
APP = "tessera/app"
DIGEST = "tessera/digest"
PHOTOS = "tessera/photos"
# Open until the dispatcher has done what is left to do once a run has ended.
STATE = "tessera/state"
OPEN, CLOSED = "open", "closed"
CANCELLED = "tessera/cancelled"
DELETED = "tessera/deleted"
YES = "yes"
# A run that no launcher of Dagster's may touch. Those that are queued its daemon would start, and
# those that are not started it would report as failed after three minutes.
WAITING = dg.DagsterRunStatus.MANAGED
KEPT_ASSET = "mosaic"

_PAGE = 20
_FAILURES = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}


@dataclass(frozen=True)
class MapRequest:
    """What a visualization is to show, ``digest`` standing for all that decides its picture."""

    app: str
    digest: str
    n_photos: int
    run_config: dict[str, Any]


class MapRuns:
    """The runs of visualizations on an instance."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def create(self, run_id: str, request: MapRequest) -> dg.DagsterRun:
        """Put a new visualization at the end of the queue."""
        tags = {
            PARTITION_NAME_TAG: request.app,
            APP: request.app,
            DIGEST: request.digest,
            PHOTOS: str(request.n_photos),
            KEEP_TAG: KEPT_ASSET,
        }
        return self._create(run_id, request.run_config, tags)

    def retry(self, run: dg.DagsterRun) -> None:
        """Put a run in the place of one whose process was killed, unless there is one already."""
        if self.runs_of(run)[1:]:
            return
        kept = (PARTITION_NAME_TAG, APP, DIGEST, PHOTOS, KEEP_TAG)
        tags = {tag: run.tags[tag] for tag in kept}
        family = {ROOT_RUN_ID_TAG: run.run_id, PARENT_RUN_ID_TAG: run.run_id}
        self._create(None, run.run_config, tags | family, run.run_id)

    def find(self, run_id: str) -> dg.RunRecord | None:
        """Return the root run of a visualization; None if there is none, or it was deleted."""
        record = self.instance.get_run_record_by_id(run_id)
        if record is None or self.has(run_id, DELETED):
            return None
        run = record.dagster_run
        is_root = run.root_run_id in (None, run_id)
        return record if is_root and APP in run.tags and DIGEST in run.tags else None

    def runs_of(self, root: dg.DagsterRun) -> list[dg.DagsterRun]:
        """Return the runs of a visualization, the oldest first."""
        others = self.instance.get_runs(dg.RunsFilter(tags={ROOT_RUN_ID_TAG: root.run_id}))
        return [root, *(run for run in reversed(others) if run.run_id != root.run_id)]

    def open(self) -> list[dg.DagsterRun]:
        """Return the runs that wait, go on, or have just ended, the oldest first."""
        return list(reversed(self.instance.get_runs(dg.RunsFilter(tags={STATE: OPEN}))))

    def roots(self, tags: dict[str, str], *statuses: dg.DagsterRunStatus) -> Iterator[str]:
        """Yield the ids of the visualizations with a run that has these tags, the newest first."""
        wanted = dg.RunsFilter(tags=tags, statuses=list(statuses))
        cursor, seen = None, set()
        while runs := self.instance.get_runs(wanted, cursor, _PAGE):
            for run in runs:
                root_id = run.root_run_id or run.run_id
                if root_id not in seen:
                    seen.add(root_id)
                    yield root_id
            cursor = runs[-1].run_id

    def count(self, *statuses: dg.DagsterRunStatus) -> int:
        """Return how many runs of visualizations have one of these statuses."""
        wanted = dg.RunsFilter(tags={KEEP_TAG: KEPT_ASSET}, statuses=list(statuses))
        return self.instance.get_runs_count(wanted)

    def has(self, run_id: str, tag: str) -> bool:
        """Whether ``mark`` has been called."""
        marked = dg.RunsFilter(run_ids=[run_id], tags={tag: YES})
        return bool(self.instance.get_run_ids(marked, limit=1))

    def mark(self, run_id: str, tag: str) -> None:
        """Say of a visualization that it is CANCELLED or DELETED."""
        if not self.has(run_id, tag):
            self.instance.add_run_tags(run_id, {tag: YES})

    def is_open(self, run: dg.DagsterRun) -> bool:
        """Whether the dispatcher has yet to see that a run has ended."""
        still = dg.RunsFilter(run_ids=[run.run_id], tags={STATE: OPEN})
        return bool(self.instance.get_run_ids(still, limit=1))

    def close(self, run: dg.DagsterRun) -> None:
        """Say that nothing is left to do for a run."""
        # A run that the UI makes from this one takes its tags over, and its process is another.
        self.instance.add_run_tags(run.run_id, {STATE: CLOSED, PROCESS_TAG: ""})

    def is_cancelled(self, run: dg.DagsterRun) -> bool:
        """Whether the visualization that a run belongs to is not wanted any more."""
        return self.has(run.root_run_id or run.run_id, CANCELLED)

    def failure(self, run: dg.DagsterRun) -> BaseException:
        """Return why a run failed, as ``failure_of``."""
        entries = self.instance.all_logs(run.run_id, of_type=_FAILURES)
        return failure_of(entry.dagster_event for entry in entries if entry.dagster_event)

    def may_be_retried(self, run: dg.DagsterRun, failure: BaseException) -> bool:
        """Whether a failed run gets another in its place: its process ended, for the first time."""
        is_first = run.root_run_id in (None, run.run_id)
        return is_first and isinstance(failure, ProcessGoneError | KeyboardInterrupt)

    def folder(self, run: dg.DagsterRun) -> Path | None:
        """Return where a run has put its mosaic; None if it has made none."""
        entries = self.instance.all_logs(
            run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
        )
        for entry in entries:
            made = entry.asset_materialization
            if made is not None and made.asset_key.path[-1] == KEPT_ASSET:
                return Path(str(made.metadata["folder"].value))
        return None

    def _create(
        self,
        run_id: str | None,
        run_config: Any,
        tags: dict[str, str],
        root_id: str | None = None,
    ) -> dg.DagsterRun:
        # Imported late: it brings the assets, and those who only look at runs do not need them.
        from orchestration.definitions import definitions

        return self.instance.create_run_for_job(
            definitions.resolve_job_def(JOB),
            run_id=run_id,
            run_config=run_config,
            status=WAITING,
            tags=tags | {STATE: OPEN, PROCESS_TAG: ""},
            root_run_id=root_id,
            parent_run_id=root_id,
        )
