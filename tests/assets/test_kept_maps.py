import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from assets.config import GridConfig
from assets.io_managers import save
from assets.kept_maps import KeptMaps
from assets.methods.common.errors import UserError
from assets.methods.common.files import write_whole
from assets.values import GridAssignment

GENERATION = "0123456789abcdef" * 2


def grid_of(*names: str, stay: dict | None = None, **made_of) -> GridAssignment:
    uris = [f"/{name}.png" for name in names]
    table = pd.DataFrame({"image_id": names, "uri": uris, "row": 0, "col": range(len(names))})
    changes = pd.DataFrame({"change": ["came"], "row": pd.array([0], "Int64")})
    made_of = {"network": "n", "apart": False, **made_of}
    metrics = {"stay": {"anew": "", "known": 1} if stay is None else stay}
    return GridAssignment(table, len(names), 1, metrics, made_of, changes)


def make_current(home: Path, grid: GridAssignment) -> None:
    folder = home / "outputs" / "grid_assignment" / "album"
    save(grid, folder / GENERATION)
    write_whole(folder / "current", GENERATION.encode())


def started(home: Path, run_id: str = "run", **config) -> list[str] | None:
    """Return the photos of the map from which a run starts."""
    context = SimpleNamespace(run=SimpleNamespace(run_id=run_id), partition_key="album")
    found = KeptMaps(home=str(home)).last(context, GridConfig(**config))
    return None if found is None else found.table.image_id.tolist()


def test_a_map_comes_back_as_it_was_kept_and_the_oldest_goes(tmp_path):
    maps = KeptMaps(home=str(tmp_path))
    for number, names in enumerate(["a", "ab", "ab", "abc"], start=1):
        # The third is the second.
        assert maps.keep("album", grid_of(*names), most=2) == number - (number > 2)
    assert maps.numbers("album") == [2, 3]
    kept, grid = maps.kept("album", 2), grid_of("a", "b")
    for table in ("table", "changes"):
        pd.testing.assert_frame_equal(getattr(kept, table), getattr(grid, table))
    for field in ("columns", "rows", "metrics", "made_of"):
        assert getattr(kept, field) == getattr(grid, field)
    with pytest.raises(UserError, match="no map 1 of album; those that are kept: 2, 3"):
        maps.kept("album", 1)


def test_what_led_to_each_map_is_known_but_for_damaged_ones(tmp_path):
    maps = KeptMaps(home=str(tmp_path))
    for names in ("a", "ab", "abc"):
        maps.keep("album", grid_of(*names), most=3)
    maps.files("album")[1].write_bytes(b"damaged")
    first, last = maps.changes("album")
    assert (first.number, last.number) == (1, 3)
    assert last.made_at == datetime.now(UTC).strftime("%Y-%m-%d")
    pd.testing.assert_frame_equal(last.table, grid_of().changes)
    assert KeptMaps(home=str(tmp_path)).changes("unknown") == []


@pytest.mark.parametrize("stay", [{"anew": "It was asked for."}, {}])
def test_of_a_map_that_was_made_anew_it_is_told_why_and_what_came_and_went(tmp_path, stay):
    maps = KeptMaps(home=str(tmp_path))
    maps.keep("album", grid_of(*"abc"), most=5)
    maps.keep("album", grid_of(*"cdb", stay=stay), most=5)
    maps.keep("album", grid_of(*"cd", stay={"anew": "", "known": 2}), most=5)
    before, anew, newest = maps.changes("album")
    assert anew.anew == stay.get("anew", "")
    assert anew.table[["change", "image_id", "uri"]].values.tolist() == [
        ["came", "d", "/d.png"],
        ["went", "a", "/a.png"],
    ]
    assert before.anew == newest.anew == ""
    pd.testing.assert_frame_equal(newest.table, grid_of().changes)
    # Without the map before, nobody knows.
    maps.files("album")[0].unlink()
    assert maps.changes("album")[0].table.equals(grid_of().changes)


def test_a_map_of_some_photos_is_not_kept(tmp_path):
    maps = KeptMaps(home=str(tmp_path))
    assert maps.keep("album", grid_of("a", apart=True), most=2) is None
    older = dataclasses.replace(grid_of("a"), made_of={})
    assert maps.keep("album", older, most=2) is None
    assert maps.keep("album", grid_of("a"), most=0) is None
    assert maps.numbers("album") == []


def test_a_run_starts_from_the_current_map_or_one_that_is_named(tmp_path):
    assert started(tmp_path) is None
    make_current(tmp_path, grid_of("a", "b"))
    KeptMaps(home=str(tmp_path)).keep("album", grid_of("a"), most=2)
    assert started(tmp_path) == ["a", "b"]
    assert started(tmp_path, from_map=1) == ["a"]
    for config in ({"fresh": True}, {"stay": False}, {"apart": True}):
        assert started(tmp_path, **config) is None
    with pytest.raises(UserError, match="no map 7"):
        started(tmp_path, from_map=7)


def test_after_a_map_of_some_photos_a_run_starts_from_the_one_before(tmp_path):
    KeptMaps(home=str(tmp_path)).keep("album", grid_of("a"), most=2)
    make_current(tmp_path, grid_of("x", apart=True))
    assert started(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data.replace(b"PAR1", b"PAR2"), id="changed"),
        pytest.param(lambda data: data[: len(data) // 2], id="cut"),
        pytest.param(lambda data: b"", id="emptied"),
    ],
)
def test_damage_costs_a_map_and_no_run(tmp_path, damage):
    maps = KeptMaps(home=str(tmp_path))
    for names in ("a", "ab"):
        maps.keep("album", grid_of(*names), most=5)
    make_current(tmp_path, grid_of("a", "b", "c"))
    table = next((tmp_path / "outputs").rglob("table.parquet"))
    table.write_bytes(table.read_bytes()[:-9])
    newest = tmp_path / "maps" / "album" / "000002.map"
    newest.write_bytes(damage(newest.read_bytes()))
    assert started(tmp_path) == ["a"]
    assert newest.with_suffix(".corrupt").exists()


@pytest.mark.parametrize(("row", "col"), [(0, 0), (-1, 0), (0, 2), (1, 0)])
def test_a_map_with_a_photo_out_of_place_is_not_followed(tmp_path, row, col):
    KeptMaps(home=str(tmp_path)).keep("album", grid_of("z"), most=2)
    grid = grid_of("a", "b")
    grid.table.loc[1, ["row", "col"]] = row, col
    make_current(tmp_path, grid)
    assert started(tmp_path) == ["z"]


def test_both_assets_of_a_run_start_from_the_same_map(tmp_path):
    make_current(tmp_path, grid_of("a"))
    maps = KeptMaps(home=str(tmp_path))
    context = SimpleNamespace(run=SimpleNamespace(run_id="run"), partition_key="album")
    first = maps.last(context, GridConfig())
    (tmp_path / "outputs" / "grid_assignment" / "album" / "current").unlink()
    assert maps.last(context, GridConfig()) is first
    context.run.run_id = "next"
    assert maps.last(context, GridConfig()) is None
