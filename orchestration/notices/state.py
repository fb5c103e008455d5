"""What has to outlive the processes: causes that are open, notices that wait, looks at sources.

It is one small JSON file below the home with its checksum, written whole after each change, and
changed only by who holds its lock.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from assets.methods.common.checksums import (
    DamagedFileError,
    read_checked_json,
    write_checked_json,
)
from assets.methods.common.files import set_aside
from orchestration.notices.cause import Cause
from orchestration.notices.notice import Notice

_KEY = "notices"


@dataclass
class SeenSource:
    """What the last looks at a collection's source have found; moments in seconds since 1970.

    ``place`` is a digest of where it was looked, ``digest`` that of the newest listing.
    ``differs_since`` is when the listing was first seen to be another than the one that was mapped,
    ``unreached_since`` the first of the looks in a row that have failed.
    """

    place: str
    looked_at: float
    digest: str | None = None
    differs_since: float | None = None
    unreached_since: float | None = None


@dataclass
class Queue:
    """What one receiver is told.

    ``told`` are the causes, by key, that it has been told of or will be, and not yet that they are
    over. ``waiting`` are the notices that it has not taken, the oldest first.
    """

    told: dict[str, Cause] = field(default_factory=dict)
    waiting: list[Notice] = field(default_factory=list)
    n_failed: int = 0
    next_try: float = 0.0
    why: str = ""


@dataclass
class NoticeState:
    """All of it: open causes by key, sources by collection, queues by the receiver's name."""

    open: dict[str, Cause] = field(default_factory=dict)
    sources: dict[str, SeenSource] = field(default_factory=dict)
    queues: dict[str, Queue] = field(default_factory=dict)


class StateFile:
    """The file of the state below a home."""

    def __init__(self, home: Path) -> None:
        self._path = home / "notices" / "state.json"
        # What stands in it, as this object has last read or written it.
        self._stored: dict[str, Any] | None = None

    def lock(self, timeout: float) -> FileLock:
        """Return the lock of who changes the state; ``timeout`` is in seconds."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self._path.with_suffix(".lock"), timeout)

    def read(self) -> NoticeState:
        """Return the state; an empty one if there is none.

        A damaged one is set aside, and what is wrong is told once more.
        """
        self._stored = None
        try:
            stored, _ = read_checked_json(self._path, _KEY)
            state = _restored(stored)
        except FileNotFoundError:
            return NoticeState()
        except (DamagedFileError, KeyError, TypeError, ValueError, AttributeError) as error:
            fault = error if isinstance(error, DamagedFileError) else "is of another version"
            set_aside(self._path, str(fault))
            return NoticeState()
        self._stored = stored
        return state

    def write(self, state: NoticeState) -> None:
        """Write the state, whole or not at all, unless it is as it was read or written before."""
        stored: dict[str, Any] = {
            "open": {key: asdict(cause) for key, cause in state.open.items()},
            "sources": {name: asdict(seen) for name, seen in state.sources.items()},
            "queues": {name: asdict(queue) for name, queue in state.queues.items()},
        }
        if stored != self._stored:
            write_checked_json(self._path, stored, _KEY)
            self._stored = stored


def _restored(stored: dict[str, Any]) -> NoticeState:
    return NoticeState(
        _causes(stored["open"]),
        {name: SeenSource(**seen) for name, seen in stored["sources"].items()},
        {
            name: Queue(
                **{
                    **queue,
                    "told": _causes(queue["told"]),
                    "waiting": [Notice.restored(one) for one in queue["waiting"]],
                }
            )
            for name, queue in stored["queues"].items()
        },
    )


def _causes(stored: dict[str, Any]) -> dict[str, Cause]:
    return {key: Cause.restored(cause) for key, cause in stored.items()}
