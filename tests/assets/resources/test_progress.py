import pytest

from assets.resources import progress
from assets.resources.progress import LogProgress


class _Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets: one reading at the start, then one a report."""
    readings = iter([0.0, 1.0, 6.0, 7.0, 12.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(readings))


def test_a_line_every_few_seconds_with_the_time_that_is_left(clock):
    log = _Log()
    listen = LogProgress().listener(log, "embeddings", "photos")
    for done in (100, 1_000, 1_200, 2_000):
        listen(done, 4_000)
    # 1,000 in 6 s leave 3,000 for 18 s; 2,000 in 12 s leave as many for as long.
    assert log.lines == [
        "embeddings: 1,000 of 4,000 photos, about 18 s left",
        "embeddings: 2,000 of 4,000 photos, about 12 s left",
    ]
