import sys

import numpy as np
import pytest
import torch

from assets.methods.common.errors import UserError
from assets.methods.models.callable_classifier import CallableClassifier, load_callable_classifier

IMAGES = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 4, 5)


def brightness(images):
    bright = np.array([np.asarray(image).mean() / 255 for image in images])
    return np.stack([1 - bright, bright], axis=1)


def by_name(images):
    dark, bright = brightness(images).T
    return {"bright": bright, "dark": dark}


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, source):
        (tmp_path / f"{name}.py").write_text(source)

    return write


@pytest.mark.parametrize(
    ("function", "class_names"),
    [(brightness, ("dark", "bright")), (by_name, ("dark", "bright")), (by_name, None)],
)
def test_arrays_and_mappings_give_probabilities_by_name(function, class_names):
    found = CallableClassifier(function, class_names, "f").classify(IMAGES)
    assert found["bright"].dtype == np.float32
    assert found["bright"].tolist() == pytest.approx([0, 0.2, 1])
    assert found["dark"].tolist() == pytest.approx([1, 0.8, 0])


def test_the_function_sees_rgb_images_of_their_size():
    seen = []

    def look(images):
        seen.extend((image.mode, image.size, image.getpixel((4, 3))) for image in images)
        return np.full((len(images), 1), 0.5)

    image = torch.zeros(3, 4, 5, dtype=torch.uint8)
    image[:, 3, 4] = torch.tensor([1, 2, 3])
    CallableClassifier(look, ["a"], "f").classify([image])
    assert seen == [("RGB", (5, 4), (1, 2, 3))]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros((3, 3)), r"shape \(3, 3\) instead of \(3, 2\)"),
        (np.zeros(3), r"shape \(3,\) instead of \(3, 2\)"),
        ({"dark": [0, 0, 0]}, "no probabilities for the class bright"),
        ({"dark": [0, 0, 0], "bright": [0]}, r"shape \(1,\) instead of \(3,\)"),
        ("nonsense", "no array of numbers"),
    ],
)
def test_an_answer_of_the_wrong_form_is_refused(answer, message):
    with pytest.raises(UserError, match=message):
        CallableClassifier(lambda images: answer, ("dark", "bright"), "f").classify(IMAGES)


def test_names_that_are_not_given_have_to_come_from_a_mapping():
    with pytest.raises(UserError, match="have an attribute class_names"):
        CallableClassifier(brightness, None, "f")


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(UserError, match="one name"):
        CallableClassifier(brightness, ("a", "a"), "f")


def test_name_version_and_classes_make_the_fingerprint():
    def versioned(images):
        return brightness(images)

    vars(versioned).update(version="2")
    names = ("dark", "bright")
    fingerprints = {
        CallableClassifier(brightness, names, "f").fingerprint,
        CallableClassifier(brightness, names, "g").fingerprint,
        CallableClassifier(brightness, names[::-1], "f").fingerprint,
        CallableClassifier(versioned, names, "f").fingerprint,
    }
    assert len(fingerprints) == 4
    assert CallableClassifier(by_name, names, "f").fingerprint in fingerprints


def test_a_function_is_imported_with_its_class_names(module):
    module(
        "my_function",
        "def f(images):\n    return [[0.25, 0.75]] * len(images)\nf.class_names = ('a', 'b')\n",
    )
    assert load_callable_classifier("python:my_function:f").classify(IMAGES)["b"][0] == 0.75


def test_a_file_that_was_edited_is_another_classifier(module, monkeypatch):
    fingerprints = set()
    for answer in ("0.25", "0.75", "0.75"):
        module("my_edited", f"def f(images):\n    return {{'a': [{answer}] * len(images)}}\n")
        monkeypatch.delitem(sys.modules, "my_edited", raising=False)
        fingerprints.add(load_callable_classifier("python:my_edited:f").fingerprint)
    assert len(fingerprints) == 2


def test_what_the_function_raises_is_told_in_a_sentence():
    def fail(images):
        raise ZeroDivisionError("nothing there")

    with pytest.raises(UserError, match="f raised ZeroDivisionError: nothing there"):
        CallableClassifier(fail, ("a", "b"), "f").classify(IMAGES)


def test_class_names_that_are_one_text_are_refused():
    with pytest.raises(UserError, match="class_names of f are a text"):
        CallableClassifier(brightness, "nsfw", "f")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("python:module", "not of the form"),
        ("python::f", "not of the form"),
        ("python:no_such_module_at_all:f", "no Python module no_such_module_at_all"),
        ("python:json.nothing:f", "no Python module json.nothing"),
        ("python:json:nothing", "json has no function nothing"),
        ("python:json:__name__", "json has no function __name__"),
    ],
)
def test_a_place_without_a_function_is_told(name, message):
    with pytest.raises(UserError, match=message):
        load_callable_classifier(name)


def test_what_the_users_module_lacks_is_told_as_python_tells_it(module):
    module("my_broken", "import something_not_installed")
    with pytest.raises(ModuleNotFoundError, match="something_not_installed"):
        load_callable_classifier("python:my_broken:f")
