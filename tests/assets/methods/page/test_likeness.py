import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from assets.methods.page import likeness
from assets.methods.page.likeness import CODE_BYTES, encode_vectors, nearest_photos


def clustered(n: int, dimensions: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    middles = random.normal(size=(20, dimensions))
    vectors = middles[np.arange(n) % 20] + random.normal(size=(n, dimensions))
    vectors *= np.linspace(2, 0.2, dimensions)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_nearest_photos_are_those_of_highest_cosine_and_never_itself():
    vectors = clustered(60, 16)
    vectors[7] = vectors[3]
    found = nearest_photos(vectors, 10)
    assert found.shape == (60, 10)
    cosines = vectors.astype(np.float64) @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    for row, others in enumerate(found):
        assert row not in others
        assert others.tolist() == np.lexsort((np.arange(60), -cosines[row].round(6)))[:10].tolist()
    assert found[3][0] == 7
    assert nearest_photos(vectors[:4], 10).shape == (4, 3)


def test_many_photos_are_compared_by_few_directions_first(monkeypatch):
    vectors = clustered(300, 32)
    exact = nearest_photos(vectors, 10)
    monkeypatch.setattr(likeness, "_COMPARED_EXACTLY", 100)
    assert (nearest_photos(vectors, 10) == exact).mean() > 0.99


@pytest.mark.parametrize(("n", "dimensions"), [(2, 3), (40, 8), (400, 64), (300, 400)])
def test_codes_tell_cosines(n, dimensions):
    vectors = clustered(n, dimensions)
    encoded = encode_vectors(vectors)
    assert encoded.codes.shape == (n, CODE_BYTES)
    parts = encoded.levels[np.arange(CODE_BYTES), encoded.codes].reshape(n, -1)
    parts /= np.linalg.norm(parts, axis=1, keepdims=True)
    error = np.abs(parts @ parts.T - vectors @ vectors.T)
    assert error.mean() < 0.05
    assert encoded.recall >= 0.8


def test_codes_do_not_depend_on_the_number_of_threads():
    vectors = clustered(300, 64)
    with threadpool_limits(limits=1):
        one = encode_vectors(vectors)
    two = encode_vectors(vectors)
    assert (one.codes == two.codes).all()
    assert (one.levels == two.levels).all()
