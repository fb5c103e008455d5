import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from assets.methods.page import likeness
from assets.methods.page.likeness import CODE_BYTES, decoded, encode_vectors, nearest_photos


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
    estimated = decoded(encoded)
    estimated /= np.linalg.norm(estimated, axis=1, keepdims=True)
    error = np.abs(estimated @ estimated.T - vectors @ vectors.T)
    assert error.mean() < 0.05
    assert encoded.recall >= 0.8


def test_codes_of_photos_of_as_many_things_find_most_of_the_ten_nearest():
    # As 1,000 photographs of 1,000 things: no groups, and strong and weak directions.
    random = np.random.default_rng(1)
    vectors = random.normal(size=(1000, 512)) * np.arange(1, 513) ** -0.6
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    encoded = encode_vectors(vectors)
    assert encoded.recall >= 0.85
    # The figure is that of the codes: found again without any of their code.
    levels = encoded.levels.astype(np.float64) * encoded.steps[:, None, None]
    estimated = np.array(
        [
            np.concatenate([levels[byte : byte + 4][range(4), code[byte : byte + 4]].sum(axis=0)
                            for byte in range(0, CODE_BYTES, 4)])
            for code in encoded.codes
        ]
    )  # fmt: skip
    estimated /= np.linalg.norm(estimated, axis=1, keepdims=True)
    shared = [
        len(set(np.argsort(-(estimated @ estimated[row]))[1:11]) & set(nearest))
        for row, nearest in enumerate(nearest_photos(vectors, 10))
    ]
    assert np.mean(shared) / 10 == pytest.approx(encoded.recall, abs=0.02)


def test_codes_do_not_depend_on_the_number_of_threads():
    vectors = clustered(300, 64)
    with threadpool_limits(limits=1):
        one = encode_vectors(vectors)
    two = encode_vectors(vectors)
    assert (one.codes == two.codes).all()
    assert (one.levels == two.levels).all()
    assert (one.steps == two.steps).all()
