import threading
import time
from concurrent.futures import CancelledError, wait

import numpy as np
import pytest
import torch
from PIL import Image

from orchestration.api.contract import ApiError
from orchestration.api.inference.batching import Batcher, BatchModel


def picture(level):
    return lambda: Image.new("L", (2, 2), level)


def levels(images):
    return np.array([[image.getpixel((0, 0))] for image in images])


class Gate:
    """A model that answers once it is opened."""

    def __init__(self):
        self.entered, self.opened = threading.Semaphore(0), threading.Event()
        self.sizes = []

    def __call__(self, images):
        self.sizes.append(len(images))
        self.entered.release()
        assert self.opened.wait(30)
        return levels(images)


@pytest.fixture
def started():
    """Returns a function that makes a batcher that runs, to be closed at the end."""
    batchers = []

    def start(threads=1, on_batch=lambda name, size: None, **settings):
        batchers.append(Batcher(threads, on_batch, **settings))
        batchers[-1].start()
        return batchers[-1]

    yield start
    for batcher in batchers:
        batcher.close()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("size", [1, 4])
def test_each_picture_gets_its_own_row(started, threads, size):
    batcher, model = started(threads), BatchModel("m", size, levels)
    answers = [batcher.submit(model, picture(level)) for level in range(50)]
    assert [answer.result(30)[0] for answer in answers] == list(range(50))


def test_pictures_of_different_requests_share_a_batch(started):
    told = []
    batcher = started(on_batch=lambda *batch: told.append(batch), gather_seconds=10)
    model = BatchModel("m", 4, levels)
    answers = []
    submit = lambda level: answers.append(batcher.submit(model, picture(level)))  # noqa: E731
    requests = [threading.Thread(target=submit, args=[level]) for level in range(8)]
    for request in requests:
        request.start()
    for request in requests:
        request.join()
    wait(answers, 30)
    assert told == [("m", 4), ("m", 4)]


def test_a_batch_that_is_not_full_does_not_wait_long(started):
    begun = time.monotonic()
    answer = started(gather_seconds=0.01).submit(BatchModel("m", 64, levels), picture(7))
    assert answer.result(30)[0] == 7
    assert time.monotonic() - begun < 5


def test_models_do_not_mix_and_the_oldest_picture_is_next(started):
    order = []

    def noting(name):
        return BatchModel(
            name, 2, lambda images: order.append((name, len(images))) or levels(images)
        )

    batcher, gate, first, second = started(), Gate(), noting("first"), noting("second")
    answers = [batcher.submit(BatchModel("gate", 1, gate), picture(0))]
    gate.entered.acquire(timeout=30)
    for model in (first, second, first, first):
        answers.append(batcher.submit(model, picture(1)))
    gate.opened.set()
    wait(answers, 30)
    assert order == [("first", 2), ("second", 1), ("first", 1)]


def test_a_picture_that_cannot_be_opened_fails_alone(started):
    def broken():
        raise ValueError("damaged")

    batcher, model = started(gather_seconds=1), BatchModel("m", 3, levels)
    answers = [batcher.submit(model, load) for load in (picture(1), broken, picture(3))]
    assert isinstance(answers[1].exception(30), ValueError)
    assert [answers[0].result(30)[0], answers[2].result(30)[0]] == [1, 3]


@pytest.mark.parametrize("answer", [lambda images: 1 / 0, lambda images: np.zeros((9, 1))])
def test_a_model_that_fails_fails_its_batch_and_no_other(started, answer):
    batcher = started(gather_seconds=1)
    bad, good = BatchModel("bad", 2, answer), BatchModel("good", 1, levels)
    failed = [batcher.submit(bad, picture(1)) for _ in range(2)]
    assert batcher.submit(good, picture(5)).result(30)[0] == 5
    assert all(isinstance(one.exception(30), (ZeroDivisionError, ValueError)) for one in failed)


def test_more_than_may_wait_are_refused(started):
    batcher, gate = started(max_waiting=3), Gate()
    model = BatchModel("m", 1, gate)
    answers = [batcher.submit(model, picture(0))]
    gate.entered.acquire(timeout=30)
    answers += [batcher.submit(model, picture(level)) for level in range(3)]
    with pytest.raises(ApiError, match="waiting for a model"):
        batcher.submit(model, picture(9))
    gate.opened.set()
    wait(answers, 30)
    assert batcher.submit(model, picture(9)).result(30)[0] == 9


def test_what_is_cancelled_is_not_opened(started):
    batcher, gate, opened = started(), Gate(), []
    model = BatchModel("m", 1, gate)
    batcher.submit(model, picture(0))
    gate.entered.acquire(timeout=30)
    answer = batcher.submit(model, lambda: opened.append(1))
    assert answer.cancel()
    gate.opened.set()
    assert batcher.submit(model, picture(2)).result(30)[0] == 2
    assert opened == []


def test_what_comes_before_the_start_is_answered_after_it():
    batcher = Batcher(1, lambda name, size: None)
    answer = batcher.submit(BatchModel("m", 1, levels), picture(3))
    batcher.start()
    assert answer.result(30)[0] == 3
    batcher.close()


def test_closing_ends_what_runs_and_cancels_what_waits():
    threads, batcher, gate = threading.active_count(), Batcher(1, lambda name, size: None), Gate()
    batcher.start()
    model = BatchModel("m", 1, gate)
    runs, waits = batcher.submit(model, picture(1)), None
    gate.entered.acquire(timeout=30)
    waits = batcher.submit(model, picture(2))
    gate.opened.set()
    batcher.close()
    assert runs.result(0)[0] == 1
    # It waits still, or was taken in the moment before.
    if not waits.cancelled():
        assert waits.result(0)[0] == 2
    else:
        with pytest.raises(CancelledError):
            waits.result(0)
    assert threading.active_count() == threads
    with pytest.raises(ApiError, match="waiting for a model"):
        batcher.submit(model, picture(3))


def test_operations_are_not_split_over_threads(started):
    found = []
    model = BatchModel(
        "m", 1, lambda images: found.append(torch.get_num_threads()) or levels(images)
    )
    started(2).submit(model, picture(0)).result(30)
    assert found == [1]


def test_frames_wait_as_one_and_are_answered_in_batches(started):
    told = []
    batcher = started(on_batch=lambda *batch: told.append(batch), gather_seconds=1)
    model = BatchModel("m", 3, levels)
    frames = [picture(level)() for level in range(5)]
    answers = [batcher.submit_frames(model, lambda: frames), batcher.submit(model, picture(9))]
    answers.append(batcher.submit_frames(model, lambda: frames[:1]))
    assert answers[0].result(30).tolist() == [[0], [1], [2], [3], [4]]
    assert answers[1].result(30).tolist() == [9]
    assert answers[2].result(30).tolist() == [[0]]
    # Seven images in batches of three.
    assert [size for _, size in told] == [3, 3, 1]
