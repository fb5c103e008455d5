import numpy as np
import pytest
import yaml

from assets.methods.layout.network_store import KeptNetwork, NetworkStore, marks_of
from assets.methods.layout.projection.projection_network import ProjectionNetwork
from assets.resources.outages import TrackingError
from assets.resources.projection_registry import ProjectionRegistry
from assets.resources.registry import ModelRegistry
from assets.resources.tracking import Tracking

VECTORS = np.random.default_rng(0).normal(size=(6, 12)).astype(np.float32)
MODEL = "projection-birds"


def kept_network(seed: int = 0, key: str = "key", method: str = "drlim") -> KeptNetwork:
    weights = {
        "mean": np.zeros(12, np.float32),
        "axes": np.eye(12, 3, dtype=np.float32),
        "0.weight": np.random.default_rng(seed).normal(size=(2, 3)).astype(np.float32),
        "0.bias": np.zeros(2, np.float32),
    }
    known = np.sort(marks_of(VECTORS))
    quality = {"trustworthiness_fitted": 0.9, "trustworthiness_held_out": None}
    return KeptNetwork(ProjectionNetwork(weights), method, key, known, 6, 0, quality)


@pytest.fixture
def store(home):
    return NetworkStore(home / "projections" / "birds")


@pytest.fixture
def registry(tracking, store):
    return ProjectionRegistry(tracking, "birds", store)


def keep_and_register(registry, store, **others):
    kept = kept_network(**others)
    store.keep(kept)
    return kept, registry.register(kept).version


def test_a_network_is_registered_once_with_all_that_a_reader_needs(registry, store, tracking):
    kept, version = keep_and_register(registry, store)
    assert registry.register(kept).version == version == "1"
    (found,) = tracking.client.search_model_versions(f"name = '{MODEL}'")
    assert (found.tags["fingerprint"], found.tags["key"]) == (kept.fingerprint, "key")
    assert str(tracking.client.get_model_version_by_alias(MODEL, "drlim").version) == version
    logged = tracking.client.download_artifacts(found.run_id, f"{MODEL}/MLmodel")
    with open(logged) as file:
        described = yaml.safe_load(file)["metadata"]
    assert described["fingerprint"] == kept.fingerprint
    assert (described["n_fitted"], described["trustworthiness_fitted"]) == (6, 0.9)


def test_mlflow_loads_it_as_a_model_that_maps_vectors_to_points(registry, store, tracking, home):
    kept, version = keep_and_register(registry, store)
    model, number = ModelRegistry(tracking, home / "models").load_pyfunc(f"models:/{MODEL}@drlim")
    assert number == version
    table = model.predict(VECTORS)
    assert list(table.columns) == ["x", "y"]
    np.testing.assert_array_equal(table.to_numpy(), kept.network.place(VECTORS))


def test_the_alias_of_a_method_follows_the_network_in_use(registry, store, tracking):
    _, first = keep_and_register(registry, store)
    _, other = keep_and_register(registry, store, seed=1, method="triplet")
    _, second = keep_and_register(registry, store, seed=2)
    assert (first, other, second) == ("1", "2", "3")
    aliases = [
        tracking.client.get_model_version_by_alias(MODEL, one) for one in ("drlim", "triplet")
    ]
    assert [str(one.version) for one in aliases] == ["3", "2"]


def test_what_the_home_has_lost_is_fetched(registry, store):
    kept, _ = keep_and_register(registry, store)
    other, _ = keep_and_register(registry, store, seed=1, key="another")
    content = store.path(kept).read_bytes()
    for path in (store.path(kept), store.path(other)):
        path.unlink()
    assert registry.fetch("key") == ""
    assert store.path(kept).read_bytes() == content
    assert not store.path(other).exists()
    assert registry.fetch(fingerprint=other.fingerprint) == ""
    assert store.with_fingerprint(other.fingerprint) is not None
    assert registry.fetch("a key that nothing has") == ""


def test_a_server_that_is_down_costs_no_network(store, home):
    kept = kept_network()
    store.keep(kept)
    down = Tracking(home=str(home), tracking_uri="http://127.0.0.1:9")
    registration = ProjectionRegistry(down, "birds", store).register(kept)
    assert registration.version == ""
    assert registration.unreachable
    assert ProjectionRegistry(down, "birds", store).fetch("key") != ""
    strict = Tracking(home=str(home), tracking_uri="http://127.0.0.1:9", strict=True)
    with pytest.raises(TrackingError):
        ProjectionRegistry(strict, "birds", store).register(kept)
