import dataclasses
import json
import os
import shutil
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml

from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.common.files import write_whole
from assets.methods.models.classifier_file import (
    classifier_file_name,
    describe_classifier,
    load_classifier,
    save_classifier,
)
from assets.methods.models.preprocessing import Preprocessing
from assets.resources import registry as registry_module
from assets.resources.outages import TrackingError
from assets.resources.registry import (
    CHAMPION,
    CHAMPION_URI,
    MODEL,
    ChampionReplacedError,
    ModelRegistry,
    RegisteredModel,
)
from assets.resources.tracking import Tracking

CLASSES = ("sfw", "nsfw")
NUMBERS = Preprocessing(40, 32, (0.5,) * 3, (0.5,) * 3, "bicubic")
PICKLES = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), np.uint8)


def save_tiny(path: Path, seed: int) -> Path:
    """Write a network of random weights, another one for every seed."""
    torch.manual_seed(seed)
    weights = timm.create_model("test_resnet", num_classes=2).state_dict()
    save_classifier(path, weights, "timm:test_resnet", CLASSES, NUMBERS)
    return path


@pytest.fixture
def registry(tracking, home) -> ModelRegistry:
    return ModelRegistry(tracking, home / "models")


@pytest.fixture
def first(home) -> Path:
    """The file that is registered when there is none, below the home as the packaged one is."""
    return save_tiny(home / "models" / "network.safetensors", seed=0)


@pytest.fixture
def second(tmp_path) -> Path:
    """Another network in a file of the same name."""
    return save_tiny(tmp_path / "network.safetensors", seed=1)


def not_needed() -> Path:
    raise AssertionError("the packaged network is not needed here")


def versions(tracking: Tracking) -> list:
    return list(tracking.client.search_model_versions(f"name = '{MODEL}'"))


def test_the_first_version_holds_all_that_a_reader_needs(registry, first, tracking):
    model = registry.champion(lambda: first)
    described = describe_classifier(first)
    assert (model.version, model.is_new, model.unreachable) == ("1", True, "")
    assert (model.weights, model.description) == (first, described)
    (version,) = versions(tracking)
    assert tracking.client.get_model_version_by_alias(MODEL, CHAMPION).version == version.version
    assert version.tags["fingerprint"] == described.fingerprint
    logged = Path(tracking.client.download_artifacts(version.run_id, MODEL), "MLmodel")
    known = yaml.safe_load(logged.read_text())
    assert known["metadata"] == {
        "architecture": "timm:test_resnet",
        "class_names": list(CLASSES),
        "preprocessing": json.loads(json.dumps(dataclasses.asdict(NUMBERS))),
        "fingerprint": described.fingerprint,
    }
    (images,) = json.loads(known["signature"]["inputs"])
    assert images["tensor-spec"] == {"dtype": "uint8", "shape": [-1, -1, -1, 3]}
    assert [one["name"] for one in json.loads(known["signature"]["outputs"])] == list(CLASSES)


def test_a_model_that_comes_in_a_package_is_in_the_home_once(tracking, home, tmp_path):
    folder = home / "models"
    tiny = save_tiny(tmp_path / "tiny.safetensors", seed=0)
    description = describe_classifier(tiny)
    place = folder / classifier_file_name(description.architecture, description.fingerprint)

    def packaged() -> Path:
        write_whole(place, tiny.read_bytes())
        return place

    registry = ModelRegistry(tracking, folder, packaged)
    model = registry.champion(packaged)
    (version,) = versions(tracking)
    artifacts = tracking.local_artifacts(version.run_id) / MODEL / "artifacts"
    assert (artifacts / place.name).samefile(model.weights)
    # So one fault damages both, and the package has it still.
    place.write_bytes(place.read_bytes()[:1000])
    assert registry.champion(not_needed).description == description
    assert place.read_bytes() == tiny.read_bytes()


def test_a_second_call_registers_nothing(registry, first, tracking, home):
    model = registry.champion(lambda: first)
    runs = tracking.client.search_runs([tracking.experiment_id])
    for again in (registry, ModelRegistry(Tracking(home=str(home)), home / "models")):
        found = again.champion(not_needed)
        assert (found.version, found.is_new) == (model.version, False)
        assert found.description == model.description
    assert len(versions(tracking)) == 1
    assert len(tracking.client.search_runs([tracking.experiment_id])) == len(runs)


def test_nothing_that_is_registered_is_a_pickle(registry, first, tracking):
    registry.champion(lambda: first)
    (version,) = versions(tracking)
    folder = Path(tracking.client.download_artifacts(version.run_id, MODEL))
    files = {file.relative_to(folder) for file in folder.rglob("*") if file.is_file()}
    (weights,) = (folder / "artifacts").iterdir()
    assert describe_classifier(weights) == describe_classifier(first)
    # No python_model.pkl: what is run is the code, which a person can read.
    assert files - {weights.relative_to(folder)} == {
        Path(name)
        for name in (
            "MLmodel",
            "conda.yaml",
            "python_env.yaml",
            "registered_code.py",
            "requirements.txt",
        )
    }


def test_a_version_says_which_run_made_it(registry, first, second, tracking):
    run_id = tracking.client.create_run(tracking.experiment_id).info.run_id
    registry.champion(lambda: first, run_id)
    registry.register(second, "challenger")
    by_number = {version.version: version for version in versions(tracking)}
    assert by_number[1].run_id == run_id
    own = tracking.client.get_run(by_number[2].run_id)
    assert own.info.run_id != run_id
    assert own.info.status == "FINISHED"


def test_weights_that_are_registered_twice_are_one_version(registry, first, second, tracking):
    registry.champion(lambda: first)
    registered = registry.register(second, "challenger")
    again = registry.register(second, "challenger")
    assert (registered.version, registered.is_new) == ("2", True)
    assert (again.version, again.is_new) == ("2", False)
    assert len(versions(tracking)) == 2
    # A challenger is not put to use.
    assert registry.champion(not_needed).version == "1"


def test_the_version_that_the_alias_names_is_the_one_in_use(registry, first, second):
    registry.champion(lambda: first)
    registered = registry.register(second, "challenger")
    for version, file in ((registered.version, second), ("1", first), (registered.version, second)):
        registry.set_alias(CHAMPION, version)
        model = registry.champion(not_needed)
        assert (model.version, model.is_new) == (version, False)
        assert describe_classifier(model.weights) == model.description == describe_classifier(file)


def test_a_copy_that_is_gone_is_fetched_again(registry, first):
    registry.champion(lambda: first)
    model = registry.champion(not_needed)
    whole = model.weights.read_bytes()
    model.weights.unlink()
    again = registry.champion(not_needed)
    assert again == model
    assert again.weights.read_bytes() == whole


@pytest.mark.parametrize("damage", ["another", "half"])
def test_a_copy_that_was_tampered_with_is_fetched_again(registry, first, second, damage, caplog):
    registry.champion(lambda: first)
    copy = registry.champion(not_needed).weights
    whole = copy.read_bytes()
    copy.write_bytes(second.read_bytes() if damage == "another" else copy.read_bytes()[:-9])
    assert registry.champion(not_needed).version == "1"
    assert copy.read_bytes() == whole
    assert str(copy) in caplog.text


def test_a_registry_that_is_down_leaves_the_packaged_network(home, first, unreachable_uri):
    tracking = Tracking(home=str(home), tracking_uri=unreachable_uri)
    model = ModelRegistry(tracking, home / "models").champion(lambda: first)
    assert (model.version, model.weights, model.is_new) == ("", first, False)
    assert model.description == describe_classifier(first)
    assert f"{first.name} is used: MlflowException: " in model.unreachable
    assert "secret" not in model.unreachable


def test_a_registry_that_is_down_leaves_the_version_last_seen(
    registry, home, first, second, unreachable_uri
):
    registry.champion(lambda: first)
    registry.register(second, CHAMPION)
    registry.champion(not_needed)
    down = ModelRegistry(Tracking(home=str(home), tracking_uri=unreachable_uri), home / "models")
    model = down.champion(not_needed)
    assert model.description == describe_classifier(second)
    assert (model.version, bool(model.unreachable)) == ("", True)
    # A copy that is gone as well leaves the packaged network.
    model.weights.unlink()
    assert down.champion(lambda: first).description == describe_classifier(first)


def test_a_registry_whose_database_was_lost_begins_with_the_champion_that_it_had(
    home, first, second
):
    # Not opened in this process: that would keep the file that is lost.
    (home / "models").mkdir(exist_ok=True)
    shutil.copy(second, home / "models" / second.name)
    (home / "models" / CHAMPION).write_text(second.name)
    model = ModelRegistry(Tracking(home=str(home)), home / "models").champion(lambda: first)
    assert (model.version, model.description) == ("1", describe_classifier(second))


def test_a_registry_moves_with_its_home(registry, home, first, tmp_path):
    version = registry.champion(lambda: first).version
    moved = tmp_path / "moved"
    home.rename(moved)
    # Then it has to come from the registry.
    for copy in moved.glob("models/*.safetensors"):
        copy.unlink()
    there = ModelRegistry(Tracking(home=str(moved)), moved / "models").champion(not_needed)
    assert there.version == version
    assert there.weights.is_relative_to(moved)


def test_a_registry_that_never_answers_is_waited_for_once(home, first, silent_server):
    tracking = Tracking(home=str(home), tracking_uri=silent_server.uri)
    registry = ModelRegistry(tracking, home / "models")
    for _ in range(2):
        assert registry.champion(lambda: first).unreachable
    assert registry.register(first, "challenger").unreachable
    assert registry.logged_file("1", "training_images.csv") is None
    with pytest.raises(UserError, match="cannot be loaded"):
        registry.version_at("models:/nsfw/1")
    with pytest.raises(UserError, match="cannot be loaded"):
        registry.load_pyfunc("models:/other@best")
    assert silent_server.n_asked == 2


def test_strict_tracking_does_not_do_without_the_registry(home, first, unreachable_uri):
    tracking = Tracking(home=str(home), tracking_uri=unreachable_uri, strict=True)
    with pytest.raises(TrackingError):
        ModelRegistry(tracking, home / "models").champion(lambda: first)


def test_a_version_that_is_registered_has_its_alias_and_its_run(registry, first, second, tracking):
    registry.champion(lambda: first)
    run_id = tracking.client.create_run(tracking.experiment_id).info.run_id
    registered = registry.register(second, "challenger", run_id)
    assert (registered.version, registered.is_new, registered.unreachable) == ("2", True, "")
    assert (registered.weights, registered.description) == (second, describe_classifier(second))
    named = tracking.client.get_model_version_by_alias(MODEL, "challenger")
    assert (str(named.version), named.run_id) == ("2", run_id)
    # A challenger is not put to use.
    assert registry.champion(not_needed).version == "1"


def test_a_version_that_is_registered_as_champion_is_put_to_use(registry, first, second):
    registry.champion(lambda: first)
    registry.register(second, CHAMPION)
    assert registry.champion(not_needed).description == describe_classifier(second)


def test_weights_that_are_registered_again_are_one_version_that_takes_the_new_alias(
    registry, first, second, tracking
):
    registry.champion(lambda: first)
    registry.register(second, "challenger")
    again = registry.register(second, CHAMPION)
    assert (again.version, again.is_new) == ("2", False)
    assert len(versions(tracking)) == 2
    for alias in ("challenger", CHAMPION):
        assert str(tracking.client.get_model_version_by_alias(MODEL, alias).version) == "2"


def test_a_challenger_is_not_champion_even_where_there_is_none(registry, first, second, tracking):
    assert registry.register(second, "challenger").version == "1"
    assert tracking.client.get_registered_model(MODEL).aliases.keys() == {"challenger"}
    champion = registry.champion(lambda: first)
    assert (champion.version, champion.description) == ("2", describe_classifier(first))


@pytest.mark.parametrize("is_named", [True, False], ids=["another", "none"])
def test_who_is_champion_is_asked_once_more_before_the_alias_moves(
    registry, first, second, tmp_path, tracking, is_named
):
    compared_with = registry.champion(lambda: first).version
    if is_named:
        registry.register(second, CHAMPION, compared_with=compared_with)
    else:
        tracking.client.delete_registered_model_alias(MODEL, CHAMPION)
    before = tracking.client.get_registered_model(MODEL).aliases
    third = save_tiny(tmp_path / "third.safetensors", seed=2)
    with pytest.raises(ChampionReplacedError):
        registry.register(third, CHAMPION, compared_with=compared_with)
    assert tracking.client.get_registered_model(MODEL).aliases == before
    # A challenger takes nobody's place.
    registry.register(third, "challenger", compared_with=compared_with)
    assert "challenger" in tracking.client.get_registered_model(MODEL).aliases


def test_a_file_of_the_run_that_made_a_version_is_read(
    registry, first, second, tracking, home, unreachable_uri
):
    with tracking.lone_run("training", pytest.fail) as run:
        run.file("told.csv", b"a,b\n")
    registry.champion(lambda: first)
    version = registry.register(second, "challenger", run.run_id).version
    assert registry.logged_file(version, "told.csv") == b"a,b\n"
    assert registry.logged_file(version, "other.csv") is None
    assert registry.logged_file("1", "told.csv") is None
    down = ModelRegistry(Tracking(home=str(home), tracking_uri=unreachable_uri), home / "models")
    assert down.logged_file(version, "told.csv") is None


def test_a_version_is_found_by_its_number_and_by_any_alias(registry, first, second, home):
    registry.champion(lambda: first)
    registry.register(second, "challenger")
    for name, number, file in (
        ("/1", "1", first),
        ("/2", "2", second),
        ("@challenger", "2", second),
        ("@champion", "1", first),
    ):
        found = registry.version_at(f"models:/{MODEL}{name}")
        assert (found.version, found.description) == (number, describe_classifier(file))
        assert found.weights.read_bytes() == file.read_bytes()
        assert found.weights.parent == home / "models"


def test_what_is_no_version_of_tesseras_is_left_to_mlflow(registry, log_model, brightness):
    logged = log_model(python_model=brightness, registered_model_name=MODEL)
    names = (f"models:/{MODEL}/1", "models:/other/1", f"models:/{logged.model_id}")
    for name in (*names, f"runs:/{logged.run_id}/model"):
        assert registry.version_at(name) is None


@pytest.mark.parametrize("name", ["/7", "@best"])
def test_a_version_that_is_not_there_is_told_in_a_sentence(registry, first, name):
    registry.champion(lambda: first)
    with pytest.raises(UserError, match=f"The model models:/nsfw{name} cannot be loaded"):
        registry.version_at(f"models:/nsfw{name}")


def test_a_registry_that_is_down_leaves_a_registered_model_without_a_version(
    home, second, unreachable_uri
):
    tracking = Tracking(home=str(home), tracking_uri=unreachable_uri)
    registered = ModelRegistry(tracking, home / "models").register(second, CHAMPION)
    assert (registered.version, registered.weights, registered.is_new) == ("", second, False)
    assert registered.description == describe_classifier(second)
    assert registered.unreachable.startswith("The model registry could not be reached: MlflowExc")
    assert "secret" not in registered.unreachable
    assert "\n" not in registered.unreachable
    strict = Tracking(home=str(home), tracking_uri=unreachable_uri, strict=True)
    with pytest.raises(TrackingError):
        ModelRegistry(strict, home / "models").register(second, CHAMPION)


def test_a_file_that_is_no_classifier_is_not_registered(registry, tracking, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    with pytest.raises(UserError):
        registry.register(broken, CHAMPION)
    assert versions(tracking) == []


# Filters of warnings are the process's: of two threads that change them one undoes the other's.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_registries_that_start_together_register_one_version(tracking, home, first):
    together = threading.Barrier(2)

    def start(_: int) -> RegisteredModel:
        registry = ModelRegistry(Tracking(home=str(home)), home / "models")
        together.wait()
        return registry.champion(lambda: first)

    with ThreadPoolExecutor(2) as pool:
        models = list(pool.map(start, range(2)))
    assert sorted((model.version, model.is_new) for model in models) == [("1", False), ("1", True)]
    assert len(versions(tracking)) == 1


def test_a_model_of_somebody_else_at_the_alias_is_told_apart(registry, log_model, brightness):
    log_model(python_model=brightness, registered_model_name=MODEL)
    registry.set_alias(CHAMPION, "1")
    with pytest.raises(UserError, match="a model that Tessera did not register") as caught:
        registry.champion(not_needed)
    assert "\n" not in str(caught.value)
    assert registry.load_pyfunc(CHAMPION_URI)[0].predict(IMAGES).columns.tolist() == [
        "dark",
        "bright",
    ]


@pytest.mark.parametrize("allowed", [None, "true", "false"])
def test_any_model_from_code_is_loaded_by_all_its_names(
    registry, log_model, brightness, tracking, allowed, monkeypatch, tmp_path
):
    if allowed is None:
        monkeypatch.delenv(PICKLES, raising=False)
    else:
        monkeypatch.setenv(PICKLES, allowed)
    monkeypatch.chdir(tmp_path)
    logged = log_model(python_model=brightness, registered_model_name="brightness")
    tracking.client.set_registered_model_alias("brightness", "best", "1")
    names = (
        "models:/brightness@best",
        "models:/brightness/1",
        f"models:/{logged.model_id}",
        f"runs:/{logged.run_id}/model",
    )
    for name in names:
        answer = registry.load_pyfunc(name)[0].predict(IMAGES)
        np.testing.assert_allclose(answer["bright"], IMAGES.mean(axis=(1, 2, 3)) / 255)
    assert os.environ.get(PICKLES) == allowed
    assert "MLFLOW_TRACKING_URI" not in os.environ
    # Nor is the server of the environment asked, which would be a database in this folder.
    assert not (tmp_path / "mlflow.db").exists()


def test_a_registered_version_is_loaded_without_the_alias(registry, first, second):
    registry.champion(lambda: first)
    registry.register(second, "challenger")
    one, two = (registry.load_pyfunc(f"models:/nsfw/{n}")[0].predict(IMAGES) for n in (1, 2))
    assert list(one) == list(two) == list(CLASSES)
    assert np.abs(one["nsfw"] - two["nsfw"]).max() > 1e-6


def test_a_version_whose_code_was_copied_by_tessera_0_1_still_loads(
    registry, first, tracking, monkeypatch
):
    """Its code imports modules from where they were in 0.1; MLflow keeps it beside the weights."""
    code = Path(__file__).parents[2] / "support" / "registered_code_0_1.py"
    assert "from assets.methods.devices import" in code.read_text()
    monkeypatch.setattr(registry_module, "CODE", code)
    registry.champion(lambda: first)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
    with warnings.catch_warnings():
        # MLflow warns of type hints in its own modules.
        warnings.simplefilter("ignore", UserWarning)
        import mlflow.pyfunc

        loaded = mlflow.pyfunc.load_model(CHAMPION_URI)
    files = Path(mlflow.artifacts.download_artifacts(CHAMPION_URI))
    assert (files / code.name).read_bytes() == code.read_bytes()
    classifier = load_classifier(first, ComputePlan("cpu", 1, "float32", 1))
    expected = classifier.classify(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
    answer = loaded.predict(IMAGES)
    assert answer.columns.tolist() == list(CLASSES)
    assert np.ptp(expected["nsfw"]) > 1e-6
    for name in CLASSES:
        np.testing.assert_allclose(answer[name], expected[name], atol=1e-6)


def test_an_alias_that_moves_is_followed(registry, first, second, tracking):
    registry.champion(lambda: first)
    registry.register(second, "challenger")
    answers = []
    for version in ("1", "2"):
        registry.set_alias("challenger", version)
        answers.append(registry.load_pyfunc("models:/nsfw@challenger")[0].predict(IMAGES))
    assert np.abs(answers[0]["nsfw"] - answers[1]["nsfw"]).max() > 1e-6


@pytest.mark.parametrize("allowed", [None, "true"])
def test_a_pickled_model_is_refused(registry, log_model, allowed, monkeypatch, tmp_path):
    if allowed is None:
        monkeypatch.delenv(PICKLES, raising=False)
    else:
        monkeypatch.setenv(PICKLES, allowed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        from mlflow.pyfunc import PythonModel

    class Pickled(PythonModel):
        def predict(self, context, model_input: np.ndarray, params=None):
            return model_input

        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "unpickled"),)

    log_model(python_model=Pickled(), registered_model_name="pickled")
    with pytest.raises(UserError, match="pickle") as caught:
        registry.load_pyfunc("models:/pickled/1")
    assert "\n" not in str(caught.value)
    assert os.environ.get(PICKLES) == allowed
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize(
    "uri",
    ["models:/unknown/1", "models:/unknown@best", "models:/m-0", "models:/", "runs:/unknown/model"],
)
def test_a_model_that_is_not_there_is_told_in_a_sentence(registry, uri):
    with pytest.raises(UserError, match=f"The model {uri} cannot be loaded") as caught:
        registry.load_pyfunc(uri)
    assert "\n" not in str(caught.value)


def test_a_model_whose_files_are_gone_is_told_in_a_sentence(registry, first, tracking, home):
    registry.champion(lambda: first)
    shutil.rmtree(home / "mlflow-artifacts")
    with pytest.raises(UserError, match="The model models:/nsfw/1 cannot be loaded"):
        registry.load_pyfunc("models:/nsfw/1")
