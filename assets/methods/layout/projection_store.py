"""Points that have been computed already, so that the same vectors are not projected twice."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.devices import DevicePreference, choose_device
from assets.methods.common.files import written_whole
from assets.methods.common.progress import Progress, silent
from assets.methods.layout.projection import ProjectionSettings, project

PROJECTION_VERSION = 1  # to be raised when the same vectors would come to lie elsewhere
_LIBRARIES = ("openTSNE", "torchdr", "scikit-learn", "numpy")


@dataclass(frozen=True)
class ProjectionStore:
    """Points by what they were computed from, a file each below ``folder``."""

    folder: Path

    def path(
        self,
        vectors: NDArray[np.float32],
        settings: ProjectionSettings,
        device: DevicePreference,
    ) -> Path:
        """Return the file for the points of these vectors, settings and libraries."""
        libraries = [(name, version(name)) for name in _LIBRARIES]
        digest = hashlib.sha256(np.ascontiguousarray(vectors).tobytes())
        deciding = (PROJECTION_VERSION, vectors.shape, settings, device, libraries)
        digest.update(repr(deciding).encode())
        return self.folder / f"{digest.hexdigest()}.npy"


def project_unless_known(
    vectors: NDArray[np.float32],
    settings: ProjectionSettings,
    device: DevicePreference,
    store: ProjectionStore,
    progress: Progress = silent,
) -> tuple[NDArray[np.float64], bool]:
    """Return the points (n, 2) of ``vectors`` (n, d), and whether they were computed anew.

    Where ``device`` leaves the choice, CUDA is taken if it is there; else the CPU.
    """
    path = store.path(vectors, settings, device)
    if path.exists():
        return np.load(path, allow_pickle=False), False
    # PyTorch is asked for the device only now: its import alone takes seconds.
    chosen = "cuda" if choose_device(device) == "cuda" else "cpu"
    points = project(vectors, settings, chosen, progress)
    with written_whole(path) as beside:
        np.save(beside, points)
    return points, True
