"""Projections that learn a network, which then places photos that it has never seen.

DrLIM: Hadsell, Chopra and LeCun, "Dimensionality reduction by learning an invariant mapping", CVPR
2006: a siamese network (the same weights for both photos of a pair) with a contrastive loss.
Triplet: Schroff, Kalenichenko and Philbin, "FaceNet: a unified embedding for face recognition and
clustering", CVPR 2015, section 3, with the triplets that violate the margin: with semi-hard ones
alone, as there, the plane grows without bounds (docs/decisions.md). Pairs that belong together are
neighbours among the vectors, as in DrLIM, and all others do not.

The loop stands here and not in the room of training: a layout lies below it, and has no labels.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.progress import Progress, silent
from assets.methods.layout.projection.pca import on_axes, principal_axes
from assets.methods.layout.projection.projection_network import ProjectionNetwork
from assets.methods.layout.projection.torch_state import one_thread, seeded
from assets.methods.layout.projection.tsne import nearest_neighbours
from assets.methods.layout.projection.tsne_on_device import nearest_neighbours_on

if TYPE_CHECKING:
    import torch

    # Maps a network, what it reads of all photos (n, c), and the numbers of some photos (m,) and of
    # one neighbour of each (m,), to the loss.
    BatchLoss = Callable[
        [
            Callable[[torch.Tensor], torch.Tensor],
            torch.Tensor,
            NDArray[np.int64],
            NDArray[np.int64],
        ],
        torch.Tensor,
    ]

METHODS = ("drlim", "triplet")
TRAINING_VERSION = 1  # raise it whenever the same vectors would give another network
MARGIN = 1.0  # of both losses; it only sets the unit of the plane
_HIDDEN = (256, 256, 256)
_ANCHORS = 128  # photos of a step, each with one of its neighbours
_RATE = 2e-3
_WARM_UP = 0.1  # of all steps
_WEIGHT_DECAY = 1e-4
# Of the spread of a component: added to what the network reads while it is trained, so that it
# maps what lies near a photo near its point.
_NOISE = 0.2
_PROGRESS_EVERY = 25  # steps


def fit_network(
    method: str,
    vectors: NDArray[np.floating],
    *,
    neighbours: int,
    components: int,
    steps: int,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
) -> ProjectionNetwork:
    """Train a network on the neighbour graph of unit-length vectors (n, d), not all equal.

    The network is trained on one thread of the CPU, for which it is small enough: the same vectors
    give the same bytes. The neighbours are found on ``device``.

    Args:
        method: one of ``METHODS``.
        vectors: n >= 5 of them.
        neighbours: of each photo in the graph, less than n.
        components: principal components that the network reads.
        steps: of the optimisation.
        seed: of the random numbers.
        device: torch's name of it.
        progress: counts the steps.
    """
    import torch

    mean, axes = principal_axes(vectors, components)
    read = on_axes(vectors, mean, axes)
    spread = read.std()
    inputs = (read / spread).astype(np.float32)
    graph = NeighbourGraph(inputs, neighbours, device)
    with seeded(seed), one_thread():
        module = _module(inputs.shape[1])
        batch_loss = _contrastive(graph) if method == "drlim" else _triplet(graph)
        _train(module, torch.from_numpy(inputs), batch_loss, graph, steps, seed, progress)
    weights = {"mean": mean.astype(np.float32), "axes": (axes / spread).astype(np.float32)}
    layers = [layer for layer in module if isinstance(layer, torch.nn.Linear)]
    for number, layer in enumerate(layers):
        weights[f"{number}.weight"] = layer.weight.detach().numpy().copy()
        weights[f"{number}.bias"] = layer.bias.detach().numpy().copy()
    return ProjectionNetwork(weights)


class NeighbourGraph:
    """The ``k`` nearest neighbours of n vectors (n, c), and who is near whom.

    Two are neighbours if either is among the k nearest of the other.
    """

    def __init__(self, vectors: NDArray[np.floating], k: int, device: str = "cpu") -> None:
        from scipy.sparse import coo_array

        n = len(vectors)
        find = nearest_neighbours if device == "cpu" else partial(nearest_neighbours_on, device)
        self.nearest = find(vectors, k)[0]
        ends = (np.repeat(np.arange(n), k), self.nearest.ravel())
        directed = coo_array((np.ones(n * k, dtype=bool), ends), shape=(n, n)).tocsr()
        self._either = (directed + directed.T).tocsr()

    def draw(self, m: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the numbers of at most ``m`` photos, and of one neighbour of each."""
        n, k = self.nearest.shape
        anchors = rng.choice(n, min(m, n), replace=False)
        return anchors, self.nearest[anchors, rng.integers(0, k, len(anchors))]

    def between(self, some: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (some, others): which of them are neighbours, or the same."""
        near: NDArray[np.bool_] = self._either[some][:, others].toarray()
        return near | (some[:, np.newaxis] == others)


def _contrastive(graph: NeighbourGraph) -> "BatchLoss":
    """Return equation 4 of DrLIM, the mean over neighbours and the mean over others added."""
    import torch
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import ContrastiveLoss

    class SquaredContrastiveLoss(ContrastiveLoss):
        """The library has the distances themselves, the paper half of their squares."""

        def pos_calc(self, pos_pair_dist: torch.Tensor, margin: float) -> torch.Tensor:
            return super().pos_calc(pos_pair_dist, margin).square() / 2

        def neg_calc(self, neg_pair_dist: torch.Tensor, margin: float) -> torch.Tensor:
            return super().neg_calc(neg_pair_dist, margin).square() / 2

    distance = LpDistance(normalize_embeddings=False)
    loss = SquaredContrastiveLoss(pos_margin=0, neg_margin=MARGIN, distance=distance)

    def of_batch(
        network: Callable[[torch.Tensor], torch.Tensor],
        inputs: torch.Tensor,
        anchors: NDArray[np.int64],
        partners: NDArray[np.int64],
    ) -> torch.Tensor:
        photos = np.unique(np.concatenate([anchors, partners]))
        near = np.triu(graph.between(photos, photos), 1)
        far = np.triu(~near, 1)
        pairs = [torch.from_numpy(ends) for which in (near, far) for ends in np.nonzero(which)]
        return loss(network(inputs[photos]), indices_tuple=tuple(pairs))

    return of_batch


def _triplet(graph: NeighbourGraph) -> "BatchLoss":
    """Return the triplet loss: photos, one neighbour of each, and mined others.

    The others are neighbours of other photos in the batch, of which those that are neighbours of
    the photo itself, too, are left out.
    """
    import torch
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import TripletMarginMiner

    distance = LpDistance(normalize_embeddings=False)
    loss = TripletMarginLoss(MARGIN, distance=distance)
    miner = TripletMarginMiner(MARGIN, type_of_triplets="all", distance=distance)

    def of_batch(
        network: Callable[[torch.Tensor], torch.Tensor],
        inputs: torch.Tensor,
        anchors: NDArray[np.int64],
        partners: NDArray[np.int64],
    ) -> torch.Tensor:
        points, near_points = network(inputs[anchors]), network(inputs[partners])
        # A label for each pair; were the labels of both one object, the miner would find no pair.
        labels, same_labels = torch.arange(len(anchors)), torch.arange(len(anchors))
        mined = miner(points, labels, near_points, same_labels)
        is_far = torch.from_numpy(~graph.between(anchors, partners))[mined[0], mined[2]]
        chosen = tuple(ends[is_far] for ends in mined)
        return loss(points, indices_tuple=chosen, ref_emb=near_points)

    return of_batch


def _module(n_inputs: int) -> "torch.nn.Sequential":
    from torch import nn

    widths = (n_inputs, *_HIDDEN)
    layers: list[nn.Module] = []
    for width, following in pairwise(widths):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 2))


def _train(
    module: "torch.nn.Module",
    inputs: "torch.Tensor",
    batch_loss: "BatchLoss",
    graph: NeighbourGraph,
    steps: int,
    seed: int,
    progress: Progress,
) -> None:
    import torch

    def noisy(some: torch.Tensor) -> torch.Tensor:
        return module(some + _NOISE * torch.randn_like(some))

    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(module.parameters(), lr=_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _RATE, total_steps=steps + 1, pct_start=_WARM_UP
    )
    for step in range(steps):
        optimizer.zero_grad()
        batch_loss(noisy, inputs, *graph.draw(_ANCHORS, rng)).backward()
        optimizer.step()
        schedule.step()
        if step % _PROGRESS_EVERY == 0:
            progress(step, steps)
    progress(steps, steps)
