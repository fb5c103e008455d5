"""Networks of inductive projections that were trained already, and which of them fits photos.

A network is kept in one safetensors file: its weights; ``known``, marks of the vectors that it was
trained on or tested with; and, as the metadata's one entry, what is known of it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.methods.common.checksums import DamagedFileError
from assets.methods.common.devices import DevicePreference, choose_device
from assets.methods.common.files import set_aside, write_whole
from assets.methods.common.fingerprints import digest_parts, digest_weights
from assets.methods.common.progress import Progress, silent
from assets.methods.layout.network_quality import compare_with_tsne
from assets.methods.layout.projection import inductive
from assets.methods.layout.projection.projection import (
    PROJECTION_VERSION,
    ProjectionSettings,
    fit_inductive,
    is_too_plain,
    project,
)
from assets.methods.layout.projection.projection_network import ProjectionNetwork

HELD_OUT_SHARE = 0.1  # of the photos: they test a network, and it is not trained on them
FEWEST_TO_HOLD_OUT = 50  # photos; with fewer a network is trained on all of them
SUFFIX = ".safetensors"
_KNOWN, _METADATA = "known", "projection_network"
_SHOWN = 16  # characters of a fingerprint in the name of a file


@dataclass(frozen=True)
class KeptNetwork:
    """A trained network.

    Attributes:
        network: it.
        method: by which it was trained.
        key: stands for the settings, and for what the vectors were made by (``network_key``).
        known: (m,) int64 in rising order, the marks of the vectors that it was made from.
        n_fitted: photos that it was trained on.
        n_held_out: further photos that it was tested with.
        quality: its metrics beside t-SNE's, as ``compare_with_tsne`` returns them.
    """

    network: ProjectionNetwork
    method: str
    key: str
    known: NDArray[np.int64]
    n_fitted: int
    n_held_out: int
    quality: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """The network's own fingerprint."""
        return self.network.fingerprint

    @property
    def file_name(self) -> str:
        """A name that differs from those of other networks' files."""
        return f"{self.method}-{self.fingerprint[:_SHOWN]}{SUFFIX}"

    def unknown_share(self, marks: NDArray[np.int64]) -> float:
        """Return the share of photos with these marks (n,) that it was not made from."""
        return float(1 - np.isin(marks, self.known).mean())

    def to_bytes(self) -> bytes:
        """Return the content of its file; the same network gives the same bytes."""
        from safetensors.numpy import save

        facts = json.dumps({**self._facts(), "checksum": self.checksum}, sort_keys=True)
        return save({**self.network.weights, _KNOWN: self.known}, {_METADATA: facts})

    def _facts(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "key": self.key,
            "n_fitted": self.n_fitted,
            "n_held_out": self.n_held_out,
            "quality": self.quality,
        }

    @property
    def checksum(self) -> str:
        """The SHA-256, in hex, of all that its file holds."""
        digest = digest_weights({_KNOWN: self.known})
        return digest_parts({**self._facts(), "network": self.fingerprint, _KNOWN: digest})


@dataclass(frozen=True)
class NetworkProjection:
    """The points (n, 2) of photos, and the network that placed them.

    ``kept`` is None, and the points are principal components, where the photos are too few or too
    alike for a network. ``reason`` is a sentence on why it was trained, or was not.
    """

    points: NDArray[np.float64]
    kept: KeptNetwork | None
    is_new: bool
    unknown_share: float
    reason: str


@dataclass(frozen=True)
class NetworkStore:
    """The networks of one collection, in files below ``folder``."""

    folder: Path

    def find(self, key: str) -> list[KeptNetwork]:
        """Return the networks with this key; damaged files are set aside."""
        networks = [self._read(path) for path in sorted(self.folder.glob(f"[!.]*{SUFFIX}"))]
        return [one for one in networks if one is not None and one.key == key]

    def with_fingerprint(self, fingerprint: str) -> KeptNetwork | None:
        """Return the network with this fingerprint; None if it is not here."""
        for path in sorted(self.folder.glob(f"[!.]*-{fingerprint[:_SHOWN]}{SUFFIX}")):
            kept = self._read(path)
            if kept is not None and kept.fingerprint == fingerprint:
                return kept
        return None

    def keep(self, kept: KeptNetwork) -> Path:
        """Write a network to its file, whole or not at all."""
        path = self.path(kept)
        write_whole(path, kept.to_bytes())
        return path

    def but(self, fingerprints: Iterable[str]) -> list[Path]:
        """Return the files of the networks that have none of these fingerprints."""
        known = {fingerprint[:_SHOWN] for fingerprint in fingerprints}
        files = sorted(self.folder.glob(f"[!.]*{SUFFIX}"))
        return [file for file in files if file.stem.rpartition("-")[2] not in known]

    def path(self, kept: KeptNetwork) -> Path:
        """Return the file of a network."""
        return self.folder / kept.file_name

    def _read(self, path: Path) -> KeptNetwork | None:
        try:
            return read_network(path)
        except FileNotFoundError:
            # Another process has set it aside.
            return None
        except (DamagedFileError, OSError) as error:
            set_aside(path, f"is damaged ({error})")
            return None


def read_network(path: Path) -> KeptNetwork:
    """Read a network from its file.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: it has not the content that was written.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = json.loads((file.metadata() or {})[_METADATA])
        known, checksum = tensors.pop(_KNOWN), facts.pop("checksum")
        kept = KeptNetwork(ProjectionNetwork(tensors), known=known, **facts)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"holds no network: {type(error).__name__}") from error
    if kept.checksum != checksum:
        raise DamagedFileError("does not have the content that was written")
    return kept


def network_key(settings: ProjectionSettings, embedding: str) -> str:
    """Return what stands for the settings, and for the fingerprint of the vectors' origin."""
    parts = dataclasses.asdict(settings)
    versions = [PROJECTION_VERSION, inductive.TRAINING_VERSION]
    return digest_parts({"settings": parts, "embedding": embedding, "versions": versions})


def project_by_network(
    vectors: NDArray[np.float32],
    settings: ProjectionSettings,
    embedding: str,
    retrain_above: float,
    device: DevicePreference,
    store: NetworkStore,
    progress: Callable[[str], Progress] = lambda unit: silent,
) -> NetworkProjection:
    """Place vectors (n, d) by a network that is kept, or by a new one, which then is kept.

    Args:
        vectors: of unit length.
        settings: with an inductive method.
        embedding: the fingerprint of what made the vectors.
        retrain_above: the share of photos, from 0 to 1, which a network that is kept may not know.
        device: on which a new network is trained, where a choice is left as by
            ``project_unless_known``.
        store: of the collection.
        progress: given the unit of a step, returns the step's listener.
    """
    if is_too_plain(vectors):
        components = dataclasses.replace(settings, method="pca")
        points = project(vectors, components, progress=progress("steps"))
        reason = "No network was trained: the photos are too few, or all alike."
        return NetworkProjection(points, None, True, 0.0, reason)
    key, marks = network_key(settings, embedding), marks_of(vectors)
    best = max(
        store.find(key),
        key=lambda one: (-one.unknown_share(marks), len(one.known), one.fingerprint),
        default=None,
    )
    share = 1.0 if best is None else best.unknown_share(marks)
    reason = _reason(best, share, len(vectors), retrain_above)
    if best is not None and share <= retrain_above:
        return NetworkProjection(best.network.place(vectors), best, False, share, reason)
    # PyTorch is asked for the device only now: its import alone takes seconds.
    chosen = "cuda" if choose_device(device) == "cuda" else "cpu"
    kept = train_network(vectors, settings, embedding, chosen, progress)
    store.keep(kept)
    return NetworkProjection(kept.network.place(vectors), kept, True, 0.0, reason)


def train_network(
    vectors: NDArray[np.float32],
    settings: ProjectionSettings,
    embedding: str,
    device: str = "cpu",
    progress: Callable[[str], Progress] = lambda unit: silent,
) -> KeptNetwork:
    """Train a network on vectors (n, d), without those that are held out, and measure it."""
    n = len(vectors)
    held_out = np.zeros(n, dtype=bool)
    if n >= FEWEST_TO_HOLD_OUT:
        drawn = np.random.default_rng(settings.seed).permutation(n)
        held_out[drawn[: round(HELD_OUT_SHARE * n)]] = True
    network = fit_inductive(vectors[~held_out], settings, device, progress("steps"))
    quality = compare_with_tsne(
        network, vectors, held_out, settings, device, progress("iterations of t-SNE")
    )
    n_held_out = int(held_out.sum())
    return KeptNetwork(
        network,
        settings.method,
        network_key(settings, embedding),
        np.unique(marks_of(vectors)),
        n - n_held_out,
        n_held_out,
        quality,
    )


def marks_of(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return a mark (n,) of each vector (n, d), by which it is recognised."""
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    digests = b"".join(hashlib.sha256(row.data).digest()[:8] for row in rows)
    return np.frombuffer(digests, dtype="<i8").astype(np.int64)


def _reason(best: KeptNetwork | None, share: float, n: int, retrain_above: float) -> str:
    if best is None:
        return "Trained, as no network was kept for this collection and these settings."
    of_network = f"the network of {best.n_fitted + best.n_held_out:,} photos"
    if share > retrain_above:
        return (
            f"Trained anew: {of_network} does not know {share:.1%} of the {n:,} photos, which is "
            f"more than {retrain_above:.1%}."
        )
    if share == 0:
        return f"Not trained: {of_network} knows all photos."
    return (
        f"Not trained: {of_network} placed {share:.1%} of the {n:,} photos without having seen "
        f"them, of at most {retrain_above:.1%}."
    )
