from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from assets.methods.common.errors import UserError
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.photo_store import PhotoStore
from assets.resources.collections import (
    INPUTS_SOURCE,
    PARTITIONS_NAME,
    Collection,
    CollectionRegistry,
    manifest_of_files,
)
from assets.resources.registry import MODEL
from assets.resources.tracking import Tracking
from bench.kills.state import difference, state_of
from orchestration.cli.remove import command
from orchestration.instance import collection_lock, open_instance, register
from orchestration.run_queue import PARTITION_TAG
from support.nights import NIGHTS, Killed, image_id, killed_at, one_of_each


def _remove(*arguments: str, answer: str | None = None) -> str:
    result = CliRunner().invoke(command, arguments, input=answer, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def _tracked(home: Path, name: str) -> int:
    tracking = Tracking(home=str(home))
    query = f"tags.`dagster.partition` = '{name}'"
    return len(tracking.client.search_runs([tracking.experiment_id], query))


def _all_of(home: Path, name: str) -> list[str]:
    """What is left of a collection: files, its partition, and its runs."""
    left = [path.relative_to(home).as_posix() for path in home.rglob(f"*{name}*")]
    with open_instance() as instance:
        left += [one for one in instance.get_dynamic_partitions(PARTITIONS_NAME) if one == name]
        left += instance.get_run_ids(dg.RunsFilter(tags={PARTITION_TAG: name}))
    return sorted(one for one in left if not one.startswith("locks/"))


def test_a_collection_goes_with_its_values_and_runs_and_leaves_the_others(kept_home):
    cats = _all_of(kept_home, "cats")
    for folder in ("trainings", "projections", "pages", "maps"):
        (kept_home / folder / "birds").mkdir(parents=True)
    told = _remove("birds", "--yes")
    assert "collection\t1" in told
    assert "birds is removed" in told
    # Its caches stay: another collection may have the same photos tomorrow.
    assert [one.split("/")[0] for one in _all_of(kept_home, "birds")] == (
        ["points"] * NIGHTS + ["windows"] * NIGHTS
    )
    assert _all_of(kept_home, "cats") == cats
    assert _tracked(kept_home, "birds") == 2 * NIGHTS
    assert image_id("birds", 0) in PhotoStore(kept_home / "photos").image_ids()
    with pytest.raises(UserError, match="There is no collection 'birds'"):
        CliRunner().invoke(command, ["birds", "--yes"], catch_exceptions=False)


def test_purge_removes_the_caches_that_no_other_collection_uses(kept_home):
    _remove("birds", "--purge", "--mlflow", "--yes")
    assert _all_of(kept_home, "birds") == []
    assert _tracked(kept_home, "birds") == 0
    assert _tracked(kept_home, "cats") == 2 * NIGHTS
    # The newest photo of the birds is one of the cats, too.
    kept = {image_id("cats", number) for number in range(NIGHTS + 2)}
    kept.add(image_id("birds", NIGHTS + 1))
    assert PhotoStore(kept_home / "photos").image_ids() == kept
    every = [image_id(name, number) for name in ("birds", "cats") for number in range(9)]
    assert set(VectorStore(kept_home / "vectors").find("fingerprint", every)) == kept


def test_a_run_that_a_model_came_from_stays(kept_home):
    tracking = Tracking(home=str(kept_home))
    (run, *_) = tracking.client.search_runs(
        [tracking.experiment_id], "tags.`dagster.asset` = 'raw_images'"
    )
    name = run.data.tags["dagster.partition"]
    tracking.client.create_registered_model(MODEL)
    tracking.client.create_model_version(MODEL, f"runs:/{run.info.run_id}/x", run.info.run_id)
    _remove(name, "--mlflow", "--yes")
    assert _tracked(kept_home, name) == 2


def test_it_asks_first(kept_home):
    before = _all_of(kept_home, "birds")
    refused = CliRunner().invoke(command, ["birds"], input="n\n")
    assert "Remove birds with all of this" in refused.output
    assert str(refused.exception) == "Nothing was removed."
    assert _all_of(kept_home, "birds") == before
    assert "birds is removed" in _remove("birds", answer="y\n")


def test_what_is_at_work_or_was_posted_is_not_removed(kept_home):
    with collection_lock("birds"):
        result = CliRunner().invoke(command, ["birds", "--yes"])
    assert "Another tessera is at work on birds" in str(result.exception)
    with open_instance() as instance:
        register(instance, Collection("shop", INPUTS_SOURCE))
    result = CliRunner().invoke(command, ["shop", "--yes"])
    assert "posted to the HTTP service" in str(result.exception)
    assert CollectionRegistry(kept_home).find("shop")


def test_a_list_of_photos_goes_unless_another_collection_has_it(kept_home):
    manifest = manifest_of_files(["/a.jpg", "/b.jpg"])
    with open_instance() as instance:
        for name in ("one", "other"):
            register(instance, Collection(name, str(manifest)))
    _remove("one", "--yes")
    assert manifest.exists()
    _remove("other", "--yes")
    assert not manifest.exists()


@pytest.mark.parametrize("options", [(), ("--purge", "--mlflow")])
def test_a_removal_that_is_killed_is_finished_by_the_next(copied_home, monkeypatch, options):
    arguments = ("birds", *options, "--yes")
    whole = copied_home()
    with killed_at(-1, monkeypatch) as steps:
        _remove(*arguments)
    expected = state_of(whole)
    # At the end the entry goes, and between its copy and itself is a step.
    for step in {*one_of_each(steps), len(steps) - 1}:
        home = copied_home()
        with pytest.raises(Killed), killed_at(step, monkeypatch):
            _remove(*arguments)
        _remove(*arguments)
        assert difference(state_of(home), expected) is None, steps[step]
