import csv
import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.methods.photos.decode import image_id
from assets.methods.photos.source import list_source
from assets.resources.input_store import (
    DONE,
    PENDING,
    DuplicateInput,
    InputCounts,
    InputImage,
    InputPhoto,
    InputStore,
    NewInput,
    StoredInput,
    StoreFull,
)

MANY = 1_000


def sent(content: str, id: str | None = None, **others) -> NewInput:
    return NewInput(id=id, picture=InputImage(content.encode(), "PNG", 4, 3), **others)


def linked(url: str, id: str | None = None, **others) -> NewInput:
    return NewInput(id=id, url=url, **others)


@pytest.fixture
def store(tmp_path: Path):
    with closing(InputStore(tmp_path / "inputs")) as store:
        yield store


def files(store: InputStore) -> set[str]:
    return {path.name for path in store.path("aa").parent.parent.rglob("*") if path.is_file()}


def add(store: InputStore, *inputs: NewInput) -> list[StoredInput]:
    outcomes = store.add(inputs, MANY)
    stored = [outcome for outcome in outcomes if isinstance(outcome, StoredInput)]
    assert stored == outcomes
    return stored


def test_what_was_stored_is_found_again(store):
    new = sent(
        "a",
        "mine",
        crop=(0.0, 0.25, 0.5, 1.0),
        concepts=(("cat", 1.0), ("dog", 0.0)),
        metadata={"album": {"page": 3, "none": None}},
    )
    (stored,) = add(store, new)
    assert store.find("mine") == stored
    assert store.path(image_id(b"a")).read_bytes() == b"a"
    assert (stored.id, stored.image_id, stored.code) == ("mine", image_id(b"a"), DONE)
    assert (stored.format, stored.width, stored.height) == ("PNG", 4, 3)
    assert (stored.crop, stored.concepts) == (new.crop, new.concepts)
    assert (stored.metadata, stored.label) == (new.metadata, "cat")
    assert stored.created_at == stored.modified_at
    assert store.find("yours") is None


def test_what_was_stored_outlives_the_process(tmp_path):
    with closing(InputStore(tmp_path)) as store:
        add(store, sent("a", "one"), linked("http://x/2", "two"))
    with closing(InputStore(tmp_path)) as store:
        assert [stored.id for stored in store.page(1, 20)] == ["one", "two"]


def test_concepts_and_metadata_are_written_anew(store):
    (stored,) = add(store, sent("a", "one", concepts=(("cat", 1.0),)))
    with store.editing() as editor:
        assert editor.find("two") is None
        assert editor.find("one") == stored
        written = editor.write(stored.number, (("dog", 0.9), ("cat", 0.6)), {"a": ["é"]})
    assert store.find("one") == written
    assert (written.concepts, written.label) == ((("dog", 0.9), ("cat", 0.6)), "dog")
    assert (written.metadata, written.image_id) == ({"a": ["é"]}, stored.image_id)
    assert stored.modified_at < written.modified_at
    with store.editing() as editor:
        cleared = editor.write(stored.number, (), {})
    assert (cleared.concepts, cleared.metadata, cleared.label) == ((), {}, "")


def test_an_edit_that_fails_changes_nothing(store):
    (stored,) = add(store, sent("a", "one"))
    revision = store.revision()

    def edit() -> None:
        with store.editing() as editor:
            editor.write(stored.number, (("cat", 1.0),), {})
            raise KeyError

    with pytest.raises(KeyError):
        edit()
    assert store.find("one") == stored
    assert store.revision() == revision


def test_candidates_are_done_and_have_what_is_searched_for(store):
    add(
        store,
        sent("a", "one", concepts=(("cat", 1.0),), metadata={"é": '"quoted"\\', "n": [7, {}]}),
        sent("b", "two", metadata={"cat": 1, "n": 7.0}),
        sent("c", "three", concepts=(("cats", 1.0),), metadata={"n": 1e300}),
        linked("http://x/d", "four", concepts=(("cat", 1.0),)),
    )

    def ids(*concepts: str, url: str | None = None, **metadata: object) -> list[str]:
        return [stored.id for stored in store.candidates(url, concepts, [metadata])]

    assert ids() == ["one", "two", "three"]
    assert ids("cat") == ["one", "two"]
    assert ids("cat", é='"quoted"\\') == ["one"]
    assert ids(é='"quoted') == []
    assert ids(n=7) == ids(n=7.0) == ["two"]
    assert "one" in ids(n=[7.0, {}])
    assert "three" in ids(n=int(1e300))
    store.mark_done(store.pending()[0].number, InputImage(b"d", "PNG", 4, 3))
    assert ids("cat") == ["one", "two", "four"]
    assert ids("cat", url="http://x/d") == ["four"]
    assert ids(url="http://x/") == []


def test_an_input_without_an_id_gets_one(store):
    first, second = add(store, sent("a"), sent("b"))
    assert len(first.id) == len(second.id) == 32
    assert first.id != second.id


@pytest.mark.parametrize(
    ("again", "shared"),
    [
        (sent("b", "one"), "id"),
        (sent("a", "two"), "picture"),
        (sent("a"), "picture"),
    ],
)
def test_an_id_or_a_picture_is_stored_once(store, again, shared):
    (stored,) = add(store, sent("a", "one"))
    (outcome,) = store.add([again], MANY)
    assert isinstance(outcome, DuplicateInput)
    assert outcome.existing == stored
    assert shared in outcome.detail
    assert files(store) == {image_id(b"a")}


def test_an_address_is_stored_once_unless_it_may_come_again(store):
    (stored,) = add(store, linked("http://x/a", "one"))
    (refused,) = store.add([linked("http://x/a", "two")], MANY)
    assert isinstance(refused, DuplicateInput)
    assert refused.existing == stored
    (again,) = add(store, linked("http://x/a", "two", allow_duplicate=True))
    picture = InputImage(b"a", "PNG", 4, 3)
    assert isinstance(store.mark_done(stored.number, picture), StoredInput)
    assert isinstance(store.mark_done(again.number, picture), StoredInput)
    assert files(store) == {image_id(b"a")}
    store.delete(["one"])
    assert files(store) == {image_id(b"a")}
    store.delete(["two"])
    assert files(store) == set()


def test_twice_in_one_batch_is_once(store):
    outcomes = store.add([sent("a", "one"), sent("a", "two"), sent("b", "one")], MANY)
    assert [type(outcome) for outcome in outcomes] == [StoredInput, DuplicateInput, DuplicateInput]


def test_one_that_failed_gives_way(store):
    (stored,) = add(store, linked("http://x/a", "one"))
    store.mark_failed(stored.number, 30002, "There is no server.")
    assert (store.find("one").code, store.find("one").detail) == (30002, "There is no server.")
    (again,) = store.add([linked("http://x/a", "one")], 1)
    assert isinstance(again, StoredInput)
    assert store.page(1, 20) == [again]


def test_a_full_store_takes_no_more(store):
    outcomes = store.add([sent("a"), sent("b"), sent("a"), sent("c")], 2)
    assert [type(outcome) for outcome in outcomes] == [
        StoredInput,
        StoredInput,
        DuplicateInput,
        StoreFull,
    ]
    assert files(store) == {image_id(b"a"), image_id(b"b")}
    assert store.add([sent("c")], 2) == [StoreFull(2)]


def test_pending_inputs_are_settled(store):
    one, two, three = add(store, *[linked(f"http://x/{n}", str(n)) for n in (1, 2, 3)])
    assert store.pending() == [one, two, three]
    assert (one.code, one.image_id) == (PENDING, None)
    done = store.mark_done(one.number, InputImage(b"a", "JPEG", 8, 9))
    assert store.find("1") == done
    assert (done.code, done.image_id, done.format, done.width) == (DONE, image_id(b"a"), "JPEG", 8)
    assert done.modified_at > done.created_at
    store.mark_failed(two.number, 30101, "No image.")
    assert store.pending() == [three]
    assert store.counts() == InputCounts(done=1, pending=1, failed=1)


def test_a_download_of_the_same_picture_is_a_duplicate(store):
    (stored,) = add(store, sent("a", "one"))
    (waiting,) = add(store, linked("http://x/a"))
    outcome = store.mark_done(waiting.number, InputImage(b"a", "PNG", 4, 3))
    assert isinstance(outcome, DuplicateInput)
    assert outcome.existing == stored
    assert store.pending() == [waiting]


def test_one_deleted_while_it_was_pending_stays_deleted(store):
    (waiting,) = add(store, linked("http://x/a", "one"))
    store.delete(["one"])
    (other,) = add(store, linked("http://x/b", "one"))
    assert other.number > waiting.number
    assert store.mark_done(waiting.number, InputImage(b"a", "PNG", 4, 3)) is None
    store.mark_failed(waiting.number, 30002, "Late.")
    assert store.pending() == [other]
    assert files(store) == set()


def test_deleting_tells_what_was_there(store):
    add(store, sent("a", "one"), sent("b", "two"), sent("c", "three"))
    assert store.delete(["one", "four", "three"]) == {"one", "three"}
    assert files(store) == {image_id(b"b")}
    assert store.delete(["one"]) == set()
    store.delete_all()
    assert (store.page(1, 20), files(store)) == ([], set())


def test_withdrawn_inputs_leave_nothing(store):
    stored = add(store, sent("a"), sent("b"))
    store.withdraw([stored[0].number])
    assert store.page(1, 20) == stored[1:]
    assert files(store) == {image_id(b"b")}


def test_files_that_a_killed_process_left_are_swept_up(store):
    add(store, sent("a"))
    for name in (image_id(b"b"), ".half"):
        store.path(image_id(b"b")).with_name(name).parent.mkdir(exist_ok=True)
        store.path(image_id(b"b")).with_name(name).write_bytes(b"b")
    store.sweep()
    assert files(store) == {image_id(b"a")}


def test_pages_are_in_the_order_of_arrival(store):
    add(store, *[sent(str(n), f"{9 - n}") for n in range(5)])
    assert [stored.id for stored in store.page(1, 2)] == ["9", "8"]
    assert [stored.id for stored in store.page(3, 2)] == ["5"]
    assert store.page(4, 2) == []
    assert store.page(1_000_000, 1_000) == []


def test_done_inputs_are_all_or_those_named(store):
    add(store, sent("a", "one"), linked("http://x/2", "two"), sent("c", "three"))
    one, three = InputPhoto("one", image_id(b"a"), ""), InputPhoto("three", image_id(b"c"), "")
    assert store.done() == [one, three]
    assert store.done(["three", "two", "one", "four"]) == [one, three]
    assert store.done([]) == []
    assert store.has_done()
    store.delete(["one", "three"])
    assert not store.has_done()


def test_every_change_has_a_revision_of_its_own(store):
    seen = [store.revision()]
    add(store, sent("a", "one"))
    seen.append(store.revision())
    (waiting,) = add(store, linked("http://x/2", "two"))
    seen.append(store.revision())
    store.mark_done(waiting.number, InputImage(b"b", "PNG", 4, 3))
    seen.append(store.revision())
    store.delete(["one"])
    seen.append(store.revision())
    store.delete_all()
    seen.append(store.revision())
    assert len(set(seen)) == len(seen)
    store.page(1, 20)
    assert store.revision() == seen[-1]


def test_the_manifest_is_one_that_sources_read(store, tmp_path):
    add(
        store,
        sent("a", "one", concepts=(("ca,t\n", 0.6), ("dog", 0.9))),
        sent("b", "two", concepts=(("cat", 0.5),)),
        linked("http://x/3"),
        sent("d", "four"),
    )
    path = tmp_path / "manifest.csv"
    assert len(store.write_manifest(path)) == 3
    with path.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    # From where the manifest is: a home may be moved or copied.
    assert not any(Path(row["uri"]).is_absolute() for row in rows)
    assert [(os.path.abspath(tmp_path / row["uri"]), row["label"]) for row in rows] == [
        (str(store.path(image_id(b"a"))), "dog"),
        (str(store.path(image_id(b"b"))), ""),
        (str(store.path(image_id(b"d"))), ""),
    ]
    listing = list_source(str(path))
    assert len(listing.files) == 3
    assert not listing.rejects
    assert len(store.write_manifest(path, ["four"])) == 1
    assert len(list_source(str(path)).files) == 1


@given(st.lists(st.tuples(st.text(max_size=9), st.floats(0, 1)), max_size=4))
def test_the_label_is_the_strongest_concept(tmp_path_factory, concepts):
    with closing(InputStore(tmp_path_factory.mktemp("inputs"))) as store:
        (stored,) = add(store, sent("a", concepts=tuple(concepts)))
    assert stored.concepts == tuple(concepts)
    strongest = max((value for _, value in concepts), default=0)
    is_labelled = strongest > 0.5
    assert (stored.label in {name for name, value in concepts if value == strongest}) or (
        not is_labelled and stored.label == ""
    )


def test_threads_that_post_the_same_store_it_once(store):
    start = threading.Barrier(8)

    def post(_: int) -> list:
        start.wait()
        return store.add([sent(str(n)) for n in range(10)], MANY)

    with ThreadPoolExecutor(8) as pool:
        outcomes = [outcome for batch in pool.map(post, range(8)) for outcome in batch]
    stored = [outcome for outcome in outcomes if isinstance(outcome, StoredInput)]
    assert len(stored) == 10
    assert sum(isinstance(outcome, DuplicateInput) for outcome in outcomes) == 70
    assert len(files(store)) == 10


def _post_in_process(folder: Path) -> int:
    with closing(InputStore(folder)) as store:
        outcomes = store.add([sent(str(n)) for n in range(20)], MANY)
    return sum(isinstance(outcome, StoredInput) for outcome in outcomes)


@pytest.mark.process
def test_processes_that_post_the_same_store_it_once(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    # Unlike multiprocessing's own pool, it ends although somebody has made children ignore SIGTERM.
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        assert sum(pool.map(_post_in_process, [tmp_path, tmp_path])) == 20


def test_adding_and_deleting_at_once_leaves_no_input_without_its_file(store):
    def churn(n: int) -> None:
        for _ in range(20):
            for stored in store.add([sent("same", f"{n}")], MANY):
                if isinstance(stored, StoredInput):
                    assert store.path(stored.image_id).is_file()
            store.delete([str(n)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(churn, range(4)))
    assert files(store) == set()


def test_a_batch_that_breaks_off_leaves_no_input(store, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("assets.resources.input_store.write_whole", full)
    with pytest.raises(OSError, match="No space"):
        store.add([linked("http://x/1"), sent("a")], MANY)
    assert store.page(1, 20) == []
