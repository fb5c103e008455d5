"""The written states of the visualizations of a home: one row each, in one file of SQLite.

Any number of threads may use one store. A state changes once, from pending to what it ended as, and
from there to deleted: whoever comes second changes nothing.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from assets.methods.common.timestamps import now
from assets.resources.database import Database

State = Literal["pending", "ready", "failed", "cancelled", "deleted"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS visualizations (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    app TEXT NOT NULL,
    digest TEXT NOT NULL,
    n_photos INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    run_config TEXT NOT NULL,
    turn INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    folder TEXT,
    run_id TEXT NOT NULL,
    is_submitted INTEGER NOT NULL DEFAULT 0,
    n_deaths INTEGER NOT NULL DEFAULT 0,
    n_interrupts INTEGER NOT NULL DEFAULT 0,
    is_open INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX IF NOT EXISTS by_request ON visualizations (app, digest);
CREATE INDEX IF NOT EXISTS by_state ON visualizations (state);
CREATE INDEX IF NOT EXISTS by_open ON visualizations (is_open);
"""
# Start-time fair queueing (Goyal, Vin and Cheng 1996): an app's next request comes a turn after its
# last one, but never before those that are waiting now, so that no app can save up turns.
_ADD = """
INSERT INTO visualizations (id, app, digest, n_photos, created_at, run_config, run_id, state, turn)
VALUES (:id, :app, :digest, :n_photos, :created_at, :run_config, :id, 'pending', max(
    coalesce(
        (SELECT min(turn) FROM visualizations WHERE state = 'pending'),
        (SELECT max(turn) + 1 FROM visualizations),
        0
    ),
    coalesce((SELECT max(turn) + 1 FROM visualizations WHERE app = :app), 0)
))
"""


@dataclass(frozen=True)
class MapRequest:
    """What a visualization is to show, ``digest`` standing for all that decides its picture."""

    app: str
    digest: str
    n_photos: int
    run_config: dict[str, Any]


@dataclass(frozen=True)
class StoredVisualization:
    """A visualization as it is written down.

    ``turn`` orders the pending ones fairly over all apps. ``run_id`` is the run that carries it out
    now: at first its own id, and another after the process of a run has ended before its time,
    ``n_deaths`` times because it was killed and ``n_interrupts`` times because it was interrupted.
    ``folder`` holds the mosaic of one that is ready.
    """

    number: int
    id: str
    request: MapRequest
    created_at: datetime
    turn: int
    state: State
    reason: str | None
    folder: Path | None
    run_id: str
    is_submitted: bool
    n_deaths: int
    n_interrupts: int


class VisualizationStore:
    """The store in the file ``place``, which is made if it is missing. Close it after use."""

    def __init__(self, place: Path) -> None:
        self._database = Database(place, _SCHEMA)

    def close(self) -> None:
        """Close the store, after any change that another thread is making."""
        self._database.close()

    # ---- writing ----

    def add(self, identity: str, request: MapRequest) -> None:
        """Write down a new visualization, which is pending."""
        values = {
            "id": identity,
            "app": request.app,
            "digest": request.digest,
            "n_photos": request.n_photos,
            "created_at": now(),
            "run_config": json.dumps(request.run_config),
        }
        self._change(_ADD, values)

    def note_submitted(self, identity: str) -> None:
        """Note that the run of a visualization is in the queue."""
        self._change("UPDATE visualizations SET is_submitted = 1 WHERE id = :id", {"id": identity})

    def go_on(
        self, known: StoredVisualization, run_id: str, is_submitted: bool, died: bool
    ) -> None:
        """Let another run carry a visualization out, as the last one died or was interrupted."""
        counter = "n_deaths" if died else "n_interrupts"
        self._change(
            f"UPDATE visualizations SET run_id = :run_id, is_submitted = :is_submitted, "  # noqa: S608
            f"{counter} = {counter} + 1 WHERE id = :id AND run_id = :former",
            {
                "id": known.id,
                "former": known.run_id,
                "run_id": run_id,
                "is_submitted": is_submitted,
            },
        )

    def end(
        self, identity: str, state: State, reason: str | None = None, folder: Path | None = None
    ) -> None:
        """Write down how a pending visualization has ended, unless that is written already."""
        self._change(
            "UPDATE visualizations SET state = :state, reason = :reason, folder = :folder "
            "WHERE id = :id AND state = 'pending'",
            {
                "id": identity,
                "state": state,
                "reason": reason,
                "folder": None if folder is None else str(folder),
            },
        )

    def delete(self, identity: str) -> None:
        """Write down that nobody wants a visualization that has ended."""
        self._change(
            "UPDATE visualizations SET state = 'deleted' WHERE id = :id AND state != 'pending'",
            {"id": identity},
        )

    def close_one(self, identity: str) -> None:
        """Note that nothing is left to do for a visualization that has ended."""
        self._change("UPDATE visualizations SET is_open = 0 WHERE id = :id", {"id": identity})

    # ---- reading ----

    def find(self, identity: str) -> StoredVisualization | None:
        """Return a visualization; None if there is none, or it was deleted."""
        return next(self._select("id = ? AND state != 'deleted'", identity), None)

    def find_same(self, app: str, digest: str) -> Iterator[StoredVisualization]:
        """Yield the visualizations of a request that are pending or ready, the newest first."""
        condition = "app = ? AND digest = ? AND state IN ('pending', 'ready')"
        return self._select(condition, app, digest, order="number DESC")

    def ready(self, app: str) -> Iterator[StoredVisualization]:
        """Yield the visualizations of an app that are ready, the newest first."""
        return self._select("app = ? AND state = 'ready'", app, order="number DESC")

    def pending(self) -> list[StoredVisualization]:
        """Return the pending visualizations in their turn."""
        return list(self._select("state = 'pending'", order="turn, number"))

    def ended_but_open(self) -> list[StoredVisualization]:
        """Return the visualizations that have ended, and for which something is left to do."""
        return list(self._select("is_open AND state != 'pending'"))

    def n_pending(self, app: str) -> int:
        """Return the number of an app's pending visualizations."""
        found = self._rows(
            "SELECT count(*) FROM visualizations WHERE app = ? AND state = 'pending'", app
        )
        return int(found[0][0])

    def counts(self) -> dict[str, int]:
        """Return the number of visualizations in each state that there is one in."""
        return dict(
            map(tuple, self._rows("SELECT state, count(*) FROM visualizations GROUP BY state"))
        )

    # ---- SQLite ----

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Return a context with the connection that writes; nobody else writes meanwhile."""
        return self._database.transaction()

    def _change(self, statement: str, values: dict[str, Any]) -> None:
        with self.transaction() as connection:
            connection.execute(statement, values)

    def _select(
        self, condition: str, *values: str, order: str = "number"
    ) -> Iterator[StoredVisualization]:
        select = f"SELECT * FROM visualizations WHERE {condition} ORDER BY {order}"  # noqa: S608
        return map(_stored, self._rows(select, *values))

    def _rows(self, select: str, *values: str) -> list[sqlite3.Row]:
        with self._database.reading() as connection:
            return connection.execute(select, values).fetchall()


def _stored(row: sqlite3.Row) -> StoredVisualization:
    request = MapRequest(row["app"], row["digest"], row["n_photos"], json.loads(row["run_config"]))
    return StoredVisualization(
        row["number"],
        row["id"],
        request,
        datetime.fromisoformat(row["created_at"]),
        row["turn"],
        row["state"],
        row["reason"],
        None if row["folder"] is None else Path(row["folder"]),
        row["run_id"],
        bool(row["is_submitted"]),
        row["n_deaths"],
        row["n_interrupts"],
    )
