import dataclasses
import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from assets.methods.common.checksums import DamagedFileError
from assets.methods.layout import network_store
from assets.methods.layout.network_store import (
    KeptNetwork,
    NetworkStore,
    marks_of,
    network_key,
    project_by_network,
    read_network,
)
from assets.methods.layout.projection.projection import ProjectionSettings, project
from assets.methods.layout.projection.projection_network import ProjectionNetwork

SETTINGS = ProjectionSettings("drlim", iterations=10, pca_components=5)
PRINT = "fingerprint of the embedding"


def vectors_of(n: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, 12))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def kept_network(known: np.ndarray, key: str = "key", seed: int = 0) -> KeptNetwork:
    weights = np.random.default_rng(seed).normal(size=(2, 3)).astype(np.float32)
    network = ProjectionNetwork(
        {
            "mean": np.zeros(12, np.float32),
            "axes": np.eye(12, 3, dtype=np.float32),
            "0.weight": weights,
            "0.bias": np.zeros(2, np.float32),
        }
    )
    quality = {"trustworthiness_fitted": 0.9, "dpq16_held_out": None}
    return KeptNetwork(network, "drlim", key, np.sort(marks_of(known)), len(known), 0, quality)


@pytest.fixture
def store(tmp_path):
    return NetworkStore(tmp_path / "projections")


@pytest.fixture
def trainings(monkeypatch):
    """Counts the trainings, which take no time."""
    counted = []

    def train_network(vectors, settings, embedding, *others):
        counted.append(len(vectors))
        return kept_network(vectors, network_key(settings, embedding), seed=len(counted))

    monkeypatch.setattr(network_store, "train_network", train_network)
    return counted


def place(store, vectors, retrain_above=0.2, settings=SETTINGS, embedding=PRINT):
    return project_by_network(vectors, settings, embedding, retrain_above, "cpu", store)


# ---- files ----


def test_what_was_kept_is_found_again(store):
    kept = kept_network(vectors_of(7))
    path = store.keep(kept)
    assert path.name == f"drlim-{kept.fingerprint[:16]}.safetensors"
    for found in (read_network(path), *store.find("key"), store.with_fingerprint(kept.fingerprint)):
        assert found.fingerprint == kept.fingerprint
        assert found.known.tolist() == kept.known.tolist()
        assert (found.n_fitted, found.quality) == (7, kept.quality)
    assert store.find("another key") == []
    assert store.with_fingerprint("0" * 64) is None


def test_a_file_is_safetensors_and_always_the_same_bytes(store):
    kept = kept_network(vectors_of(7))
    path = store.keep(kept)
    assert path.read_bytes() == kept.to_bytes()
    assert set(load_file(path)) == {"mean", "axes", "0.weight", "0.bias", "known"}
    with safe_open(path, "np") as file:
        assert json.loads(file.metadata()["projection_network"])["method"] == "drlim"


def test_a_damaged_file_is_set_aside(store, caplog):
    path = store.keep(kept_network(vectors_of(7)))
    with path.open("rb+") as file:
        file.seek(-20, 2)
        file.write(b"\xff\x3f")
    with pytest.raises(DamagedFileError):
        read_network(path)
    assert store.find("key") == []
    assert path.with_suffix(".corrupt").exists()
    assert "is damaged" in caplog.text


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_file_of_something_else_is_no_network(tmp_path, content):
    path = tmp_path / "some.safetensors"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="holds no network"):
        read_network(path)


def test_other_weights_under_the_same_facts_are_noticed(store):
    path = store.keep(kept_network(vectors_of(7)))
    with safe_open(path, "np") as file:
        facts = file.metadata()
    tensors = load_file(path)
    save_file({**tensors, "0.bias": np.ones(2, np.float32)}, path, facts)
    with pytest.raises(DamagedFileError, match="content"):
        read_network(path)


# ---- trained, kept, outgrown ----


def test_a_network_is_trained_once(store, trainings):
    first = place(store, vectors_of(10))
    assert first.is_new
    assert first.reason.startswith("Trained, as no network was kept")
    again = place(store, vectors_of(10))
    assert (again.is_new, again.unknown_share) == (False, 0)
    assert again.reason == "Not trained: the network of 10 photos knows all photos."
    assert again.points.tobytes() == first.points.tobytes()
    assert trainings == [10]


def test_new_photos_are_placed_without_training_and_move_no_other(store, trainings):
    both = np.concatenate([vectors_of(40), vectors_of(10, seed=1)])
    first, grown = place(store, both[:40]), place(store, both)
    assert trainings == [40]
    assert grown.unknown_share == pytest.approx(0.2)
    assert "placed 20.0% of the 50 photos without having seen them" in grown.reason
    assert grown.points[:40].tobytes() == first.points.tobytes()


def test_a_network_that_is_outgrown_is_trained_anew(store, trainings):
    both = np.concatenate([vectors_of(40), vectors_of(11, seed=1)])
    place(store, both[:40])
    grown = place(store, both)
    assert trainings == [40, 51]
    assert grown.is_new
    assert grown.reason == (
        "Trained anew: the network of 40 photos does not know 21.6% of the 51 photos, which is "
        "more than 20.0%."
    )
    assert not place(store, both).is_new
    # A part of the photos has the points that they have among all.
    part = place(store, both[::2])
    assert part.points.tobytes() == place(store, both).points[::2].tobytes()
    assert trainings == [40, 51]


@pytest.mark.parametrize(("share", "is_new"), [(0.0, True), (1.0, False)])
def test_the_share_is_a_setting(store, trainings, share, is_new):
    place(store, vectors_of(9))
    both = np.concatenate([vectors_of(9), vectors_of(1, seed=1)])
    assert place(store, both, retrain_above=share).is_new == is_new


def test_another_setting_or_embedding_is_another_network(store, trainings):
    others = [
        {"settings": dataclasses.replace(SETTINGS, seed=1)},
        {"settings": dataclasses.replace(SETTINGS, method="triplet")},
        {"embedding": "another"},
    ]
    for other in [{}, *others]:
        assert place(store, vectors_of(9), **other).is_new
    for other in [{}, *others]:
        assert not place(store, vectors_of(9), **other).is_new


# No two numbers differ by 1e-6, but vectors do, being long.
NEARLY_ALIKE = np.float32(0.03) + 8e-7 * np.random.default_rng(0).random((9, 1_280), np.float32)


@pytest.mark.parametrize(
    "vectors", [vectors_of(4), np.repeat(vectors_of(1), 9, axis=0), NEARLY_ALIKE]
)
def test_photos_that_are_few_or_all_alike_need_no_network(store, trainings, vectors):
    placed = place(store, vectors)
    assert placed.kept is None
    assert placed.points.shape == (len(vectors), 2)
    components = project(vectors, dataclasses.replace(SETTINGS, method="pca"))
    assert placed.points.tobytes() == components.tobytes()
    assert "No network was trained" in placed.reason
    assert trainings == []


def test_pytorch_is_asked_for_a_device_only_to_train(store, trainings, monkeypatch):
    asked = []
    monkeypatch.setattr(network_store, "choose_device", lambda device: asked.append(device))
    place(store, vectors_of(4))
    assert asked == []
    place(store, vectors_of(9))
    place(store, vectors_of(9))
    assert asked == ["cpu"]


def test_a_trained_network_is_measured_on_photos_that_it_has_not_seen(store):
    kept = network_store.train_network(vectors_of(60), SETTINGS, PRINT)
    assert (kept.n_fitted, kept.n_held_out, len(kept.known)) == (54, 6, 60)
    assert (kept.quality["compared_fitted"], kept.quality["compared_held_out"]) == (54, 6)
    assert 0 < kept.quality["trustworthiness_held_out"] <= 1
    assert 0 < kept.quality["tsne_trustworthiness_fitted"] <= 1
    # Six photos are too few for a grid.
    assert kept.quality["dpq16_held_out"] is None
    assert 0 < kept.quality["dpq16_fitted"] < 1
    assert network_store.train_network(vectors_of(60), SETTINGS, PRINT).to_bytes() == (
        kept.to_bytes()
    )
