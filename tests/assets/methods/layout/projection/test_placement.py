import numpy as np
import pytest

from assets.methods.layout.projection.placement import NEIGHBOURS, PhotoPlaces
from assets.methods.layout.projection.projection_network import ProjectionNetwork


def on_circle(*degrees: float) -> np.ndarray:
    """Return unit vectors in the plane, whose cosines are those of the angles between them."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


DEGREES = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
POINTS = np.array([[number, 0.0] for number in range(10)])
CELLS = np.array([[number // 5, number % 5] for number in range(10)])
MAP = PhotoPlaces(on_circle(*DEGREES), POINTS, CELLS)


def test_the_most_similar_photos_are_named_with_their_cosines():
    placed = MAP.place(on_circle(-5)[0])
    assert placed.neighbours.tolist() == list(range(NEIGHBOURS))
    np.testing.assert_allclose(placed.cosines[:2], np.cos(np.radians([5, 15])), atol=1e-6)


def test_without_a_network_it_is_the_mean_of_its_neighbours_points_by_similarity():
    placed = MAP.place(on_circle(-5)[0])
    cosines = np.cos(np.radians(np.arange(5, 90, 10)))
    weights = cosines - cosines[-1]
    assert placed.x == pytest.approx(weights @ np.arange(9) / weights.sum(), abs=1e-4)
    assert (placed.y, placed.by_network) == (0, False)
    # It is 2.6: the nearest point is that of number 3.
    assert (placed.row, placed.col) == (0, 3)


def test_a_photo_that_the_map_has_lies_where_it_lies():
    placed = MAP.place(on_circle(70)[0])
    assert (placed.x, placed.y, placed.row, placed.col) == (7, 0, 1, 2)
    assert placed.neighbours[0] == 7
    assert placed.cosines[0] == pytest.approx(1)


def test_a_network_places_it_wherever_its_neighbours_lie():
    network = ProjectionNetwork(
        {
            "mean": np.zeros(2, np.float32),
            "axes": np.eye(2, dtype=np.float32),
            "0.weight": 9 * np.eye(2, dtype=np.float32)[::-1].copy(),
            "0.bias": np.zeros(2, np.float32),
        }
    )
    placed = PhotoPlaces(MAP.vectors, POINTS, CELLS, network).place(on_circle(90)[0])
    assert (placed.x, placed.y) == (pytest.approx(9), pytest.approx(0, abs=1e-5))
    assert (placed.row, placed.col, placed.by_network) == (1, 4, True)
    assert placed.neighbours[0] == 9


@pytest.mark.parametrize("n", [1, 2, NEIGHBOURS])
def test_a_map_of_few_photos_places_by_all_of_them(n):
    few = PhotoPlaces(MAP.vectors[:n], POINTS[:n], CELLS[:n])
    placed = few.place(on_circle(-30)[0])
    assert (placed.x, placed.y) == (pytest.approx((n - 1) / 2), 0)
    assert len(placed.neighbours) == n


def test_photos_that_are_equally_similar_count_alike():
    same = PhotoPlaces(on_circle(*[0] * 10), POINTS, CELLS)
    assert same.place(on_circle(45)[0]).x == pytest.approx(4)
