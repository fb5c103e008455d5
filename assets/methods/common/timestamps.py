"""Moments in writing: RFC 3339, UTC, microseconds."""

from datetime import UTC, datetime


def timestamp(moment: datetime) -> str:
    """Return a moment, which has a time zone, in writing."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def now() -> str:
    """Return the present moment in writing."""
    return timestamp(datetime.now(UTC))
