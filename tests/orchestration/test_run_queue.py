import json
import uuid

import dagster as dg
import pytest

from assets.methods.common.errors import UserError
from orchestration.definitions import definitions
from orchestration.instance import open_instance
from orchestration.run_queue import check_has_queue, submit, with_origins
from support.jobs import nothing

QUEUED = dg.DagsterRunStatus.QUEUED
WITHOUT_QUEUE = """\
telemetry: {enabled: false}
run_coordinator: {module: dagster.core.run_coordinator, class: DefaultRunCoordinator}
"""


def _job() -> dg.JobDefinition:
    return definitions.resolve_job_def("photo_map")


def test_a_run_is_put_into_the_queue_once_with_what_dagster_loads_its_job_from(instance):
    run_id = str(uuid.uuid4())
    for _ in range(2):
        submit(instance, _job(), run_id, {}, {"dagster/partition": "birds"})
    (run,) = instance.get_runs()
    assert (run.run_id, run.status) == (run_id, QUEUED)
    remote = json.loads(dg.serialize_value(run.remote_job_origin))
    repository = remote["external_repository_origin"]
    assert repository["repository_location_origin"]["location_name"] == "tessera"
    assert (repository["repository_name"], remote["pipeline_name"]) == (
        "__repository__",
        "photo_map",
    )
    enqueued = dg.DagsterEventType.RUN_ENQUEUED
    assert len(instance.all_logs(run_id, of_type=enqueued)) == 1


def test_the_code_of_a_run_is_where_its_origin_says(instance):
    submit(instance, _job(), str(uuid.uuid4()), {}, {})
    (run,) = instance.get_runs()
    pointer = run.job_code_origin.repository_origin.code_pointer
    assert pointer.load_target() is definitions


def test_another_try_belongs_to_the_first(instance):
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    submit(instance, _job(), first, {}, {})
    submit(instance, _job(), second, {}, {}, root_id=first)
    _, group = instance.get_run_group(second)
    assert {run.run_id for run in group} == {first, second}


def test_a_home_whose_runs_start_without_a_queue_is_told_so(home):
    settings = home / "dagster.yaml"
    settings.unlink()  # a link to the project's own
    settings.write_text(WITHOUT_QUEUE)
    with (
        open_instance() as instance,
        pytest.raises(UserError, match="without a queue"),
    ):
        check_has_queue(instance)
    settings.write_text("telemetry: {enabled: false}\n")
    with open_instance() as instance:
        check_has_queue(instance)


@pytest.mark.process
def test_a_run_in_this_process_says_where_its_job_is_loaded_from(instance):
    with with_origins(instance):
        inside = nothing.execute_in_process(instance=instance).run_id
    outside = nothing.execute_in_process(instance=instance).run_id
    assert instance.get_run_by_id(inside).remote_job_origin.location_name == "tessera"
    assert instance.get_run_by_id(outside).remote_job_origin is None
