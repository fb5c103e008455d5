import logging
from dataclasses import replace
from typing import Any

import pytest
import torch

from assets.methods.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


@pytest.fixture
def checkpoint():
    module = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    weights = module.state_dict()
    history = [{"epoch": 1, "train_loss": 0.1}]
    return Checkpoint(
        weights, optimizer.state_dict(), history, {**weights}, 1, 1, 5, 0.1 + 0.2, 3.0, 2.5
    )


def test_what_was_saved_is_loaded_to_the_last_bit(tmp_path, checkpoint):
    save_checkpoint(tmp_path / "new", "f", checkpoint)
    loaded = load_checkpoint(tmp_path / "new", "f")
    assert loaded is not None
    plain: dict[str, Any] = {"weights": {}, "best_weights": {}, "optimizer": {}}
    assert replace(loaded, **plain) == replace(checkpoint, **plain)
    for name, tensor in checkpoint.weights.items():
        assert torch.equal(loaded.weights[name], tensor)
        assert torch.equal(loaded.best_weights[name], tensor)
    for place, state in checkpoint.optimizer["state"].items():
        for name, tensor in state.items():
            assert torch.equal(loaded.optimizer["state"][place][name], tensor)
    assert loaded.optimizer["param_groups"] == checkpoint.optimizer["param_groups"]


def test_there_is_none_at_first(tmp_path):
    assert load_checkpoint(tmp_path / "missing", "f") is None


def test_the_newest_replaces_the_others(tmp_path, checkpoint):
    save_checkpoint(tmp_path, "f", checkpoint)
    save_checkpoint(tmp_path, "f", replace(checkpoint, step=6))
    assert load_checkpoint(tmp_path, "f").step == 6
    assert len(list(tmp_path.iterdir())) == 1


def test_that_of_another_training_is_not_taken(tmp_path, checkpoint, caplog):
    save_checkpoint(tmp_path, "f", checkpoint)
    with caplog.at_level(logging.INFO):
        assert load_checkpoint(tmp_path, "g") is None
    assert "belongs to another training" in caplog.text
    assert load_checkpoint(tmp_path, "f") is not None


@pytest.mark.parametrize("place", [0, 40, -3000, -1])
def test_a_flipped_bit_is_noticed_and_the_file_set_aside(tmp_path, checkpoint, caplog, place):
    save_checkpoint(tmp_path, "f", checkpoint)
    (file,) = tmp_path.iterdir()
    damaged = bytearray(file.read_bytes())
    damaged[place] ^= 1
    file.write_bytes(damaged)
    assert load_checkpoint(tmp_path, "f") is None
    assert "is damaged" in caplog.text
    assert [left.suffix for left in tmp_path.iterdir()] == [".corrupt"]


@pytest.mark.parametrize("size", [0, 10, 32, 1000])
def test_a_file_cut_short_is_set_aside(tmp_path, checkpoint, size):
    save_checkpoint(tmp_path, "f", checkpoint)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:size])
    assert load_checkpoint(tmp_path, "f") is None
    assert [left.suffix for left in tmp_path.iterdir()] == [".corrupt"]


def test_one_that_cannot_be_written_leaves_the_older(tmp_path, checkpoint):
    save_checkpoint(tmp_path, "f", checkpoint)
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path, "f", replace(checkpoint, history=(one for one in [])))
    assert load_checkpoint(tmp_path, "f").step == 5
    assert len(list(tmp_path.iterdir())) == 1
