import pytest

from assets.methods.common.errors import UserError
from assets.resources.collections import (
    INPUTS_SOURCE,
    Collection,
    CollectionRegistry,
    collection_for,
)


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


ASSETS = ("raw_images", "mosaic")


@pytest.mark.parametrize("name", ["", "../evil", ".hidden", "a/b", "a b", "x" * 65, "é"])
def test_a_name_that_cannot_be_a_folder_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="cannot name a collection"):
        CollectionRegistry(tmp_path).add(Collection(name, "/photos"))
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("name", ["unknown", "../collections"])
def test_an_unknown_name_is_told_with_the_way_to_add_it(tmp_path, name):
    with pytest.raises(UserError, match="tessera add"):
        CollectionRegistry(tmp_path).get(name)


def test_a_run_gets_the_settings_of_its_own_assets():
    settings = {"raw_images": {"min_side": 9}, "mosaic": {"tile": 20}, "nsfw_scores": {}}
    collection = Collection("photos", "/photos", settings)
    assert collection.run_config(("raw_images", "nsfw_scores", "occlusion_maps")) == {
        "ops": {"raw_images": {"config": {"min_side": 9}}, "nsfw_scores": {"config": {}}}
    }
    assert collection.run_config(()) == {"ops": {}}


def test_new_settings_replace_those_of_their_assets_and_leave_the_others():
    old = {"raw_images": {"min_side": 9}, "mosaic": {"tile": 20}, "tsne_2d": {"seed": 1}}
    collection = Collection("photos", "/photos", old)
    changed = collection.with_settings({"mosaic": {"gap": 0}}, ("mosaic", "tsne_2d"))
    # What the choice leaves open has its default again: neither tile nor seed are kept.
    assert changed.settings == {"raw_images": {"min_side": 9}, "mosaic": {"gap": 0}}
    assert (changed.name, changed.source) == ("photos", "/photos")
    assert collection.settings == old


def test_a_collection_that_is_known_keeps_its_settings_under_a_new_source(tmp_path, monkeypatch):
    monkeypatch.setenv("TESSERA_HOME", str(tmp_path))
    assert collection_for("photos", "/old") == Collection("photos", "/old")
    CollectionRegistry(tmp_path).add(Collection("photos", "/old", {"mosaic": {"tile": 20}}))
    new = Collection("photos", "/new", {"mosaic": {"tile": 20}})
    assert collection_for("photos", "/new") == new


def test_links_are_followed_by_older_collections_and_not_by_new_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("TESSERA_HOME", str(tmp_path))
    registry = CollectionRegistry(tmp_path)
    # As homes of 0.1 hold it.
    older = '{"name": "older", "source": "/photos", "settings": {"raw_images": {"min_side": 9}}}'
    (tmp_path / "collections").mkdir()
    (tmp_path / "collections" / "older.json").write_text(older)
    assert registry.get("older").follow_links
    assert collection_for("older", "/photos").follow_links
    assert not collection_for("new", "/photos").follow_links
    # What was asked for once stays, as the settings of assets do not.
    registry.add(collection_for("asked", "/photos", follow_links=True).with_settings({}, ASSETS))
    registry.add(collection_for("older", "/photos", follow_links=False).with_settings({}, ASSETS))
    registry.add(collection_for("new", "/photos"))
    assert [collection_for(name, "/photos").follow_links for name in ("asked", "older", "new")] == [
        True,
        False,
        False,
    ]


def test_posted_photos_are_not_replaced_by_another_source(tmp_path, monkeypatch):
    monkeypatch.setenv("TESSERA_HOME", str(tmp_path))
    CollectionRegistry(tmp_path).add(Collection("app", INPUTS_SOURCE))
    assert collection_for("app", INPUTS_SOURCE) == Collection("app", INPUTS_SOURCE)
    with pytest.raises(UserError, match="holds what is posted"):
        collection_for("app", "/photos")


def test_a_list_of_photos_is_found_in_a_home_that_was_moved_also_by_a_restored_entry(tmp_path):
    listed = tmp_path / "files" / "list.csv"
    listed.parent.mkdir()
    listed.touch()
    registry = CollectionRegistry(tmp_path)
    registry.add(Collection("photos", "/former/home/files/list.csv"))
    assert registry.get("photos").source == str(listed)
    (tmp_path / "collections" / "photos.json").unlink()
    assert registry.get("photos").source == str(listed)
