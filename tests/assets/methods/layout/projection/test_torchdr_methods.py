from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.manifold import trustworthiness

from assets.methods.layout.projection.torchdr_methods import fit_torchdr, largevis, umap


def test_torch_is_left_as_it_was() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    points = fit_torchdr(
        "UMAP",
        np.random.default_rng(0).normal(size=(20, 5)),
        iterations=5,
        seed=0,
        n_neighbors=3,
    )
    assert points.shape == (20, 2)
    assert torch.get_num_threads() == threads
    assert (torch.get_rng_state() == state).all()


@pytest.mark.parametrize("method", [largevis, umap])
def test_neighbours_on_the_plane_are_neighbours_in_the_feature_space(
    method: Callable[..., np.ndarray],
) -> None:
    rng = np.random.default_rng(0)
    vectors = 2 * rng.normal(size=(6, 20))[rng.integers(0, 6, 200)] + rng.normal(size=(200, 20))
    points = method(vectors, perplexity=15, iterations=300, seed=0)
    assert trustworthiness(vectors, points, n_neighbors=8) > 0.85
