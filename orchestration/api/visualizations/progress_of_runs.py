"""How far the run of a photo map is, and how long it will still take, from its events."""

from collections.abc import Iterable
from dataclasses import dataclass

import dagster as dg

from assets.resources.progress import StepProgress
from orchestration.jobs import PHOTO_MAP

# Seconds until the process of a run has begun, of which no event tells.
STARTING_SECONDS = 3.0
# A step is not over before its event says so, whatever was reported and its time say.
_MOST_OF_A_STEP = 0.97
# Counted one after the other in one step.
_UNITS = {
    "grid_assignment": ("photos assigned", "passes"),
    "mosaic": ("tiles", "tiles of the page"),
}
_LEAST_SECONDS = 0.5


@dataclass(frozen=True)
class RunProgress:
    """How far a run is: a share from 0 to 1, never 1 before its end, and the seconds left."""

    share: float
    seconds_left: float

    @property
    def percent(self) -> int:
        """The share in whole percent, below 100."""
        return min(99, int(100 * self.share))


def expected_seconds(n_photos: int) -> dict[str, float]:
    """Return how long each step is expected to take for photos that have been decoded already."""
    # Measured with 12, 1,024 and 4,096 photos on two cores, EfficientNet-Lite0 on the CPU.
    return {
        "raw_images": 4 + 0.002 * n_photos,
        "embeddings": 10 + 0.024 * n_photos,
        "tsne_2d": 2 + 0.005 * n_photos,
        "grid_assignment": 1 + 0.0055 * n_photos,
        "mosaic": 1.5 + 0.005 * n_photos,
    }


def expected_total(n_photos: int) -> float:
    """Return how long a run is expected to take, from the start of its process to its end."""
    return STARTING_SECONDS + sum(expected_seconds(n_photos).values())


class RunWatch:
    """Follows the events of one run; the share that it tells never falls."""

    def __init__(self, n_photos: int) -> None:
        self._expected = expected_seconds(n_photos)
        self._total = expected_total(n_photos)
        self._has_begun = False
        self._step: str | None = None
        self._step_began = 0.0
        self._ended: set[str] = set()
        self._reported: StepProgress | None = None
        self._reported_at = 0.0
        self._before = 0.0
        self._share = 0.0

    def follow(self, entries: Iterable[dg.EventLogEntry]) -> None:
        """Take in events that have come since."""
        for entry in entries:
            event = entry.dagster_event
            if event is None:
                continue
            if event.event_type == dg.DagsterEventType.ASSET_OBSERVATION:
                self._read(event.asset_observation_data.asset_observation, entry.timestamp)
            elif event.event_type == dg.DagsterEventType.RUN_START:
                self._has_begun = True
            elif event.is_step_start and event.step_key in PHOTO_MAP:
                self._step, self._step_began, self._reported = event.step_key, entry.timestamp, None
            elif event.is_step_success and event.step_key in PHOTO_MAP:
                self._ended.add(str(event.step_key))
                self._step = None

    def at(self, moment: float) -> RunProgress:
        """Return how far the run is at ``moment``, in seconds since 1970."""
        ended = sum(self._expected[step] for step in self._ended)
        running = self._expected[self._step] if self._step else 0.0
        passed = self._share_of_step(moment) * running
        if self._has_begun:
            self._share = max(self._share, (STARTING_SECONDS + ended + passed) / self._total)
        left = self._total - ended - running + self._left_of_step(moment)
        if self._has_begun:
            left -= STARTING_SECONDS
        return RunProgress(min(self._share, 0.99), max(left, _LEAST_SECONDS))

    def _read(self, observation: dg.AssetObservation, moment: float) -> None:
        reported = StepProgress.of(observation)
        if reported is not None and reported.step == self._step:
            if self._reported is None:
                self._before = self._share_of_step(moment)
            self._reported, self._reported_at = reported, moment

    def _share_of_step(self, moment: float) -> float:
        if self._step is None:
            return 0.0
        if self._reported is None:
            # Loading a network takes a while, and no event tells of it.
            return _of_a_step((moment - self._step_began) / self._expected[self._step])
        units = _UNITS.get(self._step, (self._reported.unit,))
        place = units.index(self._reported.unit) if self._reported.unit in units else 0
        share = (place + self._reported.done / max(self._reported.total, 1)) / len(units)
        return _of_a_step(self._before + (1 - self._before) * share)

    def _left_of_step(self, moment: float) -> float:
        if self._step is None:
            return 0.0
        expected = max(self._expected[self._step] - (moment - self._step_began), 0.0)
        if self._reported is None:
            return expected
        # It is extrapolated: the less is done, the less is known.
        told = max(self._reported.seconds_left - (moment - self._reported_at), 0.0)
        share = self._reported.done / max(self._reported.total, 1)
        return share * told + (1 - share) * expected


def _of_a_step(share: float) -> float:
    return min(max(share, 0.0), _MOST_OF_A_STEP)
