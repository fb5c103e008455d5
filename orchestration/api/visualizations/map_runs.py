"""The runs of visualizations in Dagster: submitted to its queue, cancelled, and looked at."""

import time
from collections.abc import Collection
from functools import cache
from pathlib import Path

import dagster as dg

from assets.io_managers import KEEP_TAG
from assets.resources.progress import FOLLOWED_TAG
from orchestration.api.visualizations.visualization_store import StoredVisualization
from orchestration.dagster_records import events_of
from orchestration.dead_runs import FINISHED, UNFINISHED
from orchestration.run_queue import (
    APP_TAG,
    MAX_RETRIES_TAG,
    PARTITION_TAG,
    PRIORITY_TAG,
    RETRIED_BY_TAG,
    RETRY_STRATEGY_TAG,
    ROOT_TAG,
    WILL_RETRY_TAG,
    submit,
)
from orchestration.runs import failure_of

JOB = "photo_map"
DIGEST = "tessera/digest"
PHOTOS = "tessera/photos"
KEPT_ASSET = "mosaic"
# Of the first turn: every visualization comes before what has no priority, as runs of the UI.
FIRST_PRIORITY = 1_000_000_000

_FAILURES = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
# Dagster says whether it will retry a run a moment after it has failed.
_SECONDS_TO_SAY_SO = 5.0


class MapRuns:
    """The runs of visualizations on an instance."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def prepare(self) -> None:
        """Do what makes the first call of ``submit`` slow: three seconds."""
        _job()

    def submit(self, known: StoredVisualization) -> None:
        """Put the run of a visualization into the queue, unless it is there already or further."""
        request = known.request
        tags = {
            PARTITION_TAG: request.app,
            APP_TAG: request.app,
            DIGEST: request.digest,
            PHOTOS: str(request.n_photos),
            KEEP_TAG: KEPT_ASSET,
            FOLLOWED_TAG: "yes",
            PRIORITY_TAG: str(FIRST_PRIORITY - known.turn),
            MAX_RETRIES_TAG: "1",
            # By default a retry would begin after the last step that succeeded, and read the values
            # that another visualization of the app has made since.
            RETRY_STRATEGY_TAG: "ALL_STEPS",
        }
        submit(
            self.instance,
            _job(),
            known.run_id,
            request.run_config,
            tags,
            root_id=None if known.run_id == known.id else known.id,
        )

    def cancel(self, run: dg.DagsterRun) -> None:
        """Ask for the end of a run; it may have to be asked again."""
        if run.status is dg.DagsterRunStatus.NOT_STARTED:
            self.instance.report_run_canceled(run)
        else:
            self.instance.run_coordinator.cancel_run(run.run_id)

    def at_work(self, run_ids: Collection[str]) -> list[dg.DagsterRun]:
        """Return those runs that have left the queue and have not ended."""
        # Dagster takes no empty list for a filter.
        if not run_ids:
            return []
        wanted = dg.RunsFilter(run_ids=list(run_ids), statuses=UNFINISHED)
        return list(self.instance.get_runs(wanted))

    def ended(self, run_ids: Collection[str]) -> list[dg.RunRecord]:
        """Return those runs that have ended, with their times."""
        if not run_ids:
            return []
        wanted = dg.RunsFilter(run_ids=list(run_ids), statuses=FINISHED)
        return list(self.instance.get_run_records(wanted))

    def existing(self, run_ids: Collection[str]) -> set[str]:
        """Return the ids of those runs that there are."""
        if not run_ids:
            return set()
        return set(self.instance.get_run_ids(dg.RunsFilter(run_ids=list(run_ids))))

    def runs_of(self, identity: str) -> list[dg.DagsterRun]:
        """Return the runs of a visualization, the oldest first."""
        root = self.instance.get_run_by_id(identity)
        others = self.instance.get_runs(dg.RunsFilter(tags={ROOT_TAG: identity}))
        runs = [run for run in reversed(others) if run.run_id != identity]
        return [root, *runs] if root is not None else runs

    def retry_of(self, run: dg.DagsterRun) -> str | None:
        """Return the run that Dagster has put in the place of one that failed."""
        return run.tags.get(RETRIED_BY_TAG)

    def may_be_retried(self, record: dg.RunRecord) -> bool:
        """Whether Dagster says that it will retry a run that failed, or has not said anything."""
        told = record.dagster_run.tags.get(WILL_RETRY_TAG)
        if told is not None:
            return told == "true"
        return time.time() - (record.end_time or 0.0) < _SECONDS_TO_SAY_SO

    def failure(self, run: dg.DagsterRun) -> BaseException:
        """Return why a run failed, as ``failure_of``."""
        return failure_of(events_of(self.instance, run.run_id, _FAILURES))

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


@cache
def _job() -> dg.JobDefinition:
    # Imported late: it brings the assets, and those who only look at runs do not need them.
    from orchestration.definitions import definitions

    return definitions.resolve_job_def(JOB)
