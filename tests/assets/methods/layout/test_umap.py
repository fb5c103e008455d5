import numpy as np
import pytest
import torch
from sklearn.manifold import trustworthiness

from assets.methods.layout.umap import umap

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.cuda,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    ),
]


@pytest.mark.parametrize("device", DEVICES)
def test_neighbours_on_the_plane_are_neighbours_in_the_feature_space(device: str) -> None:
    rng = np.random.default_rng(0)
    vectors = 2 * rng.normal(size=(6, 20))[rng.integers(0, 6, 200)] + rng.normal(size=(200, 20))
    points = umap(vectors, perplexity=15, iterations=300, seed=0, device=device)
    assert trustworthiness(vectors, points, n_neighbors=8) > 0.85
