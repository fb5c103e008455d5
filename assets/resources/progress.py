"""The progress of long steps as lines in the log of a run."""

import logging
import re
import time
from dataclasses import dataclass
from typing import Protocol

from assets.methods.common.progress import Progress

SECONDS_BETWEEN_LINES = 5.0
_LINE = re.compile(r"(\w+): ([\d,]+) of ([\d,]+) (.+), about ([\d,]+) s left")


class ProgressReporter(Protocol):
    """Makes the callback that a long step reports its progress to."""

    def listener(self, log: logging.Logger, step: str, unit: str) -> Progress:
        """Return the callback for ``step``, whose units are called ``unit``, such as photos."""


@dataclass(frozen=True)
class ProgressLine:
    """A line of progress: ``done`` of ``total`` units of a step, and the seconds that are left."""

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

    @classmethod
    def read(cls, line: str) -> "ProgressLine | None":
        """Parse a line that ``str`` has written; None for any other line."""
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        step, done, total, unit, seconds = found.groups()
        return cls(step, _number(done), _number(total), unit, _number(seconds))


class LogProgress:
    """Writes a line every few seconds: the units that are done, all units, and the time left."""

    def __init__(self, seconds_between_lines: float = SECONDS_BETWEEN_LINES) -> None:
        self._seconds_between_lines = seconds_between_lines

    def listener(self, log: logging.Logger, step: str, unit: str) -> Progress:
        """Return a callback that writes to the ``log`` of a run."""
        begun = last = time.monotonic()

        def listen(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < self._seconds_between_lines or done == 0:
                return
            last = now
            left = (now - begun) / done * (total - done)
            log.info(str(ProgressLine(step, done, total, unit, round(left))))

        return listen


def _number(text: str) -> int:
    return int(text.replace(",", ""))
