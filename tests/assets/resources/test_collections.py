import pytest

from assets.methods.errors import UserError
from assets.resources.collections import Collection, CollectionRegistry


def test_collections_are_remembered_in_the_order_of_their_names(tmp_path):
    registry = CollectionRegistry(tmp_path)
    registry.add(Collection("photos", "/old"))
    registry.add(Collection("archive.2024", "s3://bucket/archive"))
    registry.add(Collection("photos", "/new\nline", {"mosaic": {"tile": 20}}))
    registry.add(Collection("gone", "/gone"))
    registry.remove("gone")
    assert CollectionRegistry(tmp_path).all() == [
        Collection("archive.2024", "s3://bucket/archive"),
        Collection("photos", "/new\nline", {"mosaic": {"tile": 20}}),
    ]


@pytest.mark.parametrize("name", ["", "../evil", ".hidden", "a/b", "a b", "x" * 65, "é"])
def test_a_name_that_cannot_be_a_folder_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="cannot name a collection"):
        CollectionRegistry(tmp_path).add(Collection(name, "/photos"))
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("name", ["unknown", "../collections"])
def test_an_unknown_name_is_told_with_the_way_to_add_it(tmp_path, name):
    with pytest.raises(UserError, match="tessera add"):
        CollectionRegistry(tmp_path).get(name)
