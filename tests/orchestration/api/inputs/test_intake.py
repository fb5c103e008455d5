import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from assets.config import catalogue_settings
from assets.methods.common.errors import UserError
from assets.methods.photos import catalogue as cataloguing
from assets.methods.photos.catalogue import catalogue_photos
from assets.methods.photos.decode import image_id
from assets.resources.collections import INPUTS_SOURCE, Collection, CollectionRegistry
from assets.resources.input_store import InputCounts, InputStore, NewInput, StoredInput
from assets.resources.photos import Photos, inputs_folder
from orchestration.api.contract import ApiError, Code, PostedInput
from orchestration.api.inputs.intake import Intake
from orchestration.api.settings import ServeSettings
from support.image_server import packed, picture, reply, serving

SETTINGS = ServeSettings(
    download_seconds=5, wait_seconds=5, image_megabytes=0.1, allow_private_addresses=True
)
MANY = 1_000


class Home:
    """A home folder, and what was registered and forgotten in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[str] = []

    def intake(self, **settings: object) -> Intake:
        return Intake(self.path, replace(SETTINGS, **settings), self._register, self._forget)

    def _register(self, app: str) -> None:
        self.said.append(f"+{app}")
        CollectionRegistry(self.path).add(Collection(app, INPUTS_SOURCE))

    def _forget(self, app: str) -> None:
        self.said.append(f"-{app}")
        CollectionRegistry(self.path).remove(app)

    def files(self, app: str = "app") -> set[str]:
        folder = inputs_folder(self.path, app) / "files"
        return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def sent(data: bytes, id: str | None = None, **others: object) -> PostedInput:
    return PostedInput.model_validate(
        {"id": id, "data": {"image": {"base64": packed(data)}, **others}}
    )


def linked(url: str, id: str | None = None, **others: object) -> PostedInput:
    return PostedInput.model_validate({"id": id, "data": {"image": {"url": url, **others}}})


def codes(outcomes: list[StoredInput]) -> list[Code]:
    return [Code.of(outcome.code) for outcome in outcomes]


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_pictures_are_stored_in_their_order(home):
    with closing(home.intake()) as intake:
        given = [sent(picture(n), f"id{n}") for n in range(12)]
        outcomes = intake.post("app", given, MANY)
        assert [outcome.id for outcome in outcomes] == [f"id{n}" for n in range(12)]
        assert codes(outcomes) == [Code.INPUT_DONE] * 12
        assert intake.store("app").page(1, 20) == outcomes
    assert home.files() == {image_id(picture(n)) for n in range(12)}


def test_what_cannot_be_read_is_told_and_not_stored(home):
    with closing(home.intake()) as intake:
        given = [
            sent(picture(1)),
            sent(b"hallo", "text"),
            sent(picture(2)[:200]),
            sent(b""),
            sent(picture(3, width=4, height=4)),
            sent(b"x" * 200_000),
            sent(picture(1)),
            sent(picture(4)),
        ]
        outcomes = intake.post("app", given, MANY)
        unsupported = Code.INPUT_UNSUPPORTED
        assert codes(outcomes) == [
            Code.INPUT_DONE,
            *[unsupported] * 5,
            Code.INPUT_DUPLICATE,
            Code.INPUT_DONE,
        ]
        assert [outcome.detail for outcome in outcomes if outcome.code == 30101] == [
            "The file does not begin like any kind of image.",
            "The file says PNG but ends after 200 bytes, before the picture is complete.",
            "The file holds no bytes.",
            "The photo is 4 x 4 px; each side needs at least 8 px.",
            "The file has 200,000 bytes; at most 104,857 bytes are read.",
        ]
        assert (outcomes[1].id, outcomes[1].image_id) == ("text", None)
        assert outcomes[6].id == outcomes[0].id
        assert intake.store("app").page(1, 20) == [outcomes[0], outcomes[7]]
    assert home.files() == {image_id(picture(1)), image_id(picture(4))}


def test_a_full_app_takes_no_more(home):
    with closing(home.intake()) as intake:
        outcomes = intake.post("app", [sent(picture(n)) for n in range(3)], 2)
        assert codes(outcomes) == [Code.INPUT_DONE, Code.INPUT_DONE, Code.INVALID_REQUEST]
        assert "as many as this key may store" in outcomes[2].detail


def test_downloads_are_waited_for(home):
    pages = {f"/{n}.png": picture(n) for n in range(20)} | {"/page": b"<html>"}
    with serving(pages) as url, closing(home.intake()) as intake:
        given = [linked(f"{url}/{n}.png", str(n)) for n in range(20)]
        outcomes = intake.post("app", given, MANY)
        assert codes(outcomes) == [Code.INPUT_DONE] * 20
        assert [outcome.id for outcome in outcomes] == [str(n) for n in range(20)]
        again = [
            linked(f"{url}/3.png"),
            linked(f"{url}/3.png", allow_duplicate_url=True),
            linked(f"{url}/none"),
            linked(f"{url}/page"),
            sent(picture(4)),
        ]
        outcomes = intake.post("app", again, MANY)
        assert codes(outcomes) == [
            Code.INPUT_DUPLICATE,
            Code.INPUT_DONE,
            Code.INPUT_DOWNLOAD_FAILED,
            Code.INPUT_UNSUPPORTED,
            Code.INPUT_DUPLICATE,
        ]
        assert [outcomes[0].id, outcomes[4].id] == ["3", "4"]
        assert intake.store("app").counts() == InputCounts(21, 0, 0)
    assert len(home.files()) == 20


def test_a_download_may_be_cropped(home):
    with serving({"/a.png": picture()}) as url, closing(home.intake()) as intake:
        (outcome,) = intake.post("app", [linked(f"{url}/a.png", crop=[0, 0, 0.5, 0.5])], MANY)
    assert (outcome.width, outcome.height) == (32, 24)
    assert (outcome.url, outcome.crop) == (f"{url}/a.png", (0, 0, 0.5, 0.5))


def test_what_strangers_answer_leaves_nothing_behind(home):
    def endless(handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.01)

    def flood(handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 10_000)

    answers = {
        "/endless": endless,
        "/flood": flood,
        "/10gb": lambda handler: reply(handler, 200, Content_Length=f"{10 * 2**30}"),
        "/html": b"<html></html>",
        "/file": lambda handler: reply(handler, 302, Location="file:///etc/hosts"),
        "/circle": lambda handler: reply(handler, 302, Location="/circle"),
    }
    with serving(answers) as url, closing(home.intake(download_seconds=1)) as intake:
        given = [linked(url + path) for path in answers]
        outcomes = dict(zip(answers, intake.post("app", given, MANY), strict=True))
        assert {path: outcome.code for path, outcome in outcomes.items()} == {
            "/endless": 30002,
            "/flood": 30002,
            "/10gb": 30002,
            "/html": 30101,
            "/file": 30002,
            "/circle": 30002,
        }
        assert intake.store("app").page(1, 20) == []
    assert home.files() == set()
    assert home.said == []
    with serving(answers) as url, closing(home.intake(allow_private_addresses=False)) as intake:
        assert codes(intake.post("app", [linked(f"{url}/html")], MANY)) == [
            Code.INPUT_DOWNLOAD_FAILED
        ]


def test_what_takes_long_is_pending_and_ends_in_the_background(home):
    released = threading.Event()

    def slow(data: bytes) -> Callable:
        return lambda handler: (released.wait(10), reply(handler, 200, data))

    answers = {"/a": slow(picture(1)), "/b": slow(b"<html>"), "/c": slow(picture(2))}
    with (
        serving(answers) as url,
        closing(home.intake(wait_seconds=0.1)) as intake,
    ):
        given = [linked(url + path, path[1:]) for path in answers] + [sent(picture(2), "d")]
        outcomes = intake.post("app", given, MANY)
        assert codes(outcomes) == [*[Code.INPUT_PENDING] * 3, Code.INPUT_DONE]
        assert intake.store("app").find("a") == outcomes[0]
        assert codes(intake.post("app", given[:1], MANY)) == [Code.INPUT_DUPLICATE]
        counts = intake.counts("app")
        assert (counts.processed, counts.to_process, counts.processing) == (1, 0, 3)
        released.set()
        eventually(lambda: not intake.store("app").pending())
        counts = intake.counts("app")
        assert (counts.processed, counts.errors, counts.processing) == (2, 2, 0)
        found = [intake.store("app").find(name) for name in "abc"]
        assert codes(found) == [Code.INPUT_DONE, Code.INPUT_UNSUPPORTED, Code.INPUT_DUPLICATE]
        assert "input d " in found[2].detail.lower()
    assert home.files() == {image_id(picture(1)), image_id(picture(2))}


def test_one_deleted_while_it_is_downloaded_stays_deleted(home):
    asked, released = threading.Event(), threading.Event()

    def slow(handler) -> None:
        asked.set()
        released.wait(10)
        reply(handler, 200, picture(1))

    with serving({"/a": slow}) as url, closing(home.intake()) as intake:
        posted = intake.submit("app", [linked(f"{url}/a", "one")], MANY)
        assert asked.wait(10)
        assert intake.delete("app", ["one"]) == {"one"}
        released.set()
        assert codes(posted.result(10)) == [Code.NO_SUCH_INPUT]
    assert home.files() == set()


def test_downloads_that_a_kill_cut_off_are_taken_up_again(home):
    with serving({"/a.png": picture(1)}) as url:
        with closing(InputStore(inputs_folder(home.path, "app"))) as store:
            crop = (0.0, 0.0, 0.5, 1.0)
            store.add([NewInput("one", url=f"{url}/a.png", crop=crop)], MANY)
            store.add([NewInput("two", url=f"{url}/none")], MANY)
        with closing(home.intake()) as intake:
            intake.start()
            eventually(lambda: not intake.store("app").pending())
            found = [intake.store("app").find(name) for name in ("one", "two")]
            eventually(lambda: home.said == ["+app"])
    assert codes(found) == [Code.INPUT_DONE, Code.INPUT_DOWNLOAD_FAILED]
    assert (found[0].width, found[0].height) == (64, 24)


def test_closing_leaves_what_has_not_begun_for_the_next_start(home):
    asked, released = threading.Event(), threading.Event()

    def slow(handler) -> None:
        asked.set()
        released.wait(10)
        reply(handler, 200, picture(1))

    with serving({"/": slow}) as url:
        intake = home.intake(wait_seconds=0)
        given = [linked(f"{url}/", f"{n}", allow_duplicate_url=True) for n in range(40)]
        assert codes(intake.post("app", given, MANY)) == [Code.INPUT_PENDING] * 40
        assert asked.wait(10)
        threading.Timer(0.2, released.set).start()
        intake.close()
        with closing(home.intake()) as intake:
            counts = intake.store("app").counts()
            assert counts.failed == 0
            assert 0 < counts.done <= 17
            intake.start()
            eventually(lambda: intake.store("app").counts() == InputCounts(40, 0, 0))


def test_an_app_is_a_collection_as_long_as_it_has_pictures(home):
    with closing(home.intake()) as intake:
        intake.post("app", [sent(b"hallo")], MANY)
        assert home.said == []
        intake.post("app", [sent(picture(1), "one"), sent(picture(2), "two")], MANY)
        intake.post("app", [sent(picture(3))], MANY)
        assert home.said == ["+app"]
        intake.delete("app", ["one"])
        intake.delete("app", ["none"])
        assert home.said == ["+app"]
        intake.delete_all("app")
        assert home.said == ["+app", "-app"]
        intake.post("app", [sent(picture(1))], MANY)
        assert home.said == ["+app", "-app", "+app"]
    with closing(home.intake()) as intake:
        intake.start()
        assert home.said[3:] == ["+app"]


def test_a_collection_whose_last_input_went_before_a_kill_is_forgotten(home):
    InputStore(inputs_folder(home.path, "app")).close()
    CollectionRegistry(home.path).add(Collection("app", INPUTS_SOURCE))
    with closing(home.intake()) as intake:
        intake.start()
    assert home.said == ["-app"]


def test_an_app_whose_database_is_damaged_is_left_out_at_the_start(home, caplog):
    with closing(home.intake()) as intake:
        for app in ("broken", "whole"):
            intake.post(app, [sent(picture())], MANY)
    damaged = inputs_folder(home.path, "broken") / "inputs.sqlite"
    damaged.write_bytes(b"")
    with closing(home.intake()) as intake:
        intake.start()
        assert intake.store("whole").counts().done == 1
        with pytest.raises(UserError, match="holds no inputs, although there are photos"):
            intake.store("broken")
    assert str(damaged) in caplog.text
    # What cannot be made anew is not removed, either.
    assert len(home.files("broken")) == 1


def test_a_full_app_decodes_nothing_more(home):
    with closing(home.intake()) as intake:
        intake.post("app", [sent(picture(1))], 1)
        (refused,) = intake.post("app", [sent(picture(2))], 1)
    assert refused.code == Code.INVALID_REQUEST.number
    assert "as many as this key may store" in refused.detail
    assert len(list((home.path / "photos" / "working_copies").rglob("*.jpg"))) == 1


def test_an_app_has_so_many_pending_downloads_at_most(home, monkeypatch):
    monkeypatch.setattr("orchestration.api.inputs.intake.MOST_PENDING", 1)
    urls = [PostedInput(data={"image": {"url": f"http://photos.test/{n}"}}) for n in range(2)]
    with closing(home.intake()) as intake:
        with pytest.raises(ApiError) as refused:
            intake.post("app", urls, MANY)
        assert refused.value.code is Code.THROTTLED
        assert intake.store("app").page(1, 9) == []


def test_a_collection_of_another_source_is_left_alone(home):
    CollectionRegistry(home.path).add(Collection("app", "/photos"))
    with closing(home.intake()) as intake:
        intake.start()
        intake.delete_all("app")
        with pytest.raises(ApiError, match="a source of its own"):
            intake.post("app", [sent(picture(1))], MANY)
        assert intake.store("app").page(1, 9) == []
    assert home.said == []


@pytest.mark.parametrize("settings", [{}, {"raw_images": {"min_side": 2}}])
def test_a_map_decodes_nothing_anew(home, settings):
    CollectionRegistry(home.path).add(Collection("app", INPUTS_SOURCE, settings))
    with closing(home.intake()) as intake:
        intake.post("app", [sent(picture(n)) for n in range(5)], MANY)
        outcomes = intake.post("app", [sent(picture(9, width=4, height=4))], MANY)
        assert codes(outcomes) == [Code.INPUT_DONE if settings else Code.INPUT_UNSUPPORTED]
    photos = Photos(home=str(home.path))
    found = catalogue_photos(
        photos.collection("app").source, photos.store, catalogue_settings(settings)
    )
    assert (found.n_decoded, len(found.rejects)) == (0, 0)
    assert len(found.images) == 5 + bool(settings)


def test_the_apps_share_nothing(home):
    with closing(home.intake()) as intake:
        for app in ("one", "two"):
            assert codes(intake.post(app, [sent(picture(1), "same")], MANY)) == [Code.INPUT_DONE]
        intake.delete_all("one")
        assert intake.store("two").find("same")
    assert home.files("one") == set()
    assert len(home.files("two")) == 1


def test_one_input_that_breaks_the_service_does_not_take_the_others_along(home, monkeypatch):
    broken = picture(1)

    def decode(data: bytes, limits: object) -> object:
        if data == broken:
            raise KeyError("a bug")
        return original(data, limits)

    original = cataloguing.decode
    monkeypatch.setattr(cataloguing, "decode", decode)
    with serving({"/1": broken, "/2": picture(2)}) as url, closing(home.intake()) as intake:
        outcomes = intake.post("app", [linked(f"{url}/1"), linked(f"{url}/2")], MANY)
        assert codes(outcomes) == [Code.FAILURE, Code.INPUT_DONE]
        assert "a bug" not in outcomes[0].detail


def test_an_input_without_a_picture_stores_nothing_of_its_post(home):
    nothing = PostedInput.model_validate({"data": {"image": {}}})
    with closing(home.intake()) as intake:
        with pytest.raises(ApiError, match="Image 2 of 2"):
            intake.post("app", [sent(picture(1)), nothing], MANY)
        assert intake.store("app").page(1, 20) == []
