"""`tessera promote`: a person's choice of the champion, and the way back from it."""

import pytest

from assets.methods.models.classifier_file import save_classifier
from assets.resources.models import Models
from assets.resources.registry import CHAMPION, FINGERPRINT_TAG, MODEL
from assets.resources.tracking import Tracking
from support.brightness_network import ARCHITECTURE, PREPROCESSING, brightness_weights

USED = "score, explain, deconv, evaluate and the nightly runs use it."


@pytest.fixture
def tracking(shared_home):
    return Tracking(home=str(shared_home))


@pytest.fixture
def models(shared_home, tracking):
    return Models(shared_home, tracking)


@pytest.fixture
def second(models, tmp_path):
    """A version that is not the packaged one's; that is version 1, and champion."""
    models.champion()
    file = tmp_path / "second.safetensors"
    classes = ("sfw", "nsfw")
    save_classifier(file, brightness_weights(1), ARCHITECTURE, classes, PREPROCESSING)
    models.registry.set_alias(CHAMPION, "1")
    return models.registry.register(file, "challenger")


@pytest.fixture
def of_animals(models, tmp_path):
    """A version that does not know nsfw; version 1 is champion."""
    models.champion()
    file = tmp_path / "animals.safetensors"
    classes = ("indoors", "animal")
    save_classifier(file, brightness_weights(3), ARCHITECTURE, classes, PREPROCESSING)
    models.registry.set_alias(CHAMPION, "1")
    verdict = "challenger: The champion has no class animal, so the two cannot be compared."
    yield models.registry.register(file, "challenger", verdict=verdict)
    models.registry.set_alias(CHAMPION, "1")


@pytest.fixture
def foreign(tracking, models, second):
    """The number of a version that somebody else registered."""
    source = tracking.client.get_model_version(MODEL, second.version)
    made = tracking.client.create_model_version(MODEL, source.source, source.run_id)
    yield str(made.version)
    models.registry.set_alias(CHAMPION, "1")
    tracking.client.delete_model_version(MODEL, str(made.version))


def test_in_an_empty_registry_the_packaged_model_is_version_1(tessera, tracking, models):
    assert tracking.client.search_model_versions(f"name = '{MODEL}'") == []
    ran = tessera("promote", "1")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"version 1 is champion: {USED} It was so before.\n"
    version = tracking.client.get_model_version_by_alias(MODEL, CHAMPION)
    assert version.tags[FINGERPRINT_TAG] == models.champion().description.fingerprint
    assert models.champion().description.architecture == "open_nsfw"


def test_a_version_is_promoted_and_the_one_of_before_again(tessera, models, second):
    ran = tessera("promote", second.version)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"version 2 is champion: {USED} Before it was version 1.\n"
    assert models.champion().description.fingerprint == second.description.fingerprint
    back = tessera("promote", "1")
    assert back.out == f"version 1 is champion: {USED} Before it was version 2.\n"
    assert models.champion().version == "1"


def test_what_was_promoted_is_used_when_the_registry_is_down(tessera, shared_home, second):
    assert tessera("promote", second.version).code == 0
    down = Models(shared_home, Tracking(home=str(shared_home), tracking_uri="http://127.0.0.1:1"))
    champion = down.champion()
    assert champion.unreachable
    assert champion.description.fingerprint == second.description.fingerprint


@pytest.mark.parametrize("version", ["99", str(10**30)])
def test_a_version_that_is_not_there_is_told_in_a_sentence(tessera, models, second, version):
    ran = tessera("promote", version)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"tessera: The model models:/nsfw/{version} cannot be loaded (")
    assert ran.err.count("\n") == 1
    assert models.champion().version == "1"


@pytest.mark.parametrize("version", ["0", "-1", "one", "models:/nsfw/1", "1.5"])
def test_what_is_no_version_is_refused(tessera, version):
    ran = tessera("promote", version)
    assert (ran.code, ran.out) == (2, "")
    assert "Traceback" not in ran.err


def test_a_version_that_does_not_know_the_class_is_refused_unless_it_is_forced(
    tessera, models, of_animals
):
    number = of_animals.version
    ran = tessera("promote", number)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        f"tessera: Version {number} knows indoors and animal but not nsfw, which version 1, the "
        "champion, is asked for: choose a version that does, or promote it all the same with "
        "--force.\n"
    )
    assert models.champion().version == "1"
    forced = tessera("promote", number, "--force")
    assert (forced.code, forced.err) == (0, "")
    assert forced.out.splitlines() == [
        f"version {number} is champion: {USED} Before it was version 1.",
        "  It does not know nsfw: name another class, such as animal, where a command takes one.",
        "  After its training it became challenger: The champion has no class animal, so the two "
        "cannot be compared.",
    ]
    assert models.champion().version == number
    # What is champion already may be promoted, and nobody is asked for nsfw any more.
    assert tessera("promote", number).code == 0
    back = tessera("promote", "1")
    assert back.err == (
        f"tessera: Version 1 knows sfw and nsfw but not animal, which version {number}, the "
        "champion, is asked for: choose a version that does, or promote it all the same with "
        "--force.\n"
    )
    forced = tessera("promote", "1", "--force")
    assert (forced.code, forced.out.count("\n")) == (0, 1)
    assert models.champion().version == "1"


def test_a_champion_of_somebody_else_is_asked_for_the_class_of_every_command(
    tessera, models, foreign, of_animals
):
    models.registry.set_alias(CHAMPION, foreign)
    ran = tessera("promote", of_animals.version)
    assert ran.code == 2
    assert f"but not nsfw, which version {foreign}, the champion, is asked for" in ran.err


def test_a_version_of_somebody_else_is_not_promoted(tessera, models, foreign):
    ran = tessera("promote", foreign)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        f"tessera: models:/nsfw/{foreign} is a model that Tessera did not register, so it can be "
        "named for one run but not stand for the NSFW model.\n"
    )
    assert models.champion().version == "1"


def test_it_is_the_way_back_from_a_champion_of_somebody_else(tessera, models, foreign):
    models.registry.set_alias(CHAMPION, foreign)
    ran = tessera("promote", "1")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"version 1 is champion: {USED} Before it was version {foreign}.\n"
    assert models.champion().version == "1"


def test_a_registry_that_is_down_is_told_in_a_sentence(tessera, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://bob:secret@127.0.0.1:1")
    ran = tessera("promote", "1")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("tessera: The model registry could not be reached: ")
    assert ran.err.count("\n") == 1
    assert "secret" not in ran.err
