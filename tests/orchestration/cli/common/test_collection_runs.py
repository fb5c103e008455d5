import pytest

from orchestration.cli.common.collection_runs import name_for


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/photos/My holiday/", "My-holiday-"),
        ("s3://bucket/photos", "photos-"),
        ("https://host/list.csv?X-Amz-Signature=s3cr3t", "list-"),
        ("sftp://bob:s3cr3t@host", "hidden-host-"),
    ],
)
def test_a_name_is_made_from_the_end_of_a_source_and_holds_no_secret(source, name):
    made = name_for(source)
    assert made.startswith(name)
    assert made == name_for(source) != name_for(source + "x")
    assert "s3cr3t" not in made
