from types import SimpleNamespace

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.resources import progress
from assets.resources.progress import FOLLOWED_TAG, LogProgress, StepProgress
from assets.steps import Step

COUNTS = st.integers(0, 10**9)


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


def test_a_reporter_may_write_more_often(clock):
    log = _Log()
    listen = LogProgress(seconds_between_lines=1).listener(log, "embeddings", "photos")
    for done in (100, 1_000, 1_200, 2_000):
        listen(done, 4_000)
    assert len(log.lines) == 4


@given(COUNTS, COUNTS, st.sampled_from(["photos", "photos assigned", "tiles"]), COUNTS)
def test_an_event_is_read_back_as_it_was_written(done, total, unit, seconds):
    told = StepProgress("tsne_2d", done, total, unit, seconds)
    assert StepProgress.of(told.event(dg.AssetKey("tsne_2d"), "birds")) == told


def test_any_other_observation_is_none():
    assert StepProgress.of(dg.AssetObservation("tsne_2d", metadata={"done": 1})) is None


@pytest.mark.process
@pytest.mark.parametrize("tags", [{}, {FOLLOWED_TAG: "yes"}], ids=["alone", "followed"])
def test_only_a_run_that_somebody_follows_tells_its_progress_in_events(
    home, instance, monkeypatch, tags
):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_EVENTS", 0.0)

    @dg.asset
    def counted(context: dg.AssetExecutionContext) -> None:
        run = SimpleNamespace(send_if_late=lambda: None)
        listen = Step(context, run, LogProgress()).progress("photos")
        for done in range(4):
            listen(done, 4)

    run = dg.materialize([counted], instance=instance, tags=tags)
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
    events = [entry.dagster_event.asset_observation_data.asset_observation for entry in entries]
    told = [StepProgress.of(event) for event in events]
    expected = [StepProgress("counted", done, 4, "photos", 0) for done in (1, 2, 3)]
    assert told == (expected if tags else [])
