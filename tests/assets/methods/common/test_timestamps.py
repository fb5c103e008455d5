from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from assets.methods.common.timestamps import timestamp


def test_a_time_is_written_in_utc_with_microseconds():
    moment = datetime(2026, 11, 25, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(moment) == "2026-11-24T23:02:03.000000Z"


@given(st.datetimes(min_value=datetime(1970, 1, 2)))
def test_a_time_reads_back_as_the_same_moment(moment):
    moment = moment.replace(tzinfo=UTC)
    assert datetime.fromisoformat(timestamp(moment)) == moment
