"""The parts of the HTTP service, which the routes call."""

import logging
import os
from contextlib import ExitStack
from pathlib import Path

from assets.methods.common.loopback import is_loopback
from assets.resources.collections import INPUTS_SOURCE, collection_for
from assets.resources.outages import TrackingError
from orchestration.api.image_addresses import ImageAddresses
from orchestration.api.inference.search_engine import SearchEngine
from orchestration.api.inference.served_models import ServedModels
from orchestration.api.inputs.images import fetch_limits
from orchestration.api.inputs.intake import Intake
from orchestration.api.keys import KeyRing
from orchestration.api.metrics import Metrics
from orchestration.api.settings import ServeSettings
from orchestration.api.visualizations.placements import Placements
from orchestration.api.visualizations.served_visualizations import Visualizations
from orchestration.definitions import build_resources
from orchestration.instance import POOL, forget, open_instance, register
from orchestration.queue_processes import QueueProcesses

_log = logging.getLogger(__name__)


class Service:
    """The service of one home; ``start`` it once, and ``close`` it."""

    def __init__(self, home: Path, settings: ServeSettings) -> None:
        resources = build_resources(compute=settings.compute)
        self._tracking = resources["tracking"]
        self._is_loopback = is_loopback(settings.host)
        self.keys = KeyRing(home / "keys")
        self.metrics = Metrics()
        self.image_addresses = ImageAddresses(home, settings.public_url)
        self.intake = Intake(home, settings, _register, _forget)
        self.models = ServedModels(
            resources["models"],
            settings.compute.settings(),
            fetch_limits(settings),
            _log.warning,
            self.metrics.count_batch,
            frames=settings.frames,
        )
        self.searches = SearchEngine(home, self.intake, self.models, settings.compute.precision)
        self.visualizations = Visualizations(home, settings, self.intake.store)
        self.placements = Placements(
            home,
            self.visualizations,
            self.intake,
            self.models,
            self._tracking,
            settings.compute.precision,
        )
        self._home = home
        self._runs_at_once = settings.runs_at_once
        self._queue = ExitStack()

    @property
    def is_open(self) -> bool:
        """Whether requests from this machine need no key, because no key was ever made."""
        return self._is_loopback and not self.keys.any_ever()

    def start(self) -> None:
        """Begin to load the models and to run visualizations."""
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            # This migrates the database before the service and a run would both try to.
            try:
                with self._tracking.asking():
                    _ = self._tracking.experiment_id
            except TrackingError as error:
                _log.warning("Runs are not tracked: %s", error)
        self._start_queue()
        self.intake.start()
        self.models.start()
        self.visualizations.start()
        self.metrics.watch_visualizations(self.visualizations.count)

    def close(self) -> None:
        """Stop the service; a visualization that is running goes on when the next one starts."""
        self.placements.close()
        self.visualizations.close()
        self._queue.close()
        self.searches.close()
        self.models.close()
        self.intake.close()

    def _start_queue(self) -> None:
        instance = self._queue.enter_context(open_instance())
        if self._runs_at_once is not None:
            instance.event_log_storage.set_concurrency_slots(POOL, self._runs_at_once)
        processes = QueueProcesses(self._home, instance)
        processes.start()
        self._queue.callback(processes.close)


def _register(app: str) -> None:
    with open_instance() as instance:
        register(instance, collection_for(app, INPUTS_SOURCE))


def _forget(app: str) -> None:
    with open_instance() as instance:
        forget(instance, app)
