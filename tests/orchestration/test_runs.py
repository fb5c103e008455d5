import dagster as dg
import pytest

from assets.methods.common.errors import UserError
from orchestration.dead_runs import PROCESS_GONE, fail_run
from orchestration.runs import ProcessGoneError, RunError, failure_of
from support.jobs import nothing


def _events(raised: BaseException | None, instance: dg.DagsterInstance) -> list[dg.DagsterEvent]:
    @dg.op
    def laying_out() -> None:
        if raised is not None:
            raise raised

    @dg.job
    def mapping() -> None:
        laying_out()

    run_id = mapping.execute_in_process(instance=instance, raise_on_error=False).run_id
    return _stored(instance, run_id)


def _stored(instance: dg.DagsterInstance, run_id: str) -> list[dg.DagsterEvent]:
    return [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event]


@pytest.mark.process
@pytest.mark.parametrize(
    ("raised", "failure", "told"),
    [
        (dg.Failure("There are no photos."), UserError, "There are no photos."),
        (OSError("the disk is full"), RunError, "laying_out failed: OSError: the disk is full"),
        (dg.DagsterExecutionInterruptedError(), KeyboardInterrupt, ""),
    ],
    ids=["a users mistake", "a fault", "an interrupt"],
)
def test_the_events_of_a_run_tell_why_it_failed(instance, raised, failure, told):
    found = failure_of(_events(raised, instance))
    assert type(found) is failure
    assert str(found) == told


def test_a_run_whose_process_is_gone_says_so_whoever_has_seen_it(instance):
    ours, theirs = (instance.create_run_for_job(nothing) for _ in range(2))
    fail_run(instance, ours)
    # As a code server does.
    instance.report_run_failed(theirs)
    for run in (ours, theirs):
        failure = failure_of(_stored(instance, run.run_id))
        assert type(failure) is ProcessGoneError
        assert str(failure) == PROCESS_GONE


def test_a_run_that_was_called_failed_from_outside_has_the_reason_given(instance):
    run = instance.create_run_for_job(nothing)
    instance.report_run_failed(run, "Run timed out due to taking longer than 120 s to start.")
    failure = failure_of(_stored(instance, run.run_id))
    assert type(failure) is ProcessGoneError
    assert str(failure) == "Run timed out due to taking longer than 120 s to start."


def test_no_events_are_a_failure_too():
    assert str(failure_of([])) == "The run failed before its first asset."
