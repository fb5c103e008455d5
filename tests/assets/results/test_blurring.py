"""The one place that decides which photos of a collection are drawn blurred."""

from types import SimpleNamespace

import pandas as pd
import pytest

from assets.config import MosaicConfig
from assets.io_managers import FolderIOManager, save
from assets.methods.common.errors import UserError
from assets.methods.common.files import write_whole
from assets.resources.collections import Collection, CollectionRegistry
from assets.resources.photos import Photos
from assets.results.blurring import (
    SWITCH,
    blur_limit,
    blurred_or_all,
    blurred_photos,
    is_blurred_by,
    is_blurring,
)
from assets.values import NsfwScores

GENERATION = "0123456789abcdef" * 2
SCORES = NsfwScores(
    pd.DataFrame({"image_id": ["a", "b", "c"], "score": [0.2, 0.7, 0.9]}), "", "nsfw", "", 0
)


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Photos:
    monkeypatch.delenv(SWITCH, raising=False)
    CollectionRegistry(tmp_path).add(Collection("album", str(tmp_path)))
    return Photos(home=str(tmp_path))


@pytest.mark.parametrize("given", ["on", " ON ", ""])
def test_it_is_on_unless_the_environment_turns_it_off(photos, monkeypatch, given):
    assert is_blurring()
    monkeypatch.setenv(SWITCH, given)
    assert is_blurring()
    assert blur_limit(MosaicConfig()) == 0.8
    assert blurred_photos(photos, "album", scores=SCORES) == {"c"}
    assert is_blurred_by("nsfw", 0.81)
    assert not is_blurred_by("nsfw", 0.8)
    assert not is_blurred_by("cat", 1.0)


def test_off_is_off_for_all(photos, monkeypatch):
    monkeypatch.setenv(SWITCH, "off")
    assert blur_limit(MosaicConfig(blur_above=0)) is None
    assert blurred_photos(photos, "album", scores=SCORES) == frozenset()
    assert not is_blurred_by("nsfw", 1.0)


def test_a_setting_that_means_nothing_blurs_and_is_told(photos, monkeypatch):
    monkeypatch.setenv(SWITCH, "perhaps")
    with pytest.raises(UserError, match="TESSERA_BLUR is 'perhaps': write on or off"):
        blurred_photos(photos, "album", scores=SCORES)


def test_the_limit_is_that_of_the_collection(photos, tmp_path):
    settings = {"mosaic": {"blur_above": 0.5}}
    CollectionRegistry(tmp_path).add(Collection("strict", str(tmp_path), settings))
    assert blurred_photos(photos, "strict", scores=SCORES) == {"b", "c"}
    assert blurred_photos(photos, "album", MosaicConfig(blur_above=0.1), SCORES) == {*"abc"}


def test_a_map_of_a_selection_is_blurred_by_the_scores_of_its_origin(photos, tmp_path):
    def score(name: str, **scores: float) -> None:
        table = pd.DataFrame({"image_id": scores.keys(), "score": scores.values()})
        folder = tmp_path / "outputs" / "nsfw_scores" / name
        save(NsfwScores(table, "", "nsfw", "", 0), folder / GENERATION)
        write_whole(folder / "current", GENERATION.encode())

    settings = {"mosaic": {"scores_of": "album"}}
    CollectionRegistry(tmp_path).add(Collection("some", str(tmp_path), settings))
    assert blurred_photos(photos, "some") == frozenset()
    score("album", a=0.9, b=0.1)
    assert blurred_photos(photos, "some") == {"a"}
    assert blurred_photos(photos, "some", MosaicConfig()) == frozenset()
    # Its own scores count before those of its origin.
    score("some", a=0.1, b=0.9)
    assert blurred_photos(photos, "some") == {"b"}
    (tmp_path / "outputs" / "nsfw_scores" / "some" / GENERATION / "table.parquet").write_bytes(b"")
    with pytest.raises(UserError):
        blurred_photos(photos, "some")


def test_without_scores_nothing_is_blurred_and_where_they_are_damaged_all_is(photos, monkeypatch):
    warnings: list[str] = []
    context = SimpleNamespace(partition_key="album", log=SimpleNamespace(warning=warnings.append))
    log = SimpleNamespace(context=context)
    assert blurred_or_all(log, photos, ["a", "b"]) == (frozenset(), None)

    def fail(*_):
        raise UserError("The scores are damaged.")

    monkeypatch.setattr(FolderIOManager, "has_value", lambda *_: True)
    monkeypatch.setattr(FolderIOManager, "read", fail)
    assert blurred_or_all(log, photos, ["a", "b"]) == (frozenset("ab"), warnings[0])
    assert "All photos of album are drawn blurred" in warnings[0]
    monkeypatch.setenv(SWITCH, "off")
    assert blurred_or_all(log, photos, ["a", "b"]) == (frozenset(), None)
