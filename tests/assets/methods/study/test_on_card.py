"""The study of a planted shortcut on a card, at its smallest size."""

from dataclasses import replace

import numpy as np
import pytest

from assets.methods.attribution.occlusion import OcclusionSettings
from assets.methods.common.devices import ComputeSettings
from assets.methods.study.study import StudySettings, run_study
from support.devices import CARD, needs_card

pytestmark = needs_card

TINY = StudySettings(
    n_train=40,
    n_validation=10,
    n_test=20,
    n_explained=2,
    training=replace(StudySettings().training, epochs=2, batch_size=8),
    occlusion=OcclusionSettings(box=28, stride=28, fill="mean"),
)


def study(folder):
    compute = ComputeSettings(device=CARD, threads=2)
    return run_study(TINY, folder, compute, lambda *_: lambda done, total: None, lambda *_: None)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return study(tmp_path_factory.mktemp("study"))


def test_the_study_runs_through(found):
    for network in (found.before, found.after):
        assert len(network.explained) == 2
        for shares in (network.occlusion, network.deconvnet):
            assert all(0 <= share <= 1 for share in shares.values())
    assert all(np.isfinite(value) for value in found.metrics().values())


def test_the_study_gives_the_same_bytes_each_time(found, tmp_path):
    again = study(tmp_path)
    assert again.metrics() == found.metrics()
    for name in ("before", "after"):
        one, other = getattr(found, name), getattr(again, name)
        assert one.weights.read_bytes() == other.weights.read_bytes()
        for first, second in zip(one.explained, other.explained, strict=True):
            assert first.occlusion.tobytes() == second.occlusion.tobytes()
            assert first.deconvnet.tobytes() == second.deconvnet.tobytes()
