"""How a long step tells how far it is: one callback, whoever listens."""

from typing import Protocol


class Progress(Protocol):
    """Called with the number of units done so far and the number in all, in growing order."""

    def __call__(self, done: int, total: int) -> None:
        """Report ``done`` of ``total`` units."""


def silent(done: int, total: int) -> None:
    """Listen to nothing: the default of every method that reports progress."""
