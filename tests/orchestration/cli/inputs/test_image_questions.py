from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from assets.methods.attribution.target import Target, provenance_of
from assets.methods.models.identity import ModelIdentity
from assets.methods.photos.animation import Frame
from assets.results.originals import Original
from orchestration.cli.inputs.image_questions import ImageQuestions, model_folders, report_of

CLASSIFIER: Any = SimpleNamespace(fingerprint="ab" * 32)


def target(model: str, fingerprint: str = "ab" * 32) -> Target:
    return Target(CLASSIFIER, ModelIdentity(model, "3", fingerprint), "nsfw")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("models:/nsfw@champion", "nsfw_champion"),
        ("models:/nsfw/2", "nsfw_2"),
        ("/some/where/before.safetensors", "before"),
        ("http://localhost:8000/v2/models/a#v2", "localhost_8000_v2_models_a_v2"),
        ("python:brightness:bright", "python_brightness_bright"),
        ("../..", "_"),
    ],
)
def test_the_folder_of_a_model_has_its_name_made_safe_and_a_short_id(model, name):
    assert model_folders([target(model)]) == [f"{name}-abababab"]


def test_two_models_never_share_a_folder():
    targets = [target("a/b"), target("a_b"), target("a/b", "cd" * 32)]
    assert model_folders(targets) == ["a_b-abababab", "a_b-abababab-2", "a_b-cdcdcdcd"]


def test_of_an_animation_a_model_that_did_not_choose_the_frame_says_so():
    first, second = target("one"), target("two")
    rest: Any = [None] * 6
    asked = ImageQuestions(rest[0], [first, second], *rest)
    pixels = Image.new("RGB", (1, 1))
    still = Original(1, "/a.png", "a.png", "a", pixels, "0", pixels, pixels.size)
    moving = replace(still, uri="/a.gif", name="a.gif", frame=Frame(2, 0.5))
    assert [asked.frame_note(still, one) for one in asked.targets] == [None, None]
    assert asked.frame_note(moving, first) is None
    note = asked.frame_note(moving, second)
    assert note is not None
    assert note.startswith("one scores this frame highest")
    report = report_of(moving, provenance_of(second, 0.5), {"score": 0.5}, note)
    assert (report["model"], report["model_version"], report["frame_note"]) == ("two", "3", note)
