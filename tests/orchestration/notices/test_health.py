from typing import cast

import dagster as dg
import pytest

from assets.resources.collections import PARTITIONS_NAME
from orchestration.notices.health import health, health_of_collections, state_now
from orchestration.notices.settings import NoticeSettings
from orchestration.run_queue import SCHEDULE_TAG
from orchestration.source_looks import SourceLooks

BROKEN = ValueError("/secret/photo.jpg")


@pytest.fixture
def rows(home, instance):
    def found(looks: bool = True):
        settings = NoticeSettings(look_minutes=60 if looks else 0)
        state = state_now(instance, home, settings, SourceLooks(5, 5))
        return {row.collection: row for row in health_of_collections(instance, home, state)}

    return found


def test_a_row_says_what_became_of_a_collection_last_night(night, rows):
    night.map("birds", tags={SCHEDULE_TAG: "nightly"}, check=dg.AssetCheckSeverity.WARN)
    night.map("cats", tags={SCHEDULE_TAG: "nightly"})
    night.map("cats", tags={SCHEDULE_TAG: "nightly"}, mosaic=BROKEN)
    found = rows()
    birds, cats = found["birds"], found["cats"]
    assert (birds.state, birds.photos, birds.rejected) == ("fine", 3, 1)
    assert birds.night_map.startswith("succeeded 20")
    assert birds.night_scores == ""
    assert birds.checks == "1 warned"
    assert birds.minutes is not None
    assert birds.source == "as mapped"
    assert birds.wrong == ""
    assert cats.state == "wrong"
    assert cats.night_map.startswith("failed 20")
    assert cats.checks == "1 passed"
    assert cats.wrong == "failed run photo_map"


def test_a_row_of_what_was_never_mapped_or_cannot_be_read_is_there_too(home, instance, night, rows):
    instance.add_dynamic_partitions(PARTITIONS_NAME, ["unknown"])
    found = rows(looks=False)
    assert (found["birds"].photos, found["birds"].night_map) == (None, "")
    assert found["birds"].source == "not looked at"
    assert found["unknown"].source == "not known"


def test_the_asset_shows_the_rows_and_the_causes_as_tables(instance, night):
    night.map("birds", tags={SCHEDULE_TAG: "nightly"})
    night.map("cats", embeddings=BROKEN)
    result = dg.materialize([health], instance=instance)
    (event,) = result.get_asset_materialization_events()
    metadata = event.materialization.metadata
    counts = {name: metadata[name].value for name in ("collections", "healthy", "open_causes")}
    assert counts == {"collections": 2, "healthy": 1, "open_causes": 1}
    rows, causes = (
        cast(dg.TableMetadataValue, metadata[name]) for name in ("last_night", "causes")
    )
    records = [record.data for record in rows.records]
    assert [(one["collection"], one["state"]) for one in records] == [
        ("birds", "fine"),
        ("cats", "wrong"),
    ]
    columns = {column.name: column.type for column in rows.schema.columns}
    assert set(records[0]) == set(columns)
    assert (columns["photos"], columns["minutes"], columns["source"]) == ("int", "float", "string")
    (cause,) = causes.records
    assert cause.data["kind"] == "failed run"
    assert "secret" not in str(metadata)


def test_a_setting_that_cannot_be_understood_fails_the_asset(instance, night, monkeypatch):
    monkeypatch.setenv("TESSERA_NOTICE_STALE_HOURS", "two")
    result = dg.materialize([health], instance=instance, raise_on_error=False)
    assert not result.success
