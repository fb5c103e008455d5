import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from assets.methods.layout.nearest_neighbours import nearest_neighbours


def test_three_on_a_line() -> None:
    indices, distances = nearest_neighbours(np.array([[0.0], [1.0], [3.0]]), 2)
    assert indices.tolist() == [[1, 2], [0, 2], [1, 0]]
    np.testing.assert_allclose(distances, [[1, 3], [1, 2], [2, 3]])


@pytest.mark.parametrize("k", [0, 3])
def test_as_many_neighbours_as_vectors_are_refused(k: int) -> None:
    with pytest.raises(ValueError, match="nearest neighbours"):
        nearest_neighbours(np.zeros((3, 2)), k)


def test_ties_do_not_depend_on_the_number_of_threads() -> None:
    vectors = np.random.default_rng(0).integers(0, 3, size=(1_500, 6)).astype(np.float64)
    found = []
    for threads in (1, 2):
        with threadpool_limits(limits=threads):
            found.append(nearest_neighbours(vectors, 20)[0].tobytes())
    assert found[0] == found[1]
