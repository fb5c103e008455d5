"""Queues of receivers, through receivers that are down, fail, hang and come back."""

from itertools import pairwise

import pytest

from orchestration.notices import delivery
from orchestration.notices.cause import Cause, Kind
from orchestration.notices.delivery import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    deliver,
    pause_after,
    put_into,
)
from orchestration.notices.receivers import Webhook
from orchestration.notices.state import NoticeState, Queue, StateFile
from support.notice_receivers import WebReceiver, free_port


class Operator:
    """Goes round as the sensor does: each time from the file of the state, as a new process."""

    def __init__(self, home, port):
        self.home = home
        self.web = WebReceiver(port)
        self.now = 1_700_000_000.0

    def tell(self, *causes: Cause) -> delivery.Delivered:
        """Tell that these are open, and no others."""
        file = StateFile(self.home)
        state = file.read()
        queue = state.queues.setdefault("webhook", Queue())
        put_into(queue, {one.key: one for one in causes}, self.now, lambda cause: "")
        file.write(state)
        webhook = Webhook("webhook", self.web.address)
        return deliver(webhook, queue, 0.3, lambda: self.now, lambda: file.write(state))

    def wait(self) -> None:
        """Let so much time pass that the receiver is tried again."""
        self.now += LONGEST_PAUSE_SECONDS + 1


@pytest.fixture
def operator(tmp_path):
    return Operator(tmp_path, free_port())


def cause(name: str) -> Cause:
    return Cause(Kind.FAILED_RUN, name, "photo_map", 1_700_000_000.0, f"{name} failed.", "1")


BIRDS, CATS = cause("birds"), cause("cats")
OPENED, OVER = ("opened", "failed_run", "birds"), ("over", "failed_run", "birds")


def test_each_cause_is_told_once_when_it_begins_and_once_when_it_is_over(operator):
    with operator.web.up():
        for causes in ([], [BIRDS], [BIRDS], [BIRDS, CATS], [CATS], [CATS], []):
            operator.tell(*causes)
    assert operator.web.events == [
        OPENED,
        ("opened", "failed_run", "cats"),
        OVER,
        ("over", "failed_run", "cats"),
    ]
    assert len(set(operator.web.ids)) == 4


def test_what_began_and_ended_while_the_receiver_was_down_is_told_in_order(operator):
    assert operator.tell(BIRDS).why
    operator.wait()
    assert operator.tell(BIRDS, CATS).why
    operator.wait()
    assert operator.tell(CATS).why
    operator.wait()
    with operator.web.up():
        assert operator.tell(CATS).n_taken == 3
        assert operator.tell(CATS).n_taken == 0
    assert operator.web.events == [OPENED, ("opened", "failed_run", "cats"), OVER]


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
def test_a_receiver_that_fails_is_tried_again_until_it_takes_everything(operator, status):
    with operator.web.up() as web:
        web.status = status
        for _ in range(3):
            assert operator.tell(BIRDS).why == f"it answered with the status {status}"
            operator.wait()
        assert len(web.refused) == 3
        assert len({post.body["id"] for post in web.refused}) == 1
        web.status = 200
        operator.tell(BIRDS)
        operator.tell()
    assert web.events == [OPENED, OVER]


def test_a_receiver_that_hangs_is_tried_again(operator):
    with operator.web.up() as web:
        web.hangs.set()
        assert "did not answer" in operator.tell(BIRDS).why
        operator.wait()
        web.hangs.clear()
        operator.tell(BIRDS)
        operator.tell(BIRDS)
    assert web.events == [OPENED]
    # Should it have taken what it did not answer to, it can tell by the id.
    assert web.refused[0].headers["Idempotency-Key"] == web.taken[0].headers["Idempotency-Key"]


def test_pauses_grow_and_a_receiver_is_left_alone_in_them(operator):
    pauses = [pause_after(n) for n in range(1, 2000)]
    assert pauses[0] == FIRST_PAUSE_SECONDS
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    assert all(b == min(2 * a, LONGEST_PAUSE_SECONDS) for a, b in pairwise(pauses))
    with operator.web.up() as web:
        web.status = 500
        operator.tell(BIRDS)
        operator.now += FIRST_PAUSE_SECONDS - 1
        assert operator.tell(BIRDS).why
        assert len(web.refused) == 1
        operator.now += 1
        operator.tell(BIRDS)
        operator.now += 2 * FIRST_PAUSE_SECONDS - 1
        operator.tell(BIRDS)
        assert len(web.refused) == 2
        # One success makes up for all failures.
        web.status = 200
        operator.now += 1
        operator.tell(BIRDS)
        web.status = 500
        operator.tell(CATS)
        operator.now += FIRST_PAUSE_SECONDS
        operator.tell(CATS)
    assert len(web.refused) == 4


def test_a_process_that_dies_between_two_notices_loses_none_and_repeats_none(operator):
    class Killed(BaseException):
        pass

    file = StateFile(operator.home)
    state = NoticeState(queues={"webhook": Queue()})
    put_into(state.queues["webhook"], {one.key: one for one in (BIRDS, CATS)}, 0.0, lambda one: "")
    file.write(state)

    def save_and_die():
        file.write(state)
        raise Killed

    with operator.web.up():
        webhook = Webhook("webhook", operator.web.address)
        with pytest.raises(Killed):
            deliver(webhook, state.queues["webhook"], 5, lambda: 0.0, save_and_die)
        operator.tell(BIRDS, CATS)
    assert operator.web.events == [OPENED, ("opened", "failed_run", "cats")]


def test_a_receiver_gets_no_more_than_its_share_of_a_round(operator, monkeypatch):
    monkeypatch.setattr(delivery, "MOST_AT_ONCE", 2)
    causes = [cause(name) for name in "abc"]
    with operator.web.up():
        assert operator.tell(*causes).n_taken == 2
        assert operator.tell(*causes).n_taken == 1


def test_a_new_receiver_is_told_of_what_is_open(operator):
    with operator.web.up():
        operator.tell(BIRDS)
        file = StateFile(operator.home)
        state = file.read()
        state.queues["webhook-2"] = Queue()
        put_into(state.queues["webhook-2"], {BIRDS.key: BIRDS}, 0.0, lambda one: "")
    assert [one.event for one in state.queues["webhook-2"].waiting] == ["opened"]
    assert state.queues["webhook"].waiting == []
