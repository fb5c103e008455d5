import dagster as dg
import pandas as pd
import pytest

from assets.io_managers import outputs_of
from assets.resources.tracking import DAGSTER_RUN, Tracking
from orchestration.housekeeping.unchanged_runs import UNCHANGED_TAG, replace_former
from orchestration.instance import open_instance


@pytest.fixture
def night(kept_home):
    """Returns a function that runs a job on a value; returns its run and the one it replaces."""
    tracking = Tracking(home=str(kept_home))

    @dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="collections"))
    def layout(context: dg.AssetExecutionContext) -> pd.DataFrame:
        return pd.DataFrame({"cell": [int(context.run.tags["value"])]})

    @dg.asset_check(asset=layout)
    def sound(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed="fails" not in context.run.tags)

    def run(value: int, **tags: str) -> tuple[str, str | None]:
        with open_instance() as instance:
            result = dg.materialize(
                [layout, sound],
                instance=instance,
                partition_key="birds",
                tags={"value": str(value), **tags},
                resources={"io_manager": outputs_of(kept_home)},
            )
            tracked = {DAGSTER_RUN: result.run_id, "dagster.partition": "birds"}
            made = tracking.client.create_run(tracking.experiment_id, tags=tracked)
            tracking.client.set_terminated(made.info.run_id)
            return result.run_id, replace_former(kept_home, instance, tracking, result.run_id)

    return run


def test_of_runs_in_which_nothing_changed_the_last_is_kept(kept_home, night):
    first, _ = night(1)
    second, replaced = night(1)
    # The one that made the value stays.
    assert replaced is None
    third, replaced = night(1)
    assert replaced == second
    assert night(1, fails="yes")[1] is None
    fifth, replaced = night(1)
    assert replaced is None
    assert night(2)[1] is None
    assert night(2)[1] is None
    with open_instance() as instance:
        runs = {run.run_id: run for run in instance.get_runs()}
        assert {first, third, fifth} <= runs.keys()
        assert second not in runs
        assert runs[third].tags[UNCHANGED_TAG] == "true"
        assert UNCHANGED_TAG not in runs[first].tags
    assert not list((kept_home / "history" / "runs").glob(f"{second}*"))
    tracking = Tracking(home=str(kept_home))
    query = f"tags.`{DAGSTER_RUN}` = '{second}'"
    assert not tracking.client.search_runs([tracking.experiment_id], query)


def test_a_visualization_keeps_its_run(night):
    night(1)
    for _ in range(3):
        assert night(1, **{"tessera/followed": "yes"})[1] is None
