"""MLflow's model registry: the versions of the NSFW model, and the alias that names the one in use.

A version is one safetensors file that describes a whole classifier (`methods.classifier_file`),
wrapped as an MLflow model from code, so that no pickle is involved.
"""

import hashlib
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from assets.methods.common.errors import UserError
from assets.methods.common.files import set_aside, share, write_whole
from assets.methods.models.classifier_file import (
    ClassifierDescription,
    classifier_file_name,
    describe_classifier,
    describe_if_whole,
)
from assets.methods.models.provenance import tessera_version
from assets.resources.outages import TrackingError
from assets.resources.tracking import Tracking, first_line

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import PyFuncModel

MODEL = "nsfw"
CHAMPION = "champion"
CHAMPION_URI = f"models:/{MODEL}@{CHAMPION}"
FINGERPRINT_TAG = "fingerprint"
FILE_TAG = "file"
TESSERA_TAG = "tessera_version"
VERDICT_TAG = "verdict"
ARTIFACT = "weights"
CODE = Path(__file__).with_name("registered_code.py")
# What the code of a registered model imports beside Tessera, which is not on PyPI under that name.
REQUIREMENTS = ("numpy", "pandas", "pillow", "safetensors", "torch", "torchvision")


class ChampionReplacedError(Exception):
    """The alias `champion` names another version than the one that was compared."""


@dataclass(frozen=True)
class RegisteredModel:
    """A version of the NSFW model; ``weights`` is its copy below the home.

    When the registry cannot be reached, ``version`` is empty and ``unreachable`` says why.
    """

    version: str
    weights: Path
    description: ClassifierDescription
    is_new: bool = False
    unreachable: str = ""


class ModelRegistry:
    """The registry of a tracking server; ``folder`` keeps copies of its files.

    ``packaged`` makes the file of the model that comes inside a package, where all copies of it are
    damaged.
    """

    def __init__(
        self, tracking: Tracking, folder: Path, packaged: Callable[[], Path] | None = None
    ) -> None:
        self._tracking = tracking
        self._folder = folder
        self._packaged = packaged

    def champion(self, packaged: Callable[[], Path], run_id: str = "") -> RegisteredModel:
        """Return the version that the alias `champion` names.

        When there is none yet, the file that ``packaged`` returns is registered as made by the
        MLflow run ``run_id``. When the registry is down, the last known champion takes its place,
        or the packaged file.

        Raises UserError when the alias names a model that Tessera did not register.
        """
        with _lock(self._folder):
            try:
                with self._tracking.asking():
                    found = self._version_by_alias(CHAMPION)
                    if found:
                        model = self._local_copy(found)
                    else:
                        model = self._find_or_create(self._first_champion(packaged), run_id)
                        self.set_alias(CHAMPION, model.version)
            except TrackingError as error:
                if self._tracking.strict:
                    raise
                weights = self._last_known_champion() or packaged()
                return _unregistered(
                    weights,
                    f"The model registry could not be asked, {weights.name} is used: {error}",
                )
            write_whole(self._folder / CHAMPION, model.weights.name.encode())
        return model

    def register(
        self,
        weights: Path,
        alias: str,
        run_id: str = "",
        compared_with: str = "",
        verdict: str = "",
    ) -> RegisteredModel:
        """Register a version with these weights, unless there is one, and give it ``alias``.

        ``verdict`` says why it gets the alias; ``verdict_on`` returns it.

        When the registry is down, the returned model has no version and says so.

        Raises ChampionReplacedError, and gives no alias, when ``alias`` is `champion` and the
        champion is no longer the version ``compared_with``. A lock keeps the runs of one home
        apart; MLflow has no conditional update, so a run of another home may still come between
        the check and the update.
        """
        try:
            is_guarded = alias == CHAMPION and compared_with != ""
            with _lock(self._folder):
                with self._tracking.asking():
                    model = self._find_or_create(weights, run_id)
                    champion = self._version_by_alias(CHAMPION) if is_guarded else None
                if is_guarded and (champion is None or str(champion.version) != compared_with):
                    raise ChampionReplacedError
                with self._tracking.asking():
                    if verdict:
                        client = self._tracking.client
                        client.set_model_version_tag(MODEL, model.version, VERDICT_TAG, verdict)
                    self.set_alias(alias, model.version)
        except TrackingError as error:
            if self._tracking.strict:
                raise
            return _unregistered(weights, f"The model registry could not be reached: {error}")
        return model

    def set_alias(self, alias: str, version: str) -> None:
        """Make ``alias`` name ``version``."""
        self._tracking.client.set_registered_model_alias(MODEL, alias, version)

    def verdict_on(self, version: str) -> str:
        """Return what ``register`` was told of a version when it was judged last, or ""."""
        tags = self._tracking.client.get_model_version(MODEL, version).tags
        return str(tags.get(VERDICT_TAG, ""))

    def logged_file(self, version: str, name: str) -> bytes | None:
        """Return the artifact ``name`` of the run that made a version; None if there is none."""
        try:
            with self._tracking.asking():
                client = self._tracking.client
                run_id = client.get_model_version(MODEL, version).run_id
                if not run_id:
                    return None
                with tempfile.TemporaryDirectory() as folder:
                    return Path(client.download_artifacts(run_id, name, folder)).read_bytes()
        except TrackingError:
            return None

    def version_at(self, uri: str) -> RegisteredModel | None:
        """Return the version that `models:/nsfw/NUMBER` or `models:/nsfw@ALIAS` names.

        Returns None for any other model, and for a version that Tessera did not register.

        Raises UserError when there is no such version, or it cannot be downloaded.
        """
        named = re.fullmatch(rf"models:/{MODEL}(?:/(\d+)|@(.+))", uri)
        if named is None:
            return None
        number, alias = named.groups()
        try:
            with self._tracking.asking():
                client = self._tracking.client
                if number:
                    version = client.get_model_version(MODEL, number)
                else:
                    version = client.get_model_version_by_alias(MODEL, alias)
                if FILE_TAG not in version.tags:
                    return None
                with _lock(self._folder):
                    return self._local_copy(version)
        except TrackingError as error:
            raise UserError(f"The model {uri} cannot be loaded ({error}).") from error

    def version_with(self, fingerprint: str) -> str:
        """Return the newest version of the NSFW model that has a fingerprint.

        It is empty if there is none, or the registry cannot be asked.
        """
        try:
            with self._tracking.asking():
                version = newest_version(self._tracking, MODEL, fingerprint)
        except TrackingError:
            return ""
        return "" if version is None else str(version.version)

    def load_pyfunc(self, uri: str) -> tuple["PyFuncModel", str]:
        """Load any MLflow model, ``models:/...`` or ``runs:/...``, unless it is a pickle.

        Returns the model and its version, which is empty for ``runs:/...``.

        A model from code runs that code, as ``python:`` does.

        Raises UserError when there is no such model, or it cannot be loaded.
        """
        from mlflow.exceptions import MlflowException

        try:
            with self._tracking.asking():
                resolved = self._resolve_alias(uri)
            # The files stay, because a model may read them at any time.
            folder = self.download_folder(resolved)
            folder.mkdir(parents=True, exist_ok=True)
            # Its time is that of the last use.
            os.utime(folder)
            with (
                _lock(self._folder),
                _without_warnings(),
                _environment_variables(MLFLOW_ALLOW_PICKLE_DESERIALIZATION="false"),
            ):
                import mlflow.pyfunc

                with self._tracking.asking():
                    files = download(self._tracking, resolved, str(folder))
                model = mlflow.pyfunc.load_model(files)
        except TrackingError as error:
            raise UserError(f"The model {uri} cannot be loaded ({error}).") from error
        except (MlflowException, OSError, ImportError) as error:
            raise UserError(f"The model {uri} cannot be loaded ({first_line(error)}).") from error
        is_version = resolved.startswith("models:/") and "/" in resolved.removeprefix("models:/")
        return model, resolved.rpartition("/")[2] if is_version else ""

    def downloads_but(self, uris: Iterable[str]) -> list[Path]:
        """Return the folders of ``load_pyfunc`` of models that none of the ``uris`` names.

        There are none as long as it cannot be known which version one of them names.
        """
        folders = sorted(self._downloads.glob("[!.]*/"))
        if not folders:
            return []
        try:
            with self._tracking.asking():
                named = {self.download_folder(self._resolve_alias(uri)) for uri in uris}
        except TrackingError:
            return []
        return [folder for folder in folders if folder not in named]

    def download_folder(self, uri: str) -> Path:
        """Return where the files of a model are that is named without an alias."""
        place = hashlib.sha256(f"{self._tracking.uri} {uri}".encode()).hexdigest()[:16]
        return self._downloads / place

    @property
    def _downloads(self) -> Path:
        return self._folder / "mlflow"

    def _find_or_create(self, weights: Path, run_id: str) -> RegisteredModel:
        description = describe_classifier(weights)
        known = newest_version(self._tracking, MODEL, description.fingerprint)
        version = known or self._create_version(
            weights, description, run_id or create_run(self._tracking, MODEL)
        )
        return RegisteredModel(str(version.version), weights, description, is_new=known is None)

    def _create_version(
        self, weights: Path, description: ClassifierDescription, run_id: str
    ) -> "MlflowVersion":
        with tempfile.TemporaryDirectory() as folder:
            # The files of two versions may have one name, and the copies share a folder.
            name = classifier_file_name(description.architecture, description.fingerprint)
            file = shutil.copyfile(weights, Path(folder, name))
            created = create_version(
                self._tracking,
                MODEL,
                file,
                run_id,
                code=CODE,
                signature=_signature(description.class_names),
                requirements=REQUIREMENTS,
                metadata={
                    "architecture": description.architecture,
                    "class_names": list(description.class_names),
                    "preprocessing": asdict(description.preprocessing),
                },
                tags={FINGERPRINT_TAG: description.fingerprint},
            )
        artifacts = self._tracking.local_artifacts(run_id)
        if artifacts is not None and weights.parent == self._folder:
            # A model that can be made anew need not be there twice.
            share(artifacts / MODEL / "artifacts" / name, weights)
        return created

    def _local_copy(self, version: "MlflowVersion") -> RegisteredModel:
        if FILE_TAG not in version.tags:
            raise UserError(
                f"{CHAMPION_URI} is a model that Tessera did not register, so it can be named for "
                "one run but not stand for the NSFW model: give the alias back to one "
                "of its own versions."
            )
        weights = self._folder / Path(version.tags[FILE_TAG]).name
        fingerprint = version.tags.get(FINGERPRINT_TAG)
        description = describe_if_whole(weights, fingerprint)
        if description is None:
            if weights.is_file():
                reason = f"is not the file of version {version.version}; it is fetched anew"
                set_aside(weights, reason)
            with tempfile.TemporaryDirectory() as folder:
                path = download(self._tracking, f"models:/{MODEL}/{version.version}", folder)
                write_whole(weights, Path(path, "artifacts", weights.name).read_bytes())
            description = describe_if_whole(weights, fingerprint)
            if description is None and self._packaged is not None:
                description = describe_if_whole(self._packaged(), fingerprint)
            if description is None:
                raise UserError(
                    f"The file of version {version.version} of {MODEL} is not the one that was "
                    "registered, and MLflow holds no other: train again, or choose another version."
                )
        return RegisteredModel(str(version.version), weights, description)

    def _last_known_champion(self) -> Path | None:
        pointer = self._folder / CHAMPION
        weights = self._folder / pointer.read_text() if pointer.is_file() else None
        return weights if weights and weights.is_file() else None

    def _first_champion(self, packaged: Callable[[], Path]) -> Path:
        """Return the file that an empty registry is given as its champion.

        Where the database of the home was lost, that is the champion that it had.
        """
        known = None if self._tracking.tracking_uri else self._last_known_champion()
        return known or packaged()

    def _version_by_alias(self, alias: str) -> "MlflowVersion | None":
        from mlflow.exceptions import MlflowException

        try:
            return self._tracking.client.get_model_version_by_alias(MODEL, alias)
        except MlflowException as error:
            # The second means that there is no such alias, the first that there is no such model.
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def _resolve_alias(self, uri: str) -> str:
        """Return the URI of the version that an alias names at present."""
        name, _, alias = uri.removeprefix("models:/").partition("@")
        if not alias:
            return uri
        version = self._tracking.client.get_model_version_by_alias(name, alias)
        return f"models:/{name}/{version.version}"


def newest_version(tracking: Tracking, model: str, fingerprint: str) -> "MlflowVersion | None":
    """Return the newest version of ``model`` that has a fingerprint; None if there is none."""
    versions = tracking.client.search_model_versions(f"name = '{model}'")
    same = [one for one in versions if one.tags.get(FINGERPRINT_TAG) == fingerprint]
    return max(same, key=lambda one: int(one.version), default=None)


def create_version(
    tracking: Tracking,
    model: str,
    file: Path,
    run_id: str,
    *,
    code: Path,
    signature: "ModelSignature",
    requirements: Sequence[str],
    metadata: Mapping[str, Any],
    tags: Mapping[str, str],
) -> "MlflowVersion":
    """Register a file, as made by the MLflow run ``run_id``, as a new version of ``model``.

    Args:
        tracking: the server.
        model: the name of the registered model, which is made if there is none.
        file: the weights, which keep their name.
        run_id: of the run that gets the files.
        code: the file of the model's code.
        signature: what the model takes and returns.
        requirements: what its code imports beside Tessera.
        metadata: what is said of it in MLflow's file ``MLmodel``; the fingerprint is added.
        tags: of the version, with ``FINGERPRINT_TAG`` among them; the file's name is added.
    """
    client = tracking.client
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model)
    with tempfile.TemporaryDirectory() as folder, _without_warnings():
        import mlflow.pyfunc

        path = Path(folder, "model")
        mlflow.pyfunc.save_model(
            path=path,
            python_model=str(code),
            artifacts={ARTIFACT: str(file)},
            signature=signature,
            pip_requirements=list(requirements),
            metadata={**metadata, "fingerprint": tags[FINGERPRINT_TAG]},
        )
        client.log_artifacts(run_id, str(path), model)
    return client.create_model_version(
        model,
        source=f"runs:/{run_id}/{model}",
        run_id=run_id,
        tags={**tags, FILE_TAG: file.name, TESSERA_TAG: tessera_version()},
    )


def create_run(tracking: Tracking, model: str) -> str:
    """Return the id of a new run in MLflow, for a version that no run has made."""
    run = tracking.client.create_run(tracking.experiment_id, run_name=f"{model} model")
    tracking.client.set_terminated(run.info.run_id)
    return run.info.run_id


def download(tracking: Tracking, uri: str, folder: str) -> str:
    """Download the files of a model into a folder; return where they are."""
    import mlflow

    # Creates and migrates the database where that is needed.
    _ = tracking.client
    # MLflow resolves `models:/` on the server that the environment names, and on no other.
    with _environment_variables(MLFLOW_TRACKING_URI=tracking.uri):
        return mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder)


def _unregistered(weights: Path, reason: str) -> RegisteredModel:
    return RegisteredModel("", weights, describe_classifier(weights), unreachable=reason)


def _signature(class_names: tuple[str, ...]) -> Any:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    images = TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3))
    return ModelSignature(
        Schema([images]), Schema([ColSpec("double", name) for name in class_names])
    )


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "registry.lock"):
        yield


@contextmanager
def _without_warnings() -> Iterator[None]:
    # MLflow warns of type hints in its own modules, and of a missing input example.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@contextmanager
def _environment_variables(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
