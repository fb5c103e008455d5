"""Squares of photos, read ahead of the network by threads or by processes.

Threads of one Python process read about 2,000 working copies a second and no more: they wait for
each other. Processes do not, but take a second or two to begin (``bench/stream.py``).
"""

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from assets.methods.common.errors import UserError

# Returns the square of a photo, (side, side, 3) uint8. Threads call it together; processes are sent
# a copy of it.
ReadSquare = Callable[[str], np.ndarray]

_PHOTOS_A_TASK = 8


@dataclass(frozen=True)
class Reader:
    """Reads batches into ``rooms``, (batch, side, side, 3) uint8 each.

    ``work`` reads photos into a room from a place on: (room's number, place, image_ids).
    """

    rooms: Sequence[np.ndarray]
    pool: Executor
    work: Callable[[int, int, Sequence[str]], None]

    def begin(self, room: int, image_ids: Sequence[str]) -> Callable[[], None]:
        """Begin to read photos into a room; return a function that waits for them.

        The function raises what reading raised, and a UserError if a process was ended.
        """
        starts = range(0, len(image_ids), _PHOTOS_A_TASK)
        parts = [
            self.pool.submit(self.work, room, start, image_ids[start : start + _PHOTOS_A_TASK])
            for start in starts
        ]
        return partial(_wait_for, parts)


# Makes a reader: (what reads a square, shape of a room, number of rooms, number of workers).
MakeReader = Callable[[ReadSquare, tuple[int, ...], int, int], AbstractContextManager[Reader]]


@contextmanager
def reading_threads(
    read: ReadSquare, shape: tuple[int, ...], n_rooms: int, workers: int
) -> Iterator[Reader]:
    """Yield a reader with threads."""
    rooms = [np.empty(shape, dtype=np.uint8) for _ in range(n_rooms)]
    pool = ThreadPoolExecutor(workers)
    try:
        yield Reader(rooms, pool, partial(_read_into, rooms, read))
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def reading_processes(
    read: ReadSquare, shape: tuple[int, ...], n_rooms: int, workers: int
) -> Iterator[Reader]:
    """Yield a reader with processes; ``read`` is pickled for them.

    The rooms are memory that they share. Python takes it from the system's shared memory, or from
    a temporary file where that has no room, as in containers.
    """
    methods = multiprocessing.get_all_start_methods()
    # A fork of this process would copy threads' locks and the card's state.
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload([__name__])
    shared = [context.RawArray("B", math.prod(shape)) for _ in range(n_rooms)]
    pool = ProcessPoolExecutor(workers, context, _begin_process, (read, shared, shape))
    try:
        yield Reader([_as_room(one, shape) for one in shared], pool, _read_in_process)
    finally:
        pool.shutdown(cancel_futures=True)


def _as_room(shared: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(shared, dtype=np.uint8).reshape(shape)


def _wait_for(parts: Sequence[Future[None]]) -> None:
    try:
        for part in parts:
            part.result()
    except BrokenProcessPool as error:
        raise UserError(
            "A process that reads photos was ended from outside, perhaps for lack of memory: "
            "ask for fewer threads, which are as many processes."
        ) from error


def _read_into(
    rooms: Sequence[np.ndarray], read: ReadSquare, room: int, place: int, image_ids: Sequence[str]
) -> None:
    for position, image_id in enumerate(image_ids, place):
        rooms[room][position] = read(image_id)


# ---- in a process of the pool ----

_read_here: Callable[[int, int, Sequence[str]], None]


def _begin_process(read: ReadSquare, shared: Sequence[Any], shape: tuple[int, ...]) -> None:
    global _read_here
    # Ctrl-C is for the process that began this one, which ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _read_here = partial(_read_into, [_as_room(one, shape) for one in shared], read)


def _read_in_process(room: int, place: int, image_ids: Sequence[str]) -> None:
    _read_here(room, place, image_ids)


def _end_with_parent() -> None:
    """End this process when the one that began it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
