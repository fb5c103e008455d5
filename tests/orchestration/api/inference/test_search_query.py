from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.resources.input_store import DONE, InputImage, InputStore, NewInput, StoredInput
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


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -0.0, 1, 1.0, 7, 0.1, 1e-7, 1e15, 10**15, 1e16, 10**16, -1e300]),
    st.text(max_size=3),
)
VALUES = st.recursive(
    SCALARS,
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=2), one, max_size=3),
    max_leaves=10,
)


@st.composite
def part_of(draw: st.DrawFn, value: Any) -> Any:
    """Something that a value contains, with equal numbers written in another way."""
    if isinstance(value, dict):
        kept = [key for key in value if draw(st.booleans())]
        return {key: draw(part_of(value[key])) for key in kept}
    if isinstance(value, list):
        return [draw(part_of(one)) for one in value if draw(st.booleans())]
    if isinstance(value, float) and value.is_integer() and draw(st.booleans()):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and draw(st.booleans()):
        return float(value)
    return value


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    with closing(InputStore(tmp_path_factory.mktemp("inputs"))) as store:
        yield store


@given(data=st.data(), metadata=st.dictionaries(st.text(max_size=2), VALUES, max_size=3))
def test_whatever_metadata_contain_finds_them(store, data, metadata):
    wanted = data.draw(part_of(metadata))
    store.delete(["one"])
    store.add([NewInput("one", InputImage(b"a", "PNG", 1, 1), metadata=metadata)], 1)
    assert contains(metadata, wanted)
    assert [found.id for found in store.candidates(metadata=[wanted])] == ["one"]
