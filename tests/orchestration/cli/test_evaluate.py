import pytest

from assets.methods.common.errors import UserError
from orchestration.cli.evaluate import parse_classes


def test_classes_are_given_to_their_models_in_their_order():
    given = ["b=tabby, tabby cat", "a=cat", "b=lynx"]
    assert parse_classes(given, ["a", "b"]) == {"b": ["tabby, tabby cat", "lynx"], "a": ["cat"]}
    assert parse_classes([], ["a"]) == {}


@pytest.mark.parametrize(
    ("given", "models", "expected"),
    [
        ("a=b=c", ["a"], {"a": ["b=c"]}),
        ("a=b=c", ["a=b"], {"a=b": ["c"]}),
        # The longest name of a model counts.
        ("a=b=c", ["a", "a=b"], {"a=b": ["c"]}),
        (
            "http://box/v1?model=x=cat",
            ["http://box/v1?model=x"],
            {"http://box/v1?model=x": ["cat"]},
        ),
        (
            "models:/nsfw@champion=porn",
            ["models:/nsfw@champion"],
            {"models:/nsfw@champion": ["porn"]},
        ),
    ],
)
def test_names_of_models_and_of_classes_may_hold_equals_signs(given, models, expected):
    assert parse_classes([given], models) == expected


@pytest.mark.parametrize("name", ["{file}", "{file.name}", "runs/cat.safetensors"])
def test_a_file_is_named_by_its_path_or_as_the_results_call_it(tmp_path, monkeypatch, name):
    file = tmp_path / "runs" / "cat.safetensors"
    file.parent.mkdir()
    file.touch()
    monkeypatch.chdir(tmp_path)
    given = f"{name.format(file=file)}=cat"
    assert parse_classes([given], [str(file), "nsfw"]) == {str(file): ["cat"]}


@pytest.mark.parametrize("given", ["cat", "=cat", "a", "a=", "c=cat", ""])
def test_a_text_that_names_no_class_of_a_model_is_refused(given):
    with pytest.raises(UserError) as caught:
        parse_classes([given], ["a", "b"])
    assert str(caught.value) == (
        f"--class {given} does not name a class of a model that is evaluated: write a=CLASS or "
        "b=CLASS."
    )
