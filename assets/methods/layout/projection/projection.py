"""From vectors to points in the plane, by the method that the settings name."""

import hashlib
import io
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.checksums import DamagedFileError, read_sealed, seal, write_sealed
from assets.methods.common.devices import DevicePreference, choose_device
from assets.methods.common.errors import UserError
from assets.methods.common.files import set_aside
from assets.methods.common.progress import Progress, silent
from assets.methods.layout.projection import inductive
from assets.methods.layout.projection.pca import first_two, principal_components
from assets.methods.layout.projection.projection_network import ProjectionNetwork
from assets.methods.layout.projection.torchdr_methods import largevis, umap
from assets.methods.layout.projection.tsne import continued_tsne, tsne
from assets.methods.layout.turning import turned_points

_METHODS_WITH_NEIGHBOURS = {"tsne": tsne, "largevis": largevis, "umap": umap}
METHODS = (*_METHODS_WITH_NEIGHBOURS, *inductive.METHODS, "pca")
PROJECTION_VERSION = 1  # raise it whenever the same vectors would lie elsewhere
CONTINUATION_VERSION = 2  # the same for vectors of which some have points already
_LIBRARIES = ("openTSNE", "torchdr", "scikit-learn", "numpy")
_COMPONENTS_READ = 4  # by DrLIM and triplet, as a multiple of those of the other methods
# DrLIM and triplet look at some of the photos in each step: the photos for which they take one step
# an iteration, and the fewest and the most steps an iteration.
_PHOTOS_AN_ITERATION, _FEWEST_STEPS, _MOST_STEPS = 640, 0.5, 8.0
_FEWEST_PHOTOS = 5  # with fewer, no perplexity lies between 1 and (n - 1) / 3
_SAME = 1e-6  # vectors whose largest component is below this are copies; they have unit length


@dataclass(frozen=True)
class ProjectionSettings:
    """How to project vectors.

    Attributes:
        method: one of ``METHODS``.
        perplexity: the effective number of neighbours of each photo (UMAP: their number; DrLIM and
            triplet: twice their number); lowered to (n - 1) / 3 where n photos are too few for it.
        pca_components: principal components that the vectors are first reduced to (DrLIM and
            triplet: four times as many).
        seed: of the random numbers.
        iterations: steps of the optimisation (DrLIM and triplet: half as many for few photos, and
            up to eight times as many for 5,000 and more).

    Raises:
        UserError: a setting is outside its range.
    """

    method: str = "tsne"
    perplexity: float = 30.0
    pca_components: int = 50
    seed: int = 0
    iterations: int = 750

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UserError(
                f"There is no projection method {self.method!r}: choose one of "
                f"{', '.join(METHODS)}."
            )
        if not (math.isfinite(self.perplexity) and self.perplexity > 1):
            raise UserError(f"The perplexity has to be above 1, not {self.perplexity}.")
        if self.pca_components < 2:
            raise UserError(
                f"At least 2 principal components are needed, not {self.pca_components}."
            )
        if self.iterations < 1:
            raise UserError(f"At least 1 iteration is needed, not {self.iterations}.")
        if self.seed < 0:
            raise UserError(f"The seed may not be negative, as {self.seed} is.")

    @property
    def is_inductive(self) -> bool:
        """Whether the method trains a network, which then places photos that it has not seen."""
        return self.method in inductive.METHODS


@dataclass(frozen=True)
class LastPoints:
    """The points (n, 2) that n vectors had before, of those that are ``known`` (n,).

    t-SNE goes on from them if they are ``held``; else it starts anew.
    """

    points: NDArray[np.float64]
    known: NDArray[np.bool_]
    held: bool = True


@dataclass(frozen=True)
class ProjectionStore:
    """Points that were computed already, in files below ``folder``."""

    folder: Path

    def path(
        self,
        vectors: NDArray[np.float32],
        settings: ProjectionSettings,
        device: DevicePreference,
        last: LastPoints | None = None,
    ) -> Path:
        """Return the file for the points of these vectors, settings, start and libraries."""
        libraries = [(name, version(name)) for name in _LIBRARIES]
        digest = hashlib.sha256(np.ascontiguousarray(vectors).tobytes())
        if last is not None:
            digest.update(last.points.tobytes() + last.known.tobytes() + bytes([last.held]))
            libraries.append(("continued", str(CONTINUATION_VERSION)))
        deciding = (PROJECTION_VERSION, vectors.shape, settings, device, libraries)
        digest.update(repr(deciding).encode())
        return self.folder / f"{digest.hexdigest()}.npy"


def project_unless_known(
    vectors: NDArray[np.float32],
    settings: ProjectionSettings,
    device: DevicePreference,
    store: ProjectionStore,
    progress: Progress = silent,
    last: LastPoints | None = None,
) -> tuple[NDArray[np.float64], bool]:
    """Return the points (n, 2) of ``vectors`` (n, d), and whether they were computed anew.

    ``last`` has the points of those that were projected before: if it has all, they are returned.
    Where ``device`` leaves the choice, CUDA is taken if it is there; else the CPU.
    """
    if last is not None and last.known.all():
        return last.points, False
    path = store.path(vectors, settings, device, last)
    known = _stored_points(path, len(vectors))
    if known is not None:
        return known, False
    # PyTorch is asked for the device only now: its import alone takes seconds.
    chosen = "cuda" if choose_device(device) == "cuda" else "cpu"
    points = project(vectors, settings, chosen, progress, last)
    content = io.BytesIO()
    np.save(content, points)
    write_sealed(path, content.getvalue(), path.stem)
    return points, True


def _stored_points(path: Path, n: int) -> NDArray[np.float64] | None:
    """Return n points, (n, 2); None if there are none, or they were damaged and are set aside."""
    try:
        content, was_sealed = read_sealed(path, path.stem)
        file = io.BytesIO(content)
        points: NDArray[np.float64] = np.load(file, allow_pickle=False)
        if file.read() or points.shape != (n, 2) or not np.isfinite(points).all():
            raise DamagedFileError("does not hold the points of these photos")
    except FileNotFoundError:
        return None
    except (DamagedFileError, EOFError, OSError, TypeError, ValueError) as error:
        set_aside(path, f"is damaged ({error}); the photos are projected again")
        return None
    if not was_sealed:
        seal(path, content, path.stem)
    return points


def project(
    vectors: NDArray[np.float32],
    settings: ProjectionSettings,
    device: str = "cpu",
    progress: Progress = silent,
    last: LastPoints | None = None,
) -> NDArray[np.float64]:
    """Project unit-length vectors (n, d) to points (n, 2), for any n >= 1.

    Fewer than five vectors, and vectors that are all equal, keep their PCA coordinates: the other
    methods have nothing to work on. The same vectors and settings give the same bytes, whatever the
    number of threads, on the CPU and, by t-SNE, on CUDA. There the sums of LargeVis and UMAP may
    differ from run to run.

    ``last`` has the points that some of the vectors had before. t-SNE starts from them and leaves
    them about there. What other methods make is turned to fit them, but not what DrLIM and triplet
    make: the network of a collection gives a vector the same point each time.

    Raises:
        ValueError: the vectors are not an (n, d) array of finite numbers with n >= 1.
    """
    if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():
        raise ValueError(f"expected finite vectors of shape (n, d), not shape {vectors.shape}")
    n = len(vectors)
    components = principal_components(vectors, settings.pca_components)
    perplexity = min(settings.perplexity, (n - 1) / 3)
    if settings.method == "pca" or _is_plain(components):
        progress(n, n)
        points = first_two(components)
    elif settings.is_inductive:
        return fit_inductive(vectors, settings, device, progress).place(vectors)
    elif settings.method == "tsne" and last is not None and last.held and last.known.any():
        return continued_tsne(
            components,
            last.points,
            last.known,
            perplexity=perplexity,
            seed=settings.seed,
            device=device,
            progress=progress,
        )
    else:
        points = _METHODS_WITH_NEIGHBOURS[settings.method](
            components,
            perplexity=perplexity,
            iterations=settings.iterations,
            seed=settings.seed,
            device=device,
            progress=progress,
        )
    return points if last is None else turned_points(points, last.points, last.known)


def is_too_plain(vectors: NDArray[np.floating]) -> bool:
    """Whether vectors (n, d) keep their PCA coordinates: they are too few, or all equal."""
    return len(vectors) < _FEWEST_PHOTOS or bool(np.ptp(vectors, axis=0).max() < _SAME)


def fit_inductive(
    vectors: NDArray[np.floating],
    settings: ProjectionSettings,
    device: str = "cpu",
    progress: Progress = silent,
) -> ProjectionNetwork:
    """Train the network of an inductive method on vectors (n, d) that are not ``is_too_plain``."""
    n = len(vectors)
    steps_an_iteration = min(max(n / _PHOTOS_AN_ITERATION, _FEWEST_STEPS), _MOST_STEPS)
    return inductive.fit_network(
        settings.method,
        vectors,
        neighbours=max(1, round(min(settings.perplexity / 2, (n - 1) / 3))),
        components=_COMPONENTS_READ * settings.pca_components,
        steps=max(1, round(steps_an_iteration * settings.iterations)),
        seed=settings.seed,
        device=device,
        progress=progress,
    )


def _is_plain(components: NDArray[np.float64]) -> bool:
    return len(components) < _FEWEST_PHOTOS or bool(np.abs(components).max() < _SAME)
