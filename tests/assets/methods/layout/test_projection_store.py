import dataclasses

import numpy as np
import pytest

from assets.methods.layout.projection import ProjectionSettings
from assets.methods.layout.projection_store import ProjectionStore, project_unless_known

SETTINGS = ProjectionSettings(method="pca", pca_components=3)


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)


def test_the_same_vectors_are_projected_once(tmp_path, vectors):
    store = ProjectionStore(tmp_path)
    points, is_new = project_unless_known(vectors, SETTINGS, "cpu", store)
    again, is_new_again = project_unless_known(vectors, SETTINGS, "cpu", store)
    assert (is_new, is_new_again) == (True, False)
    assert again.tobytes() == points.tobytes()


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"method": "tsne"}, {"perplexity": 3.0}, {"pca_components": 2}],
    ids=lambda change: next(iter(change)),
)
def test_another_setting_is_another_projection(tmp_path, vectors, change):
    store = ProjectionStore(tmp_path)
    project_unless_known(vectors, SETTINGS, "cpu", store)
    _, is_new = project_unless_known(vectors, dataclasses.replace(SETTINGS, **change), "cpu", store)
    assert is_new


def test_other_vectors_are_another_projection(tmp_path, vectors):
    store = ProjectionStore(tmp_path)
    assert store.path(vectors, SETTINGS, "cpu") != store.path(vectors.T, SETTINGS, "cpu")
    assert store.path(vectors, SETTINGS, "cpu") != store.path(vectors + 1, SETTINGS, "cpu")
