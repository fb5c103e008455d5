import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.methods.models import similarity
from assets.methods.models.similarity import SimilarityIndex

D = 8


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def random_vectors(n, seed=0, d=D):
    return unit(np.random.default_rng(seed).normal(size=(n, d)))


def clustered(n, d=64, clusters=40):
    random = np.random.default_rng(1)
    centres = random.normal(size=(clusters, d))
    return unit(centres[random.integers(0, clusters, n)] + 0.4 * random.normal(size=(n, d)))


def names(n):
    return [f"{number:05}" for number in range(n)]


def by_brute_force(known, vector, k):
    cosines = {one: float(known[one].astype(float) @ vector.astype(float)) for one in known}
    return sorted(known, key=lambda one: (-round(cosines[one], 12), one))[:k]


def test_the_nearest_come_first_with_their_cosines():
    index = SimilarityIndex(2)
    index.add(["east", "north", "west"], np.array([[1, 0], [0, 1], [-1, 0]], np.float32))
    ids, cosines = index.search(np.array([0.6, 0.8], np.float32), 2)
    assert ids == ["north", "east"]
    assert cosines == pytest.approx([0.8, 0.6])


def test_an_empty_index_finds_nothing():
    ids, cosines = SimilarityIndex(D).search(random_vectors(1)[0], 5)
    assert (ids, len(cosines)) == ([], 0)


@given(seed=st.integers(0, 99), n=st.integers(1, 60), k=st.integers(1, 70), gone=st.integers(0, 59))
def test_what_is_found_is_what_brute_force_finds(seed, n, k, gone):
    ids, vectors = names(n), random_vectors(n, seed)
    index = SimilarityIndex(D)
    index.add(ids, vectors)
    index.remove(ids[:gone])
    known = dict(zip(ids[gone:], vectors[gone:], strict=True))
    query = random_vectors(1, seed + 1)[0]
    found, cosines = index.search(query, k)
    assert found == by_brute_force(known, query, k)
    assert len(index) == len(known)
    assert cosines == pytest.approx([float(known[one] @ query) for one in found], abs=1e-6)


@pytest.mark.parametrize("exact_limit", [0, 1_000])
def test_only_the_vectors_with_these_ids_are_compared(monkeypatch, exact_limit):
    monkeypatch.setattr(similarity, "EXACT_LIMIT", exact_limit)
    ids, vectors = names(200), random_vectors(200)
    index = SimilarityIndex(D)
    index.add(ids, vectors)
    index.remove(ids[10:20])
    query, among = random_vectors(1, 1)[0], ids[5:40:3]
    known = {one: vectors[int(one)] for one in among if not 10 <= int(one) < 20}
    for k in (1, 5, 500):
        found, cosines = index.search(query, k, [*among, "none"])
        assert found == by_brute_force(known, query, k)
        assert len(cosines) == len(found)
    for nobody in ([], ["none"], ids[10:20]):
        found, cosines = index.search(query, 5, nobody)
        assert (found, len(cosines)) == ([], 0)


def test_equal_vectors_come_in_the_order_of_their_ids():
    # A product with a matrix of so many rows rounds the last of them in another way.
    ids = names(37)
    index = SimilarityIndex(1280)
    index.add(ids[::-1], np.repeat(random_vectors(1, d=1280), 37, axis=0))
    found, cosines = index.search(random_vectors(1, seed=1, d=1280)[0], 30)
    assert found == ids[:30]
    assert len(set(cosines)) == 1


def test_cosines_are_at_most_one():
    vectors = random_vectors(200, d=64)
    index = SimilarityIndex(64)
    index.add(names(200), vectors)
    for vector in vectors:
        assert index.search(vector, 1)[1].max() <= 1


def test_a_vector_that_is_added_again_is_replaced():
    index = SimilarityIndex(2)
    index.add(["a", "b"], np.array([[1, 0], [0, 1]], np.float32))
    index.add(["a"], np.array([[-1, 0]], np.float32))
    ids, cosines = index.search(np.array([1, 0], np.float32), 5)
    assert ids == ["b", "a"]
    assert cosines.tolist() == [0, -1]


def test_the_vectors_are_seldom_copied(monkeypatch):
    copied = []
    make_room = SimilarityIndex._make_room
    monkeypatch.setattr(
        SimilarityIndex,
        "_make_room",
        lambda self, rows: (copied.append(rows), make_room(self, rows)),
    )
    index = SimilarityIndex(D)
    for one, vector in zip(names(5000), random_vectors(5000), strict=True):
        index.add([one], vector[None])
    assert len(index) == 5000
    assert len(copied) <= 3


@pytest.mark.parametrize("exact_limit", [100_000, 100])
def test_room_of_what_was_removed_is_used_again(monkeypatch, exact_limit):
    monkeypatch.setattr(similarity, "_FEW_DEAD", 16)
    monkeypatch.setattr(similarity, "EXACT_LIMIT", exact_limit)
    index = SimilarityIndex(D)
    ids, vectors = names(600), random_vectors(600)
    for begin in range(0, 600, 50):
        index.add(ids[begin : begin + 50], vectors[begin : begin + 50])
        index.remove(ids[max(0, begin - 50) : begin])
    assert len(index) == 50
    assert len(index._ids) < 250
    known = dict(zip(ids[550:], vectors[550:], strict=True))
    assert index.search(vectors[0], 60)[0] == by_brute_force(known, vectors[0], 60)


@pytest.mark.process
def test_the_graph_is_searched_whatever_else_has_changed_faiss():
    # As torchdr does, for good.
    script = (
        "import faiss.contrib.torch_utils, numpy as np\n"
        "from assets.methods.models import similarity\n"
        "similarity.EXACT_LIMIT = 2\n"
        "index = similarity.SimilarityIndex(4)\n"
        "index.add(list('abcd'), np.eye(4, dtype=np.float32))\n"
        "assert index._graph is not None\n"
        "assert index.search(np.eye(4, dtype=np.float32)[2], 1)[0] == ['c']\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_graph_finds_what_is_nearest(monkeypatch):
    vectors, ids = clustered(5000), names(5000)
    exact = SimilarityIndex(64)
    exact.add(ids[:100] + ids[600:], np.delete(vectors, slice(100, 600), axis=0))
    monkeypatch.setattr(similarity, "EXACT_LIMIT", 1000)
    index = SimilarityIndex(64)
    index.add(ids[:3000], vectors[:3000])
    index.add(ids[3000:], vectors[3000:])
    index.remove(ids[100:600])
    assert index._graph.ntotal == 5000
    queries = unit(vectors[::50] + 0.05 * random_vectors(100, d=64))
    recalls = [
        len(set(index.search(query, 10)[0]) & set(exact.search(query, 10)[0])) / 10
        for query in queries
    ]
    assert np.mean(recalls) >= 0.95
    assert not set(ids[100:600]) & set(index.search(vectors[200], 100)[0])


def test_deep_in_the_hits_everything_is_compared(monkeypatch):
    monkeypatch.setattr(similarity, "EXACT_LIMIT", 100)
    vectors, ids = clustered(500), names(500)
    index = SimilarityIndex(64)
    index.add(ids, vectors)
    known = dict(zip(ids, vectors, strict=True))
    assert index.search(vectors[0], 500)[0] == by_brute_force(known, vectors[0], 500)


@pytest.mark.parametrize("exact_limit", [100_000, 200])
def test_searches_go_on_while_vectors_come_and_go(monkeypatch, exact_limit):
    monkeypatch.setattr(similarity, "EXACT_LIMIT", exact_limit)
    vectors, ids = random_vectors(3000), names(3000)
    index = SimilarityIndex(D)
    index.add(ids[:1], vectors[:1])
    over, failures = threading.Event(), []

    def search():
        try:
            while not over.is_set():
                assert index.search(vectors[0], 1)[0] == [ids[0]]
        except BaseException as failure:
            failures.append(failure)

    searching = threading.Thread(target=search)
    searching.start()
    for begin in range(1, 3000, 7):
        index.add(ids[begin : begin + 7], vectors[begin : begin + 7])
        index.remove(ids[max(1, begin - 1000) : begin])
    over.set()
    searching.join()
    assert failures == []
