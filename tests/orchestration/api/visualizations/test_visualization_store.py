import threading
from contextlib import closing
from pathlib import Path

import pytest

from orchestration.api.visualizations.visualization_store import MapRequest, VisualizationStore


@pytest.fixture
def store(tmp_path):
    with closing(VisualizationStore(tmp_path / "serve" / "visualizations.sqlite")) as store:
        yield store


def add(store, identity: str, app: str = "birds", digest: str = "digest") -> None:
    store.add(identity, MapRequest(app, digest, 12, {"ops": {}}))


def turns(store) -> list[str]:
    return [known.id for known in store.pending()]


def test_a_visualization_is_pending_until_it_ends_once(store):
    add(store, "a")
    known = store.find("a")
    assert (known.state, known.run_id, known.is_submitted) == ("pending", "a", False)
    assert known.request == MapRequest("birds", "digest", 12, {"ops": {}})
    assert (store.counts(), store.n_pending("birds"), store.n_pending("cats")) == (
        {"pending": 1},
        1,
        0,
    )
    store.end("a", "ready", folder=Path("/somewhere"))
    store.end("a", "cancelled", "Cancelled.")
    known = store.find("a")
    assert (known.state, known.reason, known.folder) == ("ready", None, Path("/somewhere"))
    assert [one.id for one in store.ended_but_open()] == ["a"]
    store.close_one("a")
    assert store.ended_but_open() == []


def test_one_that_is_pending_is_not_deleted_and_a_deleted_one_is_not_found(store):
    add(store, "a")
    store.delete("a")
    assert store.find("a").state == "pending"
    store.end("a", "failed", "There are no photos.")
    store.delete("a")
    assert store.find("a") is None


def test_the_same_is_found_while_it_is_pending_or_ready(store):
    for identity in "abc":
        add(store, identity)
    add(store, "other", digest="other")
    add(store, "theirs", app="cats")
    store.end("a", "ready")
    store.end("b", "failed", "no")
    assert [known.id for known in store.find_same("birds", "digest")] == ["c", "a"]
    assert [known.id for known in store.ready("birds")] == ["a"]


def test_apps_take_turns_however_many_one_of_them_asks_for(store):
    for number in range(4):
        add(store, f"many-{number}", app="many")
    add(store, "one-0", app="one")
    assert turns(store) == ["many-0", "one-0", "many-1", "many-2", "many-3"]
    store.end("many-0", "ready")
    store.end("one-0", "ready")
    add(store, "one-1", app="one")
    assert turns(store) == ["many-1", "one-1", "many-2", "many-3"]
    # Whoever asks again and again holds up nobody, either.
    store.end("many-1", "ready")
    add(store, "one-2", app="one")
    assert turns(store) == ["one-1", "many-2", "one-2", "many-3"]


def test_who_has_asked_for_much_before_stands_no_further_back_than_a_newcomer(store):
    for number in range(4):
        add(store, f"old-{number}", app="old")
        store.end(f"old-{number}", "ready")
    for number in range(3):
        add(store, f"new-{number}", app="new")
    add(store, "old-4", app="old")
    assert turns(store)[:2] == ["new-0", "old-4"]


def test_another_run_goes_on_in_the_place_of_one_that_was_killed(store):
    add(store, "a")
    store.note_submitted("a")
    first = store.find("a")
    store.go_on(first, "second", is_submitted=False, died=True)
    # Told twice by two that have both seen the first.
    store.go_on(first, "third", is_submitted=False, died=True)
    known = store.find("a")
    assert (known.run_id, known.is_submitted) == ("second", False)
    assert (known.n_deaths, known.n_interrupts) == (1, 0)
    store.go_on(known, "third", is_submitted=True, died=False)
    assert store.find("a").n_interrupts == 1


def test_of_many_who_end_one_at_once_one_is_first(store):
    add(store, "a")
    reasons = [str(number) for number in range(8)]
    threads = [
        threading.Thread(target=store.end, args=("a", "failed", reason)) for reason in reasons
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.find("a").reason in reasons


def test_what_is_written_is_there_for_the_next_service(store, tmp_path):
    add(store, "a")
    store.end("a", "cancelled", "Cancelled.")
    with closing(VisualizationStore(tmp_path / "serve" / "visualizations.sqlite")) as another:
        assert another.find("a") == store.find("a")
