"""How a person sees a long step move: a line in the run's log, or a bar in a terminal."""

import logging
import time
from typing import Protocol

from assets.methods.progress import Progress

SECONDS_BETWEEN_LINES = 5.0


class ProgressReporter(Protocol):
    """Makes the listener for one long step."""

    def listener(self, log: logging.Logger, step: str, unit: str) -> Progress:
        """Return what a method calls as it works through the ``unit``s of ``step``."""


class LogProgress:
    """Writes a line every few seconds: how many are done, how many there are, the time left."""

    def listener(self, log: logging.Logger, step: str, unit: str) -> Progress:
        """Return a listener that writes to the run's ``log``."""
        begun = last = time.monotonic()

        def listen(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < SECONDS_BETWEEN_LINES or done == 0:
                return
            last = now
            left = (now - begun) / done * (total - done)
            log.info(f"{step}: {done:,} of {total:,} {unit}, about {left:,.0f} s left")

        return listen
