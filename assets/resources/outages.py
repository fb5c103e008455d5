"""Which tracking servers are out of reach, so that no run waits for one of them twice."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

# After so many seconds, what belongs to no run that has given up asks the server again.
PAUSE = 60.0
_run: ContextVar[str] = ContextVar("run", default="")


class TrackingError(Exception):
    """MLflow cannot be asked, or refuses. The message says why in one line."""


@dataclass
class _Outage:
    why: str
    since: float
    runs: set[str] = field(default_factory=set)


# By tracking URI. A process of Dagster carries out one run; the service and the sensors go on.
_outages: dict[str, _Outage] = {}


@contextmanager
def one_run(run_id: str) -> Iterator[None]:
    """Within the body, a server that was once out of reach is not asked again, however long."""
    before = _run.get()
    _run.set(run_id)
    try:
        yield
    finally:
        _run.set(before)


def known_outage(uri: str, run_id: str = "") -> str:
    """Return why a server must not be asked now; empty if it may be.

    ``run_id`` is the run on whose behalf it would be asked, by default that of ``one_run``.
    """
    run_id = run_id or _run.get()
    outage = _outages.get(uri)
    if outage is None:
        return ""
    if run_id not in outage.runs and time.monotonic() - outage.since > PAUSE:
        return ""
    _give_up(outage, run_id)
    return outage.why


def note_outage(uri: str, why: str, run_id: str = "") -> None:
    """Remember that a server is out of reach."""
    outage = _outages.setdefault(uri, _Outage(why, 0.0))
    outage.why, outage.since = why, time.monotonic()
    _give_up(outage, run_id or _run.get())


def _give_up(outage: _Outage, run_id: str) -> None:
    if run_id:
        outage.runs.add(run_id)
