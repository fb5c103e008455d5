"""Dagster's queue: how a run is put into it, and what says where its job is loaded from."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from assets.generations import PARTITION_TAG as PARTITION_TAG
from assets.methods.common.errors import UserError
from orchestration.queue_processes import LOCATION

# "true" for a run whose settings are kept for the runs of its collection that follow.
KEEP_SETTINGS_TAG = "tessera/keep_settings"
ROOT_TAG = "dagster/root_run_id"
PARENT_TAG = "dagster/parent_run_id"
PRIORITY_TAG = "dagster/priority"
MAX_RETRIES_TAG = "dagster/max_retries"
RETRY_STRATEGY_TAG = "dagster/retry_strategy"
# What Dagster says of a run that failed: whether it will be retried, and by which run it was.
WILL_RETRY_TAG = "dagster/will_retry"
RETRIED_BY_TAG = "dagster/auto_retry_run_id"
# What has asked for a run: a schedule, a sensor, or an app of the HTTP service.
SCHEDULE_TAG = "dagster/schedule_name"
SENSOR_TAG = "dagster/sensor_name"
APP_TAG = "tessera/app"
# The schedules of the night.
NIGHTS = ("nightly", "nightly_moderation")
# Nobody waits for a run of the night. One that somebody starts in the UI has priority 0. One that
# hangs, as on a dead network folder, would keep the others of later nights waiting.
LONGEST_NIGHTLY_SECONDS = 20 * 3600
NIGHTLY = {PRIORITY_TAG: "-1", "dagster/max_runtime": str(LONGEST_NIGHTLY_SECONDS)}

_POINTER = {
    "__class__": "ModuleCodePointer",
    "module": "orchestration.definitions",
    "fn_name": "definitions",
    "working_directory": None,
}


def origins_of(job: str) -> dict[str, Any]:
    """Return the arguments of ``create_run_for_job`` that say where a job is loaded from.

    The queue takes no run without them, and the UI cannot run one again. Dagster has no public
    class for them, but a public format: these are the origins that its own runs are stored with.
    """
    remote = {
        "__class__": "ExternalPipelineOrigin",
        "external_repository_origin": {
            "__class__": "ExternalRepositoryOrigin",
            "repository_location_origin": {
                "__class__": "RegisteredRepositoryLocationOrigin",
                "location_name": LOCATION,
            },
            "repository_name": "__repository__",
        },
        "pipeline_name": job,
    }
    code = {
        "__class__": "PipelinePythonOrigin",
        "pipeline_name": job,
        "repository_origin": {
            "__class__": "RepositoryPythonOrigin",
            "executable_path": sys.executable,
            "code_pointer": _POINTER,
            "container_image": None,
            "entry_point": ["dagster"],
            "container_context": {},
        },
    }
    return {
        "remote_job_origin": dg.deserialize_value(json.dumps(remote)),
        "job_code_origin": dg.deserialize_value(json.dumps(code)),
    }


def check_has_queue(instance: dg.DagsterInstance) -> None:
    """Raise UserError if the home's own dagster.yaml starts runs without a queue."""
    if not isinstance(instance.run_coordinator, dg.QueuedRunCoordinator):
        raise UserError(
            "The dagster.yaml of the home starts runs without a queue, which the service needs: "
            "remove the lines of run_coordinator there."
        )


def submit(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    run_id: str,
    run_config: Mapping[str, Any],
    tags: Mapping[str, str],
    root_id: str | None = None,
) -> None:
    """Put a run into the queue, unless it is there already or further.

    ``root_id`` is the run that it is another try of.
    """
    family = {ROOT_TAG: root_id, PARENT_TAG: root_id} if root_id is not None else {}
    run = instance.get_run_by_id(run_id) or instance.create_run_for_job(
        job,
        run_id=run_id,
        run_config=run_config,
        tags={**tags, **family},
        root_run_id=root_id,
        parent_run_id=root_id,
        **origins_of(job.name),
    )
    if run.status is dg.DagsterRunStatus.NOT_STARTED:
        # The queue of this instance asks no workspace: its daemon has one.
        instance.submit_run(run_id, None)  # type: ignore[arg-type]


@contextmanager
def with_origins(instance: dg.DagsterInstance) -> Iterator[None]:
    """Let the runs that ``execute_in_process`` makes say where their job is loaded from.

    It has no argument for that, and without it *Re-execute* in the UI does not find their job.
    """
    create = instance.create_run_for_job

    def create_with_origins(job_def: dg.JobDefinition, **arguments: Any) -> dg.DagsterRun:
        return create(job_def, **arguments, **origins_of(job_def.name))

    instance.create_run_for_job = create_with_origins  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        instance.create_run_for_job = create  # type: ignore[method-assign]
