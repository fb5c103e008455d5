"""How many requests a second each key may send."""

import math
import time

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from orchestration.api.contract import throttled


class RateLimits:
    """Counts the recent requests of each key."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def count(self, key_id: str, requests_per_second: float) -> None:
        """Count a request with this key; one that is refused does not count.

        Raises:
            ApiError: there were too many; its headers say when to try again.
        """
        # A rate below one a second becomes one request in several seconds.
        seconds = max(1, math.ceil(1 / requests_per_second))
        limit = RateLimitItemPerSecond(max(1, math.floor(requests_per_second * seconds)), seconds)
        if self._limiter.hit(limit, key_id):
            return
        wait = self._limiter.get_window_stats(limit, key_id).reset_time - time.time()
        raise throttled(
            f"This key may send {requests_per_second:,g} requests a second. Try again later.",
            max(1, math.ceil(wait)),
        )
