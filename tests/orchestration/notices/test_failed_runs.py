import pytest
from dagster import AssetCheckSeverity

from assets.methods.common.errors import UserError
from assets.resources.collections import PARTITIONS_NAME
from orchestration.notices import failed_runs as module
from orchestration.notices.failed_runs import failed_runs
from orchestration.run_queue import APP_TAG, MAX_RETRIES_TAG, SCHEDULE_TAG, WILL_RETRY_TAG
from support.jobs import nothing

BROKEN = ValueError("/secret/folder/photo.jpg cannot be read with the key s3cret")


@pytest.fixture
def causes(instance):
    def found(*known):
        names = instance.get_dynamic_partitions(PARTITIONS_NAME)
        return list(failed_runs(instance, names, known))

    return found


def test_a_run_that_fails_is_a_cause_until_one_succeeds(night, causes):
    assert causes() == []
    run = night.map("birds", tags={SCHEDULE_TAG: "nightly"}, embeddings=BROKEN)
    (cause,) = causes()
    assert cause.key == "failed_run:birds:photo_map"
    assert cause.run_id == run.run_id
    assert cause.what == (
        "The run of photo_map by the schedule nightly for the collection birds failed at "
        "embeddings."
    )
    night.map("cats")
    night.map("birds", mosaic=BROKEN)
    (again,) = causes()
    assert again.key == cause.key
    night.map("birds")
    assert causes() == []


def test_a_run_of_all_its_assets_makes_it_good_in_whatever_parts(night, causes, monkeypatch):
    monkeypatch.setattr(module, "_PAGE", 1)
    # All assets of the small night are in this job; the real one has more, which no run made.
    night.map("birds", job="photo_map", only=["raw_images", "embeddings"], embeddings=BROKEN)
    assert len(causes()) == 1
    night.map("birds", job="scores", only=["raw_images"])
    assert len(causes()) == 1
    night.map("birds", job="scores", only=["embeddings"])
    assert causes() == []


def test_another_job_of_the_collection_makes_it_good_only_with_its_assets(night, causes):
    night.map("birds", embeddings=BROKEN)
    night.map("birds", job="scores")
    assert [one.subject for one in causes()] == ["photo_map"]


def test_a_run_that_dagster_retries_is_no_cause_yet(instance, night, causes, monkeypatch):
    run = night.map("birds", tags={MAX_RETRIES_TAG: "1"}, embeddings=BROKEN)
    # It says so a moment later.
    assert causes() == []
    instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: "true"})
    monkeypatch.setattr(module, "_SECONDS_TO_SAY_SO", 0)
    assert causes() == []
    instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: "false"})
    assert len(causes()) == 1


def test_a_collection_that_is_gone_has_no_causes(instance, night, causes):
    night.map("birds", embeddings=BROKEN)
    instance.delete_dynamic_partition(PARTITIONS_NAME, "birds")
    assert causes() == []


def test_a_run_that_was_cancelled_is_neither_a_cause_nor_makes_one_good(instance, night, causes):
    night.map("birds", embeddings=BROKEN)
    run = instance.create_run_for_job(nothing, tags={"dagster/partition": "birds"})
    instance.report_run_canceled(run)
    assert len(causes()) == 1


def test_a_run_whose_process_is_gone_has_no_failed_step(instance, night, causes):
    run = instance.create_run_for_job(nothing, tags={"dagster/partition": "cats"})
    instance.report_run_failed(run)
    (cause,) = causes()
    assert cause.what.endswith("for the collection cats failed outside of its steps.")


def test_a_run_that_failed_by_its_check_alone_is_the_cause_of_the_check(night, causes):
    run = night.map("birds", check=AssetCheckSeverity.ERROR)
    assert not run.success
    assert causes() == []
    # One that also failed at an asset is a cause of its own.
    night.map("birds", check=AssetCheckSeverity.ERROR, mosaic=BROKEN)
    (cause,) = causes()
    assert cause.what.endswith("failed at mosaic.")


def test_photos_of_an_app_that_cannot_be_mapped_are_no_fault_of_the_service(night, causes):
    night.map("birds", tags={APP_TAG: "birds"}, raw_images=UserError("no photo can be read"))
    assert causes() == []
    night.map("cats", tags={APP_TAG: "cats"}, raw_images=BROKEN)
    assert [one.collection for one in causes()] == ["cats"]


def test_one_that_is_older_than_the_look_back_stays_open_if_it_is_known(night, causes, monkeypatch):
    night.map("birds", embeddings=BROKEN)
    (cause,) = causes()
    monkeypatch.setattr(module, "_DAYS_TO_LOOK_BACK", 0)
    assert causes() == []
    assert causes(cause) == [cause]
    night.map("birds")
    assert causes(cause) == []


def test_a_run_of_no_collection_is_a_cause_too(instance, causes):
    run = instance.create_run_for_job(nothing)
    instance.report_run_failed(run)
    (cause,) = causes()
    assert cause.collection is None
    assert cause.what == (
        "The run of materialisation from Dagster's page failed outside of its steps."
    )


def test_nothing_private_is_in_the_text(night, causes):
    night.map("birds", embeddings=BROKEN)
    assert "secret" not in str(causes())
    assert "s3cret" not in str(causes())
