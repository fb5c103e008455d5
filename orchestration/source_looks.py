"""Looks at sources that may hang, such as a folder of a network that is gone."""

import time
from collections.abc import Callable
from concurrent.futures import Future, wait

from assets.config import catalogue_settings
from assets.methods.common.parallel import in_thread
from assets.methods.photos.source import list_source, listing_digest
from assets.resources.photos import Photos

# Dagster gives an evaluation of a sensor 60 s, for all collections together.
ALL_SECONDS = 40.0
ONE_SECONDS = 10.0


class SourceLooks:
    """Lists sources in threads, and goes on without those that take too long.

    A look that takes longer than an evaluation of the sensor is not begun a second time: what it
    finds is the answer of the first evaluation after its end. ``all_seconds`` and ``one_seconds``
    are the time limits of one evaluation and of one look in it.
    """

    def __init__(self, all_seconds: float = ALL_SECONDS, one_seconds: float = ONE_SECONDS) -> None:
        self._all_seconds, self._one_seconds = all_seconds, one_seconds
        self._running: dict[str, Future[str]] = {}

    def round(self) -> Callable[[str, Callable[[], str]], str | None]:
        """Return a function for one evaluation, which maps a name and a look to what it found.

        It returns None where the look has not ended in time, and raises what the look raises.
        """
        deadline = time.monotonic() + self._all_seconds

        def found(name: str, look: Callable[[], str]) -> str | None:
            future = self._running.get(name)
            if future is None:
                future = self._running[name] = in_thread(look)
                left = max(deadline - time.monotonic(), 0.0)
                wait([future], min(self._one_seconds, left))
            if not future.done():
                return None
            del self._running[name]
            return future.result()

        return found


def listing_of(photos: Photos, name: str) -> str:
    """Return the digest of the listing of a collection's source; raises what listing it raises."""
    collection = photos.collection(name)
    limits = catalogue_settings(collection.settings).fetch
    return listing_digest(list_source(collection.source, limits, collection.follow_links))
