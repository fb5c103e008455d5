import dagster as dg
import pytest

from assets.checks.collection_checks import COLLECTION
from assets.resources.collections import PARTITIONS_NAME
from orchestration.definitions import definitions
from orchestration.notices import failed_checks as module
from orchestration.notices.failed_checks import check_keys, failed_checks

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


@pytest.fixture
def causes(instance):
    def found():
        return list(failed_checks(instance, instance.get_dynamic_partitions(PARTITIONS_NAME)))

    return found


def test_all_checks_of_the_project_are_looked_at():
    asset_graph = definitions.resolve_asset_graph()
    assert set(check_keys()) == asset_graph.asset_check_keys
    for key, is_of_collections in check_keys().items():
        is_partitioned = asset_graph.get(key.asset_key).partitions_def is not None
        assert is_partitioned == is_of_collections


def test_a_check_that_fails_is_a_cause_of_its_collection_until_it_passes_there(night, causes):
    night.map("cats")
    assert causes() == []
    run = night.map("birds", check=ERROR)
    (cause,) = causes()
    assert cause.key == "failed_check:birds:vectors_are_sound"
    assert cause.run_id == run.run_id
    assert cause.what == (
        "The check vectors_are_sound of embeddings failed for the collection birds."
    )
    # Whatever another collection does.
    night.map("cats")
    assert len(causes()) == 1
    night.map("cats", check=ERROR)
    night.map("birds", check=ERROR)
    assert [one.collection for one in causes()] == ["birds", "cats"]
    night.map("birds")
    assert [one.collection for one in causes()] == ["cats"]


def test_a_failure_that_somebody_accepts_is_over_until_the_next(instance, night, causes):
    def mark(**accepted):
        observation = dg.AssetObservation("embeddings", partition="birds", metadata=accepted)
        instance.report_runless_asset_event(observation)

    mark(accepted=True)
    night.map("birds", check=ERROR)
    mark(accepted=False)
    assert len(causes()) == 1
    mark(accepted=True)
    assert causes() == []
    night.map("birds", check=ERROR)
    assert len(causes()) == 1


def test_a_warning_is_no_cause_and_makes_good_what_had_failed(night, causes):
    night.map("birds", check=WARN)
    assert causes() == []
    night.map("birds", check=ERROR)
    assert len(causes()) == 1
    night.map("birds", check=WARN)
    assert causes() == []


def test_an_evaluation_without_a_run_names_its_collection(instance, night, causes):
    def evaluate(passed, **where):
        evaluation = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey("embeddings"),
            check_name="vectors_are_sound",
            passed=passed,
            **where,
        )
        instance.report_runless_asset_event(evaluation)

    by_metadata = {"metadata": {COLLECTION: "birds"}}
    evaluate(False, **by_metadata)
    assert [one.collection for one in causes()] == ["birds"]
    evaluate(True, **by_metadata)
    assert causes() == []
    evaluate(False, partition="cats")
    assert [one.collection for one in causes()] == ["cats"]
    # Dagster 1.13 stores no second one without a run for the same partition.
    evaluate(True, metadata={COLLECTION: "cats"})
    assert causes() == []


def test_a_success_is_found_behind_those_of_many_others(night, causes, monkeypatch):
    monkeypatch.setattr(module, "_PAGE", 2)
    night.map("birds", check=ERROR)
    night.map("birds")
    for _ in range(3):
        night.map("cats")
    assert causes() == []


def test_a_check_of_the_model_belongs_to_no_collection(instance, night, causes):
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey("nsfw_model"),
            check_name="model_gives_its_known_answers",
            passed=False,
        )
    )
    (cause,) = causes()
    assert cause.collection is None
    assert cause.what == "The check model_gives_its_known_answers of nsfw_model failed."
