"""Telling receivers the difference between what is wrong now and what they were told before.

Each receiver has a queue of its own, so that one that is down holds up no other. Its notices are
delivered in their order, each until it is taken: the state is written after each.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestration.notices.cause import Cause
from orchestration.notices.notice import Notice
from orchestration.notices.receivers import NotDeliveredError, Receiver
from orchestration.notices.state import Queue

# After the first attempt that failed; after each further one it is twice as long.
FIRST_PAUSE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 3600.0
# Of one receiver in one round: others, and the next look at what is wrong, come in between.
MOST_AT_ONCE = 50


@dataclass(frozen=True)
class Delivered:
    """How many notices a receiver has taken, and why it has not taken the next; empty if it has."""

    n_taken: int
    why: str = ""


def put_into(
    queue: Queue, open_causes: Mapping[str, Cause], now: float, url_of: Callable[[Cause], str]
) -> None:
    """Put notices of what has opened, and of what is over, into a receiver's queue."""
    for key in [key for key in queue.told if key not in open_causes]:
        cause = queue.told.pop(key)
        queue.waiting.append(Notice("over", cause, now, url_of(cause)))
    for key, cause in open_causes.items():
        if key not in queue.told:
            queue.told[key] = cause
            queue.waiting.append(Notice("opened", cause, now, url_of(cause)))


def deliver(
    receiver: Receiver,
    queue: Queue,
    seconds: float,
    now: Callable[[], float],
    save: Callable[[], Any],
) -> Delivered:
    """Deliver what waits for a receiver, unless it is to be left alone for a while.

    Args:
        receiver: takes the notices.
        queue: what waits for it. A notice is taken out once it is delivered.
        seconds: time limit of one attempt.
        now: returns the time, in seconds since 1970.
        save: stores the queue; called after each attempt.
    """
    n_taken = 0
    while queue.waiting and n_taken < MOST_AT_ONCE:
        if now() < queue.next_try:
            return Delivered(n_taken, queue.why)
        try:
            receiver.send(queue.waiting[0], seconds)
        except NotDeliveredError as error:
            queue.n_failed += 1
            queue.why = str(error)
            queue.next_try = now() + pause_after(queue.n_failed)
            save()
            return Delivered(n_taken, queue.why)
        del queue.waiting[0]
        queue.n_failed, queue.next_try, queue.why = 0, 0.0, ""
        n_taken += 1
        save()
    return Delivered(n_taken)


def pause_after(n_failed: int) -> float:
    """Return for how many seconds a receiver is left alone after so many failed attempts."""
    # A power of a large number would be too large for a float.
    doublings = min(n_failed - 1, 20)
    return min(FIRST_PAUSE_SECONDS * 2.0**doublings, LONGEST_PAUSE_SECONDS)
