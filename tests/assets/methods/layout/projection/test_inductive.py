import numpy as np
import pytest
import torch
from sklearn.datasets import make_swiss_roll

from assets.methods.layout.projection.inductive import METHODS, NeighbourGraph, fit_network
from assets.methods.layout.quality import points_trustworthiness


def vectors_of(n: int, seed: int = 0) -> np.ndarray:
    """Return unit vectors on a curved sheet in 20 dimensions."""
    rng = np.random.default_rng(0)
    sheet, _ = make_swiss_roll(n, random_state=seed)
    curved = np.cos(sheet / 8 @ rng.normal(size=(3, 20)) + rng.normal(size=20))
    return (curved / np.linalg.norm(curved, axis=1, keepdims=True)).astype(np.float32)


def trust(points: np.ndarray, vectors: np.ndarray, photos: np.ndarray) -> float:
    measured = points_trustworthiness(points, vectors, photos)
    assert measured is not None
    return measured


@pytest.fixture(scope="module", params=METHODS)
def trained(request):
    """A network of each method, trained on 200 vectors."""
    return fit_network(
        request.param, vectors_of(200), neighbours=10, components=10, steps=150, seed=0
    )


def test_neighbours_lie_near_each_other_even_if_the_network_has_not_seen_them(trained):
    both = np.concatenate([vectors_of(200), vectors_of(50, seed=1)])
    points = trained.place(both)
    at_random = trust(np.random.default_rng(0).normal(size=points.shape), both, np.arange(250))
    assert at_random < 0.6
    assert trust(points, both, np.arange(200)) > 0.9
    assert trust(points, both, np.arange(200, 250)) > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_the_same_vectors_and_seed_give_the_same_bytes_on_any_number_of_threads(method):
    def fitted(seed: int) -> str:
        network = fit_network(
            method, vectors_of(60), neighbours=5, components=9, steps=10, seed=seed
        )
        return network.fingerprint

    threads, state = torch.get_num_threads(), torch.get_rng_state()
    try:
        torch.set_num_threads(1)
        first = fitted(0)
        torch.set_num_threads(2)
        assert fitted(0) == first
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert (torch.get_rng_state() == state).all()
    assert fitted(1) != first


def test_a_point_is_what_torch_computes(trained):
    weights = {name: torch.from_numpy(one) for name, one in trained.weights.items()}
    outputs = (torch.from_numpy(vectors_of(5)) - weights["mean"]) @ weights["axes"]
    for number in range(4):
        outputs = outputs if number == 0 else outputs.relu()
        outputs = outputs @ weights[f"{number}.weight"].T + weights[f"{number}.bias"]
    np.testing.assert_allclose(trained.place(vectors_of(5)), outputs, rtol=1e-4, atol=1e-5)


def test_two_are_neighbours_if_either_is_among_the_nearest_of_the_other():
    # The nearest of 4 is 1; of 1 it is 0, and of 0 it is 1.
    graph = NeighbourGraph(np.array([[0.0], [1.0], [4.0]]), k=1)
    assert graph.nearest.tolist() == [[1], [0], [1]]
    everyone = np.arange(3)
    near = [[True, True, False], [True, True, True], [False, True, True]]
    assert graph.between(everyone, everyone).tolist() == near
    assert graph.between(np.array([2]), np.array([1, 1, 0])).tolist() == [[True, True, False]]


def test_each_anchor_is_drawn_once_with_one_of_its_neighbours():
    vectors = np.random.default_rng(0).normal(size=(30, 3))
    graph = NeighbourGraph(vectors, k=4)
    anchors, partners = graph.draw(20, np.random.default_rng(0))
    assert len(set(anchors)) == 20
    assert all(p in graph.nearest[a] for a, p in zip(anchors, partners, strict=True))
    assert len(graph.draw(99, np.random.default_rng(0))[0]) == 30


@pytest.mark.parametrize("method", METHODS)
def test_where_all_are_neighbours_there_is_nothing_to_push_apart(method):
    # Five vectors with four neighbours each: no pair is left that does not belong together.
    network = fit_network(method, vectors_of(5), neighbours=4, components=3, steps=5, seed=0)
    assert np.isfinite(network.place(vectors_of(5))).all()
