"""The callback by which a long step reports its progress."""

from typing import Protocol


class Progress(Protocol):
    """A callback for the number of units that are done, in growing order, and of all units."""

    def __call__(self, done: int, total: int) -> None:
        """Report ``done`` of ``total`` units."""


def silent(done: int, total: int) -> None:
    """Ignore the progress: the default of every method that reports it."""
