from pathlib import Path

import pytest

from assets.methods.common.errors import UserError
from assets.resources.collections import Collection
from assets.resources.home import home_folder
from assets.resources.tracking import Tracking
from orchestration.instance import open_instance, register


def test_the_home_is_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TESSERA_HOME", raising=False)
    assert home_folder() == tmp_path / ".tessera"
    monkeypatch.setenv("TESSERA_HOME", "state")
    assert home_folder() == tmp_path / "state"


# Each of them has a meaning in a URL.
@pytest.mark.parametrize("name", ["a#b", "100%", "a%41%3F", "a;b&c=d", "a b+c@d:e", "hömé[1]"])
def test_the_databases_of_a_home_are_in_it_whatever_its_name(
    new_home, tmp_path: Path, monkeypatch, name
):
    home = new_home(tmp_path / name, monkeypatch)
    with open_instance() as instance:
        register(instance, Collection("photos", "/photos"))
    tracking = Tracking(home=str(home))
    run = tracking.client.create_run(tracking.experiment_id).info
    tracking.client.log_text(run.run_id, "kept", "note.txt")
    assert [file.path for file in tracking.client.list_artifacts(run.run_id)] == ["note.txt"]
    assert tracking.client.search_runs([run.experiment_id])[0].info.run_id == run.run_id
    (note,) = (home / "mlflow-artifacts").rglob("note.txt")
    assert note.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [home]


@pytest.mark.parametrize("folder", ["a?b", "a?mode=ro/home"])
def test_a_question_mark_is_refused_in_one_sentence(monkeypatch, tmp_path, folder):
    monkeypatch.setenv("TESSERA_HOME", str(tmp_path / folder))
    with pytest.raises(UserError) as caught:
        home_folder()
    assert str(caught.value) == (
        f"The home {tmp_path / folder} has a question mark in its path, which the addresses of its "
        "databases cannot hold: choose another folder as TESSERA_HOME."
    )
    assert list(tmp_path.iterdir()) == []
