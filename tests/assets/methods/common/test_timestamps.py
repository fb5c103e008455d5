from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.methods.common.errors import UserError
from assets.methods.common.timestamps import DATE_VARIABLE, now_to_the_second, timestamp


def test_a_time_is_written_in_utc_with_microseconds():
    moment = datetime(2026, 11, 25, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(moment) == "2026-11-24T23:02:03.000000Z"


@given(st.datetimes(min_value=datetime(1970, 1, 2)))
def test_a_time_reads_back_as_the_same_moment(moment):
    moment = moment.replace(tzinfo=UTC)
    assert datetime.fromisoformat(timestamp(moment)) == moment


def test_the_present_can_be_fixed_so_that_a_call_gives_the_same_bytes(monkeypatch):
    monkeypatch.delenv(DATE_VARIABLE, raising=False)
    age = datetime.now(UTC) - datetime.fromisoformat(now_to_the_second())
    assert timedelta(0) <= age < timedelta(minutes=1)
    monkeypatch.setenv(DATE_VARIABLE, "1764324000")
    assert now_to_the_second() == "2025-11-28T10:00:00Z"
    monkeypatch.setenv(DATE_VARIABLE, "today")
    with pytest.raises(UserError, match="SOURCE_DATE_EPOCH is 'today': it has to be a number"):
        now_to_the_second()
