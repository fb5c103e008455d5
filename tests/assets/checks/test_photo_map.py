"""Each check passes on a sound value, and fails on one that is broken in its own way."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from assets.checks import photo_map
from assets.methods.layout.assignment.assignment import EXACT_PHOTOS
from assets.methods.layout.mosaic import MosaicSettings, draw_mosaic, encode_mosaic, plan_mosaic
from assets.methods.photos.catalogue import Catalogue
from assets.methods.photos.companions import companions_table
from assets.methods.plotting.blurring import with_blurred
from assets.values import Embeddings, EncodedImage, GridAssignment, Mosaic

# Dagster declares that the call of a check returns an object of any kind.
checks: Any = photo_map
SIDE = 12
N = SIDE * SIDE
IDS = [f"{number:064x}" for number in range(N)]


@pytest.fixture
def catalogue() -> Catalogue:
    images = pd.DataFrame({"image_id": IDS, "uri": [f"/photos/{i}.jpg" for i in range(N)]})
    rejects = pd.DataFrame({"uri": ["/photos/notes.txt"], "reason": ["not an image"], "detail": ""})
    return Catalogue(images, rejects, n_found=N + 1, n_decoded=N)


@pytest.fixture
def embeddings() -> Embeddings:
    """Vectors on a patch of the sphere, in the order of the grid's cells."""
    row, col = np.divmod(np.arange(N), SIDE)
    vectors = np.stack([row / SIDE, col / SIDE, np.ones(N)], axis=1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embeddings.from_arrays(IDS, vectors, "print", N)


@pytest.fixture
def points() -> pd.DataFrame:
    return pd.DataFrame({"image_id": IDS, "x": np.arange(N, dtype=float), "y": 0.0})


@pytest.fixture
def grid() -> GridAssignment:
    row, col = np.divmod(np.arange(N, dtype=np.int32), SIDE)
    table = pd.DataFrame({"image_id": IDS, "row": row, "col": col})
    return _with_gap(GridAssignment(table, SIDE, SIDE, {}), 0.0, certified=True)


def _with_gap(
    grid: GridAssignment,
    gap: float | None,
    certified: bool,
    solver: str = "shufflesnap exact",
    **others: object,
) -> GridAssignment:
    assignment = {"gap": gap, "certified": certified, "solver": solver, "cost": 1e4, **others}
    return dataclasses.replace(grid, metrics={"assignment": assignment})


def _with_cells(grid: GridAssignment, row: np.ndarray, col: np.ndarray) -> GridAssignment:
    return dataclasses.replace(grid, table=grid.table.assign(row=row, col=col))


def test_every_file_is_accounted_for(catalogue):
    check = checks.every_file_is_accounted_for
    assert check(catalogue).passed
    lost = dataclasses.replace(catalogue, n_found=catalogue.n_found + 1)
    assert not check(lost).passed
    in_both = dataclasses.replace(
        catalogue, rejects=catalogue.rejects.assign(uri=catalogue.images.uri[0])
    )
    assert not check(in_both).passed
    companions = companions_table([("/photos/0.json", "/photos/0.jpg")])
    with_companion = dataclasses.replace(
        catalogue, companions=companions, n_found=catalogue.n_found + 1
    )
    result = check(with_companion)
    assert result.passed
    assert result.description == (
        "146 found: 144 photos, 1 rejects, 1 companions, 0 in none of them, 0 twice"
    )
    as_photo = companions_table([(catalogue.images.uri[0], None)])
    assert not check(dataclasses.replace(with_companion, companions=as_photo)).passed


def test_companions_are_no_part_of_the_share_of_rejects(catalogue):
    companions = companions_table((f"/photos/{number}.json", None) for number in range(10 * N))
    many = dataclasses.replace(catalogue, companions=companions, n_found=11 * N + 1)
    result = checks.few_files_are_rejected(many)
    assert result.passed
    assert result.description == "0.7% of 145 files are rejected (a few: up to 5%)"
    half = catalogue.rejects.loc[[0] * N]
    assert not checks.few_files_are_rejected(
        dataclasses.replace(many, rejects=half, n_found=12 * N)
    ).passed


@pytest.mark.parametrize(
    ("n_rejects", "passed", "severity"),
    [(1, True, "WARN"), (9, False, "WARN"), (199, False, "ERROR")],
)
def test_few_files_are_rejected(catalogue, n_rejects, passed, severity):
    rejects = pd.DataFrame({"uri": map(str, range(n_rejects)), "reason": "empty", "detail": ""})
    result = checks.few_files_are_rejected(
        dataclasses.replace(catalogue, rejects=rejects, n_found=N + n_rejects)
    )
    assert (result.passed, result.severity.value) == (passed, severity)


@pytest.mark.parametrize(
    ("labels", "passed", "told"),
    [
        (
            ["cat", "Cat", None],
            True,
            "0 exact copies have another label than the photo shown, and 0",
        ),
        (["cat", "dog", "cat"], False, "1 exact copies have another"),
        # A detail that the hash does not see may decide.
        (
            ["cat", "cat", "dog"],
            True,
            "0 exact copies have another label than the photo shown, and 1",
        ),
    ],
)
def test_copies_have_one_label(labels, passed, told):
    rows = [("a", "1.jpg", None), ("a", "2.jpg", "a"), ("b", "3.jpg", "a")]
    images = pd.DataFrame(rows, columns=["image_id", "uri", "duplicate_of"], dtype="string")
    images = images.assign(label=pd.array(labels, dtype="string"))
    catalogue = Catalogue(images, images[:0], n_found=3, n_decoded=0)
    result = checks.copies_have_one_label(catalogue)
    assert (result.passed, result.severity.value) == (passed, "WARN")
    assert result.description.startswith(told)
    named = [] if passed else ["2.jpg (dog), 1.jpg (cat)"]
    assert result.metadata["copies"].value == named


def test_names_and_labels_of_copies_are_shown_without_control_characters():
    rows = [("a", "/1.jpg", None, "cat\x07"), ("a", "/\x1b[2J.jpg", "a", "dog\x1b[31m")]
    columns = ["image_id", "uri", "duplicate_of", "label"]
    images = pd.DataFrame(rows, columns=columns, dtype="string")
    result = checks.copies_have_one_label(Catalogue(images, images[:0], n_found=2, n_decoded=0))
    (named,) = result.metadata["copies"].value
    assert named == r"file:///%1B[2J.jpg (dog\x1b[31m), /1.jpg (cat\x07)"


@pytest.mark.parametrize("broken", [np.nan, np.inf, 0.5])
def test_vectors_are_sound(catalogue, embeddings, broken):
    assert checks.vectors_are_sound(catalogue, embeddings).passed
    vectors = embeddings.vectors.copy()
    vectors[3, 2] = broken
    unsound = Embeddings.from_arrays(IDS, vectors, "print", N)
    assert not checks.vectors_are_sound(catalogue, unsound).passed


@pytest.mark.parametrize("ids", [IDS[:-1], [*IDS[:-1], IDS[0]]], ids=["missing", "twice"])
def test_vectors_are_one_for_each_image(catalogue, embeddings, ids):
    vectors = embeddings.vectors[: len(ids)]
    wrong = Embeddings.from_arrays(ids, vectors, "print", N)
    assert not checks.vectors_are_sound(catalogue, wrong).passed


def test_coordinates_are_finite(embeddings, points):
    check = checks.coordinates_are_finite
    assert check(embeddings, points).passed
    assert not check(embeddings, points.assign(y=np.nan)).passed
    assert not check(embeddings, points.iloc[1:]).passed
    assert not check(embeddings, pd.concat([points, points.iloc[:1]])).passed


@pytest.mark.parametrize(
    ("cell", "value"), [("row", SIDE), ("col", -1), ("row", 1)], ids=["below", "left", "taken"]
)
def test_assignment_is_a_bijection(catalogue, grid, cell, value):
    check = checks.assignment_is_a_bijection
    assert check(catalogue, grid).passed
    table = grid.table.copy()
    table.loc[0, cell] = value
    assert not check(catalogue, dataclasses.replace(grid, table=table)).passed


def test_a_photo_without_a_cell_breaks_the_bijection(catalogue, grid):
    lost = dataclasses.replace(grid, table=grid.table.iloc[1:])
    assert not checks.assignment_is_a_bijection(catalogue, lost).passed


def test_a_broken_bijection_stops_what_comes_after():
    specs = [spec for check in checks.CHECKS for spec in check.check_specs]
    assert {spec.name for spec in specs if spec.blocking} == {"assignment_is_a_bijection"}


@pytest.mark.parametrize(
    ("gap", "certified", "passed"),
    [
        (None, False, True),
        (1e-7, True, True),
        (1e-5, True, False),
        (1e-5, False, False),
        (1e-3, False, False),
        (-1e-3, False, False),
        (float("nan"), True, False),
    ],
)
def test_gap_is_within_its_promise(grid, gap, certified, passed):
    assert checks.gap_is_within_its_promise(_with_gap(grid, gap, certified)).passed == passed


@pytest.mark.parametrize(("gap", "passed"), [(1e-5, True), (1e-3, False)])
def test_the_gap_of_a_large_collection_has_a_wider_promise(grid, gap, passed):
    table = pd.concat([grid.table] * (EXACT_PHOTOS // N + 1))
    large = _with_gap(dataclasses.replace(grid, table=table), gap, certified=False)
    assert checks.gap_is_within_its_promise(large).passed == passed


@pytest.mark.parametrize(
    ("solver", "cost_kind", "gap", "passed"),
    [
        ("lapjv", "distance", 1e-7, True),
        ("network simplex", "distance", 1e-5, False),
        ("scipy", "squared", 1e-5, False),
        ("sinkhorn", "squared", 0.03, True),
        ("sinkhorn", "distance", 0.2, False),
    ],
)
def test_each_solver_has_its_promise(grid, solver, cost_kind, gap, passed):
    found = _with_gap(grid, gap, certified=False, solver=solver, cost_kind=cost_kind)
    check = checks.gap_is_within_its_promise(found)
    assert check.passed == passed
    assert {"squared": "sum of squared", "distance": "sum of distances"}[cost_kind] in (
        check.description
    )


def test_sinkhorn_promises_nothing_below_its_regularisation(grid):
    found = _with_gap(grid, 0.9, certified=False, solver="sinkhorn", cost_kind="squared", cost=1.0)
    assert checks.gap_is_within_its_promise(found).passed


@pytest.mark.parametrize(
    ("solver", "gap", "passed"),
    [("shufflesnap", 0.03, True), ("network simplex", 0.3, False), ("scipy", 1e-5, False)],
)
def test_distances_of_a_large_collection_are_near_their_bound(grid, solver, gap, passed):
    table = pd.concat([grid.table] * (EXACT_PHOTOS // N + 1))
    large = dataclasses.replace(grid, table=table)
    found = _with_gap(large, gap, certified=False, solver=solver, cost_kind="distance")
    assert checks.gap_is_within_its_promise(found).passed == passed


def test_layout_beats_random_placement(embeddings, grid):
    check = checks.layout_beats_random_placement
    assert check(embeddings, grid).passed
    shuffled = np.divmod(np.random.default_rng(1).permutation(N), SIDE)
    assert not check(embeddings, _with_cells(grid, *shuffled)).passed


def test_a_handful_of_photos_is_not_compared_with_chance(embeddings, grid):
    few = dataclasses.replace(grid, table=grid.table.iloc[: checks.FEWEST_COMPARED - 1])
    assert checks.layout_beats_random_placement(embeddings, few).passed


class _Store:
    @staticmethod
    def open_working_copy(image_id: str) -> Image.Image:
        number = int(image_id, 16)
        return Image.new("RGB", (32, 32), (number * 7 % 256, number * 31 % 256, number * 101 % 256))


class _Photos:
    store = _Store()


@pytest.mark.parametrize("format_", ["jpeg", "png"])
def test_tiles_are_the_photos_of_the_layout(grid, format_):
    check = checks.tiles_are_the_photos_of_the_layout
    settings = MosaicSettings(tile=24, format=format_)
    plan = plan_mosaic(SIDE, SIDE, settings)
    drawn = draw_mosaic(_Store.open_working_copy, grid.table, plan)
    picture = EncodedImage(encode_mosaic(drawn, settings), ".jpg" if format_ == "jpeg" else ".png")
    mosaic = Mosaic(picture, EncodedImage(b"", ".png"), dataclasses.asdict(settings))
    assert check(grid, mosaic, photos=_Photos()).passed
    shifted = _with_cells(grid, np.roll(grid.table.row, 1), np.roll(grid.table.col, 1))
    assert not check(shifted, mosaic, photos=_Photos()).passed

    # Some photos are drawn blurred, and the value says which.
    blurred = set(grid.table.image_id[::3])
    load = with_blurred(_Store.open_working_copy, blurred)
    picture = EncodedImage(encode_mosaic(draw_mosaic(load, grid.table, plan), settings), ".png")
    mosaic = dataclasses.replace(mosaic, mosaic=picture)
    assert not check(grid, mosaic, photos=_Photos()).passed
    assert check(
        grid, dataclasses.replace(mosaic, blurred=sorted(blurred)), photos=_Photos()
    ).passed


def test_no_check_is_without_a_test():
    names = {spec.name for definition in checks.CHECKS for spec in definition.check_specs}
    tests = Path(__file__).read_text()
    assert len(names) == 9
    assert all(f"checks.{name}" in tests for name in names)
