"""A home that was backed up and restored on another path computes what it did before."""

import pytest

from bench.kills.tally import draw_photos
from bench.one_score import tessera

# Files that tell how long something took, or where something is.
_OF_ONE_RUN = {"report.json"}


def _results(place, photos):
    """The bytes of all files that scores, a map with a page of them, and an explanation give."""
    tessera("score", photos, "--name", "kept", "--out", place / "scores.csv")
    tessera("map", photos, "--name", "kept", "--out", place / "map")
    tessera("explain", photos / "0003.jpg", "--box", "64", "--stride", "64", "--out", place / "why")
    return {
        file.relative_to(place).as_posix(): file.read_bytes()
        for file in place.rglob("*")
        if file.is_file() and file.name not in _OF_ONE_RUN
    }


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_home_restored_on_another_path_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    monkeypatch.setenv("TESSERA_HOME", str(tmp_path / "home"))
    photos = tmp_path / "photos"
    draw_photos(photos, range(12))
    before = _results(tmp_path / "before", photos)
    assert {"map/mosaic.jpg", "map/layout.parquet", "map/page/index.html", "scores.csv"} <= set(
        before
    )
    assert any(name.startswith("why/") and name.endswith(".png") for name in before)
    tessera("backup", tmp_path / "home.tar")
    (tmp_path / "home").rename(tmp_path / "lost")
    monkeypatch.setenv("TESSERA_HOME", str(tmp_path / "elsewhere" / "home"))
    tessera("restore", tmp_path / "home.tar")
    after = _results(tmp_path / "after", photos)
    assert after.keys() == before.keys()
    assert [name for name in before if after[name] != before[name]] == []
