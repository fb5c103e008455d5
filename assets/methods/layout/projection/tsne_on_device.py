"""The costly parts of t-SNE on a device of torch: nearest neighbours, and the objective's gradient.

Repulsion between all pairs of points is exact, or interpolated for many points (Linderman et al.,
"Fast interpolation-based t-SNE", Nature Methods 2019; openTSNE does the same on the CPU). No sum
depends on the order in which a card's threads come along, so that each run gives the same bytes.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

EXACT_POINTS = 10_000  # from here on interpolation is faster
_PAIRS_AT_A_TIME = 2**25  # 256 MiB of float64
# openTSNE's own numbers: a box is at most 1 wide, an axis has at least 50, and each has 3 nodes.
_LARGEST_BOX, _FEWEST_BOXES = 1.0, 50
# Points that lie farther apart get larger boxes, so that the grid fits into 3 GB.
_MOST_BOXES = 1_000
_NODES = (1 / 6, 1 / 2, 5 / 6)


def nearest_neighbours_on(
    device: str, vectors: NDArray[np.floating], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the ``k`` nearest other vectors of each of n, nearest first.

    Two arrays (n, k): their indices and their Euclidean distances.
    """
    import torch

    points = torch.from_numpy(np.asarray(vectors, dtype=np.float64)).to(device)
    squares = points.square().sum(dim=1)
    numbers = torch.arange(len(points), device=device)
    found = []
    for chunk in numbers.split(max(1, _PAIRS_AT_A_TIME // len(points))):
        distances = squares[chunk, None] + squares - 2 * points[chunk] @ points.T
        distances[numbers[: len(chunk)], chunk] = math.inf
        found.append(distances.topk(k, largest=False))
    indices = torch.cat([one.indices for one in found])
    distances = torch.cat([one.values for one in found]).clamp(min=0).sqrt()
    return indices.cpu().numpy(), distances.cpu().numpy()


class TsneGradient:
    """The gradient of t-SNE's objective, for ``negative_gradient_method`` of openTSNE.

    The affinities stay on the device from the first call on: a phase of the optimisation, which
    exaggerates them, needs an object of its own. The error is not computed.

    Args:
        device: torch's name of it.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._edges: tuple[torch.Tensor, ...] | None = None

    def __call__(
        self, embedding: NDArray[np.float64], affinities: Any, **_: Any
    ) -> tuple[float, NDArray[np.float64]]:
        """Return 0 and the gradient, (n, 2) float64, a quarter of it as in openTSNE.

        Args:
            embedding: (n, 2).
            affinities: (n, n), a sparse matrix by rows.
        """
        import torch

        if self._edges is None:
            lengths = torch.from_numpy(np.diff(affinities.indptr)).long()
            parts = (affinities.indices, affinities.data)
            ends, weights = (torch.from_numpy(np.array(one)).to(self._device) for one in parts)
            self._edges = (lengths.to(self._device), ends.long(), weights)
        points = torch.from_numpy(np.array(embedding)).to(self._device)
        repel = repulsion if len(points) < EXACT_POINTS else interpolated_repulsion
        forces, normalisation = repel(points)
        gradient = attraction(points, *self._edges) - forces / normalisation
        return 0.0, gradient.cpu().numpy()


def attraction(
    points: "torch.Tensor", lengths: "torch.Tensor", ends: "torch.Tensor", weights: "torch.Tensor"
) -> "torch.Tensor":
    """Return sum_j p_ij q_ij (y_i - y_j), (n, 2), with q = 1 / (1 + |y_i - y_j|^2).

    Args:
        points: y, (n, 2).
        lengths: (n,), the number of edges from each point.
        ends: (edges,), where the edges of the first point go to, then those of the second ...
        weights: (edges,), their p.
    """
    import torch

    apart = points.repeat_interleave(lengths, dim=0) - points[ends]
    pulls = apart * (weights / (1 + apart.square().sum(dim=1)))[:, None]
    return torch.segment_reduce(pulls, "sum", lengths=lengths)


def repulsion(points: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """Return sum_j q_ij^2 (y_i - y_j), (n, 2), and the sum of all q_ij, without i = j."""
    import torch

    ones = torch.ones_like(points[:, :1])
    columns = torch.cat([points, ones], dim=1)
    forces, total = [], ones.new_zeros(())
    for chunk in points.split(max(1, _PAIRS_AT_A_TIME // len(points))):
        q = (chunk[:, None, 0] - points[:, 0]).square_()
        q.add_((chunk[:, None, 1] - points[:, 1]).square_()).add_(1).reciprocal_()
        total = total + q.sum()
        sums = q.square_() @ columns
        forces.append(chunk * sums[:, 2:] - sums[:, :2])
    return torch.cat(forces), total - len(points)


def interpolated_repulsion(points: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """Return what ``repulsion`` returns, interpolated on a grid: the kernel is a convolution."""
    import torch
    from scipy.fft import next_fast_len

    low, high = points.min(), points.max()
    extent = max(float(high - low), 1e-9)
    n_boxes = min(max(_FEWEST_BOXES, math.ceil(extent / _LARGEST_BOX)), _MOST_BOXES)
    n_boxes = next_fast_len(n_boxes, real=True)
    n_nodes, spacing = 3 * n_boxes, extent / (3 * n_boxes)
    within = (points - low) * (n_boxes / extent)
    boxes = within.floor().clamp(max=n_boxes - 1)
    # (n, 2, 3): along each axis the nodes of a point's box, and their weights.
    nodes = (3 * boxes.long())[:, :, None] + torch.arange(3, device=points.device)
    weights = _lagrange(within - boxes)
    places = (nodes[:, 0, :, None] * n_nodes + nodes[:, 1, None, :]).flatten(1)
    weight = (weights[:, 0, :, None] * weights[:, 1, None, :]).flatten(1)[..., None]
    squares = points.square().sum(dim=1, keepdim=True)
    charges = torch.cat([torch.ones_like(squares), points, squares], dim=1)
    grid = charges.new_zeros((n_nodes**2, 4))
    # On CUDA it sorts what it adds up, unlike index_add_.
    spread = (weight * charges[:, None]).flatten(0, 1)
    grid.index_put_((places.flatten(),), spread, accumulate=True)
    potentials = _convolved(grid.T.reshape(4, n_nodes, n_nodes), spacing).flatten(1).T
    at_points = (weight * potentials[places]).sum(dim=1)
    ones, moments, second = at_points[:, :1], at_points[:, 1:3], at_points[:, 3:]
    # q = (1 + |y_i - y_j|^2) q^2, multiplied out.
    total = ((1 + squares) * ones - 2 * (points * moments).sum(dim=1, keepdim=True) + second).sum()
    return points * ones - moments, total - len(points)


def _lagrange(places: "torch.Tensor") -> "torch.Tensor":
    """Return the weights, (..., 3), of a box's nodes for places in the box, from 0 to 1."""
    import torch

    weights = []
    for node in _NODES:
        others = [other for other in _NODES if other != node]
        factors = [(places - other) / (node - other) for other in others]
        weights.append(factors[0] * factors[1])
    return torch.stack(weights, dim=-1)


def _convolved(grids: "torch.Tensor", spacing: float) -> "torch.Tensor":
    """Convolve (charges, m, m) with 1 / (1 + distance^2)^2, nodes being ``spacing`` apart."""
    import torch

    m = grids.shape[1]
    steps = torch.arange(2 * m, device=grids.device, dtype=grids.dtype)
    apart = (torch.minimum(steps, 2 * m - steps) * spacing).square()
    kernel = (1 + apart[:, None] + apart).reciprocal().square()
    size = (2 * m, 2 * m)
    transformed = torch.fft.rfft2(grids, s=size) * torch.fft.rfft2(kernel)
    return torch.fft.irfft2(transformed, s=size)[:, :m, :m]
