import numpy as np

from assets.methods.layout.initial_points import initial_points


def test_points_are_small_proportional_and_apart() -> None:
    components = np.array([[2.0, 1.0], [2.0, 1.0], [-4.0, -2.0]])
    points = initial_points(components, seed=0)
    np.testing.assert_allclose(points[:, 0].std(), 1e-4, rtol=0.1)
    np.testing.assert_allclose(points[:, 0], 2 * points[:, 1], atol=1e-5)
    assert (points[0] != points[1]).all()


def test_the_seed_decides() -> None:
    components = np.random.default_rng(0).normal(size=(5, 3))
    assert (initial_points(components, 1) == initial_points(components, 1)).all()
    assert (initial_points(components, 1) != initial_points(components, 2)).any()
