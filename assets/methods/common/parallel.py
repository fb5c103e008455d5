"""Work in a pool of threads, a bounded number of items or bytes at a time."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
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


def in_thread(work: Callable[[], R], name: str | None = None) -> Future[R]:
    """Call ``work`` in a thread of its own, which does not keep the process from ending.

    A thread that hangs, in a library or on a network, cannot be ended.
    """
    outcome: Future[R] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return outcome


class Room:
    """Room for so many bytes, which threads share; one that wants more than all has it alone."""

    def __init__(self, n_bytes: int) -> None:
        self._n_bytes = n_bytes
        self._free = n_bytes
        self._changed = threading.Condition()
        # Who wants much waits at the head of the queue, and is not overtaken by who wants little.
        self._queue = threading.Lock()

    @contextmanager
    def for_bytes(self, n_bytes: int) -> Iterator[None]:
        """Wait until there is room, and hold it meanwhile; not to be asked for twice by one."""
        held = min(n_bytes, self._n_bytes)
        with self._queue, self._changed:
            self._changed.wait_for(lambda: self._free >= held)
            self._free -= held
        try:
            yield
        finally:
            with self._changed:
                self._free += held
                self._changed.notify_all()
