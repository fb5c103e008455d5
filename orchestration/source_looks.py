"""Looks at sources that may hang, such as a folder of a network that is gone."""

import time
from collections.abc import Callable
from concurrent.futures import Future, wait

from assets.methods.common.parallel import in_thread

# Dagster gives an evaluation of a sensor 60 s, for all collections together.
ALL_SECONDS = 40.0
ONE_SECONDS = 10.0


class SourceLooks:
    """Lists sources in threads, and goes on without those that take too long.

    A look that takes longer than an evaluation of the sensor is not begun a second time: what it
    finds is the answer of the first evaluation after its end. ``all_seconds`` and ``one_seconds``
    are the time limits of one evaluation and of one look in it.
    """

    def __init__(self, all_seconds: float | None = None, one_seconds: float | None = None) -> None:
        self._all_seconds, self._one_seconds = all_seconds, one_seconds
        self._running: dict[str, Future[str]] = {}

    def round(self) -> Callable[[str, Callable[[], str]], str | None]:
        """Return a function for one evaluation, which maps a name and a look to what it found.

        It returns None where the look has not ended in time, and raises what the look raises.
        """
        one_seconds = ONE_SECONDS if self._one_seconds is None else self._one_seconds
        all_seconds = ALL_SECONDS if self._all_seconds is None else self._all_seconds
        deadline = time.monotonic() + all_seconds

        def found(name: str, look: Callable[[], str]) -> str | None:
            future = self._running.get(name)
            if future is None:
                future = self._running[name] = in_thread(look)
                left = max(deadline - time.monotonic(), 0.0)
                wait([future], min(one_seconds, left))
            if not future.done():
                return None
            del self._running[name]
            return future.result()

        return found
