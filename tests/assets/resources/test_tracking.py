import socket
import subprocess
import sys

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from assets.methods.errors import UserError
from assets.resources.collections import COLLECTIONS, PARTITIONS_NAME
from assets.resources.progress import LogProgress
from assets.resources.tracking import DAGSTER_RUN, Tracking
from assets.steps import Step, step


class Settings(dg.Config):
    seed: int = 7


def _asset_running(body, name="first", deps=()):
    @dg.asset(name=name, partitions_def=COLLECTIONS, deps=deps)
    def asset(context: dg.AssetExecutionContext, config: Settings, tracking: Tracking) -> None:
        with step(context, tracking, LogProgress(), config) as log:
            body(log)

    return asset


def _materialise(assets, tracking, instance):
    instance.add_dynamic_partitions(PARTITIONS_NAME, ["demo"])
    return dg.materialize(
        assets,
        partition_key="demo",
        instance=instance,
        resources={"tracking": tracking},
        raise_on_error=False,
    )


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One home for the module: a new MLflow database takes seconds to migrate."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def tracking(home):
    return Tracking(home=str(home))


def _tracked(tracking: Tracking, run_id: str):
    runs = tracking.client.search_runs(
        [tracking.experiment_id], f"tags.`{DAGSTER_RUN}` = '{run_id}'"
    )
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    children = {run.data.tags["dagster.asset"]: run for run in runs if run is not parents[0]}
    return parents[0], children


def _log_everything(log: Step) -> None:
    log.figures({"cost": 1.5, "solver": "lapjv", "bound": None})
    log.picture("mosaic.png", Image.fromarray(np.zeros((8, 8, 3), np.uint8)))
    log.run.file("layout.txt", b"cells")
    log.run.file("summary.txt", b"all", in_parent=True)


def test_a_parent_for_the_run_and_a_child_for_the_asset_linked_both_ways(tracking, instance):
    result = _materialise([_asset_running(_log_everything)], tracking, instance)
    assert result.success
    parent, children = _tracked(tracking, result.run_id)
    child = children["first"]
    assert parent.info.status == child.info.status == "FINISHED"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["dagster.partition"] == "demo"
    assert instance.get_run_by_id(result.run_id).tags["mlflow/run_id"] == parent.info.run_id
    assert child.data.params == {"seed": "7"}
    assert child.data.metrics == {"cost": 1.5}
    # MLflow's table of runs shows parents: they are what a person compares.
    assert parent.data.params == {"first.seed": "7"}
    assert parent.data.metrics == {"first.cost": 1.5}
    assert [item.path for item in tracking.client.list_artifacts(parent.info.run_id)] == [
        "summary.txt"
    ]
    artifacts = {item.path for item in tracking.client.list_artifacts(child.info.run_id)}
    assert artifacts == {"mosaic.png", "layout.txt", "summary.txt"}
    metadata = result.asset_materializations_for_node("first")[0].metadata
    assert metadata["mlflow_run"].value == child.info.run_id
    assert metadata["mlflow"].value.endswith(f"/runs/{child.info.run_id}")
    assert metadata["solver"].value == "lapjv"
    assert metadata["mosaic"].value.startswith("![thumbnail](data:image/jpeg;base64,")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ZeroDivisionError("a bug"), "FAILED"),
        (UserError("There are no photos."), "FAILED"),
        (dg.DagsterExecutionInterruptedError(), "KILLED"),
    ],
)
def test_the_status_says_how_the_asset_ended(tracking, instance, error, status):
    def fail(log: Step) -> None:
        raise error

    first = _asset_running(lambda log: None)
    second = _asset_running(fail, "second", deps=[first])
    try:
        run_id = _materialise([first, second], tracking, instance).run_id
    except dg.DagsterExecutionInterruptedError:
        run_id = instance.get_runs()[0].run_id
    parent, children = _tracked(tracking, run_id)
    assert parent.info.status == children["second"].info.status == status
    assert children["first"].info.status == "FINISHED"


def test_a_users_mistake_is_the_description_of_the_failure(tracking, instance):
    def fail(log: Step) -> None:
        raise UserError("There are no photos.")

    result = _materialise([_asset_running(fail)], tracking, instance)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.user_failure_data.description == "There are no photos."


def test_a_run_that_was_killed_is_settled_by_what_dagster_knows(tracking, instance):
    result = _materialise([_asset_running(lambda log: None)], tracking, instance)
    parent, children = _tracked(tracking, result.run_id)
    for run in (parent, children["first"]):
        tracking.client.update_run(run.info.run_id, status="RUNNING")
    tracking.settle(result.run_id, dg.DagsterRunStatus.CANCELED)
    parent, children = _tracked(tracking, result.run_id)
    assert parent.info.status == children["first"].info.status == "KILLED"


@pytest.fixture
def unreachable_uri():
    """The address of a server that is down: a port that was free a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_server_that_is_down_costs_no_result(home, instance, unreachable_uri):
    tracking = Tracking(home=str(home), tracking_uri=unreachable_uri)
    result = _materialise([_asset_running(_log_everything)], tracking, instance)
    assert result.success
    metadata = result.asset_materializations_for_node("first")[0].metadata
    assert metadata["tracking"].value.startswith("failed: ")
    assert metadata["cost"].value == 1.5


def test_strict_tracking_fails_the_asset_when_the_server_is_down(home, instance, unreachable_uri):
    tracking = Tracking(home=str(home), tracking_uri=unreachable_uri, strict=True)
    assert not _materialise([_asset_running(_log_everything)], tracking, instance).success


_RACE = """
import sys
from assets.resources.tracking import Tracking
print(Tracking(home=sys.argv[1]).experiment_id)
"""


def test_processes_that_start_together_find_one_experiment(tmp_path):
    command = [sys.executable, "-c", _RACE, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    answers = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(answers) == 1


def test_an_experiment_that_was_deleted_comes_back(tracking, home):
    tracking.client.delete_experiment(tracking.experiment_id)
    again = Tracking(home=str(home))
    assert again.client.get_experiment(again.experiment_id).lifecycle_stage == "active"
