import numpy as np
import pytest
import torch
from openTSNE.tsne import kl_divergence_bh, kl_divergence_fft
from scipy.sparse import csr_matrix
from sklearn.manifold import trustworthiness

from assets.methods.layout.projection import tsne as tsne_module
from assets.methods.layout.projection import tsne_on_device
from assets.methods.layout.projection.tsne import nearest_neighbours, tsne
from assets.methods.layout.projection.tsne_on_device import (
    TsneGradient,
    interpolated_repulsion,
    nearest_neighbours_on,
    repulsion,
)
from support.devices import CARD, needs_card

DEVICES = ["cpu", pytest.param(CARD, marks=needs_card)]


def spread(n, width=20.0):
    return torch.from_numpy(np.random.default_rng(0).normal(scale=width, size=(n, 2)))


def symmetric_affinities(n):
    rng = np.random.default_rng(1)
    dense = rng.random((n, n)) * (rng.random((n, n)) < 0.2)
    np.fill_diagonal(dense, 0)
    return csr_matrix((dense + dense.T) / (2 * dense.sum()))


@pytest.mark.parametrize("device", DEVICES)
def test_neighbours_are_those_of_the_cpu(device):
    vectors = np.random.default_rng(0).normal(size=(500, 20))
    indices, distances = nearest_neighbours_on(device, vectors, 30)
    expected_indices, expected = nearest_neighbours(vectors, 30)
    assert np.array_equal(indices, expected_indices)
    np.testing.assert_allclose(distances, expected, rtol=1e-9)


def test_copies_are_neighbours_and_nobody_is_its_own():
    indices, distances = nearest_neighbours_on("cpu", np.ones((6, 3)), 5)
    assert (distances == 0).all()
    assert all(sorted(row) == sorted({*range(6)} - {place}) for place, row in enumerate(indices))


def test_two_points_push_each_other_away():
    forces, total = repulsion(torch.tensor([[0.0, 0.0], [3.0, 0.0]], dtype=torch.float64))
    # q = 1 / 10, and the force q^2 times the distance.
    torch.testing.assert_close(forces, torch.tensor([[-0.03, 0], [0.03, 0]], dtype=torch.float64))
    assert float(total) == pytest.approx(0.2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("width", "tolerance"), [(1e-4, 1e-4), (1.0, 0.01), (8.0, 0.1)])
def test_interpolated_repulsion_is_nearly_exact(width, tolerance, device):
    points = spread(1_000, width).to(device)
    exact, exact_total = repulsion(points)
    found, total = interpolated_repulsion(points)
    assert float((found - exact).abs().max()) < tolerance * float(exact.abs().max())
    assert float(total) == pytest.approx(float(exact_total), rel=0.01)


@pytest.mark.parametrize("device", DEVICES)
def test_the_gradient_is_that_of_open_tsne(device):
    points, affinities = spread(200, 3.0).numpy(), symmetric_affinities(200)
    _, expected = kl_divergence_bh(points, affinities, dof=1, bh_params={"theta": 0})
    _, found = TsneGradient(device)(points, affinities)
    np.testing.assert_allclose(found, expected, atol=1e-7 * np.abs(expected).max() + 1e-12)


def test_interpolation_is_as_exact_as_that_of_open_tsne(monkeypatch):
    monkeypatch.setattr(tsne_on_device, "EXACT_POINTS", 0)
    points, affinities = spread(1_000, 30.0).numpy(), symmetric_affinities(1_000)
    numbers = {"n_interpolation_points": 3, "min_num_intervals": 50, "ints_in_interval": 1}
    _, exact = kl_divergence_bh(points, affinities, dof=1, bh_params={"theta": 0})
    _, theirs = kl_divergence_fft(points, affinities, dof=1, fft_params=numbers)
    _, found = TsneGradient("cpu")(points, affinities)
    assert np.abs(found - exact).mean() < 1.1 * np.abs(theirs - exact).mean()


def test_many_points_are_projected_with_interpolation(monkeypatch):
    monkeypatch.setattr(tsne_on_device, "EXACT_POINTS", 100)
    monkeypatch.setattr(tsne_module, "_gradient", lambda n, device: TsneGradient(device))
    rng = np.random.default_rng(0)
    vectors = 2 * rng.normal(size=(8, 20))[rng.integers(0, 8, 200)] + rng.normal(size=(200, 20))
    points = tsne(vectors, perplexity=20, iterations=60, seed=0)
    assert trustworthiness(vectors, points, n_neighbors=8) > 0.8
