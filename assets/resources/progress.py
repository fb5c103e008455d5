"""The progress of long steps: lines in the log of a run, for people, and events, for programs."""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import dagster as dg

from assets.methods.common.progress import Progress

SECONDS_BETWEEN_LINES = 5.0
SECONDS_BETWEEN_EVENTS = 1.0
# A run with this tag tells its progress in events, because somebody follows it.
FOLLOWED_TAG = "tessera/followed"


class ProgressReporter(Protocol):
    """Makes the callback that a long step reports its progress to."""

    def listener(self, log: logging.Logger, step: str, unit: str) -> Progress:
        """Return the callback for ``step``, whose units are called ``unit``, such as photos."""


@dataclass(frozen=True)
class StepProgress:
    """How far a step is: ``done`` of ``total`` units, and the seconds that are left."""

    step: str
    done: int
    total: int
    unit: str
    seconds_left: int

    def __str__(self) -> str:
        return (
            f"{self.step}: {self.done:,} of {self.total:,} {self.unit}, "
            f"about {self.seconds_left:,} s left"
        )

    def event(self, asset_key: dg.AssetKey, partition: str | None) -> dg.AssetObservation:
        """Return the progress as an event of a run."""
        return dg.AssetObservation(asset_key, partition=partition, metadata=asdict(self))

    @classmethod
    def of(cls, event: dg.AssetObservation) -> "StepProgress | None":
        """Read what ``event`` has written; None for an observation of anything else."""
        told: dict[str, Any] = {name: value.value for name, value in event.metadata.items()}
        if told.keys() != cls.__dataclass_fields__.keys():
            return None
        return cls(**told)


class LogProgress:
    """Writes a line every few seconds: the units that are done, all units, and the time left."""

    def __init__(self, seconds_between_lines: float = SECONDS_BETWEEN_LINES) -> None:
        self._seconds_between_lines = seconds_between_lines

    def listener(self, log: logging.Logger, step: str, unit: str) -> Progress:
        """Return a callback that writes to the ``log`` of a run."""
        return _throttled(step, unit, lambda told: log.info(str(told)), self._seconds_between_lines)


def event_listener(context: dg.AssetExecutionContext, unit: str) -> Progress:
    """Return a callback that reports the progress of an asset as events, about one a second."""
    partition = context.partition_key if context.has_partition_key else None
    return _throttled(
        context.asset_key.path[-1],
        unit,
        lambda told: context.log_event(told.event(context.asset_key, partition)),
        SECONDS_BETWEEN_EVENTS,
    )


def _throttled(
    step: str, unit: str, tell: Callable[[StepProgress], None], pause: float
) -> Progress:
    begun = last = time.monotonic()

    def listen(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < pause or done == 0:
            return
        last = now
        left = (now - begun) / done * (total - done)
        tell(StepProgress(step, done, total, unit, round(left)))

    return listen
