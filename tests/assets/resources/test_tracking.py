import json
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import dagster as dg
import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image
from sqlalchemy.exc import SQLAlchemyError

from assets.methods.common.errors import UserError
from assets.resources import outages
from assets.resources import tracking as tracking_module
from assets.resources.collections import PARTITIONS_NAME
from assets.resources.outages import TrackingError
from assets.resources.partitions import COLLECTIONS
from assets.resources.progress import LogProgress
from assets.resources.tracking import DAGSTER_RUN, EXPERIMENT, PROCESS, TrackedRun, Tracking
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


def _tracked(tracking: Tracking, run_id: str):
    runs = tracking.client.search_runs(
        [tracking.experiment_id], f"tags.`{DAGSTER_RUN}` = '{run_id}'"
    )
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    children = {run.data.tags["dagster.asset"]: run for run in runs if run is not parents[0]}
    return parents[0], children


def _log_everything(log: Step) -> None:
    log.metrics({"cost": 1.5, "solver": "lapjv", "bound": None})
    log.image("mosaic.png", Image.fromarray(np.zeros((8, 8, 3), np.uint8)))
    log.run.file("layout.txt", b"cells")
    log.run.file("summary.txt", b"all")
    log.run.file_in_parent("summary.txt", b"all")


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


def test_what_a_run_logs_again_takes_no_room_and_is_there_all_the_same(tracking, instance):
    def log(step: Step, picture: bytes, note: bytes) -> None:
        step.run.file("mosaic.jpg", picture)
        step.run.file("note.txt", note)
        step.run.file_in_parent("mosaic.jpg", picture)
        # Logged again in one run, as a retry does, it must not change what another run has.
        step.run.file("note.txt", note)

    files = []
    for note in (b"first", b"second"):
        asset = _asset_running(partial(log, picture=bytes(1000), note=note))
        run_id = _materialise([asset], tracking, instance).run_id
        parent, children = _tracked(tracking, run_id)
        runs = (children["first"].info.run_id, parent.info.run_id)
        folders = [tracking.local_artifacts(run) for run in runs]
        files.append([folder / "mosaic.jpg" for folder in folders])
        assert (folders[0] / "note.txt").read_bytes() == note
    (child, parent), (child_again, parent_again) = files
    assert child_again.read_bytes() == bytes(1000)
    others = (parent, child_again, parent_again)
    assert [child.samefile(other) for other in others] == [True] * 3


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
    tracking.finish_runs(result.run_id, dg.DagsterRunStatus.CANCELED)
    parent, children = _tracked(tracking, result.run_id)
    assert parent.info.status == children["first"].info.status == "KILLED"


@pytest.mark.parametrize("shared", [True, False], ids=["server", "home"])
def test_runs_whose_end_could_not_be_written_are_ended_by_the_next(home, instance, shared):
    server = f"sqlite:///{home}/server.db" if shared else ""
    tracking = Tracking(home=str(home), tracking_uri=server)
    first = _asset_running(lambda log: None)
    full_disk = _materialise([first], tracking, instance).run_id
    parent, children = _tracked(tracking, full_disk)
    for run in (parent, children["first"]):
        tracking.client.update_run(run.info.run_id, status="RUNNING")
    with tracking.lone_run("explain", _unheard) as alive:
        name = tracking.client.get_run(alive.run_id).data.tags[PROCESS].split(":")
        dead = ":".join([name[0], "999999999", *name[2:]])
        others = {
            "killed": {PROCESS: dead},
            "on another machine": {PROCESS: f"other-{dead}"},
            "in no Dagster run known": {DAGSTER_RUN: "0" * 32},
        }
        ids = {
            what: tracking.client.create_run(tracking.experiment_id, tags=tags).info.run_id
            for what, tags in others.items()
        }
        _materialise([first], tracking, instance)
        ended = {what: tracking.client.get_run(i).info.status for what, i in ids.items()}
        assert tracking.client.get_run(alive.run_id).info.status == "RUNNING"
    assert ended == {
        "killed": "FAILED",
        "on another machine": "RUNNING",
        # A server may have the runs of another home.
        "in no Dagster run known": "RUNNING" if shared else "FAILED",
    }
    parent, children = _tracked(tracking, full_disk)
    assert parent.info.status == children["first"].info.status == "FINISHED"


def test_a_server_that_is_down_costs_no_result(home, instance, unreachable_uri):
    tracking = Tracking(home=str(home), tracking_uri=unreachable_uri)
    result = _materialise([_asset_running(_log_everything)], tracking, instance)
    assert result.success
    metadata = result.asset_materializations_for_node("first")[0].metadata
    assert metadata["tracking"].value.startswith("not tracked: ")
    assert metadata["cost"].value == 1.5
    told = [event.message for event in instance.all_logs(result.run_id)]
    assert any("could not be reached" in message for message in told)
    assert not any("secret" in text for text in (*told, repr(metadata)))


def test_strict_tracking_fails_the_asset_when_the_server_is_down(home, instance, unreachable_uri):
    tracking = Tracking(home=str(home), tracking_uri=unreachable_uri, strict=True)
    assert not _materialise([_asset_running(_log_everything)], tracking, instance).success


def test_a_server_that_never_answers_is_asked_once_in_a_run(
    home, instance, silent_server, monkeypatch
):
    tracking = Tracking(home=str(home), tracking_uri=silent_server.uri)
    # Even where the run goes on for longer than others are kept from asking.
    monkeypatch.setattr(outages, "PAUSE", 0.0)
    first = _asset_running(_log_everything)
    second = _asset_running(_log_everything, "second", deps=[first])
    result = _materialise([first, second], tracking, instance)
    assert result.success
    for name in ("first", "second"):
        metadata = result.asset_materializations_for_node(name)[0].metadata
        assert metadata["tracking"].value.startswith("not tracked: ")
    with pytest.raises(TrackingError):
        tracking.finish_runs(result.run_id, dg.DagsterRunStatus.SUCCESS)
    # MLflow asks twice, as it does for a hiccup.
    assert silent_server.n_asked == 2
    # Another run does ask.
    assert not _materialise([first], Tracking(**_strict(tracking)), instance).success
    assert silent_server.n_asked == 4


def test_what_belongs_to_no_run_does_not_wait_again_for_a_while(home, silent_server):
    tracking = Tracking(home=str(home), tracking_uri=silent_server.uri)
    for _ in range(3):
        with pytest.raises(TrackingError):
            tracking.running()
    assert silent_server.n_asked == 2


def test_a_server_that_dribbles_is_waited_for_no_longer_than_one_that_is_silent(home, monkeypatch):
    def dribble(self: MlflowClient, name: str) -> None:
        time.sleep(60)

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "0")
    monkeypatch.setattr(tracking_module, "LONGEST_CONTACT", 0.1)
    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", dribble)
    tracking = Tracking(home=str(home), tracking_uri="http://tracking.example")
    heard = []
    with tracking.lone_run("explain", heard.append) as run:
        pass
    assert run.unreachable == "no answer within 0 seconds"


def test_a_refusal_of_mlflow_is_no_outage(tracking):
    for number in ("99", str(10**30)):
        with pytest.raises(TrackingError), tracking.asking():
            tracking.client.get_model_version("nsfw", number)
    with tracking.lone_run("explain", lambda warning: None) as run:
        tracking.client.delete_run(run.run_id)
        run.metrics({"score": 1.0})
    assert run.unreachable
    with tracking.lone_run("again", _unheard) as again:
        again.metrics({"score": 1.0})


@pytest.mark.parametrize("error", [SQLAlchemyError("gone"), KeyError("half"), OSError("full")])
def test_no_kind_of_error_costs_a_result(tracking, monkeypatch, error):
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(type(tracking.client), "create_run", fail)
    heard = []
    with tracking.lone_run("explain", heard.append) as run:
        run.metrics({"score": 1.0})
    assert run.unreachable.startswith(type(error).__name__)
    assert len(heard) == 1


def _strict(tracking: Tracking) -> dict[str, object]:
    return {**tracking.model_dump(), "strict": True}


_RACE = """
import sys
from assets.resources.tracking import Tracking
print(Tracking(home=sys.argv[1]).experiment_id)
"""


@pytest.mark.process
def test_processes_that_start_together_find_one_experiment(tmp_path):
    command = [sys.executable, "-c", _RACE, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    answers = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(answers) == 1


def test_an_experiment_that_was_deleted_comes_back(tracking, home):
    tracking.client.delete_experiment(tracking.experiment_id)
    again = Tracking(home=str(home))
    assert again.client.get_experiment(again.experiment_id).lifecycle_stage == "active"


def test_runs_belong_to_tessera_unless_another_experiment_is_asked_for(tracking):
    assert tracking.experiment == EXPERIMENT == "tessera"
    other = tracking.in_experiment("study")
    with other.lone_run("first", _unheard) as run, tracking.lone_run("explain", _unheard) as usual:
        run.metrics({"auc": 0.5})
    names = {
        one: tracking.client.get_experiment(
            tracking.client.get_run(one.run_id).info.experiment_id
        ).name
        for one in (run, usual)
    }
    assert names == {run: "study", usual: "tessera"}
    # The link leads to where the run is.
    assert f"/experiments/{other.experiment_id}/runs/{run.run_id}" in run.url
    # The files lie in the same home, and runs are tagged as classical ones in both.
    experiment = tracking.client.get_experiment_by_name("study")
    assert experiment.artifact_location.startswith(Path(tracking.home, "mlflow-artifacts").as_uri())
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    with tracking.in_experiment("study").lone_run("second", _unheard) as again:
        pass
    assert tracking.client.get_run(again.run_id).info.experiment_id == other.experiment_id


def test_another_experiment_is_on_the_same_server_with_the_same_settings(tmp_path):
    settings = {
        "home": str(tmp_path),
        "tracking_uri": "http://tracking.example:5000",
        "dagster_url": "http://dagster.example",
        "mlflow_url": "http://mlflow.example",
        "strict": True,
    }
    # What a Tracking has asked already is not handed on.
    tracking = Tracking(**settings)
    assert tracking.uri == settings["tracking_uri"]
    other = tracking.in_experiment("study")
    assert other.model_dump() == {**settings, "experiment": "study"}
    assert tracking.experiment == EXPERIMENT


def _artifacts(tracking: Tracking, run_id: str, folder: str | None = None) -> list[str]:
    found = []
    for item in tracking.client.list_artifacts(run_id, folder):
        found += _artifacts(tracking, run_id, item.path) if item.is_dir else [item.path]
    return sorted(found)


def _unheard(message: str) -> None:
    raise AssertionError(message)


def test_work_that_no_dagster_run_stands_for_has_a_run_of_its_own(tracking):
    with tracking.lone_run("explain", _unheard) as run:
        assert tracking.client.get_run(run.run_id).info.status == "RUNNING"
        run.parameters({"box": 64, "fill": "black"})
        run.metrics({"score": 0.25})
    ended = tracking.client.get_run(run.run_id)
    assert (ended.info.run_name, ended.info.status) == ("explain", "FINISHED")
    assert ended.data.params == {"box": "64", "fill": "black"}
    assert ended.data.metrics == {"score": 0.25}
    assert DAGSTER_RUN not in ended.data.tags
    assert run.url.endswith(f"/runs/{run.run_id}")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ZeroDivisionError, "FAILED"),
        (UserError, "FAILED"),
        (SystemExit, "FAILED"),
        (KeyboardInterrupt, "KILLED"),
        (dg.DagsterExecutionInterruptedError, "KILLED"),
    ],
)
def test_the_status_says_how_lone_work_ended(tracking, error, status):
    with pytest.raises(error), tracking.lone_run("explain", _unheard) as run:
        raise error
    assert tracking.client.get_run(run.run_id).info.status == status


def _log_all_kinds(run: TrackedRun) -> None:
    run.parameters({"box": 64})
    run.metrics({"score": 0.25}, step=1)
    run.image("figure.png", Image.new("RGB", (8, 8)))
    run.series_image("figure", Image.new("RGB", (8, 8)), step=1)
    run.file("cat/seen.npy", b"map")


def test_parameters_hold_no_secret_and_no_control_character(tracking):
    with tracking.lone_run("explain", _unheard) as run:
        run.parameters({"manifest": "https://bob:s3cr3t@host/\x1b.csv?password=s3cr3t", "box": 64})
    assert tracking.client.get_run(run.run_id).data.params == {
        "manifest": r"https://hidden@host/\x1b.csv?password=hidden",
        "box": "64",
    }


def test_a_server_that_is_down_is_told_once_and_costs_lone_work_nothing(home, unreachable_uri):
    heard = []
    tracking = Tracking(home=str(home), tracking_uri=unreachable_uri)
    with tracking.lone_run("explain", heard.append) as run:
        _log_all_kinds(run)
    assert run.run_id == ""
    (warning,) = heard
    assert f"MLflow at {tracking.shown_uri} could not be reached" in warning
    assert "explain" in warning
    assert "\n" not in warning
    assert not any(
        word in text for text in (warning, run.unreachable) for word in ("bob", "secret")
    )


def test_a_server_that_goes_down_on_the_way_is_told_once_and_costs_nothing(tracking, monkeypatch):
    def refuse(*args: object, **options: object) -> None:
        raise OSError("unplugged")

    heard = []
    with tracking.lone_run("explain", heard.append) as run:
        run.metrics({"before": 1})
        run_id = run.run_id
        with monkeypatch.context() as patch:
            for name in ("log_batch", "log_image", "log_artifact"):
                patch.setattr(type(tracking.client), name, refuse)
            _log_all_kinds(run)
        run.metrics({"after": 1})
    assert len(heard) == 1
    assert run.unreachable == "OSError: unplugged"
    assert (run.run_id, run_id != "") == ("", True)
    assert tracking.client.get_run(run_id).data.metrics == {"before": 1}


def test_strict_tracking_fails_lone_work_when_the_server_is_down(home, unreachable_uri):
    tracking = Tracking(home=str(home), tracking_uri=unreachable_uri, strict=True)
    with pytest.raises(TrackingError), tracking.lone_run("explain", _unheard):
        raise AssertionError("the body has been run")


def test_a_series_of_figures_has_steps_that_the_parent_is_spared(tracking, instance):
    def log_ranks(log: Step) -> None:
        log.run.metrics({"seen.mean": 0.5}, step=1)
        log.run.metrics({"seen.mean": 0.25}, step=2)
        log.run.metrics({"images": 2})

    result = _materialise([_asset_running(log_ranks)], tracking, instance)
    parent, children = _tracked(tracking, result.run_id)
    history = tracking.client.get_metric_history(children["first"].info.run_id, "seen.mean")
    assert [(one.step, one.value) for one in history] == [(1, 0.5), (2, 0.25)]
    assert parent.data.metrics == {"first.images": 2}


def test_pictures_of_a_series_keep_their_key_step_and_pixels(tracking, tmp_path):
    shown = np.random.default_rng(0).integers(0, 256, (2, 6, 9, 3), np.uint8)
    with tracking.lone_run("explain", _unheard) as run:
        for step, pixels in enumerate(shown, start=1):
            run.series_image("seen", Image.fromarray(pixels), step)
    folder = Path(tracking.client.download_artifacts(run.run_id, "images", str(tmp_path)))
    for step, pixels in enumerate(shown, start=1):
        # The name that MLflow's UI reads key and step from.
        (whole,) = folder.glob(f"seen+step+{step}+*.png")
        np.testing.assert_array_equal(np.asarray(Image.open(whole)), pixels)


def test_a_file_may_lie_in_folders(tracking, tmp_path):
    with tracking.lone_run("explain", _unheard) as run:
        run.file("top.txt", b"top")
        run.file("cat/seen.npy", b"seen")
        run.file("cat/more/hidden.npy", b"hidden")
    names = ["cat/more/hidden.npy", "cat/seen.npy", "top.txt"]
    assert _artifacts(tracking, run.run_id) == names
    whole = Path(tracking.client.download_artifacts(run.run_id, names[0], str(tmp_path)))
    assert whole.read_bytes() == b"hidden"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://bob:secret@tracking.example:5000/base", "http://tracking.example:5000/base"),
        ("https://tracking.example", "https://tracking.example"),
        ("https://token@tracking.example/?a=b@c", "https://tracking.example/?a=b@c"),
        ("postgresql+psycopg://bob:se@cret@db/mlflow", "postgresql+psycopg://db/mlflow"),
        ("sqlite:////home/bob@work/mlflow.db", "sqlite:////home/bob@work/mlflow.db"),
        ("databricks", "databricks"),
    ],
)
def test_the_address_is_shown_without_its_password(tmp_path, uri, shown):
    assert Tracking(home=str(tmp_path), tracking_uri=uri).shown_uri == shown


class _Server(BaseHTTPRequestHandler):
    """Answers any question of MLflow's client with one experiment and one run."""

    answer: ClassVar = {
        "experiment": {"experiment_id": "7", "name": "tessera", "lifecycle_stage": "active"},
        "run": {"info": {"run_id": "r1", "experiment_id": "7", "status": "RUNNING"}, "data": {}},
    }

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = json.dumps(self.answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server():
    """The address of a server that is up, with user and password."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://bob:secret@127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_server_that_is_up_has_its_password_shown_nowhere(tmp_path, server, capfd):
    tracking = Tracking(home=str(tmp_path), tracking_uri=server)
    with tracking.lone_run("explain", _unheard) as run:
        run.metrics({"score": 0.25})
    address = server.replace("bob:secret@", "")
    assert run.url == f"{address}#/experiments/7/runs/r1"
    # What MLflow prints of itself would end in the tables that a command writes to stdout.
    assert capfd.readouterr().out == ""


def test_the_database_at_home_is_shown_as_it_is(tmp_path):
    assert Tracking(home=str(tmp_path)).shown_uri == f"sqlite:///{tmp_path}/mlflow.db"
