"""One thing that is wrong, in words that hold nothing private.

Messages of runs and checks may name files, and addresses of sources may hold keys. So a cause is
named by its collection, job, step, check or schedule alone; the rest is in Dagster's page.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from assets.methods.common.timestamps import to_the_second


class Kind(StrEnum):
    """What causes are there."""

    FAILED_RUN = "failed_run"
    FAILED_CHECK = "failed_check"
    MISSED_NIGHT = "missed_night"
    STALE_COLLECTION = "stale_collection"
    UNREACHABLE_SOURCE = "unreachable_source"
    # Of no cause: somebody tries whether a receiver gets notices.
    TEST = "test"


@dataclass(frozen=True)
class Cause:
    """One thing that is wrong.

    ``subject`` is the job, the check or the schedule; empty for a source. ``since`` is in seconds
    since 1970. ``collection`` is None for what belongs to none. ``run_id`` is the run that failed.
    """

    kind: Kind
    collection: str | None
    subject: str
    since: float
    what: str
    run_id: str | None = None

    @property
    def key(self) -> str:
        """What makes it the same cause at another time: a run that fails again is no second one."""
        return f"{self.kind}:{self.collection or ''}:{self.subject}"

    @property
    def kind_in_words(self) -> str:
        """Its kind as people read it."""
        return self.kind.replace("_", " ")

    @property
    def title(self) -> str:
        """Its kind, with what it is about, in a few words."""
        about = " ".join(one for one in (self.collection or "", self.subject) if one)
        return f"{self.kind_in_words}: {about}"

    @classmethod
    def restored(cls, stored: dict[str, Any]) -> "Cause":
        """Return the cause that ``dataclasses.asdict`` was given."""
        return cls(**{**stored, "kind": Kind(stored["kind"])})


def in_words(moment: float) -> str:
    """Return a moment, in seconds since 1970, for people: 2026-11-28 03:00 UTC."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"


def for_programs(moment: float) -> str:
    """Return a moment, in seconds since 1970, as RFC 3339 has it: 2026-11-28T03:00:00Z."""
    return to_the_second(datetime.fromtimestamp(moment, UTC))
