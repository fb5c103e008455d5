import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.common.progress import silent
from assets.methods.models.forward import unsplit_pool
from assets.methods.training.loop import (
    Examples,
    Listeners,
    TrainingLoop,
    learning_rate_at,
)
from assets.methods.training.settings import TrainingSettings

PLAN = ComputePlan("cpu", 1, "float32", 2)


def numbers(values, labels, weights=None, seen=None):
    values = torch.tensor(values, dtype=torch.float32)[:, None]

    def prepare(places, epoch):
        if seen is not None:
            seen.append((epoch, sorted(places.tolist())))
        return values[places]

    weights = np.ones(len(labels)) if weights is None else np.array(weights)
    return Examples(prepare, np.array(labels), weights.astype(np.float32))


def line():
    module = torch.nn.Linear(1, 2)
    torch.nn.init.zeros_(module.weight)
    torch.nn.init.zeros_(module.bias)
    return module


def run(train, validation, module=None, progress=silent, **chosen):
    settings = TrainingSettings(**{"epochs": 4, "learning_rate": 0.1, "patience": 0, **chosen})
    epochs = []
    with unsplit_pool(2) as pool:
        loop = TrainingLoop(module or line(), False, train, validation, settings, PLAN, pool)
        ended = loop.run(None, Listeners(lambda _: None, epochs.append, progress), 60)
    return ended, epochs


SIDES = [-1.0, 1.0] * 10
SIDE_LABELS = [0, 1] * 10


def test_the_learning_rate_rises_along_a_line_and_falls_along_a_cosine():
    rates = [learning_rate_at(step, 100, 2.0) for step in range(100)]
    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert rates[5] == 2
    assert rates[52] == pytest.approx(1 + math.cos(math.pi * 47 / 95))
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert 0 < rates[99] < 0.002
    assert learning_rate_at(0, 1, 2.0) == 2


def test_the_figures_before_anything_is_learned_are_worked_out_by_hand():
    # Weights that hardly move: all images have a loss of ln 2, and one margin.
    _, (epoch, *_) = run(
        numbers(SIDES, SIDE_LABELS), numbers(SIDES, SIDE_LABELS), learning_rate=1e-12
    )
    assert epoch.epoch == 1
    assert epoch.train_loss == pytest.approx(math.log(2))
    assert epoch.validation_loss == pytest.approx(math.log(2))


def test_validation_is_weighted_by_class():
    module = line()
    module.weight.data = torch.tensor([[0.0], [1.0]])
    labels, weights = [0, 1, 0, 1, 1], [3, 1, 3, 1, 1]
    values = [-1.0, 2.0, 0.5, 0.0, 1.0]
    _, (epoch, *_) = run(
        numbers(SIDES, SIDE_LABELS), numbers(values, labels, weights), module, learning_rate=1e-12
    )
    positive = 1 / (1 + np.exp(-np.array(values)))
    assert epoch.validation_loss == pytest.approx(log_loss(labels, positive, sample_weight=weights))
    assert epoch.validation_auc == pytest.approx(roc_auc_score(labels, positive))


def test_what_can_be_learned_is():
    ended, epochs = run(
        numbers(SIDES, SIDE_LABELS), numbers(SIDES, SIDE_LABELS), epochs=30, batch_size=4
    )
    assert epochs[-1].validation_loss < 0.05
    assert epochs[-1].validation_auc == 1
    assert ended.best_epoch == 30
    assert ended.has_ended


def test_training_stops_when_validation_no_longer_gains():
    against = numbers(SIDES, [1 - label for label in SIDE_LABELS])
    ended, epochs = run(numbers(SIDES, SIDE_LABELS), against, epochs=20, patience=3)
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 4]
    assert ended.best_epoch == 1
    # The weights are those after the first epoch, not the last.
    (first,) = run(numbers(SIDES, SIDE_LABELS), against, epochs=20, patience=1)[1][:1]
    assert first.validation_loss == epochs[0].validation_loss
    only, _ = run(numbers(SIDES, SIDE_LABELS), against, epochs=20, patience=1)
    assert torch.equal(ended.best_weights["weight"], only.best_weights["weight"])


def test_without_patience_it_goes_on_to_the_end():
    against = numbers(SIDES, [1 - label for label in SIDE_LABELS])
    ended, epochs = run(numbers(SIDES, SIDE_LABELS), against, epochs=6)
    assert (len(epochs), ended.best_epoch) == (6, 1)


def test_an_epoch_shows_each_image_once_in_an_order_of_its_own():
    seen = []
    run(numbers(SIDES, SIDE_LABELS, seen=seen), numbers(SIDES, SIDE_LABELS), epochs=2, batch_size=8)
    orders = [[places for epoch, places in seen if epoch == number] for number in (0, 1)]
    for order in orders:
        assert sorted(place for part in order for place in part) == list(range(20))
        # Three steps of nearly one size, none of more than a shard.
        assert sorted(len(part) for part in order) == [6, 7, 7]
    assert sorted(orders[0]) != sorted(orders[1])


def test_validation_is_never_augmented():
    seen = []
    run(numbers(SIDES, SIDE_LABELS), numbers(SIDES, SIDE_LABELS, seen=seen))
    assert {epoch for epoch, _ in seen} == {None}


def test_validation_goes_by_running_statistics_and_leaves_them():
    module = torch.nn.Sequential(torch.nn.BatchNorm1d(1), line())
    module[1].weight.data = torch.tensor([[0.0], [1.0]])
    # All of one value, which a batch norm that looks at the batch would make 0.
    ended, (epoch, *_) = run(
        numbers([0.0] * 20, SIDE_LABELS),
        numbers([2.0] * 20, SIDE_LABELS),
        module,
        epochs=1,
        batch_size=10,
        learning_rate=1e-12,
    )
    # Two steps of two shards of constant images: 0.9 of the variance is left each time.
    margin = 2 / math.sqrt(0.81 + 1e-5)
    expected = (np.logaddexp(0, -margin) + np.logaddexp(0, margin)) / 2
    assert epoch.validation_loss == pytest.approx(expected, rel=1e-5)
    assert ended.best_weights["0.num_batches_tracked"] == 2


def test_weight_decay_spares_biases():
    flat = numbers([0.0] * 8, [0, 1] * 4)
    module = line()
    module.weight.data.fill_(1.0)
    module.bias.data.fill_(1.0)
    ended, _ = run(flat, flat, module, epochs=1, weight_decay=0.5, batch_size=8)
    # One step at the highest rate: 1 - 0.1 * 0.5.
    assert ended.best_weights["weight"].ravel().tolist() == pytest.approx([0.95, 0.95])
    assert ended.best_weights["bias"].tolist() == pytest.approx([1, 1])


def test_progress_counts_images_to_the_total():
    heard = []
    run(
        numbers(SIDES, SIDE_LABELS),
        numbers(SIDES[:4], SIDE_LABELS[:4]),
        progress=lambda *told: heard.append(told),
        epochs=2,
        batch_size=10,
    )
    assert heard == [(10, 48), (20, 48), (24, 48), (34, 48), (44, 48), (48, 48)]


def test_progress_reaches_its_total_when_training_stops_early():
    heard = []
    against = numbers(SIDES, [1 - label for label in SIDE_LABELS])
    run(
        numbers(SIDES, SIDE_LABELS),
        against,
        progress=lambda *told: heard.append(told),
        epochs=9,
        patience=1,
    )
    assert heard[-1] == (9 * 40, 9 * 40)


@pytest.mark.parametrize("bad", ["train", "validation"])
def test_a_loss_that_is_not_finite_is_refused(bad):
    good, broken = numbers(SIDES, SIDE_LABELS), numbers([math.inf] * 20, SIDE_LABELS)
    train, validation = (broken, good) if bad == "train" else (good, broken)
    with pytest.raises(UserError, match="no longer finite in epoch 1"):
        run(train, validation)


def test_the_module_given_is_left_as_it_is():
    module = line()
    run(numbers(SIDES, SIDE_LABELS), numbers(SIDES, SIDE_LABELS), module)
    assert module.weight.abs().sum() == 0
