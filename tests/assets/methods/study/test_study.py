from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from assets.methods.attribution.occlusion import OcclusionSettings
from assets.methods.attribution.share import attribution_shares
from assets.methods.common.devices import ComputeSettings
from assets.methods.common.errors import UserError
from assets.methods.evaluation.evaluate import evaluate_scores
from assets.methods.evaluation.intervals import Estimate
from assets.methods.models.classifier_file import describe_classifier
from assets.methods.models.vector_store import VectorStore
from assets.methods.study import study as study_module
from assets.methods.study.doll_sets import DollSet, draw_doll_set
from assets.methods.study.paper_dolls import REGIONS
from assets.methods.study.study import (
    StudiedNetwork,
    Study,
    StudySettings,
    evaluate_dolls,
    run_study,
)

DEFAULT = StudySettings()
TINY = StudySettings(
    n_train=40,
    n_validation=10,
    n_test=20,
    n_explained=2,
    training=replace(DEFAULT.training, epochs=2, batch_size=4),
    occlusion=OcclusionSettings(box=28, stride=28, fill="mean"),
)
COMPUTE = ComputeSettings(device="cpu", threads=1)


class Listeners:
    """Notes what a study tells, and may end it after a line that begins so."""

    def __init__(self, last=None):
        self.told = []
        self._last = last

    def __call__(self, line):
        self.told.append(line)
        if line == self._last:
            raise KeyboardInterrupt

    def progress(self, step, unit):
        return lambda done, total: self(f"{step}: {done} of {total} {unit}")

    def on_epoch(self, name, metrics):
        self(f"epoch {metrics.epoch} {name}")


def run(folder, listeners=None, settings=TINY):
    listeners = listeners or Listeners()
    return run_study(settings, folder, COMPUTE, listeners.progress, listeners.on_epoch)


def files_of(folder):
    """Return bytes and time of change of each file by its name."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_same(one, other):
    assert one.metrics() == other.metrics()
    for name in ("before", "after"):
        first, second = getattr(one, name), getattr(other, name)
        assert first.weights.read_bytes() == second.weights.read_bytes()
        for explained, again in zip(first.explained, second.explained, strict=True):
            assert explained.score == again.score
            assert explained.occlusion.tobytes() == again.occlusion.tobytes()
            assert explained.deconvnet.tobytes() == again.deconvnet.tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("unbroken")


@pytest.fixture(scope="module")
def heard():
    return Listeners()


@pytest.fixture(scope="module")
def unbroken(folder, heard):
    return run(folder, heard)


def test_both_networks_are_trained_and_explained(unbroken, heard):
    assert [line for line in heard.told if not line.startswith("training")] == [
        "epoch 1 before",
        "epoch 2 before",
        "maps before: 1 of 2 dolls",
        "maps before: 2 of 2 dolls",
        "epoch 1 after",
        "epoch 2 after",
        "maps after: 1 of 2 dolls",
        "maps after: 2 of 2 dolls",
    ]
    assert (unbroken.before.design, unbroken.after.design) == ("flawed", "redesigned")
    for network in (unbroken.before, unbroken.after):
        described = describe_classifier(network.weights)
        assert (described.architecture, described.class_names) == (
            "plain_convnet",
            ("sfw", "nsfw"),
        )
        for evaluation in (network.flawed, network.unflawed):
            assert (evaluation.n, evaluation.n_positive) == (20, 10)
        assert len(network.explained) == 2
        for explained in network.explained:
            assert explained.doll.kind.bare
            assert explained.doll.kind.red_lips
            for values in (explained.occlusion, explained.deconvnet):
                assert values.shape == explained.doll.regions.shape
                assert values.dtype == np.float32
                assert values.min() >= 0


def test_both_networks_explain_the_same_dolls_of_the_test_set(unbroken):
    before, after = ([one.doll for one in network.explained] for network in networks(unbroken))
    assert all(one is other for one, other in zip(before, after, strict=True))
    assert all(any(doll is one for one in unbroken.flawed_test.dolls) for doll in before)


def networks(study):
    return study.before, study.after


def test_shares_are_the_mean_over_the_dolls(unbroken):
    for network in networks(unbroken):
        for method in ("occlusion", "deconvnet"):
            shares = getattr(network, method)
            assert tuple(shares) == REGIONS
            assert sum(shares.values()) == pytest.approx(1)
            known = [
                attribution_shares(getattr(one, method), {"lips": one.doll.mask("lips")})
                for one in network.explained
            ]
            lips = [share["lips"] for share in known if share is not None]
            assert shares["lips"] == pytest.approx(np.mean(lips))


def test_red_lips_are_judged_on_clothed_dolls(unbroken):
    for network in networks(unbroken):
        slices = network.unflawed.slices.set_index(["slice", "value"])
        assert slices.loc[("lips", "red"), "n_negative"] == 5
        rate = network.red_lips_rate
        assert rate.low <= rate.value <= rate.high
        assert rate.value == slices.loc[("lips", "red"), "false_positives"] / 5


def test_no_doll_of_a_set_is_in_another(monkeypatch, tmp_path):
    drawn = []

    def noted(design, n, seed):
        drawn.append((seed, set(draw_doll_set(design, n, seed).image_ids)))
        return draw_doll_set(design, n, seed)

    monkeypatch.setattr(study_module, "draw_doll_set", noted)
    for seed in (0, 1):
        # All sets but those of the second training are drawn before the first step.
        first_step = Listeners("training before: 4 of 100 images")
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, first_step, replace(TINY, seed=seed))
    assert len(drawn) == 8
    assert len({seed for seed, _ in drawn}) == 8
    assert len(set.union(*(ids for _, ids in drawn))) == sum(len(ids) for _, ids in drawn)


def test_both_networks_train_on_the_same_poses(monkeypatch, folder, unbroken):
    drawn = {}

    def noted(design, n, seed):
        drawn[design, n] = draw_doll_set(design, n, seed)
        return drawn[design, n]

    monkeypatch.setattr(study_module, "draw_doll_set", noted)
    run(folder)
    for n in (TINY.n_train, TINY.n_validation):
        flawed, redesigned = (drawn[design, n].dolls for design in ("flawed", "redesigned"))
        for one, other in zip(flawed, redesigned, strict=True):
            np.testing.assert_array_equal(one.regions, other.regions)
            assert one.kind.bare == other.kind.bare


def test_a_second_run_trains_and_scores_nothing(folder, unbroken):
    before = files_of(folder)
    listeners = Listeners()
    assert_same(run(folder, listeners), unbroken)
    assert not [line for line in listeners.told if line.startswith("training")]
    after = files_of(folder)
    assert {name: data for name, (data, _) in after.items()} == {
        name: data for name, (data, _) in before.items()
    }
    # The networks' files are written from the checkpoints, of the same bytes.
    kept = [name for name in before if not name.endswith(".safetensors")]
    assert len(kept) > 2
    for name in kept:
        assert after[name][1] == before[name][1], name


@pytest.mark.parametrize("last", ["epoch 1 before", "maps before: 1 of 2 dolls", "epoch 1 after"])
def test_an_interrupted_study_goes_on_to_the_same_result(unbroken, tmp_path, last):
    interrupted, resumed = Listeners(last), Listeners()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, interrupted)
    assert_same(run(tmp_path, resumed), unbroken)

    def steps(listeners):
        return sum(line.startswith("training") for line in listeners.told)

    # Each step is followed by a line, and an epoch by another.
    assert steps(interrupted) + steps(resumed) == 2 * TINY.training.epochs * (40 // 4 + 1)


def test_networks_that_nothing_is_seen_of_are_refused(monkeypatch, folder, unbroken):
    monkeypatch.setattr(study_module, "score_drop", lambda hidden, score: np.zeros_like(hidden))
    with pytest.raises(UserError, match="No map attributes anything to a pixel"):
        run(folder)


@pytest.mark.parametrize(
    ("name", "number"),
    [("n_train", 1), ("n_validation", 1), ("n_test", 9), ("n_explained", 0), ("seed", -1)],
)
def test_a_study_of_too_few_dolls_is_refused(name, number):
    with pytest.raises(UserError, match=f"{name} is {number}: it has to be at least {number + 1}"):
        StudySettings(**{name: number})


class SeesRed:
    """Says `nsfw` of a picture with the share of its pixels that are of a strong red."""

    fingerprint, device, class_names = "red", "cpu", ("sfw", "nsfw")
    batch_size, workers = 4, 1

    def classify(self, images):
        red = np.array([self.share(np.moveaxis(np.asarray(one), 0, 2)) for one in images])
        return {"sfw": 1 - red, "nsfw": red}

    @staticmethod
    def share(pixels):
        red, green, blue = np.moveaxis(pixels.astype(int), 2, 0)
        return np.float32((red > 2 * np.maximum(green, blue)).mean())


def test_dolls_are_scored_each_with_its_label(tmp_path):
    dolls = draw_doll_set("unflawed", 20, seed=11)
    found = evaluate_dolls(dolls, SeesRed(), VectorStore(tmp_path))
    scores = np.array([SeesRed.share(np.asarray(doll.image)) for doll in dolls.dolls])
    assert len(set(scores)) > 10
    expected = evaluate_scores(dolls.is_positive, scores.astype(np.float64), slices=dolls.slices)
    assert found.flat_metrics() == expected.flat_metrics()
    pd.testing.assert_frame_equal(found.slices, expected.slices)


def test_the_smallest_test_set_still_judges_red_lips(tmp_path):
    dolls = draw_doll_set("unflawed", 10, seed=0)
    found = evaluate_dolls(dolls, SeesRed(), VectorStore(tmp_path))
    assert StudySettings(n_train=2, n_validation=2, n_test=10, n_explained=1).n_test == found.n
    assert found.slices[["value", "n_negative"]].to_numpy().tolist() == [["plain", 3], ["red", 2]]


def evaluation(auc, red_lips_rate):
    """Return an evaluation whose metrics are these."""
    base = evaluate_scores(np.arange(10) % 2 == 0, np.linspace(0, 1, 10))
    slices = pd.DataFrame(
        [
            ("source", "red", 0.8, 0.7, 0.9),
            ("lips", "plain", 0.2, 0.1, 0.3),
            ("lips", "red", *red_lips_rate),
        ],
        columns=["slice", "value", *Estimate(0, 0, 0).named("false_positive_rate")],
    )
    return replace(base, metrics={"auc": Estimate(*auc)}, slices=slices)


def shares(lips):
    return {region: lips if region == "lips" else (1 - lips) / 4 for region in REGIONS}


@pytest.fixture
def by_hand(tmp_path):
    nothing = DollSet(())
    before = StudiedNetwork(
        "flawed",
        tmp_path / "flawed.safetensors",
        evaluation((0.9996, 0.99, 1.0), (0.0, 0.0, 0.1)),
        evaluation((0.7512, 0.7, 0.8), (0.96, 0.9, 0.98)),
        (),
        shares(0.6),
        shares(0.52),
    )
    after = StudiedNetwork(
        "redesigned",
        tmp_path / "redesigned.safetensors",
        evaluation((0.99, 0.98, 0.995), (0.0, 0.0, 0.1)),
        evaluation((0.9871, 0.97, 0.99), (0.03, 0.01, 0.08)),
        (),
        shares(0.044),
        shares(0.02),
    )
    return Study(before, after, nothing, nothing)


def test_the_summary_is_one_line(by_hand):
    assert by_hand.summary() == (
        "share on the lips 0.60 -> 0.04, false-positive rate on clothed dolls with red lips "
        "0.96 -> 0.03, AUC without the flaw 0.751 -> 0.987 (with the flaw 1.000 before)"
    )


def test_the_figures_are_named_by_network(by_hand):
    metrics = by_hand.metrics()
    assert metrics.pop("before.occlusion_share_lips") == 0.6
    assert metrics.pop("before.deconvnet_share_lips") == 0.52
    assert metrics.pop("after.occlusion_share_lips") == 0.044
    assert metrics.pop("after.deconvnet_share_lips") == 0.02
    for name, one in (("before", 0.1), ("after", 0.239)):
        for region in ("background", "limbs", "torso", "face"):
            assert metrics.pop(f"{name}.occlusion_share_{region}") == pytest.approx(one)
            metrics.pop(f"{name}.deconvnet_share_{region}")
    assert metrics == {
        "before.auc_flawed": 0.9996,
        "before.auc_flawed_low": 0.99,
        "before.auc_flawed_high": 1.0,
        "before.auc_unflawed": 0.7512,
        "before.auc_unflawed_low": 0.7,
        "before.auc_unflawed_high": 0.8,
        "before.false_positive_rate_red_lips": 0.96,
        "before.false_positive_rate_red_lips_low": 0.9,
        "before.false_positive_rate_red_lips_high": 0.98,
        "after.auc_flawed": 0.99,
        "after.auc_flawed_low": 0.98,
        "after.auc_flawed_high": 0.995,
        "after.auc_unflawed": 0.9871,
        "after.auc_unflawed_low": 0.97,
        "after.auc_unflawed_high": 0.99,
        "after.false_positive_rate_red_lips": 0.03,
        "after.false_positive_rate_red_lips_low": 0.01,
        "after.false_positive_rate_red_lips_high": 0.08,
    }
