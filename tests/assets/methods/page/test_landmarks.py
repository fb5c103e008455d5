from dataclasses import replace

import numpy as np
import pytest

from assets.methods.page.landmarks import PlacedPhotos, find_landmarks, landmarks_source

SIDE = 8
NEVER = 65535
QUARTERS = ["birds", "coins", "moon", "stone"]


def nothing() -> None:
    return None


def quarter_of(cells: np.ndarray) -> np.ndarray:
    row, column = (cells >= SIDE // 2).T
    return 2 * row + column


@pytest.fixture
def photos() -> PlacedPhotos:
    """Four kinds of photos in the quarters of a grid; upper ones are more alike than lower ones."""
    cells = np.stack(np.divmod(np.arange(SIDE * SIDE), SIDE), axis=1)
    kinds = np.array([[1, 0, 0], [1, 0.3, 0], [0, 0, 1], [0, 0.6, 1]])
    vectors = kinds[quarter_of(cells)] + np.random.default_rng(0).normal(0, 0.01, (64, 3))
    return PlacedPhotos(
        vectors.astype(np.float32), cells, 10 * cells[:, ::-1], np.zeros(64, bool), SIDE, SIDE
    )


def naming(photos: PlacedPhotos) -> tuple[list[str], np.ndarray]:
    return QUARTERS, quarter_of(photos.cells)


def groups_at(found: dict, many: int) -> list[int]:
    """The groups of a page with room for so many."""
    return [g for g, end in enumerate(found["end"]) if found["first"][g] <= many < end]


def test_groups_are_the_kinds_and_those_that_are_alike_stay_together_longest(photos):
    found = find_landmarks(photos, [naming(photos)], nothing)
    named = {many: sorted(found["names"][g] for g in groups_at(found, many)) for many in (2, 3, 4)}
    assert named[2] == ["birds, coins", "moon, stone"]
    assert named[3] == ["birds, coins", "moon", "stone"]
    assert named[4] == sorted(QUARTERS)
    for group in groups_at(found, 4):
        kind = QUARTERS.index(found["names"][group])
        assert found["many"][group] == 16
        for stands in ("photo", "inGrid", "inPlane"):
            assert quarter_of(photos.cells[[found[stands][group]]]) == kind
    stone = found["names"].index("stone")
    assert list(found["gridBoxes"][4 * stone : 4 * stone + 4]) == [4, 4, 7, 7]
    assert list(found["planeBoxes"][4 * stone : 4 * stone + 4]) == [40, 40, 70, 70]


def test_what_is_called_by_one_name_is_not_divided(photos):
    found = find_landmarks(photos, [naming(photos)], nothing)
    assert [found["end"][found["names"].index(name)] for name in QUARTERS] == [NEVER] * 4
    # Without names all groups are there, down to those of a few photos.
    assert len(find_landmarks(photos, [], nothing)["names"]) > len(found["names"])


def test_a_group_is_called_by_the_first_naming_that_tells(photos):
    unlike = ([str(number) for number in range(64)], np.arange(64))
    found = find_landmarks(photos, [unlike, naming(photos)], nothing)
    assert set(QUARTERS) <= set(found["names"])
    absent = (["once"], np.full(64, -1))
    assert set(find_landmarks(photos, [absent], nothing)["names"]) == {""}


def test_parts_stand_for_a_group_without_a_name(photos):
    codes = np.arange(64) % 7 + 2
    upper = photos.cells[:, 0] < SIDE // 2
    codes[upper] = quarter_of(photos.cells)[upper]
    names = [*QUARTERS[:2], *"abcdefg"]
    found = find_landmarks(photos, [(names, codes)], nothing)
    assert "" not in found["names"]
    assert sorted(found["names"][g] for g in groups_at(found, 2)) == ["birds, coins"]


def test_a_network_is_asked_only_where_nothing_else_has_a_name(photos):
    asked = []

    def guess() -> tuple[list[str], np.ndarray]:
        asked.append(True)
        return naming(photos)

    found = find_landmarks(photos, [naming(photos)], guess)
    assert (asked, found["isGuess"]) == ([], False)
    found = find_landmarks(photos, [], guess)
    assert (len(asked), found["isGuess"]) == (1, True)
    # One name each, where most photos have it.
    assert set(found["names"]) == set(QUARTERS)


def test_a_blurred_photo_stands_for_others_only_among_its_own_kind(photos):
    kinds = quarter_of(photos.cells)
    clear = find_landmarks(photos, [naming(photos)], nothing)
    first = clear["photo"][clear["names"].index("coins")]
    is_blurred = (kinds == 0) | (np.arange(64) == first)
    found = find_landmarks(replace(photos, is_blurred=is_blurred), [naming(photos)], nothing)
    assert is_blurred[found["photo"][found["names"].index("birds")]]
    assert not is_blurred[found["photo"][found["names"].index("coins")]]


def test_cells_apart_from_all_others_are_in_a_group_all_the_same(photos):
    kept = np.flatnonzero((photos.cells[:, 0] != 4) & (photos.cells[:, 1] != 4))
    columns = {
        name: getattr(photos, name)[kept] for name in ("vectors", "cells", "points", "is_blurred")
    }
    apart = replace(photos, **columns)
    found = find_landmarks(apart, [(QUARTERS, quarter_of(apart.cells))], nothing)
    assert sum(found["many"][group] for group in groups_at(found, 2)) == len(kept)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_a_few_photos_have_no_landmarks(photos, n):
    few = replace(
        photos,
        vectors=photos.vectors[:n],
        cells=photos.cells[:n],
        points=photos.points[:n],
        is_blurred=photos.is_blurred[:n],
    )
    assert find_landmarks(few, [], nothing)["names"] == []


def test_cells_of_a_large_grid_are_joined_to_squares_first():
    side = 130
    cells = np.stack(np.divmod(np.arange(side * side), side), axis=1)
    kinds = (cells[:, 1] >= 65).astype(int)
    vectors = np.eye(2, dtype=np.float32)[kinds]
    photos = PlacedPhotos(vectors, cells, cells, np.zeros(len(cells), bool), side, side)
    found = find_landmarks(photos, [(["left", "right"], kinds)], nothing)
    assert sorted(found["names"][g] for g in groups_at(found, 2)) == ["left", "right"]
    assert sum(found["many"][g] for g in groups_at(found, 2)) == len(cells)


def test_a_source_changes_with_what_landmarks_depend_on(photos):
    names, codes = naming(photos)
    sources = {
        landmarks_source(photos, [], ""),
        landmarks_source(photos, [(names, codes)], ""),
        landmarks_source(photos, [(names, codes[::-1])], ""),
        landmarks_source(photos, [([*names[:3], "rock"], codes)], ""),
        landmarks_source(photos, [], "a network"),
        landmarks_source(replace(photos, vectors=photos.vectors[::-1]), [], ""),
        landmarks_source(replace(photos, cells=photos.cells[::-1]), [], ""),
        landmarks_source(replace(photos, is_blurred=~photos.is_blurred), [], ""),
        landmarks_source(replace(photos, columns=9), [], ""),
    }
    assert len(sources) == 9
    assert landmarks_source(photos, [(names, codes)], "") in sources
