import json

import pytest
from pydantic import ValidationError

from orchestration.api.contract import (
    Code,
    ImageData,
    PostedData,
    PostInputs,
    PostVisualization,
    Status,
)


def test_no_two_codes_share_a_number():
    assert len({code.number for code in Code}) == len(Code)
    assert all(Code.of(code.number) is code for code in Code)


def test_a_status_says_what_its_code_means():
    assert Status.of(Code.INPUT_DUPLICATE, "why").model_dump(exclude_none=True) == {
        "code": 30100,
        "description": "Duplicate input",
        "details": "why",
    }


@pytest.mark.parametrize("crop", [[0, 0, 0, 1], [0.5, 0, 0.4, 1], [0, 0, 1.1, 1], [0, 0, 1]])
def test_a_crop_that_is_no_box_is_refused(crop):
    with pytest.raises(ValidationError):
        ImageData(base64="", crop=crop)


@pytest.mark.parametrize(
    "metadata",
    [
        '{"a": NaN}',
        '{"a": "\\ud800"}',
        '{"a": 1e999}',
        json.dumps({"a": "x" * 70_000}),
        '{"a": ' * 65 + "1" + "}" * 65,
    ],
)
def test_metadata_that_could_not_be_sent_back_is_refused(metadata):
    with pytest.raises(ValidationError, match="metadata"):
        PostedData(image=ImageData(base64=""), metadata=json.loads(metadata))


@pytest.mark.parametrize(
    "input_id", ["", "a/b", "a b", "a\n", "a\x00", "x" * 129, "a\\b", "..", "status"]
)
def test_an_id_that_could_not_stand_in_an_address_is_refused(input_id):
    with pytest.raises(ValidationError):
        PostInputs.model_validate({"inputs": [{"id": input_id, "data": {"image": {"base64": ""}}}]})


def test_a_misspelt_option_of_a_visualization_is_refused():
    with pytest.raises(ValidationError, match="input"):
        PostVisualization.model_validate({"input": [{"id": "one"}]})


def test_what_the_contract_does_not_name_is_passed_over():
    posted = PostInputs.model_validate(
        {"inputs": [{"data": {"image": {"base64": ""}, "geo": {}}, "more": 1}]}
    )
    assert posted.inputs[0].id is None
