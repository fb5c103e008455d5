"""Classifiers by the name that a user gives them (``assets.methods.models`` has the words)."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.devices import ComputePlan, ComputeSettings, plan_compute
from assets.methods.models.classifier import Classifier
from assets.methods.models.classifier_file import OPEN_NSFW, convert_open_nsfw, load_classifier
from assets.methods.models.identity import ModelIdentity
from assets.methods.models.named_classifiers import load_named_classifier
from assets.methods.models.one_model import RemoteClassifier
from assets.methods.models.torch_classifier import CPU_BATCH_SIZE
from assets.methods.models.vector_store import VectorStore
from assets.resources.pyfunc_classifier import PyfuncClassifier
from assets.resources.registry import CHAMPION_URI, ModelRegistry, RegisteredModel
from assets.resources.tracking import Tracking, Warn


@dataclass(frozen=True)
class LoadedModel:
    """A classifier, and which model it is."""

    classifier: Classifier
    identity: ModelIdentity


class Models:
    """The classifiers that can be used, and the answers that they gave already, below the home.

    It is no ConfigurableResource, because one inside another uses what Dagster 1.13 deprecates.
    """

    def __init__(self, home: Path, tracking: Tracking) -> None:
        self._home = home
        self._tracking = tracking

    def champion(self, run_id: str = "") -> RegisteredModel:
        """Return the NSFW model in use, the packaged one if nobody has registered another."""
        return self.registry.champion(self.packaged, run_id)

    def packaged(self) -> Path:
        """Return the file of the packaged network, converted when first asked for."""
        return convert_open_nsfw(self._folder)

    def load(self, name: str, compute: ComputeSettings, warn: Warn) -> LoadedModel:
        """Load a classifier, and say which version of it that is.

        ``name`` is an MLflow URI (``models:/nsfw@champion``, ``runs:/...``), ``open_nsfw`` for the
        packaged model, or a name of ``load_named_classifier``. A version of the NSFW model that
        Tessera registered is read from its file, other models of MLflow answer through pyfunc.
        ``warn`` is called when the registry is down and another version than the champion may be
        used. Raises UserError when there is no such classifier.
        """
        classifier, version = self._load(name, plan_compute(compute, CPU_BATCH_SIZE), warn)
        return LoadedModel(classifier, ModelIdentity(name, version, classifier.fingerprint))

    def _load(self, name: str, plan: ComputePlan, warn: Warn) -> tuple[Classifier, str]:
        """Return a classifier and its version, which is empty for what has none."""
        if name == CHAMPION_URI:
            champion = self.champion()
            if champion.unreachable:
                warn(champion.unreachable)
            return load_classifier(champion.weights, plan), champion.version
        if name.startswith(("models:/", "runs:/")):
            registered = self.registry.version_at(name)
            if registered is not None:
                return load_classifier(registered.weights, plan), registered.version
            model, version = self.registry.load_pyfunc(name)
            return PyfuncClassifier(model), version
        if name == OPEN_NSFW:
            return load_classifier(self.packaged(), plan), ""
        classifier = load_named_classifier(name, plan)
        return classifier, classifier.version if isinstance(classifier, RemoteClassifier) else ""

    @cached_property
    def registry(self) -> ModelRegistry:
        """The registry of the tracking server."""
        return ModelRegistry(self._tracking, self._folder, self.packaged)

    @cached_property
    def probabilities(self) -> VectorStore:
        """The photos that have been scored already."""
        return VectorStore(self._home / "probabilities")

    @cached_property
    def window_scores(self) -> WindowScoreStore:
        """The windows of occlusion experiments that have been scored already."""
        return WindowScoreStore(self._home / "windows")

    @property
    def _folder(self) -> Path:
        return self._home / "models"
