import os

import pytest
from filelock import Timeout

from assets.resources.collections import PARTITIONS_NAME, Collection
from orchestration.instance import (
    POOL,
    collection_lock,
    open_instance,
    prepare_home,
    register,
)


def test_the_home_is_dagsters_home_and_holds_the_projects_settings(home):
    assert os.environ["DAGSTER_HOME"] == str(home)
    assert (home / "dagster.yaml").read_text().startswith("# Dagster's instance.")


def test_settings_that_somebody_put_into_the_home_stay(home):
    (home / "dagster.yaml").unlink()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    prepare_home()
    assert (home / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"


def test_the_link_to_the_settings_follows_the_checkout(home, tmp_path):
    (home / "dagster.yaml").unlink()
    (home / "dagster.yaml").symlink_to(tmp_path / "an-older-checkout")
    prepare_home()
    assert (home / "dagster.yaml").read_text().startswith("# Dagster's instance.")
    assert [path.name for path in home.glob("*dagster.yaml*")] == ["dagster.yaml"]


def test_a_collection_becomes_a_partition(instance):
    register(instance, Collection("photos", "/photos"))
    assert instance.get_dynamic_partitions(PARTITIONS_NAME) == ["photos"]


def test_the_pool_has_its_limit_before_the_first_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TESSERA_HOME", str(tmp_path / "fresh"))
    with open_instance() as instance:
        storage = instance.event_log_storage
        assert storage.get_concurrency_keys() == {POOL}
        assert storage.get_concurrency_info(POOL).slot_count == 1
        storage.set_concurrency_slots(POOL, 3)
    with open_instance() as instance:
        assert instance.event_log_storage.get_concurrency_info(POOL).slot_count == 3


def test_one_at_a_time_has_a_collection(home):
    with collection_lock("photos"), collection_lock("others", timeout=0), pytest.raises(Timeout):
        collection_lock("photos", timeout=0).acquire()
    with collection_lock("photos", timeout=0):
        pass
