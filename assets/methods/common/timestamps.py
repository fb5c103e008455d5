"""Timestamps as text: RFC 3339, UTC, microseconds."""

import os
from datetime import UTC, datetime

from assets.methods.common.errors import UserError

# Takes the clock's place, so that a call can be repeated to the byte (reproducible-builds.org).
DATE_VARIABLE = "SOURCE_DATE_EPOCH"


def timestamp(moment: datetime) -> str:
    """Return a moment with a time zone as text."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def to_the_second(moment: datetime) -> str:
    """Return a moment with a time zone as text, such as 2026-11-28T10:00:00Z."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def now() -> str:
    """Return the present moment as text."""
    return timestamp(datetime.now(UTC))


def now_to_the_second() -> str:
    """Return the present moment as text, such as 2026-11-28T10:00:00Z.

    The environment variable SOURCE_DATE_EPOCH, in seconds since 1970, takes the clock's place.
    Raises UserError when it is no number of seconds.
    """
    given = os.environ.get(DATE_VARIABLE)
    try:
        moment = datetime.now(UTC) if given is None else datetime.fromtimestamp(int(given), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UserError(
            f"The environment variable {DATE_VARIABLE} is {given!r}: it has to be a number of "
            "seconds since 1970."
        ) from error
    return to_the_second(moment)
