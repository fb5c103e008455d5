"""Work in a pool of threads, a bounded number of items ahead of who takes the results."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], at_most: int
) -> Iterator[R]:
    """Yield the result of each item, in the order of the items.

    Args:
        pool: runs ``work``. Its owner shuts it down, also when the iteration ends early.
        work: called once for each item. Its exceptions are raised here, in the items' order.
        items: taken one by one, when there is room for them.
        at_most: the number of items that run, wait for a thread, or have a result not yet taken.
    """
    submitted: deque[Future[R]] = deque()
    for item in items:
        submitted.append(pool.submit(work, item))
        if len(submitted) >= at_most:
            yield submitted.popleft().result()
    while submitted:
        yield submitted.popleft().result()


def unordered_map(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], at_most: int
) -> Iterator[tuple[T, R]]:
    """Yield each item with its result, in the order in which the results complete.

    Args:
        pool: runs ``work``. Its owner shuts it down, also when the iteration ends early.
        work: called once for each item. Its exceptions are raised here.
        items: taken one by one, when there is room for them.
        at_most: the number of items that the pool holds at a time, running or waiting.
    """
    remaining = iter(items)
    submitted: dict[Future[R], T] = {}
    while True:
        for item in islice(remaining, at_most - len(submitted)):
            submitted[pool.submit(work, item)] = item
        if not submitted:
            return
        done = wait(submitted, return_when=FIRST_COMPLETED).done
        # Failures come last, so that one does not lose the results that completed beside it.
        for future in sorted(done, key=lambda one: one.exception() is not None):
            yield submitted.pop(future), future.result()
