import asyncio
import io
import threading
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from assets.methods.common.devices import ComputeSettings
from assets.methods.models.backbones import DEFAULT_BACKBONE
from assets.methods.models.embedding import embed_unseen, vector_key
from assets.methods.photos.download import FetchLimits
from assets.resources.input_store import NewInput
from assets.resources.photos import Photos
from orchestration.api.contract import ApiError, Code, PostedInput
from orchestration.api.inference import search_engine
from orchestration.api.inference.search_engine import SearchEngine
from orchestration.api.inference.search_query import InputFilter
from orchestration.api.inference.served_models import ServedModels
from orchestration.api.inputs.intake import Intake
from orchestration.api.settings import ServeSettings
from support.image_server import packed
from support.served import wait_for
from support.small_models import KnownVersions, coloured, use_small_models

RED = np.array([1, 0, 0], np.float32)
GREEN = np.array([0, 1, 0], np.float32)
CPU = ComputeSettings("cpu", threads=2)


class Searched:
    """Apps whose inputs are posted and searched, and what the model is asked meanwhile."""

    def __init__(self, home):
        self.home, self.batches, self.faults = home, [], []
        self.intake = Intake(home, ServeSettings(), lambda app: None, lambda app: None)
        (home / "versions").mkdir()
        self.models = ServedModels(
            KnownVersions(home / "versions"),
            CPU,
            FetchLimits(),
            self.faults.append,
            lambda *batch: self.batches.append(batch),
        )
        self.models.start()
        self.engine = self.new_engine()

    def new_engine(self, **settings):
        return SearchEngine(self.home, self.intake, self.models, **settings)

    def post(self, app, **pictures):
        image = lambda data: {"base64": packed(data)}  # noqa: E731
        posted = [
            PostedInput.model_validate(
                {
                    "id": one,
                    "data": {
                        "image": image(data),
                        "concepts": [{"id": one[0]}],
                        "metadata": {"name": one, "list": [1, len(one)]},
                    },
                }
            )
            for one, data in pictures.items()
        ]
        assert all(one.code == 30000 for one in self.intake.post(app, posted, 10_000))

    def search(self, app, vector=RED, page=1, per_page=20, engine=None, wanted=None):
        engine = engine or self.engine
        found = asyncio.run(engine.search(app, vector, page, per_page, wanted))
        return [stored.id for stored, _ in found.hits]

    @property
    def n_embedded(self):
        # One each warms the models up, in a thread that may be slower than a search without images.
        wait_for(lambda: len(self.batches) >= 2, 60, "the models are not warm")
        return sum(size for _, size in self.batches) - 2

    def close(self):
        self.engine.close()
        self.models.close()
        self.intake.close()
        assert self.faults == []


@pytest.fixture
def searched(tmp_path, monkeypatch):
    use_small_models(monkeypatch)
    monkeypatch.setattr(search_engine, "vector_key", lambda backbone, precision: "tiny")
    with closing(Searched(tmp_path)) as searched:
        yield searched


def test_the_most_similar_come_first(searched):
    searched.post("a", red=coloured(200), green=coloured(0, 200), mixed=coloured(100, 100))
    assert searched.search("a", RED) == ["red", "mixed", "green"]
    assert searched.search("a", GREEN) == ["green", "mixed", "red"]


def test_scores_are_cosines(searched):
    searched.post("a", red=coloured(200), mixed=coloured(100, 100))
    hits = asyncio.run(searched.engine.search("a", RED, 1, 20)).hits
    assert [cosine for _, cosine in hits] == pytest.approx([1, 0.5**0.5], abs=0.01)


def test_an_app_without_inputs_has_no_hits(searched):
    assert searched.search("nothing") == []


def test_apps_are_apart(searched):
    searched.post("a", mine=coloured(200))
    searched.post("b", theirs=coloured(200, 5))
    assert searched.search("a") == ["mine"]
    assert searched.search("b") == ["theirs"]


def test_what_is_posted_is_found_and_what_is_deleted_is_not(searched):
    searched.post("a", one=coloured(200), two=coloured(200, 20))
    assert searched.search("a") == ["one", "two"]
    searched.post("a", three=coloured(200, 100))
    searched.intake.delete("a", ["one"])
    assert searched.search("a") == ["two", "three"]
    searched.intake.delete_all("a")
    assert searched.search("a") == []


def test_an_id_that_is_used_again_has_its_new_picture(searched):
    searched.post("a", one=coloured(200), two=coloured(100, 100))
    searched.search("a")
    searched.intake.delete("a", ["one"])
    searched.post("a", one=coloured(0, 200))
    assert searched.search("a") == ["two", "one"]


def test_hits_come_in_pages(searched):
    searched.post("a", **{f"i{n}": coloured(200, 20 * n) for n in range(7)})
    pages = [searched.search("a", page=page, per_page=3) for page in (1, 2, 3, 4, 1_000_000)]
    assert pages == [["i0", "i1", "i2"], ["i3", "i4", "i5"], ["i6"], [], []]


def having(**conditions):
    return InputFilter(
        ids=frozenset(conditions.get("ids", ())),
        concepts=frozenset(conditions.get("concepts", {}).items()),
        metadata=tuple(conditions.get("metadata", ())),
    )


PHOTOS = {f"{'ab'[n % 2]}{n}": coloured(200, 20 * n) for n in range(7)}


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (having(), list(PHOTOS)),
        (having(concepts={"a": True}), ["a0", "a2", "a4", "a6"]),
        (having(concepts={"a": False}), ["b1", "b3", "b5"]),
        (having(metadata=[{"name": "b3"}]), ["b3"]),
        (having(metadata=[{"list": [2]}], concepts={"b": True}), ["b1", "b3", "b5"]),
        (having(metadata=[{"list": [3]}]), []),
        (having(ids=["a4"]), ["a4"]),
        (having(ids=["a4", "a6"]), []),
        (having(ids=["a4"], concepts={"b": True}), []),
        (having(ids=["none"]), []),
    ],
)
def test_a_filter_finds_what_inputs_have(searched, wanted, ids):
    searched.post("a", **PHOTOS)
    searched.post("b", **{"a9": coloured(200)})
    assert searched.search("a", None, wanted=wanted) == ids
    assert searched.n_embedded == 0
    # The same ones, the most similar first, are what is green.
    assert searched.search("a", GREEN, wanted=wanted) == ids[::-1]
    for vector in (RED, None):
        pages = [searched.search("a", vector, page, 2, wanted=wanted) for page in (1, 2, 3, 4)]
        assert [one for page in pages for one in page] == ids


def test_hits_of_a_filter_have_the_score_1(searched):
    searched.post("a", **PHOTOS)
    hits = asyncio.run(searched.engine.search("a", None, 1, 2, having(concepts={"b": True}))).hits
    assert [(stored.id, score) for stored, score in hits] == [("b1", 1.0), ("b3", 1.0)]


def test_a_filter_that_takes_too_long_is_refused(searched):
    searched.post("a", **PHOTOS)
    with (
        closing(searched.new_engine(wait_seconds=-1)) as engine,
        pytest.raises(ApiError, match="longer than") as refused,
    ):
        searched.search("a", None, engine=engine, wanted=having(concepts={"a": True}))
    assert refused.value.code is Code.INVALID_SEARCH


def test_the_vector_of_an_input_is_that_of_its_image(searched):
    halves = np.zeros((100, 200, 3), np.uint8)
    halves[:, :100, 0] = halves[:, 100:, 1] = 200
    out = io.BytesIO()
    Image.fromarray(halves).save(out, "PNG")
    searched.post("a", one=out.getvalue(), two=coloured(200))

    def vector(app, one, crop=None):
        return asyncio.run(searched.engine.vector_of(app, one, crop)).tolist()

    assert vector("a", "two") == pytest.approx([1, 0, 0], abs=0.01)
    assert vector("a", "one") == pytest.approx([0.5**0.5, 0.5**0.5, 0], abs=0.01)
    assert vector("a", "one", (0, 0, 1, 0.4)) == pytest.approx([1, 0, 0], abs=0.05)
    assert vector("a", "one", (0, 0.6, 1, 1)) == pytest.approx([0, 1, 0], abs=0.05)
    assert searched.search("a", np.float32(vector("a", "one"))) == ["one", "two"]
    for app, one in (("a", "none"), ("b", "one")):
        with pytest.raises(ApiError, match=f"There is no input {one}") as refused:
            vector(app, one)
        assert refused.value.code is Code.NO_SUCH_INPUT


def test_an_input_that_is_pending_or_was_deleted_a_moment_ago_has_no_vector(searched):
    searched.post("a", one=coloured(200))
    store = searched.intake.store("a")
    store.add([NewInput(id="two", url="http://x/a")], 10)
    with pytest.raises(ApiError, match="has no image that was read"):
        asyncio.run(searched.engine.vector_of("a", "two", None))
    store.path(store.done()[0].image_id).unlink()
    with pytest.raises(ApiError, match="There is no input one"):
        asyncio.run(searched.engine.vector_of("a", "one", (0, 0, 1, 0.5)))


def test_each_picture_is_embedded_once(searched):
    searched.post("a", **{f"i{n}": coloured(200, n) for n in range(5)})
    searched.search("a")
    searched.search("a")
    searched.post("a", more=coloured(90, 5))
    searched.search("a")
    assert searched.n_embedded == 6
    with closing(searched.new_engine()) as again:
        assert len(searched.search("a", engine=again)) == 6
    assert searched.n_embedded == 6


def test_vectors_of_the_asset_are_used_and_made_for_it(searched, monkeypatch):
    searched.post("a", one=coloured(200), two=coloured(0, 200))
    photos = Photos(home=str(searched.home))
    (first, second) = [photo.image_id for photo in searched.intake.store("a").done()]
    photos.vectors.append("tiny", [first], GREEN[None])
    assert searched.search("a", GREEN) == ["one", "two"]
    assert searched.n_embedded == 1
    assert photos.vectors.find("tiny", [first, second]).keys() == {first, second}


def test_the_key_of_the_vectors_is_the_assets(tmp_path):
    key = vector_key(DEFAULT_BACKBONE, "float32")
    photos = Photos(home=str(tmp_path))
    photos.vectors.append(key, ["a"], RED[None])
    found = embed_unseen(["a"], None, DEFAULT_BACKBONE, photos.vectors, CPU)
    assert (found.fingerprint, found.n_computed) == (key, 0)


def test_a_working_copy_that_is_gone_is_made_again(searched):
    searched.post("a", one=coloured(200))
    for copy in (searched.home / "photos").rglob("*.jpg"):
        copy.unlink()
    assert searched.search("a") == ["one"]


def test_searches_at_once_share_one_update(searched):
    searched.post("a", **{f"i{n}": coloured(200, n) for n in range(20)})

    async def many():
        searches = [searched.engine.search("a", RED, 1, 20) for _ in range(30)]
        return await asyncio.gather(*searches)

    assert {len(found.hits) for found in asyncio.run(many())} == {20}
    assert searched.n_embedded == 20


def test_who_waits_too_long_is_answered_from_what_is_there(searched, monkeypatch):
    searched.post("a", one=coloured(200))
    # Embedded before, so that the short wait suffices for the first search.
    searched.search("a")
    with closing(searched.new_engine(wait_seconds=0.2)) as engine:
        assert searched.search("a", engine=engine) == ["one"]
        searched.post("a", two=coloured(200, 50), three=coloured(200, 90))
        opened = threading.Event()
        embedded = engine._embed
        monkeypatch.setattr(engine, "_embed", lambda *asked: (opened.wait(30), embedded(*asked))[1])
        found = asyncio.run(engine.search("a", RED, 1, 20))
        assert ([stored.id for stored, _ in found.hits], found.n_missing) == (["one"], 2)
        opened.set()
        engine._indexes["a"].update.result(30)
        assert searched.search("a", engine=engine) == ["one", "two", "three"]


def test_a_failure_is_raised_and_the_next_search_tries_again(searched, monkeypatch):
    searched.post("a", one=coloured(200))
    with monkeypatch.context() as broken:
        broken.setattr(searched.engine, "_working_copy", lambda inputs, image_id: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            searched.search("a")
    assert searched.search("a") == ["one"]


def test_what_is_posted_during_an_update_is_found_by_who_asks_after_it(searched, monkeypatch):
    searched.post("a", one=coloured(200))
    begun, opened = threading.Event(), threading.Event()
    embedded = searched.engine._embed

    def held(*asked):
        begun.set()
        opened.wait(30)
        return embedded(*asked)

    monkeypatch.setattr(searched.engine, "_embed", held)

    async def two():
        first = asyncio.ensure_future(searched.engine.search("a", RED, 1, 20))
        await asyncio.to_thread(begun.wait)
        await asyncio.to_thread(lambda: searched.post("a", two=coloured(200, 50)))
        second = asyncio.ensure_future(searched.engine.search("a", RED, 1, 20))
        await asyncio.sleep(0.05)
        opened.set()
        return [len(found.hits) for found in await asyncio.gather(first, second)]

    assert asyncio.run(two())[1] == 2


def test_a_hit_that_was_deleted_a_moment_ago_is_left_out(searched):
    searched.post("a", one=coloured(200), two=coloured(200, 50))
    searched.search("a")
    index = searched.engine._indexes["a"]
    searched.intake.delete("a", ["one"])
    hits = searched.engine._hits("a", index, RED, slice(0, 20), InputFilter())
    assert [stored.id for stored, _ in hits] == ["two"]
