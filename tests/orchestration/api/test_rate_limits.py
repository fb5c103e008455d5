import time

import pytest

from orchestration.api.contract import ApiError, Code
from orchestration.api.rate_limits import RateLimits


@pytest.fixture
def clock(monkeypatch):
    """Time as `limits` sees it, set by hand."""
    moment = [1000.0]
    monkeypatch.setattr(time, "time", lambda: moment[0])
    return moment


def _refused(rates, who, rate):
    with pytest.raises(ApiError) as refused:
        rates.count(who, rate)
    return refused.value


def test_what_is_over_the_rate_is_refused_and_told_when_to_come_back(clock):
    rates = RateLimits()
    for _ in range(3):
        rates.count("a", 3)
    error = _refused(rates, "a", 3)
    assert (error.code, error.http_status) == (Code.THROTTLED, 429)
    assert error.headers == {"Retry-After": "1"}


def test_the_window_moves_with_the_clock(clock):
    rates = RateLimits()
    for moment in (1000.0, 1000.6, 1000.9):
        clock[0] = moment
        rates.count("a", 3)
    clock[0] = 1001.05
    rates.count("a", 3)
    _refused(rates, "a", 3)
    clock[0] = 1001.65
    rates.count("a", 3)


def test_keys_do_not_use_up_each_others_rate(clock):
    rates = RateLimits()
    rates.count("a", 1)
    rates.count("b", 1)
    _refused(rates, "a", 1)


def test_one_in_four_seconds_is_a_rate(clock):
    rates = RateLimits()
    rates.count("a", 0.25)
    clock[0] = 1001.5
    assert _refused(rates, "a", 0.25).headers == {"Retry-After": "3"}
    clock[0] = 1004.1
    rates.count("a", 0.25)
