"""Whole rounds: from a night of three collections to what receivers have got."""

import json
import threading
from dataclasses import replace

import dagster as dg
import pytest
from filelock import Timeout

from assets.resources.collections import Collection
from orchestration.instance import register
from orchestration.notices.delivery import LONGEST_PAUSE_SECONDS
from orchestration.notices.round import Round, Rounds, go_round, page_of
from orchestration.notices.settings import MailServer, NoticeSettings
from orchestration.notices.state import StateFile
from orchestration.source_looks import SourceLooks
from support.notice_receivers import MailReceiver, WebReceiver, free_port

BROKEN = ValueError("/secret/photo.jpg")
ERROR = dg.AssetCheckSeverity.ERROR


class Daemon:
    """Goes round; nothing of one round is left in memory for the next, as after a restart."""

    def __init__(self, home, instance):
        self.home, self.instance = home, instance
        self.web, self.mail = WebReceiver(free_port()), MailReceiver(free_port())
        server = MailServer("127.0.0.1", self.mail.port, "none", "t@example.org")
        self.settings = NoticeSettings(
            webhooks=(self.web.address,),
            mail_to=("oncall@example.org",),
            mail_server=server,
            timeout_seconds=5,
        )
        self.now = 1_800_000_000.0

    def __call__(self, hours: float = LONGEST_PAUSE_SECONDS / 3600 + 0.01) -> Round:
        """Go round so many hours after the last time."""
        self.now += hours * 3600
        return go_round(
            self.instance,
            self.home,
            self.settings,
            SourceLooks(5, 5),
            clock=lambda: self.now,
        )


@pytest.fixture
def daemon(home, instance):
    return Daemon(home, instance)


def test_every_cause_is_told_once_and_that_it_is_over_once_through_receivers_that_were_down(
    home, night, daemon, photo_folder
):
    # The good, the bad and the ugly.
    register(night.instance, Collection("dogs", str(photo_folder(1, "dogs"))))
    night.map("birds", embeddings=BROKEN)
    night.map("cats", check=ERROR)
    night.map("dogs")
    for _ in range(2):
        one = daemon()
        assert sorted(one.open) == ["failed_check:cats:vectors_are_sound", *_run_of("birds")]
        assert all("Connection refused" in each.why for each in one.delivered.values())
    # One of them is over before anybody could be told that it had begun.
    night.map("birds")
    daemon()
    with daemon.web.up(), daemon.mail.up():
        for _ in range(3):
            daemon()
        assert daemon.web.events == [
            ("opened", "failed_run", "birds"),
            ("opened", "failed_check", "cats"),
            ("over", "failed_run", "birds"),
        ]
        night.map("cats")
        # A file of the source comes, and nobody maps it for two days.
        (photo_folder(1, "more") / "photo_000.png").rename(home.parent / "dogs" / "new.png")
        daemon()
        daemon(49)
        night.map("dogs")
        daemon()
        # And the folder of another goes.
        (home.parent / "cats").rename(home.parent / "gone")
        daemon()
        daemon(7)
        (home.parent / "gone").rename(home.parent / "cats")
        for _ in range(3):
            one = daemon()
    assert one.open == {}
    assert daemon.web.events[3:] == [
        ("over", "failed_check", "cats"),
        ("opened", "stale_collection", "dogs"),
        ("over", "stale_collection", "dogs"),
        ("opened", "unreachable_source", "cats"),
        ("over", "unreachable_source", "cats"),
    ]
    assert len(set(daemon.web.ids)) == 8
    mails = [(mail["Message-ID"], mail["In-Reply-To"]) for mail in daemon.mail.mails]
    assert [one.partition("@")[0] for one, _ in mails] == [f"<{one}" for one in daemon.web.ids]
    # Nothing private went out.
    sent = json.dumps([post.body for post in daemon.web.taken])
    sent += "".join(map(str, daemon.mail.mails))
    assert "secret" not in sent
    assert ".png" not in sent
    assert str(home.parent) not in sent


def _run_of(name: str) -> list[str]:
    return [f"failed_run:{name}:photo_map"]


def test_a_receiver_that_is_down_holds_up_no_other(night, daemon):
    night.map("birds", embeddings=BROKEN)
    with daemon.mail.up():
        delivered = daemon().delivered
    assert [(name, one.n_taken) for name, one in delivered.items()] == [("webhook", 0), ("mail", 1)]


def test_who_knows_no_receivers_leaves_theirs_alone(night, daemon):
    settings = daemon.settings
    night.map("birds", embeddings=BROKEN)
    daemon()
    daemon.settings = NoticeSettings()
    night.map("birds")
    daemon()
    daemon.settings = settings
    with daemon.web.up():
        daemon()
    assert [event for event, *_ in daemon.web.events] == ["opened", "over"]


def test_a_cause_begins_when_it_was_first_seen(night, daemon):
    night.map("birds", embeddings=BROKEN)
    (first,) = daemon().open.values()
    night.map("birds", embeddings=BROKEN)
    (again,) = daemon().open.values()
    assert again.since == first.since
    assert again.run_id != first.run_id


def test_a_collection_whose_file_is_damaged_is_left_out_only_where_there_are_nights(
    home, night, daemon, monkeypatch
):
    (home / "collections-backup" / "birds.json").unlink()
    (home / "collections" / "birds.json").write_text("{")
    assert daemon().open == {}
    on = "orchestration.notices.round.schedules_that_are_on"
    monkeypatch.setattr(on, lambda instance: ["nightly"])
    assert list(daemon().open) == ["missed_night:birds:"]
    daemon.settings = replace(daemon.settings, night_hours=0)
    assert daemon().open == {}


def test_the_text_has_the_page_of_the_run_if_it_is_known(night, daemon, monkeypatch):
    run = night.map("birds", embeddings=BROKEN)
    (cause,) = daemon().open.values()
    monkeypatch.delenv("TESSERA_DAGSTER_URL", raising=False)
    assert page_of(cause) == ""
    monkeypatch.setenv("TESSERA_DAGSTER_URL", "https://me:secret@dagster.example.org/")
    assert page_of(cause) == f"https://hidden@dagster.example.org/runs/{run.run_id}"


def test_two_processes_do_not_go_round_at_once(home, daemon):
    with StateFile(home).lock(0), pytest.raises(Timeout):
        daemon()


def test_an_evaluation_does_not_wait_for_a_round_that_takes_long(caplog):
    goes_on, n_begun = threading.Event(), []

    def one_round():
        n_begun.append(1)
        assert goes_on.wait(30)
        return Round({}, {})

    rounds = Rounds(one_round)
    assert rounds.go(0.01) == "A round is at work."
    assert rounds.go(0.01) == "A round is still at work."
    goes_on.set()
    assert rounds.go(30) in (
        "0 causes are open; nobody is set to be told.",
        "A round is still at work.",
    )
    assert len(n_begun) <= 2

    def fail():
        raise RuntimeError("no disk")

    with pytest.raises(RuntimeError, match="no disk"):
        Rounds(fail).go(30)
    assert "Nobody could be told what is wrong." in caplog.text
