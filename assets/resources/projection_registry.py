"""MLflow's registry of the networks of inductive projections: a model for each collection.

A version is the safetensors file of ``methods.layout.network_store``, wrapped as an MLflow model
from code. The alias of a method's name is given to the version that was used last. The same file
lies below the home, so that a server that is down costs no map; where the home has lost it, it is
fetched from the registry.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from assets.methods.common.checksums import DamagedFileError
from assets.methods.common.files import write_whole
from assets.methods.layout.network_store import KeptNetwork, NetworkStore, read_network
from assets.resources.outages import TrackingError
from assets.resources.registry import (
    FILE_TAG,
    FINGERPRINT_TAG,
    create_run,
    create_version,
    download,
    newest_version,
)
from assets.resources.tracking import Tracking

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

KEY_TAG = "key"
CODE = Path(__file__).with_name("registered_projection.py")
REQUIREMENTS = ("numpy", "pandas", "safetensors", "threadpoolctl")


@dataclass(frozen=True)
class Registration:
    """The version of a network; where the registry cannot be asked it is empty, and says why."""

    version: str
    unreachable: str = ""


class ProjectionRegistry:
    """The registered networks of one collection, whose files are in ``store``."""

    def __init__(self, tracking: Tracking, collection: str, store: NetworkStore) -> None:
        self._tracking = tracking
        self._model = f"projection-{collection}"
        self._store = store

    def fetch(self, key: str = "", fingerprint: str = "") -> str:
        """Put the networks with a key, or with a fingerprint, into the store if they are not there.

        Returns why the registry could not be asked; empty if it could.
        """
        try:
            with self._tracking.asking(), self._lock():
                client = self._tracking.client
                for version in client.search_model_versions(f"name = '{self._model}'"):
                    tags = version.tags
                    if tags.get(KEY_TAG) == key or tags.get(FINGERPRINT_TAG) == fingerprint:
                        self._fetch(version)
        except TrackingError as error:
            if self._tracking.strict:
                raise
            return str(error)
        return ""

    def register(self, kept: KeptNetwork, run_id: str = "") -> Registration:
        """Register a network as made by an MLflow run, unless it is, and give it its alias."""
        try:
            with self._tracking.asking(), self._lock():
                known = newest_version(self._tracking, self._model, kept.fingerprint)
                version = known or self._create(kept, run_id)
                client = self._tracking.client
                client.set_registered_model_alias(self._model, kept.method, version.version)
        except TrackingError as error:
            if self._tracking.strict:
                raise
            return Registration("", str(error))
        return Registration(str(version.version))

    def _lock(self) -> FileLock:
        self._store.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self._store.folder / "registry.lock")

    def _create(self, kept: KeptNetwork, run_id: str) -> "ModelVersion":
        return create_version(
            self._tracking,
            self._model,
            self._store.path(kept),
            run_id or create_run(self._tracking, self._model),
            code=CODE,
            signature=_signature(kept.network.dimensions),
            requirements=REQUIREMENTS,
            metadata={"method": kept.method, **_numbers(kept)},
            tags={FINGERPRINT_TAG: kept.fingerprint, KEY_TAG: kept.key, "method": kept.method},
        )

    def _fetch(self, version: "ModelVersion") -> None:
        target = self._store.folder / Path(version.tags[FILE_TAG]).name
        if target.is_file():
            return
        with TemporaryDirectory() as folder:
            uri = f"models:/{self._model}/{version.version}"
            file = Path(download(self._tracking, uri, folder), "artifacts", target.name)
            try:
                read_network(file)
            except (DamagedFileError, OSError):
                # As good as none: a network is trained anew.
                return
            write_whole(target, file.read_bytes())


def _numbers(kept: KeptNetwork) -> dict[str, Any]:
    return {"n_fitted": kept.n_fitted, "n_held_out": kept.n_held_out, **kept.quality}


def _signature(dimensions: int) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    vectors = TensorSpec(np.dtype("float32"), (-1, dimensions))
    return ModelSignature(Schema([vectors]), Schema([ColSpec("double", name) for name in "xy"]))
