"""A run in which an asset raises, and the run that picks up where it stopped."""

import json

import dagster as dg
import pytest

from assets.resources.tracking import DAGSTER_RUN, Tracking
from orchestration.definitions import build_definitions, build_resources
from orchestration.instance import open_instance


def photo_map() -> dg.JobDefinition:
    """The job, where Dagster can find it again to carry it out anew."""
    return build_definitions(build_resources()).resolve_job_def("photo_map")


def _statuses(home, run_id: str) -> dict[str, str]:
    """The status of each MLflow run of a Dagster run; the parent's asset is empty."""
    tracking = Tracking(home=str(home))
    runs = tracking.client.search_runs(
        [tracking.experiment_id], f"tags.`{DAGSTER_RUN}` = '{run_id}'"
    )
    return {run.data.tags["dagster.asset"]: run.info.status for run in runs}


def test_the_statuses_tell_what_failed_and_a_re_run_starts_there(
    shared_home, tessera, photo_folder, tmp_path, monkeypatch
):
    def fail(*arguments, **options):
        raise OSError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr("assets.results.staying_map.lay_out", fail)
        ran = tessera("map", photo_folder(6), "--out", tmp_path / "map", "--name", "broken")
    assert ran.code == 1
    assert "grid_assignment failed: OSError: the disk is full" in ran.err

    with open_instance() as instance:
        (failed,) = instance.get_runs()
        assert _statuses(shared_home, failed.run_id) == {
            "": "FAILED",
            "raw_images": "FINISHED",
            "embeddings": "FINISHED",
            "tsne_2d": "FINISHED",
            "grid_assignment": "FAILED",
        }
        again = dg.execute_job(
            dg.reconstructable(photo_map),
            instance,
            tags=failed.tags,
            reexecution_options=dg.ReexecutionOptions.from_failure(failed.run_id, instance),
        )
        assert again.success
        assert _statuses(shared_home, again.run_id) == {
            "": "FINISHED",
            "grid_assignment": "FINISHED",
            "mosaic": "FINISHED",
        }


def test_a_value_that_cannot_be_stored_fails_the_parent_too(
    shared_home, tessera, photo_folder, tmp_path, monkeypatch
):
    """The asset's body has returned by then: only Dagster knows."""

    def fail(*arguments, **options):
        raise OSError("the disk is full")

    monkeypatch.setattr("assets.io_managers.pq.write_table", fail)
    ran = tessera("map", photo_folder(2), "--out", tmp_path / "map", "--name", "unstored")
    assert ran.code == 1
    with open_instance() as instance:
        failed = instance.get_runs(limit=1)[0]
    assert _statuses(shared_home, failed.run_id) == {"": "FAILED", "raw_images": "FINISHED"}


def test_the_next_run_settles_one_that_was_killed(
    shared_home, tessera, photo_folder, tmp_path, monkeypatch
):
    """What a process leaves that dies at once: a run that seems to go on for ever."""
    folder = photo_folder(2)
    monkeypatch.setattr("orchestration.runs.this_process", lambda run_id: "")
    assert tessera("map", folder, "--out", tmp_path / "map", "--name", "killed").code == 0
    tracking = Tracking(home=str(shared_home))
    with open_instance() as instance:
        killed = instance.get_runs(limit=1)[0]
        for run in tracking.client.search_runs(
            [tracking.experiment_id], f"tags.`{DAGSTER_RUN}` = '{killed.run_id}'"
        ):
            tracking.client.update_run(run.info.run_id, status="RUNNING")
    monkeypatch.setattr("orchestration.runs.fail_dead_runs", lambda instance: [killed])
    assert tessera("map", folder, "--out", tmp_path / "map", "--name", "killed").code == 0
    assert set(_statuses(shared_home, killed.run_id).values()) == {"FAILED"}


@pytest.mark.parametrize("name", ["strict", "lenient"])
def test_a_tracking_server_that_is_down(tessera, photo_folder, tmp_path, monkeypatch, name):
    # Port 9 is discard: nothing listens there.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    strict = ["--strict-tracking"] if name == "strict" else []
    ran = tessera("map", photo_folder(2), "--out", tmp_path / "map", "--name", name, *strict)
    assert ran.code == (1 if strict else 0)
    assert (tmp_path / "map" / "mosaic.jpg").exists() != bool(strict)
    if not strict:
        assert "MLflow has not all of this run: " in ran.err
        report = json.loads((tmp_path / "map" / "report.json").read_bytes())
        assert report["not_tracked"].startswith("MlflowException: API request to http://127.0.0.1")
