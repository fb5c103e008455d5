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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from assets.methods.common.errors import UserError
from assets.methods.common.files import write_whole
from assets.methods.models.classifier_file import (
    ClassifierDescription,
    classifier_file_name,
    describe_classifier,
)
from assets.resources.tracking import Tracking, first_line

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from mlflow.pyfunc import PyFuncModel

MODEL = "nsfw"
CHAMPION = "champion"
CHAMPION_URI = f"models:/{MODEL}@{CHAMPION}"
FINGERPRINT_TAG = "fingerprint"
FILE_TAG = "file"
ARTIFACT = "weights"
CODE = Path(__file__).with_name("registered_code.py")
# What the code of a registered model imports, beside this project.
# Tessera itself is not among them: on PyPI that name is another project's.
REQUIREMENTS = ("numpy", "pandas", "pillow", "safetensors", "torch", "torchvision")


class ChampionReplacedError(Exception):
    """The alias `champion` names another version than the one that was judged against."""


@dataclass(frozen=True)
class RegisteredModel:
    """A version of the NSFW model; ``weights`` is its copy below the home.

    ``version`` is empty when the registry could not be asked, which ``unreachable`` then tells of.
    """

    version: str
    weights: Path
    description: ClassifierDescription
    is_new: bool = False
    unreachable: str = ""


class ModelRegistry:
    """The registry of a tracking server; copies of its files are kept in ``folder``."""

    def __init__(self, tracking: Tracking, folder: Path) -> None:
        self._tracking = tracking
        self._folder = folder

    def champion(self, packaged: Callable[[], Path], run_id: str = "") -> RegisteredModel:
        """Return the version that the alias names.

        When there is none yet, the file that ``packaged`` returns is registered, as made by the
        MLflow run ``run_id``. When the registry is down, the version last seen here takes its
        place, or the packaged file.

        Raises UserError when the alias names a model that is not one of Tessera's.
        """
        from mlflow.exceptions import MlflowException

        with _locked(self._folder):
            try:
                found = self._version_of(CHAMPION)
                model = self._copied(found) if found else self._put_to_use(packaged(), run_id)
            except (MlflowException, OSError) as error:
                if self._tracking.strict:
                    raise
                weights = self._last_seen() or packaged()
                unreachable = (
                    f"The model registry could not be asked, {weights.name} is used: "
                    f"{first_line(error)}"
                )
                return RegisteredModel(
                    "", weights, describe_classifier(weights), unreachable=unreachable
                )
            write_whole(self._folder / CHAMPION, model.weights.name.encode())
        return model

    def publish(self, weights: Path, run_id: str = "") -> RegisteredModel:
        """Return the version with these weights, registered anew if there is none.

        Where no version is champion, it becomes so.
        """
        with _locked(self._folder):
            if self._version_of(CHAMPION) is None:
                return self._put_to_use(weights, run_id)
            return self._register(weights, run_id)

    def enter(
        self, weights: Path, alias: str, run_id: str = "", judged_against: str = ""
    ) -> RegisteredModel:
        """Register a version with these weights, unless there is one, and give it ``alias``.

        When the registry is down, the model that is returned has no version and says so.

        Raises ChampionReplacedError, and gives no alias, when ``alias`` is `champion` and the
        champion is not the version ``judged_against`` any more. One home's runs wait for each
        other; MLflow knows no condition, so another home's may come between the two questions.
        """
        from mlflow.exceptions import MlflowException

        try:
            with _locked(self._folder):
                model = self._register(weights, run_id)
                if alias == CHAMPION and judged_against:
                    champion = self._version_of(CHAMPION)
                    if champion is None or str(champion.version) != judged_against:
                        raise ChampionReplacedError
                self.set_alias(alias, model.version)
        except (MlflowException, OSError) as error:
            if self._tracking.strict:
                raise
            unreachable = f"The model registry could not be reached: {first_line(error)}"
            return RegisteredModel(
                "", weights, describe_classifier(weights), unreachable=unreachable
            )
        return model

    def set_alias(self, alias: str, version: str) -> None:
        """Let ``alias`` name ``version`` from now on."""
        self._tracking.client.set_registered_model_alias(MODEL, alias, version)

    def logged_file(self, version: str, name: str) -> bytes | None:
        """Return the artifact ``name`` of the run that made a version; None if it cannot be had."""
        from mlflow.exceptions import MlflowException

        try:
            client = self._tracking.client
            run_id = client.get_model_version(MODEL, version).run_id
            if not run_id:
                return None
            with tempfile.TemporaryDirectory() as folder:
                return Path(client.download_artifacts(run_id, name, folder)).read_bytes()
        except (MlflowException, OSError):
            return None

    def version_at(self, uri: str) -> RegisteredModel | None:
        """Return the version that `models:/nsfw/NUMBER` or `models:/nsfw@ALIAS` names.

        None stands for any other model, one of the same name that Tessera did not register too.

        Raises UserError when there is no such version, or it cannot be had.
        """
        from mlflow.exceptions import MlflowException

        named = re.fullmatch(rf"models:/{MODEL}(?:/(\d+)|@(.+))", uri)
        if named is None:
            return None
        number, alias = named.groups()
        try:
            client = self._tracking.client
            if number:
                version = client.get_model_version(MODEL, number)
            else:
                version = client.get_model_version_by_alias(MODEL, alias)
            if FILE_TAG not in version.tags:
                return None
            with _locked(self._folder):
                return self._copied(version)
        except (MlflowException, OSError) as error:
            raise UserError(f"The model {uri} cannot be loaded ({first_line(error)}).") from error

    def load_pyfunc(self, uri: str) -> "PyFuncModel":
        """Load any MLflow model, ``models:/...`` or ``runs:/...``, unless it is a pickle.

        A model from code runs that code, as ``python:`` does.

        Raises UserError when there is no such model, or when it is one that cannot be loaded.
        """
        from mlflow.exceptions import MlflowException

        try:
            pinned = self._pinned(uri)
            # The model may read its files as late as it likes, so they stay.
            place = hashlib.sha256(f"{self._tracking.uri} {pinned}".encode()).hexdigest()[:16]
            folder = self._folder / "mlflow" / place
            folder.mkdir(parents=True, exist_ok=True)
            with (
                _locked(self._folder),
                _quietly(),
                _environment(MLFLOW_ALLOW_PICKLE_DESERIALIZATION="false"),
            ):
                return self._pyfunc().load_model(self._download(pinned, str(folder)))
        except (MlflowException, OSError, ImportError) as error:
            raise UserError(f"The model {uri} cannot be loaded ({first_line(error)}).") from error

    def _register(self, weights: Path, run_id: str) -> RegisteredModel:
        description = describe_classifier(weights)
        version = self._with_fingerprint(description.fingerprint)
        is_new = version is None
        if version is None:
            version = self._create(weights, description, run_id or self._run_of_its_own())
        return RegisteredModel(str(version.version), weights, description, is_new)

    def _put_to_use(self, weights: Path, run_id: str) -> RegisteredModel:
        model = self._register(weights, run_id)
        self.set_alias(CHAMPION, model.version)
        return model

    def _create(
        self, weights: Path, description: ClassifierDescription, run_id: str
    ) -> "MlflowVersion":
        client = self._tracking.client
        if not client.search_registered_models(f"name = '{MODEL}'"):
            client.create_registered_model(MODEL)
        with tempfile.TemporaryDirectory() as folder, _quietly():
            path = Path(folder, "model")
            # Two versions may have been made under one name, and their copies lie side by side.
            name = classifier_file_name(description.architecture, description.fingerprint)
            file = shutil.copyfile(weights, Path(folder, name))
            self._pyfunc().save_model(
                path=path,
                python_model=str(CODE),
                artifacts={ARTIFACT: str(file)},
                signature=_signature(description.class_names),
                pip_requirements=list(REQUIREMENTS),
                metadata={
                    "architecture": description.architecture,
                    "class_names": list(description.class_names),
                    "preprocessing": asdict(description.preprocessing),
                    "fingerprint": description.fingerprint,
                },
            )
            client.log_artifacts(run_id, str(path), MODEL)
        return client.create_model_version(
            MODEL,
            source=f"runs:/{run_id}/{MODEL}",
            run_id=run_id,
            tags={FINGERPRINT_TAG: description.fingerprint, FILE_TAG: file.name},
        )

    def _run_of_its_own(self) -> str:
        client = self._tracking.client
        run = client.create_run(self._tracking.experiment_id, run_name=f"{MODEL} model")
        client.set_terminated(run.info.run_id)
        return run.info.run_id

    def _copied(self, version: "MlflowVersion") -> RegisteredModel:
        if FILE_TAG not in version.tags:
            raise UserError(
                f"{CHAMPION_URI} is a model that Tessera did not register, so it can be named for "
                "one run but not stand for the NSFW model: give the alias back to one "
                "of its own versions."
            )
        weights = self._folder / Path(version.tags[FILE_TAG]).name
        if not weights.is_file():
            with tempfile.TemporaryDirectory() as folder:
                path = self._download(f"models:/{MODEL}/{version.version}", folder)
                write_whole(weights, Path(path, "artifacts", weights.name).read_bytes())
        description = describe_classifier(weights)
        if description.fingerprint != version.tags.get(FINGERPRINT_TAG):
            raise UserError(
                f"{weights} is not the file that was registered as version {version.version} of "
                f"{MODEL}: remove it, and it is fetched anew."
            )
        return RegisteredModel(str(version.version), weights, description)

    def _last_seen(self) -> Path | None:
        pointer = self._folder / CHAMPION
        weights = self._folder / pointer.read_text() if pointer.is_file() else None
        return weights if weights and weights.is_file() else None

    def _version_of(self, alias: str) -> "MlflowVersion | None":
        from mlflow.exceptions import MlflowException

        try:
            return self._tracking.client.get_model_version_by_alias(MODEL, alias)
        except MlflowException as error:
            # An alias that is missing is INVALID_PARAMETER_VALUE, a model RESOURCE_DOES_NOT_EXIST.
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def _with_fingerprint(self, fingerprint: str) -> "MlflowVersion | None":
        versions = self._tracking.client.search_model_versions(f"name = '{MODEL}'")
        same = [found for found in versions if found.tags.get(FINGERPRINT_TAG) == fingerprint]
        return max(same, key=lambda found: int(found.version), default=None)

    def _download(self, uri: str, folder: str) -> str:
        import mlflow

        # Creates and migrates the database if it has to be.
        _ = self._tracking.client
        # MLflow asks the environment's server what `models:/` stands for, whatever it is told.
        with _environment(MLFLOW_TRACKING_URI=self._tracking.uri):
            return mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder)

    def _pinned(self, uri: str) -> str:
        """Return the URI of the version that an alias names at present."""
        name, _, alias = uri.removeprefix("models:/").partition("@")
        if not alias:
            return uri
        version = self._tracking.client.get_model_version_by_alias(name, alias)
        return f"models:/{name}/{version.version}"

    def _pyfunc(self) -> Any:
        with _quietly():
            import mlflow.pyfunc
        return mlflow.pyfunc


def _signature(class_names: tuple[str, ...]) -> Any:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    images = TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3))
    return ModelSignature(
        Schema([images]), Schema([ColSpec("double", name) for name in class_names])
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "registry.lock"):
        yield


@contextmanager
def _quietly() -> Iterator[None]:
    # MLflow warns of type hints in its own modules, and that it was given no input example.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
