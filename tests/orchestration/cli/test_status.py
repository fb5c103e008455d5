import json

import pytest

from assets.methods.common.errors import UserError
from assets.resources.collections import Collection
from orchestration.cli.main import cli
from orchestration.instance import register
from support.jobs import nothing
from support.notice_receivers import WebReceiver, free_port


@pytest.fixture
def status(home, instance, capsys):
    """Returns a function that calls the command, and returns its exit code and what it says."""

    def call(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["status", *arguments], standalone_mode=False)
        return int(ended.value.code or 0), capsys.readouterr().out

    return call


@pytest.fixture
def web(monkeypatch):
    with WebReceiver(free_port()).up() as receiver:
        monkeypatch.setenv("TESSERA_NOTICE_WEBHOOK", receiver.address)
        yield receiver


def test_a_home_in_which_all_is_well_exits_with_0_without_a_daemon(instance, status, photo_folder):
    assert status() == (
        0,
        "There are no collections.\nAll is well.\nNobody is told: no receiver is set.\nSwitched "
        "on: no schedule of the night. Dagster's daemon was never seen.\n",
    )
    register(instance, Collection("birds", str(photo_folder(1))))
    code, text = status()
    assert code == 0
    heading, row, _, verdict, *_ = text.splitlines()
    assert heading.split() == ["collection", "state", "source"]
    assert row.split() == ["birds", "fine", "as", "mapped"]
    assert verdict == "All is well."


def test_what_is_wrong_is_named_exits_with_1_and_is_the_same_as_json(
    instance, status, photo_folder
):
    register(instance, Collection("birds", str(photo_folder(1))))
    run = instance.create_run_for_job(nothing, tags={"dagster/partition": "birds"})
    instance.report_run_failed(run)
    code, text = status()
    what = (
        "The run of materialisation from Dagster's page for the collection birds failed outside of "
        "its steps."
    )
    assert code == 1
    heading, row = text.splitlines()[3:5]
    assert heading.split() == ["wrong", "collection", "since", "what"]
    assert row.startswith("failed run  birds       20")
    assert row.endswith(f"Z  {what}")
    assert "1 thing is wrong." in text
    code, text = status("--json")
    found = json.loads(text)
    assert code == 1
    assert [one["what"] for one in found["causes"]] == [what]
    assert found["causes"][0]["run_id"] == run.run_id
    assert [one["state"] for one in found["collections"]] == ["wrong"]
    assert found["daemon"] == {"runs": False, "seen_at": None}


def test_deliver_tells_receivers_without_a_daemon(instance, status, web, photo_folder):
    register(instance, Collection("birds", str(photo_folder(1))))
    run = instance.create_run_for_job(nothing, tags={"dagster/partition": "birds"})
    instance.report_run_failed(run)
    assert "webhook: 1 notice waits.\n" in status()[1]
    assert web.events == []
    for _ in range(2):
        code, text = status("--deliver")
        assert code == 1
        assert "webhook: has been told of everything." in text
    assert web.events == [("opened", "failed_run", "birds")]


def test_a_receiver_that_fails_is_named_and_exits_with_1(instance, status, web, photo_folder):
    register(instance, Collection("birds", str(photo_folder(1))))
    run = instance.create_run_for_job(nothing, tags={"dagster/partition": "birds"})
    instance.report_run_failed(run)
    web.status = 503
    status("--deliver")
    code, text = status()
    assert code == 1
    assert "webhook: 1 notice waits: it answered with the status 503; tried again at 20" in text
    # What makes it fail may be over before the receiver is there.
    receivers = json.loads(status("--json")[1])["receivers"]
    assert [(one["name"], one["waiting"], one["attempts_failed"]) for one in receivers] == [
        ("webhook", 1, 1)
    ]


def test_a_test_notice_goes_to_each_receiver_and_says_what_became_of_it(status, web, monkeypatch):
    monkeypatch.setenv("TESSERA_NOTICE_SLACK", f"http://127.0.0.1:{free_port()}/secret")
    code, text = status("--test-notice")
    assert code == 1
    assert text == (
        "webhook: delivered\nslack: not delivered, it cannot be reached (Connection refused)\n"
    )
    (post,) = web.taken
    assert (post.body["event"], post.body["kind"], post.body["title"]) == (
        "test",
        "test",
        "test notice",
    )
    monkeypatch.delenv("TESSERA_NOTICE_SLACK")
    assert status("--test-notice")[0] == 0


@pytest.mark.parametrize("flag", ["--test-notice", "--deliver"])
def test_nobody_to_tell_is_a_mistake(status, flag):
    with pytest.raises(UserError, match="TESSERA_NOTICE_WEBHOOK"):
        cli.main(["status", flag], standalone_mode=False)


def test_hours_of_a_collection_are_kept_by_add_and_by_later_calls(home, photo_folder, capsys):
    from assets.resources.collections import CollectionRegistry, collection_for

    folder = str(photo_folder(1))
    cli.main(["add", "birds", folder, "--stale-hours", "6"], standalone_mode=False)
    assert CollectionRegistry(home).get("birds").stale_hours == 6
    cli.main(["add", "birds", folder], standalone_mode=False)
    assert CollectionRegistry(home).get("birds").stale_hours == 6
    assert collection_for("birds", folder).stale_hours == 6
