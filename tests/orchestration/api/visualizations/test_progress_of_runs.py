from types import SimpleNamespace

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.resources.progress import StepProgress
from orchestration.api.visualizations.progress_of_runs import (
    STARTING_SECONDS,
    RunWatch,
    expected_seconds,
    expected_total,
)
from orchestration.jobs import PHOTO_MAP

N = 1_000
SECONDS = expected_seconds(N)
TOTAL = expected_total(N)
RUN_START = dg.DagsterEventType.RUN_START
STEP_START = dg.DagsterEventType.STEP_START
STEP_SUCCESS = dg.DagsterEventType.STEP_SUCCESS


def entry(moment: float, kind: dg.DagsterEventType | None = None, step: str | None = None):
    """An entry of a run's log; one without a kind is a line that somebody has written."""
    event = SimpleNamespace(
        event_type=kind,
        step_key=step,
        is_step_start=kind is STEP_START,
        is_step_success=kind is STEP_SUCCESS,
    )
    return SimpleNamespace(timestamp=moment, dagster_event=event if kind else None)


def line(moment: float, step: str, done: int, total: int, unit: str, left: int):
    """An entry that tells of the progress of a step."""
    told = StepProgress(step, done, total, unit, left).event(dg.AssetKey(step), "birds")
    made = entry(moment, dg.DagsterEventType.ASSET_OBSERVATION, step)
    made.dagster_event.asset_observation_data = SimpleNamespace(asset_observation=told)
    return made


@pytest.fixture
def watch() -> RunWatch:
    return RunWatch(N)


def test_a_run_that_waits_has_everything_before_it(watch):
    progress = watch.at(100.0)
    assert (progress.percent, progress.seconds_left) == (0, pytest.approx(TOTAL))


def test_a_run_that_begins_has_its_start_behind_it(watch):
    watch.follow([entry(100.0, RUN_START)])
    progress = watch.at(100.0)
    assert progress.share == pytest.approx(STARTING_SECONDS / TOTAL)
    assert progress.seconds_left == pytest.approx(TOTAL - STARTING_SECONDS)


def test_steps_count_by_the_seconds_that_they_take(watch):
    watch.follow(
        [
            entry(0.0, RUN_START),
            entry(0.0, STEP_START, "raw_images"),
            entry(9.0, STEP_SUCCESS, "raw_images"),
            entry(9.0, STEP_START, "raw_images_few_files_are_rejected"),
            entry(9.0, STEP_SUCCESS, "raw_images_few_files_are_rejected"),
        ]
    )
    behind = STARTING_SECONDS + SECONDS["raw_images"]
    progress = watch.at(10.0)
    assert progress.share == pytest.approx(behind / TOTAL)
    assert progress.seconds_left == pytest.approx(TOTAL - behind)


def test_a_step_without_lines_goes_on_with_time(watch):
    watch.follow([entry(0.0, RUN_START), entry(0.0, STEP_START, "embeddings")])
    half = SECONDS["embeddings"] / 2
    progress = watch.at(half)
    assert progress.share == pytest.approx((STARTING_SECONDS + half) / TOTAL)
    assert progress.seconds_left == pytest.approx(TOTAL - STARTING_SECONDS - half)


def test_a_step_with_lines_goes_on_with_them_from_where_time_had_brought_it(watch):
    seconds = SECONDS["embeddings"]
    watch.follow([entry(0.0, RUN_START), entry(0.0, STEP_START, "embeddings")])
    watch.follow([line(seconds / 2, "embeddings", 500, 1_000, "photos", 40)])
    # Half was over before the first line, and half of the other half it tells of.
    progress = watch.at(seconds / 2)
    assert progress.share == pytest.approx((STARTING_SECONDS + 0.75 * seconds) / TOTAL)
    others = TOTAL - STARTING_SECONDS - seconds
    # The line says 40 s and is half done, so it counts for one half, what was expected for the
    # other.
    assert progress.seconds_left == pytest.approx(others + 0.5 * 40 + 0.5 * seconds / 2)


def test_the_second_part_of_a_step_goes_on_where_the_first_ended(watch):
    watch.follow([entry(0.0, RUN_START), entry(0.0, STEP_START, "grid_assignment")])
    shares = []
    for moment, unit in ((0.0, "photos assigned"), (1.0, "passes")):
        watch.follow([line(moment, "grid_assignment", 1, 2, unit, 1)])
        shares.append(watch.at(moment).share * TOTAL - STARTING_SECONDS)
    assert shares == [
        pytest.approx(0.25 * SECONDS["grid_assignment"]),
        pytest.approx(0.75 * SECONDS["grid_assignment"]),
    ]


def test_a_late_line_of_another_step_and_other_text_change_nothing(watch):
    watch.follow([entry(0.0, RUN_START), entry(0.0, STEP_START, "tsne_2d")])
    before = watch.at(1.0)
    watch.follow([line(1.0, "embeddings", 9, 10, "photos", 1), entry(1.0)])
    assert watch.at(1.0) == before


MOMENTS = st.floats(0, 1_000)
LINES = st.lists(st.tuples(st.integers(0, 100), MOMENTS), max_size=5)


@given(st.lists(st.tuples(MOMENTS, LINES), min_size=len(PHOTO_MAP), max_size=len(PHOTO_MAP)))
def test_the_share_rises_stays_below_one_and_the_time_left_above_zero(steps):
    watch, now, seen = RunWatch(N), 0.0, []

    def look() -> None:
        progress = watch.at(now)
        seen.append(progress.percent)
        assert 0 <= progress.share < 1
        assert progress.seconds_left > 0

    watch.follow([entry(now, RUN_START)])
    for name, (seconds, lines) in zip(PHOTO_MAP, steps, strict=True):
        watch.follow([entry(now, STEP_START, name)])
        for done, passed in lines:
            look()
            now += passed
            watch.follow([line(now, name, done, 100, "photos", done)])
        now += seconds
        look()
        watch.follow([entry(now, STEP_SUCCESS, name)])
        look()
    assert seen == sorted(seen)
    assert max(seen) == 99
