import numpy as np
import pytest

from assets.methods.common.errors import UserError
from assets.methods.layout.grid import GridShape
from assets.methods.layout.layout import Layout, LayoutSettings, lay_out
from assets.methods.layout.staying.last_map import LastMap, StaySettings, too_much_changed
from assets.methods.layout.staying.staying import lay_out_again


def photos_on_a_sphere(n: int, seed: int = 0) -> np.ndarray:
    """Return unit vectors that lie near a patch of a sphere."""
    rng = np.random.default_rng(seed)
    flat = rng.uniform(-1, 1, size=(n, 2))
    vectors = np.column_stack([flat, np.ones(n), 0.1 * rng.normal(size=(n, 3))])
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


VECTORS = photos_on_a_sphere(240)
POINTS = VECTORS[:, :2].astype(np.float64)
NAMES = [f"{number:03}" for number in range(240)]


def as_last(names: list[str], layout: Layout) -> LastMap:
    cells = np.stack([layout.row, layout.col], axis=1).astype(np.int64)
    return LastMap(names, cells, layout.grid, layout.quality.dpq16, layout.quality.dpq16)


@pytest.fixture(scope="module")
def last() -> LastMap:
    return as_last(NAMES[:200], lay_out(POINTS[:200], VECTORS[:200]))


def again(last: LastMap, numbers: np.ndarray, **settings) -> Layout:
    names = [NAMES[number] for number in numbers]
    return lay_out_again(
        names, POINTS[numbers], VECTORS[numbers], last, stay=StaySettings(**settings)
    )


def test_old_photos_stay_within_two_cells_and_new_ones_find_their_like(last):
    numbers = np.r_[5:210]
    layout = again(last, numbers)
    assert layout.stay.anew == ""
    moves = np.stack([layout.row, layout.col], axis=1) - layout.stay.before
    assert np.abs(moves[layout.stay.known]).max() <= 2
    assert layout.stay.known.sum() == 195
    assert layout.stay.gone.tolist() == [0, 1, 2, 3, 4]
    assert layout.stay.gone_cells.tolist() == last.cells[:5].tolist()
    assert len({*zip(layout.row, layout.col, strict=True)}) == 205
    fresh = lay_out(POINTS[numbers], VECTORS[numbers]).quality.dpq16
    assert fresh is not None
    assert layout.quality.dpq16 is not None
    assert layout.quality.dpq16 > 0.98 * fresh
    assert layout.stay.last_dpq16 == layout.stay.fresh_dpq16 == last.dpq16


def test_new_photos_take_the_cells_of_those_that_went():
    full = LayoutSettings("20x10")
    first = as_last(NAMES[:200], lay_out(POINTS[:200], VECTORS[:200], settings=full))
    layout = lay_out_again(NAMES[5:205], POINTS[5:205], VECTORS[5:205], first, settings=full)
    assert layout.grid == first.grid
    assert len({*zip(layout.row, layout.col, strict=True)}) == 200
    assert layout.stay.known.sum() == 195


def test_without_refinement_old_photos_stay_where_they_are_if_there_is_room(last):
    names, numbers = NAMES[10:200], np.r_[10:200]
    layout = lay_out_again(
        names,
        POINTS[numbers],
        VECTORS[numbers],
        last,
        settings=LayoutSettings(refine=False),
    )
    assert np.stack([layout.row, layout.col], axis=1).tolist() == last.cells[10:].tolist()
    assert layout.assignment.cost == 0
    assert layout.assignment.certified


def test_a_high_price_keeps_more_photos_in_their_cells(last):
    def kept(price: float) -> int:
        layout = again(last, np.r_[0:205], price=price)
        now = np.stack([layout.row, layout.col], axis=1)
        return int((now == layout.stay.before).all(axis=1)[layout.stay.known].sum())

    assert kept(1.0) > kept(0.0)


def test_where_quality_has_fallen_moves_are_free(last):
    worse = LastMap(last.photos, last.cells, last.grid, 0.9 * last.dpq16, last.fresh_dpq16)
    numbers = np.r_[0:205]
    dear, free = again(worse, numbers, price=9.0), again(last, numbers, price=0.0)
    assert dear.row.tobytes() + dear.col.tobytes() == free.row.tobytes() + free.col.tobytes()


def test_the_order_of_other_photos_in_the_last_map_does_not_matter(last):
    order = np.random.default_rng(0).permutation(200)
    shuffled = LastMap(
        [last.photos[one] for one in order],
        last.cells[order],
        last.grid,
        last.dpq16,
        last.fresh_dpq16,
    )
    one, other = (again(start, np.r_[3:208]) for start in (last, shuffled))
    assert one.row.tobytes() + one.col.tobytes() == other.row.tobytes() + other.col.tobytes()


def test_with_too_much_change_the_map_is_made_anew_and_turned_to_fit(last):
    layout = again(last, np.r_[0:240], most_change=0.1)
    assert layout.stay.anew == "17% of the photos are new, more than 10%."
    assert layout.stay.fresh_dpq16 == layout.quality.dpq16
    # The points of the last map were mirrored: without turning, the maps would be, too.
    turned = lay_out_again(
        NAMES, POINTS * [-1, 1], VECTORS, last, stay=StaySettings(most_change=0.1)
    )
    for one in (layout, turned):
        moves = np.stack([one.row, one.col], axis=1) - one.stay.before
        assert np.hypot(*moves[one.stay.known].T).mean() < 3


def test_a_map_that_became_bad_is_made_anew(last):
    bad = LastMap(last.photos, last.cells[::-1], last.grid, 0.1, last.fresh_dpq16)
    layout = again(bad, np.r_[0:205])
    assert layout.stay.anew.startswith("DPQ16 would be 0.")
    assert (layout.quality.dpq16 or 0) > 0.9 * (last.fresh_dpq16 or 1)


def test_a_map_of_quite_other_photos_is_made_anew():
    alone = LastMap(["other"], np.zeros((1, 2), dtype=np.int64), GridShape(1, 1), None, None)
    layout = again(alone, np.r_[0:9])
    assert layout.stay.anew == "100% of the photos are new, more than 15%."
    assert layout.stay.gone.tolist() == [0]


@pytest.mark.parametrize(
    ("before", "now", "sentence"),
    [
        ("abcd", "abcd", ""),
        ("abcd", "abcde", ""),
        ("abcd", "abcdef", "33% of the photos are new, more than 30%."),
        ("abcd", "ab", "50% of the photos are gone, more than 30%."),
    ],
)
def test_the_share_of_change(before, now, sentence):
    assert too_much_changed(before, now, StaySettings(most_change=0.3)) == sentence


@pytest.mark.parametrize(
    "settings", [{"max_move": -1}, {"price": -0.1}, {"most_change": 1.1}, {"least_quality": -1}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(UserError):
        StaySettings(**settings)
