"""One round: looking at what is wrong, and telling receivers what has changed.

Everything is computed anew from Dagster's storage and the collections, so a round that was missed,
or was cut off by the end of its process, is made good by the next.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import dagster as dg
from filelock import Timeout

from assets.methods.common.parallel import in_thread
from assets.methods.common.shown_text import without_secrets
from assets.resources.collections import PARTITIONS_NAME, Collection, CollectionRegistry
from assets.resources.photos import Photos
from orchestration.notices.cause import Cause
from orchestration.notices.delivery import Delivered, deliver, put_into
from orchestration.notices.failed_checks import failed_checks
from orchestration.notices.failed_runs import failed_runs
from orchestration.notices.missed_nights import left_out, missed_nights, schedules_that_are_on
from orchestration.notices.receivers import receivers_of
from orchestration.notices.settings import NoticeSettings
from orchestration.notices.state import NoticeState, Queue, StateFile
from orchestration.notices.watched_sources import (
    causes_of_sources,
    compare_with_maps,
    last_mapped,
    look_at_sources,
    watched,
)
from orchestration.source_looks import SourceLooks, listing_of

_log = logging.getLogger("tessera")


@dataclass(frozen=True)
class Round:
    """What a round has found and done: open causes by key, and deliveries by receiver."""

    open: dict[str, Cause]
    delivered: dict[str, Delivered]


def look_around(
    instance: dg.DagsterInstance,
    home: Path,
    settings: NoticeSettings,
    state: NoticeState,
    looks: SourceLooks,
    now: float,
) -> None:
    """Bring the open causes, and what is known of sources, up to date in ``state``."""
    names = instance.get_dynamic_partitions(PARTITIONS_NAME)
    collections = [one for one in CollectionRegistry(home).all() if one.name in names]
    with_sources = watched(collections)
    digest_of = partial(listing_of, Photos(home=str(home)))
    minutes = settings.look_minutes
    looked_at = look_at_sources(state.sources, with_sources, looks, digest_of, minutes, now)
    compare_with_maps(state.sources, looked_at, partial(last_mapped, instance))
    found = [
        *failed_runs(instance, names, state.open.values()),
        *failed_checks(instance, names),
        *_missed(instance, names, collections, settings, now),
        *causes_of_sources(state.sources, with_sources, settings, now),
    ]
    # One that goes on has begun when it was first seen.
    state.open = {
        cause.key: replace(cause, since=state.open[cause.key].since)
        if cause.key in state.open
        else cause
        for cause in sorted(found, key=lambda one: (one.since, one.key))
    }


def go_round(
    instance: dg.DagsterInstance,
    home: Path,
    settings: NoticeSettings,
    looks: SourceLooks,
    lock_seconds: float = 0.0,
    clock: Callable[[], float] = time.time,
) -> Round:
    """Look at what is wrong, and deliver what receivers have not been told.

    Args:
        instance: the home's.
        home: holds the state.
        settings: receivers and limits.
        looks: goes on from round to round.
        lock_seconds: for so long another process may be at it.
        clock: returns the time, in seconds since 1970.

    Raises:
        filelock.Timeout: another process is at it.
    """
    file = StateFile(home)
    with file.lock(lock_seconds):
        state = file.read()
        look_around(instance, home, settings, state, looks, clock())
        receivers = receivers_of(settings)
        for receiver in receivers:
            queue = state.queues.setdefault(receiver.name, Queue())
            put_into(queue, state.open, clock(), page_of)
        file.write(state)
        save = partial(file.write, state)
        delivered = {
            receiver.name: deliver(
                receiver, state.queues[receiver.name], settings.timeout_seconds, clock, save
            )
            for receiver in receivers
        }
    return Round(state.open, delivered)


class Rounds:
    """Goes round in a thread, one at a time, so that no evaluation of a sensor waits for it."""

    def __init__(self, one_round: Callable[[], Round]) -> None:
        self._one_round = one_round
        self._last: Future[str] | None = None

    def go(self, seconds: float) -> str:
        """Begin a round unless one is at work, and return in words what came of it by then.

        ``seconds`` is the time that is waited for its end.
        """
        if self._last is not None and not self._last.done():
            return "A round is still at work."
        self._last = in_thread(self._go)
        try:
            return self._last.result(seconds)
        except TimeoutError:
            return "A round is at work."

    def _go(self) -> str:
        try:
            return in_words(self._one_round())
        except Timeout:
            return "Another process is at it."
        except Exception:
            # Nobody may be waiting for it any more.
            _log.exception("Nobody could be told what is wrong.")
            raise


def in_words(one: Round) -> str:
    """Return what a round has found and done."""
    n_taken = sum(delivered.n_taken for delivered in one.delivered.values())
    told = f"{n_taken:,} notices delivered" if one.delivered else "nobody is set to be told"
    return f"{len(one.open):,} causes are open; {told}."


def page_of(cause: Cause) -> str:
    """Return the address of a run in Dagster's page; empty where it is not known."""
    page = os.environ.get("TESSERA_DAGSTER_URL", "").rstrip("/")
    return f"{without_secrets(page)}/runs/{cause.run_id}" if page and cause.run_id else ""


def _missed(
    instance: dg.DagsterInstance,
    names: Sequence[str],
    collections: list[Collection],
    settings: NoticeSettings,
    now: float,
) -> Iterator[Cause]:
    if settings.night_hours == 0:
        return
    yield from missed_nights(instance, now, settings.night_hours)
    if schedules_that_are_on(instance):
        yield from left_out(names, [one.name for one in collections], now)
