import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from assets.methods.layout.projection.projection_network import ProjectionNetwork

# Reads the first two of three numbers, less 1; a hidden layer of two; and a last layer.
WEIGHTS = {
    "mean": np.array([1, 1, 1], np.float32),
    "axes": np.array([[1, 0], [0, 1], [0, 0]], np.float32),
    "0.weight": np.array([[1, 0], [0, 1]], np.float32),
    "0.bias": np.array([0, -1], np.float32),
    "1.weight": np.array([[2, 1], [0, 1]], np.float32),
    "1.bias": np.array([10, 20], np.float32),
}


def wide_network(seed: int = 0) -> ProjectionNetwork:
    rng = np.random.default_rng(seed)
    shapes = {"0.weight": (32, 9), "0.bias": (32,), "1.weight": (2, 32), "1.bias": (2,)}
    shapes |= {"mean": (40,), "axes": (40, 9)}
    return ProjectionNetwork(
        {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    )


def test_a_vector_is_placed_as_worked_out_by_hand():
    # (3, 4, 9) - 1 = (2, 3, 8); the axes leave (2, 3); the first layer (2, 2).
    points = ProjectionNetwork(WEIGHTS).place(np.array([[3.0, 4, 9], [0, 0, 0]]))
    # In the second row ReLU leaves nothing of (-1, -2).
    np.testing.assert_array_equal(points, [[2 * 2 + 2 + 10, 2 + 20], [10, 20]])


def test_the_bytes_of_a_point_depend_on_its_vector_alone():
    vectors = np.random.default_rng(0).normal(size=(700, 40)).astype(np.float32)
    network = wide_network()
    points = network.place(vectors)
    assert network.place(vectors[::-1])[::-1].tobytes() == points.tobytes()
    for one in (0, 1, 255, 256, 699):
        assert network.place(vectors[one : one + 1]).tobytes() == points[one].tobytes()
    with threadpool_limits(limits=2):
        assert network.place(vectors).tobytes() == points.tobytes()


def test_no_vectors_have_no_points():
    assert wide_network().place(np.empty((0, 40))).shape == (0, 2)


def test_another_network_has_another_fingerprint():
    assert wide_network(0).fingerprint == wide_network(0).fingerprint
    assert wide_network(0).fingerprint != wide_network(1).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"1.weight": np.zeros((3, 2), np.float32)},
        {"1.weight": np.zeros((2, 5), np.float32)},
        {"1.bias": np.zeros(3, np.float32)},
        {"axes": np.zeros((4, 2), np.float32)},
        {"0.bias": np.array([0, np.nan], np.float32)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_weights_that_do_not_fit_are_refused(change):
    with pytest.raises(ValueError, match="no network"):
        ProjectionNetwork({**WEIGHTS, **change})
