import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import count, islice

import pytest

from assets.methods.common.parallel import Room, ordered_map, unordered_map


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as pool:
        yield pool


@pytest.mark.parametrize("n_items", [0, 1, 2, 4, 5, 30])
@pytest.mark.parametrize("at_most", [1, 4])
def test_each_item_comes_once_with_its_result(pool, n_items, at_most):
    found = list(unordered_map(pool, lambda item: item**2, range(n_items), at_most))
    assert sorted(found) == [(item, item**2) for item in range(n_items)]


def test_items_that_are_equal_are_items_of_their_own(pool):
    assert list(unordered_map(pool, len, ["ab", "ab"], 4)) == [("ab", 2), ("ab", 2)]


def test_a_slow_item_does_not_hold_up_the_others(pool):
    others_are_done = threading.Event()

    def work(item):
        assert item != 0 or others_are_done.wait(30)
        return item

    found = []
    for item, _ in unordered_map(pool, work, range(10), 3):
        found.append(item)
        if len(found) == 9:
            others_are_done.set()
    assert sorted(found) == list(range(10))
    assert found[-1] == 0


def test_items_are_taken_only_when_there_is_room_for_them(pool):
    n_taken = 0

    def items():
        nonlocal n_taken
        for number in count():
            n_taken += 1
            yield number

    for n_yielded, _ in enumerate(islice(unordered_map(pool, abs, items(), 4), 50)):
        assert n_taken <= n_yielded + 4


def test_a_failure_comes_after_what_completed_beside_it():
    def items():
        yield from range(5)
        # The only thread is free again: the five are done.
        one_thread.submit(int).result(30)

    found = []

    def collect():
        for item, _ in unordered_map(one_thread, lambda item: 1 // (item - 2), items(), 6):
            found.append(item)

    with ThreadPoolExecutor(1) as one_thread, pytest.raises(ZeroDivisionError):
        collect()
    assert sorted(found) == [0, 1, 3, 4]


@pytest.mark.parametrize("n_items", [0, 1, 4, 5, 30])
@pytest.mark.parametrize("at_most", [1, 4])
def test_results_come_in_the_order_of_the_items(pool, n_items, at_most):
    found = list(ordered_map(pool, lambda item: item**2, range(n_items), at_most))
    assert found == [item**2 for item in range(n_items)]


def test_no_more_items_are_begun_than_the_results_leave_room_for(pool):
    begun = []
    results = ordered_map(pool, begun.append, count(), 4)
    for taken in range(5):
        next(results)
        assert len(begun) <= 4 + taken


def test_an_error_comes_in_the_place_of_its_result(pool):
    results = ordered_map(pool, lambda item: 1 // item, [1, 1, 0, 1], 3)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_room_is_shared_and_given_back():
    room, most, held = Room(10), 0, 0
    counting = threading.Lock()

    def work(n_bytes):
        nonlocal most, held
        with room.for_bytes(n_bytes):
            with counting:
                held += n_bytes
                most = max(most, held)
            time.sleep(0.001)
            with counting:
                held -= n_bytes

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [1, 4, 9, 10, 3] * 10))
    assert 0 < most <= 10


def test_who_wants_more_than_there_is_has_it_alone():
    room = Room(10)

    def work():
        with room.for_bytes(1):
            pass

    with ThreadPoolExecutor(1) as pool:
        with room.for_bytes(1000):
            waiting = pool.submit(work)
            assert not wait([waiting], timeout=0.05).done
        waiting.result(timeout=10)


def test_little_does_not_overtake_much():
    room, order = Room(10), []

    def work(n_bytes):
        with room.for_bytes(n_bytes):
            order.append(n_bytes)

    with ThreadPoolExecutor(2) as pool:
        with room.for_bytes(5):
            much = pool.submit(work, 10)
            assert not wait([much], timeout=0.05).done
            little = pool.submit(work, 1)
            assert not wait([little], timeout=0.05).done
        wait([much, little], timeout=10)
    assert order == [10, 1]
