"""The rules of patches, as the documentation of the original API tells them."""

import json

import pytest

from orchestration.api.inputs.patches import patch_concepts, patch_metadata

CAT = (("cat", 1.0), ("dog", 0.0))


@pytest.mark.parametrize(
    ("action", "sent", "expected"),
    [
        ("merge", (("bird", 1.0), ("dog", 0.5)), (("cat", 1.0), ("dog", 0.5), ("bird", 1.0))),
        ("merge", (), CAT),
        ("merge", None, CAT),
        ("merge", (("bird", 0.0), ("bird", 1.0)), (*CAT, ("bird", 1.0))),
        ("remove", (("dog", 1.0), ("bird", 1.0)), (("cat", 1.0),)),
        ("remove", None, CAT),
        ("overwrite", (("bird", 0.0), ("bird", 1.0)), (("bird", 1.0),)),
        ("overwrite", (), ()),
        ("overwrite", None, ()),
    ],
)
def test_concepts(action, sent, expected):
    assert patch_concepts(CAT, sent, action) == expected


def test_a_concept_that_an_earlier_version_stored_twice_is_stored_once():
    assert patch_concepts((("cat", 0.0), ("cat", 1.0)), (), "merge") == (("cat", 1.0),)


@pytest.mark.parametrize(
    ("stored", "sent", "expected"),
    [
        ({"a": 1}, {"b": [2]}, {"a": 1, "b": [2]}),
        ({"a": 1}, {"a": "x"}, {"a": "x"}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
        ({"a": {"b": 1}}, {"a": True}, {"a": True}),
        ({"a": 1}, {"a": {}}, {"a": {}}),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}),
        ({"a": 1}, {"a": []}, {"a": []}),
        ({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"c": None}}, {"a": 1, "b": {"c": 2}}),
        ({"a": [1, 2]}, {"a": [2, 3]}, {"a": [1, 2, 2, 3]}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1}]}, {"a": [{"b": 1}, {"b": 1}]}),
        ({"a": [{"id": 1, "b": 2}]}, {"a": [{"id": 2}]}, {"a": [{"id": 1, "b": 2}, {"id": 2}]}),
        (
            {"a": [{"id": "x", "b": 1}, {"id": "y"}]},
            {"a": [{"id": "x", "c": 2}]},
            {"a": [{"id": "x", "b": 1, "c": 2}, {"id": "y"}]},
        ),
        ({"a": []}, {"a": [{"id": 1}, {"id": 1, "c": 2}]}, {"a": [{"id": 1, "c": 2}]}),
        ({"a": [{"id": 1}]}, {"a": [{"id": True}]}, {"a": [{"id": 1}, {"id": True}]}),
        ({"a": [{"id": [1]}]}, {"a": [{"id": [1]}]}, {"a": [{"id": [1]}, {"id": [1]}]}),
        ({"a": {"b": 1}}, {"a": [1]}, {"a": [1]}),
        ({"a": [1]}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, None, {"a": 1}),
    ],
)  # fmt: skip
def test_merging_metadata(stored, sent, expected):
    before = json.dumps(stored)
    assert patch_metadata(stored, sent, "merge") == expected
    assert json.dumps(stored) == before


@pytest.mark.parametrize(
    ("stored", "sent", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": True}, {"b": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": True}}, {"a": {"c": 2}}),
        ({"a": {"b": 1}}, {"a": {"b": True}}, {"a": {}}),
        ({"a": {"b": 1}}, {"a": True}, {}),
        ({"a": 1, "b": 2}, {"a": False, "b": "x"}, {"a": False, "b": "x"}),
        ({"a": 1}, {"b": 2, "c": True}, {"a": 1}),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": {"b": None}}, {"a": {"b": 1}}),
        ({"a": 1}, {"a": {"b": True}}, {"a": 1}),
        ({"a": 1}, {"a": [2]}, {"a": 1}),
        ({"a": [{"id": 1, "b": 2}, {"id": 3}]}, {"a": [{"id": 1}, {"id": 9}]}, {"a": [{"id": 3}]}),
        ({"a": [1]}, {"a": [{"b": 2}]}, {"a": [1, {"b": 2}]}),
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, None, {"a": 1}),
    ],
)
def test_removing_metadata(stored, sent, expected):
    before = json.dumps(stored)
    assert patch_metadata(stored, sent, "remove") == expected
    assert json.dumps(stored) == before


@pytest.mark.parametrize("sent", [{"b": 2}, {}, None])
def test_overwriting_metadata(sent):
    assert patch_metadata({"a": 1}, sent, "overwrite") == (sent or {})
