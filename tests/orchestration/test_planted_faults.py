"""Every check finds a fault in a stored value: by the command, in a run, and by the UI's button.

Of each fault a receiver is told once, whoever has found it, and once when it is over.

Three collections are stored, and one of them has all the faults. The check of the model, which all
collections share, has a test of its own. What can be seen in a few checks has a collection with a
few assets: a check costs Dagster five events, which it stores one by one.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import dagster as dg
import numpy as np
import pytest

from assets.generations import UNPARTITIONED, current_in, waiting_in
from assets.io_managers import pointed_at
from support.command_line import run_tessera
from support.faulty_home import CHECKS, FaultyHome, faulty_home, of_collection
from support.stored_values import (
    FAULTS,
    IDS,
    VALUE_TYPES,
    PlantedFault,
    plant,
    with_vector,
)

# Dagster follows the output of a run by a process.
pytestmark = pytest.mark.process
GOOD, BAD = ("anna", "zoe"), "mia"
OF_COLLECTIONS = [fault for fault in FAULTS if fault.asset != "nsfw_model"]
ERRORS = [fault for fault in OF_COLLECTIONS if fault.severity == "error"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, new_home) -> Iterator[FaultyHome]:
    with pytest.MonkeyPatch.context() as patch:
        home = new_home(tmp_path_factory.mktemp("faults") / "home", patch)
        with faulty_home(home, tmp_path_factory.mktemp("champion")) as world:
            for name in GOOD:
                world.add(name, of_collection(world.sound))
            world.add(BAD, of_collection(world.faulty))
            yield world


def _notices(event: str, name: str) -> list[tuple[str, str, str]]:
    """Return the notices of all faults of a collection: one a fault, and none of a warning."""
    return sorted((event, name, fault.check) for fault in ERRORS)


def _is_found(fault: PlantedFault, found: dg.AssetCheckEvaluation) -> bool:
    assert (found.passed, found.severity.value.lower()) == (False, fault.severity), found
    assert fault.told in (found.description or "")
    return True


def _latest(instance: dg.DagsterInstance, name: str) -> dict[str, dg.AssetCheckEvaluation]:
    """Return the last evaluation of each check of a collection, as the UI finds them."""
    of_type = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    runs = reversed(instance.get_runs())
    events = [one.dagster_event for run in runs for one in instance.all_logs(run.run_id, of_type)]
    evaluations = [event.asset_check_evaluation_data for event in events if event]
    return {one.check_name: one for one in evaluations if one.partition == name}


def test_there_is_a_fault_for_each_check():
    names = [check.check_key.name for check in CHECKS]
    assert sorted(fault.check for fault in FAULTS) == sorted(names)


class Checked(NamedTuple):
    """What `tessera check` has written, its exit code, and who was told of what after it."""

    document: dict[str, Any]
    junit: ElementTree.Element
    code: int
    told: list[tuple[str, str | None, str]]


@pytest.fixture(scope="module")
def checked(world, tmp_path_factory) -> Checked:
    """What `tessera check` writes of all three collections, the bad one amid the good ones."""
    folder = tmp_path_factory.mktemp("reports")
    written = {"--json": folder / "checks.json", "--junit": folder / "checks.xml"}
    options = [part for pair in written.items() for part in pair]
    code = run_tessera("check", GOOD[0], BAD, GOOD[1], *options)
    document = json.loads(written["--json"].read_text())
    junit = ElementTree.parse(written["--junit"]).getroot()
    return Checked(document, junit, code, world.told())


@pytest.mark.parametrize("fault", OF_COLLECTIONS, ids=lambda fault: fault.check)
def test_the_command_finds_it_and_names_it(checked, fault):
    document, junit, code, told_of = checked
    assert code == 1
    collections = {one["name"]: one for one in document["collections"]}
    (found,) = (one for one in collections[BAD]["checks"] if one["check"] == fault.check)
    assert (found["asset"], found["passed"], found["severity"]) == (
        fault.asset,
        False,
        fault.severity,
    )
    assert fault.told in found["description"]
    (case,) = junit.findall(f"testsuite[@name='{BAD}']/testcase[@name='{fault.check}']")
    assert case.get("classname") == f"{BAD}.{fault.asset}"
    told = case.find("failure") if fault.severity == "error" else case.find("system-out")
    assert told is not None
    assert fault.told in str(told.text)
    assert told_of.count(("opened", BAD, fault.check)) == (fault.severity == "error")


def test_the_other_two_collections_pass(world, checked):
    document, junit, _, told = checked
    assert told == _notices("opened", BAD)
    for one in document["collections"]:
        assert one["passed"] == (one["name"] in GOOD)
    for name in GOOD:
        suite = junit.find(f"testsuite[@name='{name}']")
        assert suite is not None
        assert (suite.get("tests"), suite.get("failures")) == (str(len(CHECKS)), "0")
    # The last run was one of a good collection.
    found = _latest(world.instance, BAD)
    assert all(_is_found(fault, found[fault.check]) for fault in OF_COLLECTIONS)
    for name in GOOD:
        assert all(one.passed for one in _latest(world.instance, name).values())


def test_warnings_count_if_they_are_asked_for(world, capsys):
    (warned,) = (fault for fault in FAULTS if fault.check == "labels_are_not_swapped")
    name = world.add_sound("warned", warned.asset)
    plant(world.files, warned.asset, name, warned.plant)
    assert run_tessera("check", name) == 0
    assert "warning  labels_are_not_swapped" in capsys.readouterr().out
    assert run_tessera("check", name, "--fail-on", "warn") == 1
    assert world.told() == []


def test_the_button_of_the_checks_tab_finds_each(world, checked):
    button = {check.check_key for check in CHECKS}
    result = world.press_button(button)
    assert world.instance.get_run_by_id(result.run_id).status == dg.DagsterRunStatus.FAILURE
    found = world.evaluated(result)
    assert all(_is_found(fault, found[BAD, fault.check]) for fault in OF_COLLECTIONS)
    for name in GOOD:
        assert all(found[name, fault.check].passed for fault in OF_COLLECTIONS)
    assert not any(event.is_step_skipped for event in result.all_events)
    failed = {event.step_key for event in result.all_events if event.is_step_failure}
    assert failed == {f"{fault.asset}_{fault.check}" for fault in ERRORS}
    # The command has found the same before.
    assert world.told() == []

    world.store(BAD, of_collection(world.sound))
    assert world.press_button(button).success
    assert world.told() == _notices("over", BAD)
    world.store(BAD, of_collection(world.faulty))
    assert not world.press_button(button).success
    assert world.told() == _notices("opened", BAD)


def _pointers(world: FaultyHome, name: str) -> dict[str, str | None]:
    folders = [Path(world.files.base_folder, asset, name) for asset in VALUE_TYPES]
    return {folder.parent.name: current_in(folder) for folder in folders if folder.is_dir()}


def test_a_run_finds_each_fails_and_leaves_the_last_good_values_current(world, capsys):
    name = GOOD[0]
    before = _pointers(world, name)
    result = world.run(name, world.faulty)
    assert not result.success
    found = world.evaluated(result)
    assert all(_is_found(fault, found[name, fault.check]) for fault in OF_COLLECTIONS)
    assert _pointers(world, name) == before
    folder = Path(world.files.base_folder, "embeddings", name)
    waiting = waiting_in(folder)
    assert waiting is not None
    assert set(waiting.checks) == {f"{one.asset}/{one.check}" for one in ERRORS}
    assert pointed_at(folder) == {before["embeddings"], waiting.generation}
    # Of each fault, and not of the run.
    assert world.told() == _notices("opened", name)

    # The bad one is what a check looks at, and what a person may accept.
    assert run_tessera("check", name) == 1
    assert run_tessera("accept", name) == 0
    assert "embeddings" in capsys.readouterr().out
    assert world.told() == _notices("over", name)
    assert current_in(folder) == waiting.generation
    assert pointed_at(folder) == {waiting.generation}
    assert run_tessera("accept", name) == 2
    assert "Nothing of anna waits to be accepted." in capsys.readouterr().err

    # The next good run ends it.
    assert world.run(name, world.sound).success
    assert run_tessera("check", name) == 0
    assert world.told() == []


def test_the_model_that_all_collections_share(world, capsys):
    (fault,) = (one for one in FAULTS if one.asset == "nsfw_model")
    (key,) = (check.check_key for check in CHECKS if check.check_key.name == fault.check)
    name = world.add_sound("scored", "nsfw_scores", "raw_images")
    plant(world.files, fault.asset, UNPARTITIONED, fault.plant)
    assert run_tessera("check", name) == 1
    written = capsys.readouterr()
    assert f"check {fault.check} failed" in written.err
    assert fault.told in written.err
    assert world.told() == [("opened", None, fault.check)]
    button = world.press_button({key})
    world.store_model()
    few = {asset: world.sound[asset] for asset in ("raw_images", "nsfw_model", "nsfw_scores")}
    few[fault.asset] = fault.plant(few[fault.asset])
    for result in (button, world.run(name, few)):
        assert not result.success
        assert _is_found(fault, world.evaluated(result)["None", fault.check])
    assert world.told() == []
    world.store_model()
    assert run_tessera("check", name) == 0
    assert world.told() == [("over", None, fault.check)]


LAID_OUT = ("raw_images", "embeddings", "grid_assignment")


@pytest.mark.parametrize("asset", ["embeddings", "grid_assignment"])
def test_a_corrupt_table_is_named(world, capsys, asset):
    name = world.add_sound(f"corrupt_{asset}", *LAID_OUT)
    folder = Path(world.files.base_folder, asset, name)
    table = folder / str(current_in(folder)) / "table.parquet"
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 255
    table.write_bytes(content)
    assert run_tessera("check", name) == 1
    told = capsys.readouterr().err
    assert f"The value of {asset} for {name} in" in told
    assert "table.parquet does not have the content that was written" in told


def test_vectors_that_are_no_numbers_are_found_and_the_photo_is_named(world, capsys):
    name = world.add_sound("not_finite", *LAID_OUT)
    plant(world.files, "embeddings", name, lambda value: with_vector(value, np.nan))
    assert run_tessera("check", name) == 1
    told = capsys.readouterr().err
    assert f"1 not of unit length (1 not finite; first /photos/{IDS[3]}.png)" in told
    assert "layout_beats_random_placement failed: not all vectors are finite" in told


def test_a_collection_of_which_nothing_is_stored(world, capsys, tmp_path):
    name = world.add_sound("empty")
    assert run_tessera("check", name, "--junit", tmp_path / "checks.xml") == 1
    assert "Nothing is stored of empty, so there is nothing to check" in capsys.readouterr().err
    root = ElementTree.parse(tmp_path / "checks.xml").getroot()
    assert root.get("errors") == "1"
    assert run_tessera("check", "unknown") == 2


def test_no_notice_has_come_twice(world):
    events = defaultdict[tuple[str | None, str], list[str]](list)
    for post in world.receiver.taken:
        events[post.body["collection"], post.body["subject"]].append(post.body["event"])
    for told in events.values():
        assert told == ["opened", "over"] * (len(told) // 2) + ["opened"] * (len(told) % 2)
    ids = world.receiver.ids
    assert len(set(ids)) == len(ids)
