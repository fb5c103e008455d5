"""Classifiers by the name that a user gives them (``assets.methods.models`` has the words)."""

from functools import cached_property
from pathlib import Path

from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.models.classifier import Classifier
from assets.methods.models.classifier_file import OPEN_NSFW, convert_open_nsfw, load_classifier
from assets.methods.models.named_classifiers import load_named_classifier
from assets.methods.models.torch_classifier import CPU_BATCH_SIZE
from assets.methods.models.vector_store import VectorStore
from assets.resources.pyfunc_classifier import PyfuncClassifier
from assets.resources.registry import CHAMPION_URI, ModelRegistry, RegisteredModel
from assets.resources.tracking import Tracking, Warn


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

    def load(self, name: str, compute: ComputeSettings, warn: Warn) -> Classifier:
        """Load a classifier.

        ``name`` is an MLflow URI (``models:/nsfw@champion``, ``runs:/...``), ``open_nsfw`` for the
        packaged model, or a name of ``load_named_classifier``. A version of the NSFW model that
        Tessera registered is read from its file, other models of MLflow answer through pyfunc.
        ``warn`` is called when the registry is down and another version than the champion may be
        used. Raises UserError when there is no such classifier.
        """
        plan = plan_compute(compute, CPU_BATCH_SIZE)
        if name == CHAMPION_URI:
            champion = self.champion()
            if champion.unreachable:
                warn(champion.unreachable)
            return load_classifier(champion.weights, plan)
        if name.startswith(("models:/", "runs:/")):
            version = self.registry.version_at(name)
            if version is not None:
                return load_classifier(version.weights, plan)
            return PyfuncClassifier(self.registry.load_pyfunc(name))
        if name == OPEN_NSFW:
            return load_classifier(self.packaged(), plan)
        return load_named_classifier(name, plan)

    @cached_property
    def registry(self) -> ModelRegistry:
        """The registry of the tracking server."""
        return ModelRegistry(self._tracking, self._folder)

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
