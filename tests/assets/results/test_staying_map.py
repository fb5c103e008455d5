import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from assets.config import GridConfig, TsneConfig
from assets.methods.common.errors import UserError
from assets.methods.layout.mosaic import MosaicSettings, plan_mosaic
from assets.methods.layout.projection.projection import project
from assets.results.staying_map import (
    changes_picture,
    changes_sentence,
    fresh_quality,
    last_points,
    make_grid,
)
from assets.values import Embeddings, GridAssignment

PROJECTION = TsneConfig().as_text()


def embedded(numbers: range) -> Embeddings:
    """Return unit vectors along an arc, one for each number."""
    radians = np.array(numbers) / 30
    vectors = np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)
    return Embeddings.from_arrays([f"{number:03}" for number in numbers], vectors, "network", 0)


def shown_of(numbers: range, copies: int = 0) -> pd.DataFrame:
    """Return the table of photos with points on a line; the first has further ``copies``."""
    rows = [*numbers, *[numbers[0]] * copies]
    ids = [f"{number:03}" for number in rows]
    table = pd.DataFrame({"image_id": ids, "label": pd.Series([None] * len(ids), dtype="string")})
    table["uri"] = [f"/photos/{one}-{number}.jpg" for number, one in enumerate(ids)]
    table["x"], table["y"] = np.array(rows, dtype=float), np.array(rows) % 7
    return table.sort_values(["image_id", "uri"], ignore_index=True)


def mapped(
    numbers: range, last: GridAssignment | None = None, copies: int = 0, **config
) -> GridAssignment:
    shown, projection = shown_of(numbers, copies), config.pop("projection", PROJECTION)
    grid, _ = make_grid(
        shown, embedded(numbers), projection, GridConfig(**config), last, lambda unit: silent
    )
    return grid


def silent(done: int, total: int) -> None:
    pass


def cells_of(grid: GridAssignment) -> dict[str, tuple[int, int]]:
    table = grid.table
    return dict(zip(table.image_id, zip(table.row, table.col, strict=True), strict=True))


@pytest.fixture(scope="module")
def first() -> GridAssignment:
    return mapped(range(60))


@pytest.fixture(scope="module")
def second(first: GridAssignment) -> GridAssignment:
    return mapped(range(2, 66), first)


def test_a_first_map_has_no_changes(first):
    assert first.changes.empty
    assert first.metrics["stay"]["anew"] == "It is the first one."
    assert changes_sentence(first.metrics["stay"]) == "It is the first one."
    plan = plan_mosaic(first.columns, first.rows, MosaicSettings(tile=8))
    assert changes_picture(first, Image.new("RGB", (plan.width, plan.height)), plan) == {}


def test_an_unchanged_map_stays_as_it_is_with_the_changes_that_led_to_it(second):
    again = mapped(range(2, 66), second)
    for table in ("table", "changes"):
        pd.testing.assert_frame_equal(getattr(again, table), getattr(second, table))
    assert again.metrics == second.metrics


def test_the_quality_of_a_map_made_anew_is_that_of_the_first_of_these_photos(second):
    found = fresh_quality(second, embedded(range(2, 66)), lambda unit: silent)
    shown = shown_of(range(2, 66))
    shown[["x", "y"]] = project(embedded(range(2, 66)).vectors, TsneConfig().settings())
    first, _ = make_grid(
        shown, embedded(range(2, 66)), PROJECTION, GridConfig(), None, lambda unit: silent
    )
    assert found == {
        "dpq16": second.metrics["quality"]["dpq16"],
        "fresh_dpq16": first.metrics["quality"]["dpq16"],
        "share_of_fresh": found["dpq16"] / found["fresh_dpq16"],
    }


def test_a_map_without_settings_is_compared_with_none(first):
    with pytest.raises(UserError, match="An earlier version"):
        fresh_quality(replace(first, made_of={}), embedded(range(60)), lambda unit: silent)


def test_changes_name_what_came_went_and_moved(first, second):
    changes, stay = second.changes, second.metrics["stay"]
    came, went, moved = (changes[changes.change == one] for one in ("came", "went", "moved"))
    assert came.image_id.tolist() == [f"{one:03}" for one in range(60, 66)]
    assert went.image_id.tolist() == ["000", "001"]
    assert went.uri.tolist() == ["/photos/000-0.jpg", "/photos/001-1.jpg"]
    before, now = cells_of(first), cells_of(second)
    for row in came.itertuples():
        assert now[row.image_id] == (row.row, row.col)
        assert pd.isna(row.from_row)
    for row in went.itertuples():
        assert before[row.image_id] == (row.from_row, row.from_col)
        assert pd.isna(row.col)
        assert pd.isna(row.cells)
    stayed = {name for name in before.keys() & now.keys() if before[name] == now[name]}
    assert set(moved.image_id) == (before.keys() & now.keys()) - stayed
    for row in moved.itertuples():
        steps = np.subtract(now[row.image_id], before[row.image_id])
        assert row.cells == pytest.approx(np.hypot(*steps))
    assert (stay["added"], stay["removed"], stay["known"]) == (6, 2, 58)
    assert stay["kept_in_cell"] == pytest.approx(len(stayed) / 58)
    assert stay["within_2_cells"] == 1.0
    assert stay["largest_move"] == pytest.approx(moved.cells.max())
    assert stay["mean_move"] == pytest.approx(moved.cells.sum() / 58)
    assert stay["last_dpq16"] == first.metrics["quality"]["dpq16"]
    assert second.metrics["assignment"]["to"] == "cells of the last map"
    assert changes_sentence(stay).startswith("Since the map before, 6 came and 2 went; of ")


def test_the_picture_of_changes_frames_new_photos(second):
    plan = plan_mosaic(second.columns, second.rows, MosaicSettings(tile=24, gap=0))
    mosaic = Image.new("RGB", (plan.width, plan.height), "white")
    picture = changes_picture(second, mosaic, plan)["changes"]
    assert picture.suffix == ".png"
    drawn = Image.open(io.BytesIO(picture.data)).convert("RGB")
    row, col = cells_of(second)["065"]
    assert drawn.getpixel((24 * col, 24 * row)) == (255, 176, 0)
    assert drawn.getpixel((24 * col + 12, 24 * row + 12)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"shape": "20x5"}, "The last one was made with other settings of the grid."),
        ({"projection": "{}"}, "The last one was made with other settings of the projection."),
        ({"fresh": True}, "It was asked for."),
        ({"stay": False}, "By its settings no photo has to stay."),
        ({"apart": True}, "It shows only some of the photos."),
    ],
)
def test_another_map_is_made_as_if_it_were_the_first(first, config, why):
    anew, alone = mapped(range(60), first, **config), mapped(range(60), None, **config)
    pd.testing.assert_frame_equal(anew.table, alone.table)
    assert anew.metrics["stay"]["anew"] == why
    assert anew.changes.empty


def test_a_map_of_an_earlier_version_is_no_start(first):
    older = GridAssignment(first.table, first.columns, first.rows, first.metrics)
    anew = mapped(range(60), older)
    assert anew.metrics["stay"]["anew"] == (
        "The last one was made with an earlier version of Tessera."
    )


def test_copies_have_cells_of_their_own(first):
    both = mapped(range(60), first, copies=2)
    assert both.metrics["stay"]["added"] == 2
    cells = both.table[["row", "col"]].apply(tuple, axis=1)
    assert cells.is_unique
    again = mapped(range(60), both, copies=1)
    assert again.metrics["stay"]["removed"] == 1


def test_points_of_known_vectors_are_held(first):
    found = last_points(first, embedded(range(3, 64)), TsneConfig())
    assert found.held
    assert found.known.tolist() == [True] * 57 + [False] * 4
    assert found.points[0].tolist() == [3.0, 3.0]
    assert not last_points(first, embedded(range(3, 90)), TsneConfig()).held
    assert last_points(first, embedded(range(9)), TsneConfig(perplexity=9)) is None
    assert last_points(None, embedded(range(9)), TsneConfig()) is None
