"""The process that carries out one run of a visualization: `...run_worker RUN_ID COMPUTE`."""

import gc
import json
import os
import signal
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from assets.resources.home import home_folder

# What it ends with when another worker is at the same run.
TAKEN = 75
# The service answers first.
NICENESS = 10
SECONDS_BETWEEN_LINES = 1.0
# Somebody may be looking whether the lock is free, for a moment.
_LOCK_SECONDS = 2.0


def worker_lock(home: Path, run_id: str) -> Path:
    """Return the file that the worker of a run holds locked as long as it lives."""
    return home / "serve" / "runs" / f"{run_id}.lock"


def worker_log(home: Path, run_id: str) -> Path:
    """Return the file that holds what the worker of a run wrote to its standard error."""
    return home / "serve" / "runs" / f"{run_id}.log"


def worker_command(run_id: str, compute: str) -> list[str]:
    """Return the command that starts the worker of a run; ``compute`` as JSON."""
    return [sys.executable, "-m", "orchestration.api.visualizations.run_worker", run_id, compute]


def main(run_id: str, compute: str) -> int:
    """Carry the run out unless another worker does; returns the code to exit with."""
    # What starts a service in the background may have it, and its children, ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.nice(NICENESS)
    try:
        # Before the slow imports: from here on the service can see that somebody is at it.
        with FileLock(worker_lock(home_folder(), run_id), timeout=_LOCK_SECONDS):
            _work(run_id, compute)
    except Timeout:
        return TAKEN
    return 0


def _work(run_id: str, compute: str) -> None:
    import dagster as dg
    from dagster._core.definitions.job_base import InMemoryJob
    from dagster._core.execution.api import execute_run

    from assets.resources.compute import Compute
    from assets.resources.progress import LogProgress
    from orchestration.api.visualizations.map_runs import APP, WAITING, MapRuns
    from orchestration.definitions import build_definitions, build_resources
    from orchestration.instance import PROCESS_TAG, collection_lock, open_instance, this_process
    from orchestration.runs import finish_run

    with open_instance() as instance:
        runs = MapRuns(instance)
        run = instance.get_run_by_id(run_id)
        if run is None:
            return
        instance.add_run_tags(run_id, {PROCESS_TAG: this_process()})
        with collection_lock(run.tags[APP]):
            run = instance.get_run_by_id(run_id)
            if run is None or run.status is not WAITING or runs.is_cancelled(run):
                return
            starting = dg.DagsterEvent(dg.DagsterEventType.RUN_STARTING.value, run.job_name)
            instance.report_dagster_event(starting, run_id)
            progress = LogProgress(SECONDS_BETWEEN_LINES)
            resources = build_resources(progress, Compute(**json.loads(compute)))
            job = build_definitions(resources).resolve_job_def(run.job_name)
            run = run.with_status(dg.DagsterRunStatus.STARTING)
            execute_run(InMemoryJob(job), run, instance)
        run = instance.get_run_by_id(run_id)
        if run is not None and run.status is not dg.DagsterRunStatus.SUCCESS:
            finish_run(resources["tracking"], run_id, run.status)


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    # As in orchestration/cli/main.py.
    gc.freeze()
    sys.exit(code)
