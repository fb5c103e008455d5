"""From a photograph and a network of torch to what the deconvnet finds in the photograph."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from assets.methods.attribution.class_ascent import log_odds, log_odds_gradient, step_along
from assets.methods.attribution.deconvnet import (
    Activation,
    Region,
    activation_at,
    deconvolve,
    has_switches,
    last_layer,
    strongest_activations,
)
from assets.methods.attribution.heat_map import smoothed
from assets.methods.attribution.network_input import NetworkInput, network_input
from assets.methods.common.errors import UserError
from assets.methods.models.classifier import Classifier, check_class
from assets.methods.models.forward import unsplit_pool
from assets.methods.models.torch_classifier import TorchClassifier

if TYPE_CHECKING:
    import torch

N_TOP = 9

# The share of a reconstruction's relevance that is cut off on each side.
_TAIL = 0.05

# Of the noise whose reconstruction is compared, in px; it is enlarged to the photograph.
_NOISE_SIDE = 64

# The sigma by which relevance is smoothed for that, as a share of the longer side: about what the
# figure smooths it by.
_SMOOTHING = 0.01


@dataclass(frozen=True)
class DeconvnetSettings:
    """Where a deconvnet starts.

    Without a ``layer`` it is the class's logit. With one, a module's dotted name, it is one of its
    activations: the one at ``place`` (channel, row, column), from 0, or else the one that adds
    most to the class's logit of those over the photograph, not its padding.

    Raises:
        UserError: there is a place and no layer, or a place is not three numbers from 0.
    """

    layer: str | None = None
    place: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.place is None:
            return
        if self.layer is None:
            raise UserError("A place is given without a layer: name the layer that it is of.")
        if len(self.place) != 3 or min(self.place) < 0:
            raise UserError(
                f"The place is {self.place}: give channel, row and column, three numbers from 0."
            )


@dataclass(frozen=True)
class TopActivation:
    """One of the activations that add most to a class, and what made it.

    Attributes:
        activation: which.
        reconstruction: (rows, columns, 3) float32, the part of its image that holds most of it.
        patch: RGB, the same part of the photograph (scaled to at most 1,024 px a side).
    """

    activation: Activation
    reconstruction: NDArray[np.float32]
    patch: Image.Image


@dataclass(frozen=True)
class NoiseLikeness:
    """What of a reconstruction is the same for every image, seen by that of an image of noise.

    Attributes:
        pixels: the correlation of both reconstructions, over the photograph. It is 1 if they are
            the same.
        strength: the correlation of where they are strong, each smoothed as it is in the figure.
    """

    pixels: float
    strength: float


@dataclass(frozen=True)
class DeconvnetMap:
    """What a deconvnet finds in a photograph, in maps of (h, w) px.

    Attributes:
        class_name: the class asked for.
        score: P(class) of the photograph, as the classifier reads it.
        square_score: P(class) of the photograph padded to a square, which the deconvnet reads.
        start: where the deconvnet started; None for the class's logit.
        reconstruction: (h, w, 3) float32, RGB, signed: the image of the start, scaled as grey
            levels are to the network's units. Its overall factor means nothing. It is zero in the
            border that the network does not read.
        has_switches: whether the network has max-pools, without which the reconstruction from a
            class is the same for every photograph.
        noise_likeness: how like the reconstruction of noise, from the same start, it is.
        read_size: (width, height) in px to which the photograph was scaled before it was padded.
        relevance: (h, w) float32, the sum of |reconstruction| over the channels.
        top_layer: of ``top``: the layer asked for, or the last that still has places.
        top: the activations over the photograph, not its padding, that add most to the class's
            logit, at most one a channel and ``N_TOP`` in all, those that add most first.
        change: float32, RGB, of the photograph's own size: by how much the log-odds of the square
            rise by a grey level.
        changed: RGB, the photograph after a small step along ``change``.
        changed_score: its P(class) padded to a square, higher than ``square_score`` unless no small
            step raises it, when ``changed`` is the photograph itself.
    """

    class_name: str
    score: float
    square_score: float
    read_size: tuple[int, int]
    start: Activation | None
    reconstruction: NDArray[np.float32]
    has_switches: bool
    noise_likeness: NoiseLikeness
    relevance: NDArray[np.float32]
    top_layer: str
    top: tuple[TopActivation, ...]
    change: NDArray[np.float32]
    changed: Image.Image
    changed_score: float


def deconvnet_map(
    image: Image.Image,
    classifier: Classifier,
    class_name: str,
    settings: DeconvnetSettings | None = None,
    map_size: tuple[int, int] | None = None,
) -> DeconvnetMap:
    """Run the deconvnet on a photograph; on the CPU with the same bits each time.

    A photograph of more than 1,024 px a side is scaled down for the network.

    Args:
        image: the pixels that have the score; of any size, shape and mode.
        classifier: a ``TorchClassifier`` whose activations are ReLU.
        class_name: what to look for.
        settings: where to start; None for the class's logit.
        map_size: (width, height) of the maps in px; None for the photograph's own.

    Raises:
        UserError: the classifier is no network of torch, a deconvnet is not defined for it, or
            there is no such class, layer or activation.
    """
    if not isinstance(classifier, TorchClassifier):
        raise UserError(
            "A deconvnet goes back through the layers of a network, and this classifier does not "
            "show its own: use OpenNSFW, timm:NAME, torchvision:NAME or a classifier's file."
        )
    check_class(classifier.class_names, class_name)
    settings = settings or DeconvnetSettings()
    # In a thread that does not split operations, sums have one order.
    with unsplit_pool(workers=1) as pool:
        photo = image.convert("RGB")
        found = pool.submit(_map, photo, classifier, class_name, settings, map_size or photo.size)
        return found.result()


def _map(
    image: Image.Image,
    classifier: TorchClassifier,
    class_name: str,
    settings: DeconvnetSettings,
    map_size: tuple[int, int],
) -> DeconvnetMap:
    module, index = classifier.module, classifier.class_names.index(class_name)
    read = network_input(image, classifier.preprocessing)
    values = read.values.to(classifier.device)
    _check_logits(classifier, values)
    layer = settings.layer or last_layer(module, values)
    strongest = strongest_activations(module, values, layer, N_TOP, index, _region(read))
    start = _start(module, values, settings, strongest, class_name)
    signal = deconvolve(module, values, index if start is None else start)
    reconstruction = read.grey_levels(signal, map_size)
    change = read.per_grey_level(log_odds_gradient(module, values, index), image.size)
    changed = step_along(image, change, lambda one: _log_odds(one, classifier, index))
    return DeconvnetMap(
        class_name=class_name,
        score=float(classifier.classify_photos([image])[0, index]),
        square_score=_probability(_log_odds(image, classifier, index)),
        read_size=read.scaled.size,
        start=start,
        reconstruction=reconstruction,
        has_switches=has_switches(module),
        noise_likeness=_noise_likeness(read, signal, classifier, index if start is None else start),
        relevance=np.abs(reconstruction).sum(axis=2),
        top_layer=layer,
        top=tuple(_top_activation(one, read, deconvolve(module, values, one)) for one in strongest),
        change=change,
        changed=changed,
        changed_score=_probability(_log_odds(changed, classifier, index)),
    )


def _noise_likeness(
    read: NetworkInput,
    signal: NDArray[np.float32],
    classifier: TorchClassifier,
    start: int | Activation,
) -> NoiseLikeness:
    # As large as the network reads it: a tiny photograph's pixels would be means of many.
    scale = classifier.preprocessing.resize / read.padding.side
    width, height = (max(1, round(scale * side)) for side in read.scaled.size)
    size = (width, height)
    pixels = np.random.default_rng(0).integers(0, 256, (_NOISE_SIDE, _NOISE_SIDE, 3), np.uint8)
    noise = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    values = network_input(noise, classifier.preprocessing).values.to(classifier.device)
    other = deconvolve(classifier.module, values, start)
    pair = read.grey_levels(signal, size), read.grey_levels(other, size)
    sigma = _SMOOTHING * max(size)
    one, two = (smoothed(np.abs(levels).sum(axis=2), sigma) for levels in pair)
    return NoiseLikeness(_correlation(*pair), _correlation(one - one.mean(), two - two.mean()))


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the correlation of two maps around zero, from -1 to 1; maps of nothing are alike."""
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    if lengths == 0:
        return float(not one.any() and not other.any())
    return float(np.clip(np.vdot(one, other) / lengths, -1, 1))


def _region(read: NetworkInput) -> Region:
    """Return where the photograph lies in the network's input, which may not hold all of it."""
    padding, resize = read.padding, read.preprocessing.resize

    def edge(position: int) -> Fraction:
        return Fraction(position * resize, padding.side) - read.border

    return (
        edge(padding.left),
        edge(padding.upper),
        edge(padding.left + padding.width),
        edge(padding.upper + padding.height),
    )


def _check_logits(classifier: TorchClassifier, values: "torch.Tensor") -> None:
    import torch

    with torch.no_grad():
        n = classifier.module(values.clone()).shape[1]
    names = len(classifier.class_names)
    if n != names or n < 2:
        raise UserError(
            f"The network answers with {n} logits, and there are {names} class names: a deconvnet "
            "needs a logit for each class, and two classes or more."
        )


def _log_odds(image: Image.Image, classifier: TorchClassifier, index: int) -> float:
    import torch

    values = network_input(image, classifier.preprocessing).values.to(classifier.device)
    with torch.no_grad():
        return float(log_odds(classifier.module, values, index))


def _probability(odds: float) -> float:
    return float(1 / (1 + np.exp(-odds)))


def _start(
    module: "torch.nn.Module",
    values: "torch.Tensor",
    settings: DeconvnetSettings,
    strongest: list[Activation],
    class_name: str,
) -> Activation | None:
    if settings.layer is None:
        return None
    if settings.place is not None:
        return activation_at(module, values, settings.layer, settings.place)
    if not strongest:
        raise UserError(
            f"No activation of the layer {settings.layer} speaks for {class_name} in this image: "
            "choose another layer, or none to start from the class."
        )
    return strongest[0]


def _top_activation(
    activation: Activation, read: NetworkInput, signal: NDArray[np.float32]
) -> TopActivation:
    reconstruction = read.grey_levels(signal, read.scaled.size)
    left, upper, right, lower = _main_part(np.abs(reconstruction).sum(axis=2))
    return TopActivation(
        activation,
        reconstruction[upper:lower, left:right],
        read.scaled.crop((left, upper, right, lower)),
    )


def _main_part(relevance: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Return left, upper, right, lower px of where most of a map lies, as square as it can be."""
    rows = _main_range(relevance.sum(axis=1, dtype=np.float64))
    columns = _main_range(relevance.sum(axis=0, dtype=np.float64))
    side = max(rows[1] - rows[0], columns[1] - columns[0])
    upper, lower = _widened(*rows, side, relevance.shape[0])
    left, right = _widened(*columns, side, relevance.shape[1])
    return left, upper, right, lower


def _main_range(weights: NDArray[np.float64]) -> tuple[int, int]:
    """Return start and end without the tails that hold ``_TAIL`` of the weight each."""
    if not weights.any():
        return 0, len(weights)
    shares = np.cumsum(weights) / weights.sum()
    return int(np.argmax(shares > _TAIL)), int(np.argmax(shares >= 1 - _TAIL)) + 1


def _widened(start: int, end: int, length: int, limit: int) -> tuple[int, int]:
    """Widen a range to a length around its middle, as far as it goes from 0 to ``limit``."""
    length = min(length, limit)
    start = min(max((start + end - length) // 2, 0), limit - length)
    return start, start + length
