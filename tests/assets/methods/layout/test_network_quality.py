import numpy as np
import pytest

from assets.methods.layout import network_quality
from assets.methods.layout.network_quality import compare_with_tsne, grid_quality
from assets.methods.layout.projection.projection import ProjectionSettings

SETTINGS = ProjectionSettings("drlim", iterations=50)
# A sheet in three dimensions that is nearly flat: its first two are the best plane.
SHEET = np.random.default_rng(0).normal(size=(90, 3)) * (1, 1, 0.05)


class Plane:
    """A network that leaves out the third dimension, or all but noise."""

    def __init__(self, is_noise: bool = False) -> None:
        self.is_noise = is_noise

    def place(self, vectors: np.ndarray) -> np.ndarray:
        if self.is_noise:
            return np.random.default_rng(1).normal(size=(len(vectors), 2))
        return vectors[:, :2]


@pytest.fixture
def held_out():
    return np.arange(90) % 3 == 0


def test_a_network_that_keeps_neighbours_is_told_from_one_that_does_not(held_out):
    good = compare_with_tsne(Plane(), SHEET, held_out, SETTINGS)
    bad = compare_with_tsne(Plane(is_noise=True), SHEET, held_out, SETTINGS)
    for part in ("fitted", "held_out"):
        assert good[f"trustworthiness_{part}"] > 0.95
        assert bad[f"trustworthiness_{part}"] < 0.7
        assert good[f"dpq16_{part}"] > bad[f"dpq16_{part}"] + 0.1
        assert good[f"tsne_trustworthiness_{part}"] == bad[f"tsne_trustworthiness_{part}"] > 0.9
    assert (good["compared_fitted"], good["compared_held_out"]) == (60, 30)


def test_of_many_photos_a_sample_is_compared(held_out, monkeypatch):
    monkeypatch.setattr(network_quality, "MOST_FITTED", 40)
    monkeypatch.setattr(network_quality, "MOST_HELD_OUT", 5)
    found = compare_with_tsne(Plane(), SHEET, held_out, SETTINGS)
    assert (found["compared_fitted"], found["compared_held_out"]) == (40, 5)
    assert found["dpq16_held_out"] is None


def test_without_held_out_photos_nothing_is_said_of_them():
    found = compare_with_tsne(Plane(), SHEET, np.zeros(90, dtype=bool), SETTINGS)
    assert found["trustworthiness_held_out"] is found["tsne_dpq16_held_out"] is None
    assert found["trustworthiness_fitted"] > 0.95


def test_a_grid_of_too_few_photos_has_no_quality():
    assert grid_quality(SHEET[:24, :2], SHEET[:24]) is None
    assert grid_quality(SHEET[:25, :2], SHEET[:25]) is not None
