import uuid
from contextlib import closing

import dagster as dg
import pytest

from orchestration.api.visualizations.former_homes import import_former
from orchestration.api.visualizations.map_runs import MapRuns
from orchestration.api.visualizations.run_follower import RunFollower
from orchestration.api.visualizations.visualization_store import VisualizationStore

STATUS = dg.DagsterRunStatus


@dg.job
def photo_map() -> None:
    pass


@pytest.fixture
def store(home):
    with closing(VisualizationStore(home / "serve" / "visualizations.sqlite")) as store:
        yield store


def former(instance, status: STATUS, root: str | None = None, **tags: str) -> str:
    """A run as the service of 0.1 left it."""
    run_id = str(uuid.uuid4())
    tags = {f"tessera/{name}": value for name, value in tags.items()}
    if root is not None:
        tags |= {"dagster/root_run_id": root, "dagster/parent_run_id": root}
    instance.create_run_for_job(
        photo_map,
        run_id=run_id,
        run_config={},
        status=status,
        tags={
            "tessera/app": "birds",
            "tessera/digest": "digest",
            "tessera/photos": "12",
            "tessera/state": "closed",
            "dagster/partition": "birds",
            **tags,
        },
        root_run_id=root,
        parent_run_id=root,
    )
    return run_id


def test_visualizations_of_an_older_home_keep_their_states(home, instance, store):
    ready = former(instance, STATUS.SUCCESS)
    cancelled = former(instance, STATUS.CANCELED, cancelled="yes")
    deleted = former(instance, STATUS.SUCCESS, deleted="yes")
    retried = former(instance, STATUS.FAILURE)
    former(instance, STATUS.SUCCESS, root=retried)
    failed = former(instance, STATUS.FAILURE)
    import_former(instance, store)
    follower = RunFollower(home, store, MapRuns(instance), 1, lambda known: None)
    follower.look()
    states = {one: store.find(one).state for one in (ready, cancelled, retried, failed)}
    assert states == {ready: "ready", cancelled: "cancelled", retried: "ready", failed: "failed"}
    assert store.find(deleted) is None
    assert sum(store.counts().values()) == 5


def test_one_that_waited_is_submitted_and_one_that_went_on_is_followed(home, instance, store):
    waiting = former(instance, STATUS.MANAGED, state="open")
    going_on = former(instance, STATUS.STARTED, state="open")
    import_former(instance, store)
    RunFollower(home, store, MapRuns(instance), 1, lambda known: None).look()
    known = store.find(waiting)
    assert (known.state, known.run_id == waiting) == ("pending", False)
    assert instance.get_run_by_id(known.run_id).status is STATUS.QUEUED
    assert instance.get_run_by_id(waiting).status is STATUS.CANCELED
    assert store.find(going_on).run_id == going_on


def test_a_home_is_taken_over_once(instance, store):
    import_former(instance, store)
    former(instance, STATUS.SUCCESS)
    import_former(instance, store)
    assert store.counts() == {}
