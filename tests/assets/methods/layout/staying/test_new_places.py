import numpy as np
import pytest

from assets.methods.layout.staying import new_places
from assets.methods.layout.staying.new_places import nearest_known, placed


def on_circle(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def test_known_photos_keep_their_places_and_a_copy_lies_on_its_original():
    vectors = on_circle(0, 90, 180, 90)
    known = np.array([True, True, True, False])
    places = placed(np.array([[0, 0], [5, 1], [9, 9], [7, 7]]), vectors, known)
    np.testing.assert_allclose(places, [[0, 0], [5, 1], [9, 9], [5, 1]], atol=1e-6)


def test_a_new_photo_lies_between_those_that_it_is_like():
    vectors = on_circle(-10, 10, 170, 0)
    places = placed(np.array([[0, 0], [4, 2], [50, 50], [0, 0]]), vectors, np.arange(4) < 3)
    np.testing.assert_allclose(places[3], [2, 1], atol=1e-3)


def test_a_single_known_photo_decides():
    places = placed(np.array([[3, 4], [0, 0]]), on_circle(0, 180), np.array([True, False]))
    assert places.tolist() == [[3, 4], [3, 4]]


@pytest.mark.parametrize("block", [8_000_000, 1])
def test_the_most_similar_come_first_whatever_the_blocks(monkeypatch, block):
    monkeypatch.setattr(new_places, "_BLOCK_VALUES", block)
    vectors = on_circle(0, 30, 60, 90, 5, 80)
    indices, similarities = nearest_known(vectors, np.arange(6) < 4, k=2)
    assert indices.tolist() == [[0, 1], [3, 2]]
    np.testing.assert_allclose(similarities[0], np.cos(np.radians([5, 25])), atol=1e-6)


def test_photos_that_are_equally_similar_come_in_their_order():
    vectors = on_circle(90, 0, 0, 0, 0)
    indices, _ = nearest_known(vectors, np.arange(5) < 4, k=2)
    assert indices.tolist() == [[1, 2]]
