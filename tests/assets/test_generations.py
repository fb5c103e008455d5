"""What the end of a run makes of its values: current, waiting to be accepted, or only started."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from assets.checks.collection_checks import CollectionCheck, check_of
from assets.generations import (
    STARTED,
    WAITING,
    current_in,
    let_wait,
    make_current,
    read_in,
    started_in,
    waiting_in,
)
from assets.io_managers import FolderIOManager, pointed_at
from assets.resources.collections import PARTITIONS_NAME
from assets.resources.partitions import COLLECTIONS

CHECKS: list[dg.AssetChecksDefinition] = []
NAME = "demo"


@dg.asset(partitions_def=COLLECTIONS)
def raw_images(context: dg.AssetExecutionContext) -> pd.DataFrame:
    return pd.DataFrame({"bad": [context.run.tags.get("bad", "")]})


@dg.asset(partitions_def=COLLECTIONS)
def mosaic(context: dg.AssetExecutionContext, raw_images: pd.DataFrame) -> pd.DataFrame:
    if context.run.tags.get("bad") == "step":
        raise OSError("the disk is full")
    return raw_images.assign(run=context.run.run_id)


@check_of(CHECKS, "raw_images")
def images_are_good(raw_images: pd.DataFrame) -> dg.AssetCheckResult:
    """Fails where the run was told to."""
    bad = str(raw_images.bad[0])
    severity = dg.AssetCheckSeverity.WARN if bad == "warn" else dg.AssetCheckSeverity.ERROR
    if bad == "crash":
        raise KeyError("row")
    return dg.AssetCheckResult(passed=not bad or bad == "step", severity=severity)


@check_of(CHECKS, "mosaic", "raw_images", blocking=True)
def mosaic_is_of_the_images(raw_images: pd.DataFrame, mosaic: pd.DataFrame) -> dg.AssetCheckResult:
    """Compares two values."""
    return dg.AssetCheckResult(passed=raw_images.bad[0] == mosaic.bad[0])


Run = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def files(tmp_path: Path) -> FolderIOManager:
    return FolderIOManager(base_folder=str(tmp_path))


@pytest.fixture
def run(files: FolderIOManager) -> Run:
    """Returns a function that makes both values, or the selected ones."""
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions(PARTITIONS_NAME, [NAME])

    def materialise(selection: list[dg.AssetsDefinition] | None = None, **tags: str):
        return dg.materialize(
            [raw_images, mosaic, *CHECKS],
            selection=selection,
            instance=instance,
            resources={"io_manager": files},
            # Dagster takes none for checks alone, but for the tag that it makes of it.
            tags={"dagster/partition": NAME, **tags},
            raise_on_error=False,
        )

    return materialise


def _bad(files: FolderIOManager, asset: str = "mosaic") -> str:
    return str(files.read(pd.DataFrame, asset, NAME).bad[0])


def _folder(files: FolderIOManager, asset: str) -> Path:
    return Path(files.base_folder, asset, NAME)


def test_a_failed_check_fails_the_run_and_the_last_good_values_stay(run, files):
    good = run()
    assert good.success
    assert not run(bad="yes").success
    for asset in ("raw_images", "mosaic"):
        assert _bad(files, asset) == ""
        waiting = waiting_in(_folder(files, asset))
        assert waiting is not None
        assert waiting.checks == ("raw_images/images_are_good",)
        assert started_in(_folder(files, asset)) is None
    assert files.read_run("mosaic", NAME) == good.run_id
    # The cause is gone.
    assert run().success
    assert waiting_in(_folder(files, "mosaic")) is None
    assert pointed_at(_folder(files, "mosaic")) == {current_in(_folder(files, "mosaic"))}


def test_a_first_value_is_shown_but_not_current(run, files):
    assert not run(bad="yes").success
    assert _bad(files) == "yes"
    assert not files.is_current("mosaic", NAME)


def test_a_warning_fails_nothing(run, files):
    assert run(bad="warn").success
    assert files.is_current("mosaic", NAME)


def test_a_check_that_breaks_is_a_failed_check(run):
    result = run(bad="crash")
    assert not result.success
    (found,) = (one for one in result.get_asset_check_evaluations() if not one.passed)
    assert found.description == "could not be evaluated: KeyError: 'row'"
    assert found.metadata["collection"].value == NAME


def test_a_run_that_breaks_off_changes_nothing_that_is_current_and_offers_nothing(run, files):
    run()
    assert not run(bad="step").success
    folder = _folder(files, "raw_images")
    assert _bad(files, "raw_images") == ""
    assert waiting_in(folder) is None
    assert pointed_at(folder) == {current_in(folder), started_in(folder)}


def test_a_run_that_goes_on_from_a_failed_one_uses_its_values_and_makes_them_current(run, files):
    run()
    failed = run(bad="step")
    family = {"dagster/parent_run_id": failed.run_id, "dagster/root_run_id": failed.run_id}
    # Dagster keeps the family in the run, too, where it makes the run itself.
    again = _go_on(run, files, failed.run_id, family)
    assert again.success
    assert _bad(files, "raw_images") == "step"
    assert _bad(files, "mosaic") == "step"
    assert not (_folder(files, "raw_images") / STARTED).exists()


def _go_on(run: Run, files: FolderIOManager, parent: str, tags: dict[str, str]):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("assets.io_managers.ancestors_of", lambda one: {parent})
        patch.setattr("assets.generations.ancestors_of", lambda one: {parent})
        return run([mosaic], **tags)


def test_pointers_that_are_damaged_or_name_nothing_are_none(tmp_path):
    generation = "a" * 32
    (tmp_path / generation).mkdir()
    let_wait(tmp_path, generation, ["mosaic/tiles"])
    assert read_in(tmp_path) == generation
    (tmp_path / WAITING).write_text("{")
    assert waiting_in(tmp_path) is None
    let_wait(tmp_path, "b" * 32, ["mosaic/tiles"])
    assert waiting_in(tmp_path) is None
    make_current(tmp_path, generation)
    assert not (tmp_path / WAITING).exists()
    (tmp_path / "current").write_text("../elsewhere")
    assert current_in(tmp_path) is None
    # Until a reader has mended it, any may be the current one.
    assert pointed_at(tmp_path) == {generation}


def test_a_fault_against_a_newer_input_is_a_warning(run, files):
    """Another run has catalogued the photos anew: the map is old, not wrong."""
    run()
    run([raw_images, *CHECKS[:1]], bad="warn")
    check = CollectionCheck(mosaic_is_of_the_images, "mosaic", ("raw_images",), is_partitioned=True)
    found = check.evaluate(files, NAME, {})
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "raw_images changed after mosaic was made" in str(found.description)
