import numpy as np
import torch

from assets.methods.common.progress import silent
from assets.methods.layout.torchdr_methods import fit_torchdr


def test_torch_is_left_as_it_was() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    points = fit_torchdr(
        "UMAP",
        np.random.default_rng(0).normal(size=(20, 5)),
        iterations=5,
        seed=0,
        device="cpu",
        progress=silent,
        n_neighbors=3,
    )
    assert points.shape == (20, 2)
    assert torch.get_num_threads() == threads
    assert (torch.get_rng_state() == state).all()
