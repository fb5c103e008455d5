import pytest

from assets.resources.input_store import DONE, StoredInput
from orchestration.api.contract import Query
from orchestration.api.inference.search_query import contains, read_query

METADATA = {"name": "x", "list": [1, 2.5, "é", None], "deep": {"list": [{"a": 1, "b": 2}, [3, 4]]}}
URL = "http://x/1"


def stored() -> StoredInput:
    concepts = (("cat", 1.0), ("dog", 0.0), ("bird", 0.5))
    return StoredInput(1, "one", "0", URL, False, None, concepts, METADATA, "", "", DONE)


@pytest.mark.parametrize(
    "wanted",
    [
        {}, {"name": "x"}, {"list": [1, 2.5]}, {"list": ["é"]}, {"list": [None]}, {"list": []},
        {"list": [2.5, 1, 1.0]}, {"deep": {}}, {"deep": {"list": [{"b": 2}]}},
        {"deep": {"list": [[4]]}}, {"name": "x", "deep": {"list": [{"b": 2, "a": 1}]}},
    ],
)  # fmt: skip
def test_metadata_contain(wanted):
    assert contains(METADATA, wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        {"name": "y"}, {"other": None}, {"name": {"x": 1}}, {"name": ["x"]}, {"list": [True]},
        {"list": {"0": 1}}, {"list": [1, 3]}, {"list": 1}, {"deep": {"list": [{"a": 1, "b": 3}]}},
        {"deep": {"list": [3]}}, {"list": ["1"]}, {"deep": []}, {"name": True},
    ],
)  # fmt: skip
def test_metadata_do_not_contain(wanted):
    assert not contains(METADATA, wanted)


def matches(*conditions: dict) -> bool:
    ands = [{"input": condition} for condition in conditions]
    return read_query(Query.model_validate({"ands": ands})).filter.matches(stored())


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"id": "one"}, True),
        ({"id": "On"}, False),
        ({"data": {"image": {"url": URL}}}, True),
        ({"data": {"image": {"url": "http://x/"}}}, False),
        ({"data": {"concepts": [{"id": "cat"}]}}, True),
        ({"data": {"concepts": [{"name": "cat", "value": True}]}}, True),
        ({"data": {"concepts": [{"name": "cat", "value": False}]}}, False),
        ({"data": {"concepts": [{"name": "dog"}]}}, False),
        ({"data": {"concepts": [{"name": "dog", "value": False}]}}, True),
        ({"data": {"concepts": [{"name": "bird"}]}}, False),
        ({"data": {"concepts": [{"name": "fish", "value": 0}]}}, True),
        ({"data": {"concepts": [{"name": "cat"}, {"name": "fish"}]}}, False),
        ({"data": {"metadata": {"name": "x"}}}, True),
        ({"data": {"metadata": {"name": "y"}}}, False),
        ({"id": "one", "data": {"metadata": {"name": "y"}}}, False),
    ],
)
def test_an_input_has_what_is_searched_for(condition, expected):
    assert matches(condition) == expected


def test_all_conditions_have_to_hold():
    one, metadata = {"id": "one"}, {"data": {"metadata": {"name": "x"}}}
    assert matches(one, metadata, one)
    assert not matches(one, {"id": "two"})
    assert not matches(metadata, {"data": {"metadata": {"list": [9]}}})


def test_the_texts_are_those_that_every_match_contains():
    query = {
        "ands": [
            {"input": {"data": {"concepts": [{"id": "cat"}, {"id": "dog", "value": 0}]}}},
            {"input": {"data": {"metadata": {"a": {"b": ["c", 1, None]}}}}},
        ]
    }
    wanted = read_query(Query.model_validate(query)).filter
    assert wanted.texts() == ["a", "b", "c", "cat"]
