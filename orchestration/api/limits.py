"""How often a key may ask."""

import math
import time

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from orchestration.api.contract import throttled


class RateLimits:
    """Counts the requests of each key of the time that has just passed."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def count(self, who: str, requests_per_second: float) -> None:
        """Count a request of ``who``; one that is refused does not count.

        Raises:
            ApiError: there were too many; it says when to ask again.
        """
        # Less than one a second is one in several seconds.
        seconds = max(1, math.ceil(1 / requests_per_second))
        limit = RateLimitItemPerSecond(max(1, math.floor(requests_per_second * seconds)), seconds)
        if self._limiter.hit(limit, who):
            return
        wait = self._limiter.get_window_stats(limit, who).reset_time - time.time()
        raise throttled(
            f"More than {requests_per_second:,g} requests a second were sent with this key.",
            max(1, math.ceil(wait)),
        )
