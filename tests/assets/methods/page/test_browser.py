"""The page in a real browser, opened from the disk: what a person does, and what must not run."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from assets.methods.page.changes import MapChanges
from assets.methods.page.folder import copy_page
from assets.methods.page.page import write_page
from support.album import BLURRED, COLUMNS, N_PHOTOS, ROWS
from support.browser import CHROMIUM, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]

# Notes what the policy refused, and every text that became markup.
WATCH = """
window.refused = [];
document.addEventListener("securitypolicyviolation", (event) => {
  refused.push(event.violatedDirective + " " + event.blockedURI);
});
window.alert = () => refused.push("a script of a name ran");
"""
READY = "html[data-ready]"
STRAY = "b, i, img[src='x'], [onerror], [onmouseover], body script"


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    # WebGL off: the page has to do without.
    with chromium("--disable-webgl", "--disable-3d-apis") as browser:
        yield browser


@pytest.fixture(scope="module")
def changed_folder(album, page_folder, tmp_path_factory) -> Path:
    """A page that knows the changes of two maps; not to be changed."""
    ids = list(album.contents.layout.image_id)
    rows = [("came", ids[3]), ("came", ids[5]), ("moved", ids[8]), ("went", "f" * 64)]
    newest = pd.DataFrame(rows, columns=["change", "image_id"]).assign(uri="/<b>gone</b>.png")
    before = newest.head(1).assign(image_id=ids[7])
    maps = [
        MapChanges(3, "2026-11-25", newest.head(0), "The map was made anew: <b>why</b>."),
        MapChanges(4, "2026-11-26", before),
        MapChanges(5, "2026-11-27", newest),
    ]
    folder = tmp_path_factory.mktemp("changed") / "page"
    copy_page(page_folder, folder)
    write_page(folder, replace(album.contents, changes=maps), album.load)
    return folder


@pytest.fixture
def open_page(browser, page_folder) -> Iterator[Callable[..., "Page"]]:
    """Opens the page; at the end, nothing was refused, no script has failed, and no text ran."""
    opened = []

    def open_it(
        address: str = "",
        width: int = 1400,
        height: int = 900,
        folder: Path = page_folder,
        **about,
    ) -> "Page":
        context = browser.new_context(viewport={"width": width, "height": height}, **about)
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
        page.add_init_script(WATCH)
        page.set_default_timeout(20_000)
        page.goto(f"{(folder / 'index.html').as_uri()}{address}")
        page.wait_for_selector(READY, state="attached")
        opened.append((page, faults))
        return page

    yield open_it
    for page, faults in opened:
        assert page.evaluate("refused") == []
        assert page.locator(STRAY).count() == 0
        assert page.title() == "<i>birds</i>: photo map"
        assert faults == []
        page.context.close()


def state(page: "Page", words: str):
    return page.evaluate(f"tessera.state.{words}")


def lit(page: "Page") -> Any:
    return page.evaluate("tessera.state.lit && tessera.state.walk")


def middle_of(page: "Page", photo: int) -> tuple[float, float]:
    box = page.evaluate(f"tessera.map.boxOf({photo})")
    return (box["left"] + box["right"]) / 2, (box["top"] + box["bottom"]) / 2


def photo_named(page: "Page", name: str) -> int:
    page.evaluate("tessera.data.loadAll('names')")
    names = page.evaluate("tessera.data.has('names-0').names")
    return names.index(name)


def wait(page: "Page", condition: str) -> None:
    # An expression would be evaluated as text, which the page forbids.
    page.wait_for_function(f"() => ({condition})")


def table_of(page: "Page", button: str = "Save CSV") -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    with Path(download.value.path()).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_all_photos_are_drawn_without_a_server_or_a_network(open_page):
    page = open_page()
    assert page.get_by_role("heading", level=1).inner_text() == "<i>birds</i>"
    assert page.locator(".title p").inner_text() == f"{N_PHOTOS} photos, {COLUMNS} × {ROWS} cells"
    wait(
        page, "[...document.querySelectorAll('img.leaflet-tile')].every((one) => one.naturalWidth)"
    )
    assert page.locator("img.leaflet-tile").count() > 0
    assert page.get_by_text(f"{BLURRED} photos have a score above 0.8").is_visible()


def test_the_card_shows_what_is_known_of_the_photo_below_the_pointer(open_page):
    page = open_page()
    photo = photo_named(page, "bird 00.png")
    page.mouse.move(*middle_of(page, photo))
    card = page.locator("#card")
    card.get_by_text("bird 00.png").wait_for()
    card.get_by_text("2 files with the same content").wait_for()
    assert "64 × 48 px" in card.inner_text()
    assert card.get_by_text("nsfw 0.").is_visible()
    page.mouse.move(5, 200)
    assert card.is_hidden()


def test_names_that_are_markup_script_or_worse_are_text(open_page):
    page = open_page()
    page.evaluate("tessera.data.loadAll('names')")
    shown = page.evaluate("tessera.data.has('names-0').names")
    for photo, name in enumerate(shown):
        if name.startswith("bird"):
            continue
        page.evaluate(f"tessera.photo.open({photo})")
        page.wait_for_function(
            "name => document.getElementById('photo-name').textContent === name", arg=name
        )
        page.evaluate(f"tessera.card.showAt({photo}, 300, 300)")
        page.wait_for_function(
            "name => document.querySelector('#card .name').textContent === name", arg=name
        )
    page.keyboard.press("Escape")
    assert "<img src=x onerror=alert(1)>.png" in shown
    assert "\ufffd\ufffd not utf-8 \ufffd.png" in shown
    assert r"bell \x07 escape \x1b[31m tab \t.png" in shown


def test_a_photo_opens_with_the_most_similar_ones(open_page):
    page = open_page()
    page.mouse.click(*middle_of(page, 4))
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("heading", name="The 10 most similar photos").wait_for()
    # The file itself, which a page that was opened from the disk may read.
    wait(page, "document.querySelector('#photo .shown img')?.naturalWidth === 64")
    similar = page.evaluate("tessera.data.nearestTo(4)")
    dialog.locator(".photos button").first.click()
    wait(page, f"tessera.photo.current() === {similar[0]}")
    page.keyboard.press("Escape")
    assert dialog.is_hidden()


def test_similar_photos_light_up_and_the_nearest_come_first(open_page):
    page = open_page()
    page.evaluate("tessera.photo.open(9)")
    page.get_by_role("button", name="Light similar photos").click()
    wait(page, "tessera.state.strength")
    assert lit(page)[:11] == [9, *page.evaluate("tessera.data.nearestTo(9)")]
    page.get_by_role("button", name="Show all").click()
    assert lit(page) is None


def test_codes_find_most_of_what_vectors_find(open_page, album):
    page = open_page()
    found = page.evaluate(
        """async () => Promise.all(Array.from({length: 40}, async (_, photo) => {
          const cosines = await tessera.similar.cosinesWith(photo);
          const order = [...cosines.keys()].filter((other) => other !== photo);
          return order.sort((one, other) => cosines[other] - cosines[one]).slice(0, 10);
        }))"""
    )
    nearest = page.evaluate(
        "async () => Promise.all(Array.from({length: 40}, (_, p) => tessera.data.nearestTo(p)))"
    )
    shared = [len({*some} & {*others}) / 10 for some, others in zip(found, nearest, strict=True)]
    assert sum(shared) / len(shared) >= 0.8


def test_find_lights_photos_by_all_words_and_the_keyboard_walks_through_them(open_page):
    page = open_page()
    page.keyboard.press("/")
    page.keyboard.type("BIRDS/bird 0")
    wait(page, "tessera.state.walk.length === 12")
    page.keyboard.press("Enter")
    first, second = lit(page)[:2]
    wait(page, f"tessera.state.focus === {first}")
    page.locator("#map").focus()
    page.keyboard.press("n")
    assert state(page, "focus") == second
    page.keyboard.press("p")
    assert state(page, "focus") == first
    page.keyboard.press("Escape")
    assert lit(page) is None


def test_labels_and_markup_are_found_as_text(open_page):
    page = open_page()
    page.get_by_role("searchbox").fill("<b>bold</b> onerror")
    wait(page, "tessera.state.lit")
    names = page.evaluate("tessera.state.walk.map(tessera.data.nameOf)")
    assert all("onerror" in name for name in names)
    page.get_by_role("searchbox").fill("nothing is called so")
    page.get_by_text("None match “nothing is called so”.").wait_for()


def test_a_range_of_scores_lights_up_the_highest_first(open_page):
    page = open_page()
    page.get_by_label("Colour and filter").select_option("Score")
    page.get_by_label("Lowest").fill("140")
    wait(page, "tessera.state.lit")
    scores = page.evaluate("tessera.state.walk.map(tessera.data.scoreOf)")
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= 0.7
    assert len(scores) == BLURRED
    page.get_by_role("button", name="The 10 highest").click()
    highest = sorted(page.evaluate("Array.from({length: 40}, (_, p) => tessera.data.scoreOf(p))"))
    assert page.evaluate("tessera.state.walk.map(tessera.data.scoreOf)") == highest[-1:-11:-1]
    rows = table_of(page, "Save list")
    assert [float(row["score"]) for row in rows] == pytest.approx(highest[-1:-11:-1], abs=1e-5)


def test_labels_folders_and_copies_light_up(open_page):
    page = open_page()
    colour = page.get_by_label("Colour and filter")
    colour.select_option("Label")
    page.get_by_role("button", name="<b>bold</b> 14").click()
    assert len(lit(page)) == 14
    page.get_by_role("button", name="bird 13").click()
    assert len(lit(page)) == 27
    colour.select_option("Folder")
    page.get_by_role("button", name="photos/birds").click()
    wait(page, f"tessera.state.walk.length === {N_PHOTOS - 12}")
    colour.select_option("Nearly the same, copies")
    page.get_by_role("button", name="several files with the same content 1").click()
    wait(page, "tessera.state.walk.length === 1")
    colour.select_option("No colour")
    wait(page, "tessera.state.lit === null")


def test_a_rectangle_and_a_lasso_select_and_the_table_has_exactly_these(open_page, album):
    page = open_page()
    page.get_by_role("button", name="Rectangle").click()
    page.mouse.move(*middle_of(page, 0))
    page.mouse.down()
    page.mouse.move(*middle_of(page, COLUMNS + 2), steps=5)
    page.mouse.up()
    expected = [0, 1, 2, COLUMNS, COLUMNS + 1, COLUMNS + 2]
    # The corners are the middles of two photos: which of those on the edge are inside is open.
    selected = set(page.evaluate("[...tessera.state.selected]"))
    assert selected
    assert selected <= set(expected)
    page.get_by_role("button", name="Lasso").click()
    (left, top), (right, bottom) = middle_of(page, 0), middle_of(page, COLUMNS + 2)
    corners = [
        (left - 9, top - 9),
        (right + 9, top - 9),
        (right + 9, bottom + 9),
        (left - 9, bottom + 9),
    ]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=8)
    page.mouse.up()
    assert sorted(page.evaluate("[...tessera.state.selected]")) == expected
    page.get_by_label("Name of the selection").fill("six / birds")
    rows = table_of(page)
    wanted = album.contents.layout.iloc[expected]
    assert [row["image_id"] for row in rows] == list(wanted.image_id)
    assert [(int(row["row"]), int(row["col"])) for row in rows] == [
        (i // COLUMNS, i % COLUMNS) for i in expected
    ]
    assert list(rows[0]) == ["image_id", "uri", "label", "score", "row", "col", "x", "y"]
    assert [float(row["x"]) for row in rows] == pytest.approx(list(wanted.x), abs=1e-3)
    assert page.locator("#toast").inner_text() == "6 photos in six _ birds.csv"
    # What is wrong leaves the page with its right label.
    page.get_by_label("Label of the selected photos").fill("=not a bird")
    assert {row["label"] for row in table_of(page)} == {"'=not a bird"}


def test_shift_click_and_all_lit_select_and_nothing_faded_is_selected(open_page):
    page = open_page()
    for photo in (3, 5, 3):
        page.keyboard.down("Shift")
        page.mouse.click(*middle_of(page, photo))
        page.keyboard.up("Shift")
    assert page.evaluate("[...tessera.state.selected]") == [5]
    page.get_by_role("searchbox").fill("bird")
    wait(page, "tessera.state.lit")
    many = len(lit(page))
    page.get_by_role("button", name=f"Select all {many} lit").click()
    assert state(page, "selected.size") == many
    assert len(table_of(page)) == many


def test_a_table_has_all_names_whatever_is_in_them(open_page, album):
    page = open_page()
    page.get_by_role("button", name="Select all", exact=True).click()
    rows = table_of(page)
    assert [row["image_id"] for row in rows] == list(album.contents.layout.image_id)
    assert {row["uri"] for row in rows} >= {
        f"{album.folder}/<img src=x onerror=alert(1)>.png",
        f'{album.folder}/=cmd|"calc",1.png',
        f"file://{album.folder}/two%0Alines.png",
        f"file://{album.folder}/%FF%FE%20not%20utf-8%20%80.png",
    }


def test_a_table_that_is_dropped_on_the_page_is_a_selection_again(open_page, album):
    page = open_page()
    ids = list(album.contents.layout.image_id[[2, 7]])
    text = "image_id\n" + "\n".join([*ids, "f" * 64])
    page.evaluate("text => tessera.csv.read(new File([text], 'coins.csv'))", text)
    wait(page, "tessera.state.selected.size === 2")
    assert page.evaluate("[...tessera.state.selected]") == [2, 7]
    assert page.get_by_label("Name of the selection").input_value() == "coins"
    assert "2 photos of 3 in the file" in page.locator("#toast").inner_text()
    # Too many for the arguments of one call.
    assert page.evaluate("tessera.data.photosWithIds(Array(300000).fill('f'.repeat(64)))") == []


def test_a_blurred_photo_is_shown_as_it_is_only_when_asked_for(open_page):
    page = open_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(f"tessera.photo.open({N_PHOTOS - 1})")
    show = page.get_by_role("button", name="Show this photo as it is")
    show.wait_for()
    page.get_by_role("heading", name="The 10 most similar photos").wait_for()
    assert not [url for url in asked if url.endswith(".png") or "/clear/" in url]
    show.click()
    wait(page, "document.querySelector('#photo .shown img')?.naturalWidth > 0")


def test_maps_are_blended_over_a_photo_by_a_slider_and_a_blurred_one_stays_so_until_asked(
    open_page,
):
    page = open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("tessera.photo.open(2)")
    maps = page.get_by_role("group", name="What the model looks at")
    maps.get_by_role("button", name="Seen").wait_for()
    assert not [url for url in asked if "/maps/" in url]
    # By the keyboard alone.
    maps.get_by_role("button", name="Photo").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("How to read seen. Model: a <b>model</b>, version 3").wait_for()
    wait(page, "document.querySelector('#photo .map').naturalWidth === 64")
    assert page.evaluate("document.querySelector('#photo .map').style.opacity") == "0.6"
    slider = page.get_by_label("Map over the photo")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.querySelector('#photo .map').style.opacity") == "0.61"
    assert page.evaluate("tessera.photo.current()") == 2
    maps.get_by_role("button", name="Photo").click()
    assert page.locator("#photo .map").count() == 0

    page.evaluate(f"tessera.photo.open({N_PHOTOS - 1})")
    maps.get_by_role("button", name="Deconvnet").click()
    show = page.get_by_role("button", name="Show this photo as it is")
    show.wait_for()
    assert page.locator("#photo .map").count() == 0
    maps.get_by_role("button", name="Seen").click()
    wait(page, "document.querySelector('#photo .map').naturalWidth === 64")
    assert not [url for url in asked if "clear" in url or "deconvnet" in url]
    show.click()
    wait(page, "document.querySelector('#photo .stack img').src.includes('-clear')")
    maps.get_by_role("button", name="Deconvnet").click()
    wait(page, "document.querySelector('#photo .map').naturalWidth === 64")
    assert page.locator("#photo b").count() == 0


def test_both_views_are_one_click_apart(open_page):
    page = open_page()
    page.get_by_role("button", name="Plane").click()
    wait(page, "!tessera.marks.isTravelling()")
    assert state(page, "view") == "plane"
    x, y = middle_of(page, 11)
    page.mouse.move(x, y)
    wait(page, "tessera.state.hover >= 0")
    page.locator("#card .name").wait_for()
    page.get_by_role("button", name="Grid").click()
    assert page.evaluate("tessera.marks.isTravelling()")
    wait(page, "!tessera.marks.isTravelling()")


def test_what_is_new_is_told_map_by_map(open_page, changed_folder):
    page = open_page(folder=changed_folder)
    page.get_by_role("button", name="Map 5, 2026-11-27 2 new, 1 moved, 1 gone").click()
    wait(page, "tessera.state.lit")
    assert lit(page) == [3, 5, 8]
    assert page.locator("#changes-gone").inner_text() == "/<b>gone</b>.png"
    wait(page, "location.hash.includes('changes=5')")
    other = open_page("#changes=4", folder=changed_folder)
    wait(other, "tessera.state.lit")
    assert lit(other) == [7]
    page.get_by_role("button", name="Show all").click()
    assert lit(page) is None
    # Where all have other places, none is lit, and nothing fades.
    page.get_by_role("button", name="Map 3, 2026-11-25 The map was made anew: <b>why</b>.").click()
    wait(page, "location.hash.includes('changes=3')")
    assert lit(page) is None
    page.get_by_label("Colour and filter").select_option("New and moved photos")
    page.get_by_role("button", name="moved since the map before 1").click()
    assert lit(page) == [8]


def test_a_page_of_a_map_that_nobody_kept_has_no_changes(open_page):
    page = open_page("#changes=4&colour=changes")
    assert page.get_by_text("No earlier map is known to this page.").is_visible()
    assert page.locator("#changes-maps button").count() == 0
    assert lit(page) is None
    names = page.get_by_label("Colour and filter").locator("option").all_inner_texts()
    assert "New and moved photos" not in names


def landmarks(page: "Page") -> list[dict[str, float]]:
    """Where the landmarks are, in px."""
    return page.evaluate(
        "[...document.querySelectorAll('.landmark')].map((one) => one.getBoundingClientRect())"
    )


def apart(boxes: list[dict[str, float]]) -> bool:
    return not any(
        one["left"] < other["right"]
        and other["left"] < one["right"]
        and one["top"] < other["bottom"]
        and other["top"] < one["bottom"]
        for place, one in enumerate(boxes)
        for other in boxes[:place]
    )


def test_landmarks_name_groups_in_both_views_and_lead_to_them(open_page):
    page = open_page(reduced_motion="reduce", width=390, height=844)
    page.locator(".landmark").first.wait_for()
    names = page.evaluate("tessera.data.has('landmarks').names")
    assert any("<b>" in name for name in names)
    assert set(page.locator(".landmark").all_inner_texts()) <= {*names}
    for view in ("Plane", "Grid"):
        page.get_by_role("button", name=view).click()
        assert landmarks(page)
        assert apart(landmarks(page))
    # Below the pointer there is a landmark and no photo.
    page.locator(".landmark").first.hover()
    assert state(page, "hover") == -1
    before = page.evaluate("tessera.map.sight().zoom")
    page.locator(".landmark").first.click()
    assert page.evaluate("tessera.map.sight().zoom") > before
    assert page.evaluate("tessera.photo.current()") == -1
    # They give way where photos are large, and where photos are lit.
    page.evaluate("tessera.map.look({row: 2, column: 2, zoom: 7})")
    assert landmarks(page) == []
    page.get_by_role("button", name="Show the whole map").click()
    page.locator(".landmark").first.wait_for()
    page.get_by_role("searchbox").fill("bird 0")
    wait(page, "!document.querySelector('.landmark')")
    page.evaluate("tessera.state.lightAll()")
    assert landmarks(page)


def test_landmarks_are_reached_by_the_keyboard_and_can_be_turned_off(open_page):
    page = open_page(reduced_motion="reduce", width=390, height=844)
    page.locator(".landmark").first.wait_for()
    assert all(box["left"] >= 0 and box["right"] <= 390 for box in landmarks(page))
    page.locator("#map").focus()
    page.keyboard.press("Tab")
    focused = "document.activeElement.dataset.group"
    first = page.evaluate(focused)
    many = len(landmarks(page))
    page.keyboard.press("ArrowRight")
    assert (page.evaluate(focused) != first) == (many > 1)
    assert page.evaluate("document.activeElement.ariaLabel").startswith("Go to ")
    before = page.evaluate("tessera.map.sight().zoom")
    page.keyboard.press("Enter")
    assert page.evaluate("tessera.map.sight().zoom") > before
    assert page.evaluate("document.activeElement.id") == "map"
    assert state(page, "focus") >= 0
    page.keyboard.press("0")
    page.locator(".landmark").first.wait_for()
    page.keyboard.press("l")
    assert landmarks(page) == []
    wait(page, "location.hash.includes('landmarks=off')")
    assert not page.evaluate("tessera.landmarks.isOn()")
    page.get_by_role("button", name="Landmarks").click()
    assert landmarks(page)


def test_nothing_travels_where_less_motion_is_asked_for(open_page):
    page = open_page(reduced_motion="reduce")
    page.get_by_role("button", name="Plane").click()
    assert not page.evaluate("tessera.marks.isTravelling()")


def test_the_plane_is_drawn_once_and_then_moves_with_the_map(open_page):
    page = open_page("#view=plane&at=3,3.5,7", reduced_motion="reduce")
    page.wait_for_timeout(600)
    page.evaluate(
        """() => {
          const draw = tessera.layer.draw;
          window.painted = 0;
          tessera.layer.draw = (context, seen, paint) =>
            draw(context, seen, (...all) => { painted++; paint(...all); });
        }"""
    )
    before = middle_of(page, 5)
    page.mouse.move(400, 400)
    page.mouse.down()
    page.mouse.move(470, 440, steps=6)
    page.mouse.up()
    page.wait_for_timeout(400)
    assert middle_of(page, 5) == pytest.approx((before[0] + 70, before[1] + 40), abs=8)
    assert page.evaluate("painted") == 0
    # It is sharp again a moment after a zoom, and shows at once what was selected.
    page.evaluate("tessera.map.zoomBy(0.3)")
    wait(page, "painted === 1")
    page.evaluate("tessera.state.select([1, 2])")
    wait(page, "painted >= 2")


def test_all_can_be_done_with_the_keyboard_alone(open_page):
    page = open_page()
    page.locator("#map").focus()
    page.keyboard.press("ArrowRight")
    begin = state(page, "focus")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert state(page, "focus") == begin + 1 + COLUMNS
    wait(page, "!document.getElementById('card').hidden")
    # It is said to those who do not see it.
    wait(
        page,
        "document.getElementById('said').textContent.startsWith("
        f"tessera.data.nameOf({begin + 1 + COLUMNS}))",
    )
    page.keyboard.press(" ")
    assert page.evaluate("[...tessera.state.selected]") == [begin + 1 + COLUMNS]
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("v")
    assert state(page, "view") == "plane"
    page.keyboard.press("s")
    wait(page, "tessera.state.strength")
    page.keyboard.press("?")
    page.get_by_role("heading", name="How to use this map").wait_for()
    page.keyboard.press("Escape")


def test_every_control_has_a_name_and_shows_where_the_focus_is(open_page):
    page = open_page()
    for _ in range(14):
        page.keyboard.press("Tab")
        named, outline = page.evaluate(
            """() => { const one = document.activeElement;
              const label = one.labels && one.labels[0] ? one.labels[0].textContent : "";
              return [(one.getAttribute("aria-label") || label || one.textContent).trim(),
                      getComputedStyle(one).outlineStyle]; }"""
        )
        assert named
        assert outline == "solid"


def test_an_address_leads_to_the_same_sight(open_page):
    page = open_page()
    page.get_by_label("Colour and filter").select_option("Label")
    page.get_by_role("button", name="<b>bold</b> 14").click()
    page.get_by_role("searchbox").fill("bird")
    wait(page, "tessera.state.walk.length > 0 && tessera.state.walk.length < 14")
    page.evaluate("tessera.state.select([1, 4])")
    page.get_by_label("Name of the selection").fill("two & more")
    page.get_by_role("button", name="Plane").click()
    page.evaluate("tessera.map.look({row: 2.5, column: 3.25, zoom: 6.5})")
    wait(
        page,
        "['6.50', 'plane', 'name='].every((part) => location.hash.includes(part))",
    )
    address = page.evaluate("location.hash")
    other = open_page(address)
    assert other.evaluate("tessera.map.sight()") == pytest.approx(
        {"row": 2.5, "column": 3.25, "zoom": 6.5}, abs=0.02
    )
    for words in ("view", "walk", "focus"):
        assert state(other, words) == state(page, words)
    assert other.evaluate("[...tessera.state.selected]") == [1, 4]
    assert other.get_by_label("Name of the selection").input_value() == "two & more"
    other.wait_for_timeout(600)
    assert other.evaluate("location.hash") == address


@pytest.mark.parametrize(
    "address",
    [
        "#view=<b>",
        "#at=NaN,,",
        "#photo=../../etc",
        "#values=99,-1&colour=label",
        "#colour=__proto__",
        "#selected=%00,%ff",
        "#find=%3Cimg src=x onerror=alert(1)%3E",
    ],
)
def test_an_address_that_makes_no_sense_does_no_harm(open_page, address):
    open_page(address)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1400, 900), (390, 844)])
def test_nothing_is_cut_off(open_page, width, height, scheme):
    page = open_page("#colour=score", width=width, height=height, color_scheme=scheme)
    if width < 500:
        page.get_by_role("button", name="Panel").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    overflowing = page.evaluate(
        """() => [...document.querySelectorAll("header, header *, aside *")]
          .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
          .filter((one) => !one.closest(".hidden"))
          .map((one) => one.outerHTML)"""
    )
    assert overflowing == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_that_keeps_people_out(open_page, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = open_page("#colour=label&find=bird", color_scheme=scheme)

    def faults() -> list[str]:
        found = Axe().run(page, options={"preload": False}).response
        assert len(found["passes"]) > 10
        return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found["violations"]]

    assert faults() == []
    page.get_by_role("button", name="Plane").click()
    wait(page, "!tessera.marks.isTravelling()")
    assert faults() == []
    page.evaluate("tessera.photo.open(2)")
    page.get_by_role("heading", name="The 10 most similar photos").wait_for()
    page.get_by_role("button", name="Seen").click()
    assert faults() == []
