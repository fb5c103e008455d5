import json
import logging

import pytest
import torch

from assets.methods.common.devices import ComputePlan
from assets.methods.models import batch_size
from assets.methods.models.batch_size import (
    SIZES,
    known_batch_size,
    measured_rates,
    smallest_near_best,
    with_batch_size,
)
from support.devices import CARD, needs_card

RATES = {32: 900.0, 64: 1000.0}


class Clock:
    """A clock that moves on by what a batch of each size takes, in seconds."""

    def __init__(self, seconds, largest=512, error=MemoryError):
        self.now, self.sizes = 0.0, []
        self._seconds, self._largest, self._error = seconds, largest, error

    def __call__(self):
        return self.now

    def run(self, size):
        if size > self._largest:
            raise self._error
        self.sizes.append(size)
        self.now += self._seconds(size)


class Means(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, batch):
        return (batch * self.weight).mean(dim=(2, 3))


def never():
    raise AssertionError("measured again")


def test_rates_are_images_a_second():
    clock = Clock(lambda size: 0.01 + size / 1000)
    rates = measured_rates(clock.run, clock)
    assert rates == pytest.approx(
        {size: size / (0.01 + size / 1000) for size in SIZES[: len(rates)]}
    )


def test_sizes_that_memory_has_no_room_for_are_left_out():
    for error in (MemoryError, RuntimeError("CUDA out of memory")):
        clock = Clock(lambda size: size / 10_000, largest=128, error=error)
        assert list(measured_rates(clock.run, clock)) == [32, 64, 128]


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    clock = Clock(lambda size: size / 10_000, largest=0, error=RuntimeError("shapes"))
    with pytest.raises(RuntimeError, match="shapes"):
        measured_rates(clock.run, clock)


def test_a_slow_network_is_not_measured_for_long():
    clock = Clock(lambda size: size / 16)
    assert list(measured_rates(clock.run, clock)) == [32]


def test_the_smallest_size_near_the_best_is_chosen():
    assert smallest_near_best({32: 500, 64: 940, 128: 951, 256: 1000, 512: 990}) == 128
    assert smallest_near_best({32: 10}) == 32


def test_a_size_is_measured_once(tmp_path):
    file = tmp_path / "home" / "sizes.json"
    assert known_batch_size(file, "a", lambda: RATES) == 64
    assert known_batch_size(file, "a", never) == 64
    assert known_batch_size(file, "b", lambda: {32: 1.0}) == 32
    assert known_batch_size(file, "a", never) == 64
    assert json.loads(file.read_text())["a"]["images_per_second"] == {"32": 900, "64": 1000}


def test_without_room_for_any_size_nothing_is_kept(tmp_path):
    file = tmp_path / "sizes.json"
    assert known_batch_size(file, "a", dict) == SIZES[0]
    assert known_batch_size(file, "a", lambda: RATES) == 64


@pytest.mark.parametrize("damage", ["", "[1]", '{"a": 64}', '{"a": {"batch_size": 0}}', "\x00"])
def test_a_damaged_file_is_put_aside_and_the_size_measured_anew(tmp_path, caplog, damage):
    file = tmp_path / "sizes.json"
    file.write_text(damage)
    with caplog.at_level(logging.WARNING):
        assert known_batch_size(file, "a", lambda: RATES) == 64
    assert "holds no batch sizes" in caplog.text
    assert file.with_suffix(".corrupt").read_text() == damage
    assert known_batch_size(file, "a", never) == 64


def test_each_network_and_precision_has_its_own_size(tmp_path, monkeypatch):
    measured = []

    def rates_of(module, plan, side):
        measured.append((side, plan.precision))
        return RATES

    monkeypatch.setattr(batch_size, "_rates_of", rates_of)
    file = tmp_path / "sizes.json"

    def chosen(side, precision="float32"):
        plan = ComputePlan("cpu", 1, precision, 1, file)
        return with_batch_size(plan, Means(), side)

    for _ in range(2):
        assert chosen(8) == ComputePlan("cpu", 64, "float32", 1)
        assert chosen(16).batch_size == chosen(8, "bfloat16").batch_size == 64
    assert measured == [(8, "float32"), (16, "float32"), (8, "bfloat16")]


def test_a_plan_that_has_chosen_is_kept():
    plan = ComputePlan("cpu", 7, "float32", 1)
    assert with_batch_size(plan, Means(), 8) is plan


class TestOnACard:
    pytestmark = needs_card

    def test_the_measured_size_is_kept_and_used_again(self, tmp_path, monkeypatch):
        plan = ComputePlan(CARD, 1, "float32", 1, tmp_path / "sizes.json")
        first = with_batch_size(plan, Means(), 16)
        assert first.batch_size in SIZES
        monkeypatch.setattr(batch_size, "_rates_of", never)
        assert with_batch_size(plan, Means(), 16) == first
