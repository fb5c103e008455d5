"""Timestamps as text: RFC 3339, UTC, microseconds."""

from datetime import UTC, datetime


def timestamp(moment: datetime) -> str:
    """Return a moment with a time zone as text."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def now() -> str:
    """Return the present moment as text."""
    return timestamp(datetime.now(UTC))
