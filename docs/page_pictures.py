"""Photograph the page of the demo for docs/: `python docs/page_pictures.py .tessera/pages/demo`.

It needs Chromium, and the dev extra; and that the photos of the demo were examined (`tessera check
demo --run`, then `tessera view demo`).
"""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

DESK: dict[str, Any] = {"viewport": {"width": 1400, "height": 900}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


def find_coins(page: "Page") -> None:
    page.get_by_role("searchbox").fill("coins")
    page.wait_for_function("() => tessera.state.lit")


def select_flowers(page: "Page") -> None:
    box = page.evaluate(
        """() => {
          const { labels, labelCodes } = tessera.data.map(), flower = 1 + labels.indexOf("flower");
          const photos = [...labelCodes.keys()].filter((photo) => labelCodes[photo] === flower);
          tessera.state.select(photos);
          return tessera.map.boxOf(photos[20]);
        }"""
    )
    page.get_by_label("Name of the selection").fill("flowers")
    page.mouse.move((box["left"] + box["right"]) / 2, (box["top"] + box["bottom"]) / 2)


def show_plane(page: "Page") -> None:
    page.get_by_role("button", name="Plane").click()
    page.wait_for_function("() => !tessera.marks.isTravelling()")


def show_maps(page: "Page") -> None:
    page.evaluate(
        """() => {
          const { explained } = tessera.data.map();
          tessera.photo.open(explained.find((photo) => tessera.data.labelOf(photo) === "flower"));
        }"""
    )
    page.get_by_role("button", name="Seen").click()
    # Where the home lies on this machine is of no use to readers.
    page.evaluate(
        """() => {
          const file = document.querySelector("#photo dl dd:last-of-type");
          file.textContent = file.textContent.replace(/.*[/]demo[/]/, "demo/");
        }"""
    )


PICTURES = {
    "page": (select_flowers, DESK | {"color_scheme": "light"}),
    "page-plane": (show_plane, DESK | {"color_scheme": "dark"}),
    "page-maps": (show_maps, DESK | {"color_scheme": "light"}),
    "page-phone": (find_coins, PHONE | {"color_scheme": "light"}),
}


def photograph(folder: Path) -> None:
    """Write the pictures of the page in ``folder`` beside this file."""
    from support.browser import chromium

    with chromium() as browser:
        for name, (prepare, about) in PICTURES.items():
            page = browser.new_page(**about)
            page.goto((folder.absolute() / "index.html").as_uri())
            page.wait_for_selector("html[data-ready]", state="attached")
            prepare(page)
            page.wait_for_timeout(1500)
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            picture.save(Path(__file__).with_name(f"{name}.jpg"), quality=82, optimize=True)
            page.close()


if __name__ == "__main__":
    photograph(Path(sys.argv[1]))
