"""The page of very many photos: how long it takes, how large it is, and how a browser gets along.

The photos of a folder are decoded once, and repeated until there are enough. Each part runs in a
process of its own, and prints a line. `write` makes the page, `again` makes it once more with 1 %
of new photos on the same grid, and `browser` opens it in Chromium without a GPU.
Run: python -m bench.large_page PHOTOS --photos 100000 --place /tmp/large
"""

import argparse
import hashlib
import json
import math
import os
import resource
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from assets.methods.page.folder import page_files
from assets.methods.page.page import PageContents, PageSettings, write_page
from assets.methods.photos.catalogue import catalogue_photos
from assets.methods.photos.photo_store import PhotoStore

if TYPE_CHECKING:
    from playwright.sync_api import Page

PARTS = ("write", "again", "browser")
FREE_CELLS = 1.02  # cells to photos, so that new photos have room on the same grid
NEW = 0.01
DIMENSIONS = 1280  # of the vectors of the default network
MEGABYTE = 2**20
# Beyond it the page has no codes, and the photos are so many that decoding them each time, which
# takes hours, is left out.
MOST_DECODED = 200_000
N_KEPT = 1_000
N_LASSO = 20_000
SECONDS = 4.0


def ids_of(numbers: np.ndarray) -> list[str]:
    return [hashlib.sha256(f"photo {number}".encode()).hexdigest() for number in numbers]


class Loader:
    """Loads the working copy of a photo, of which several photos have the same."""

    def __init__(self, store: PhotoStore, copies: list[str], n_kept: int) -> None:
        self._store, self._copies, self._n_kept = store, copies, n_kept
        self._kept: OrderedDict[str, Image.Image] = OrderedDict()
        self._lock = threading.Lock()
        self.n_loaded = 0

    def __call__(self, image_id: str) -> Image.Image:
        copy = self._copies[int(image_id[:12], 16) % len(self._copies)]
        with self._lock:
            self.n_loaded += 1
            kept = self._kept.get(copy)
        if kept is not None:
            return kept
        photo = self._store.open_working_copy(copy)
        if self._n_kept:
            photo.thumbnail((64, 64))
            with self._lock:
                self._kept[copy] = photo
        return photo


def contents_of(
    numbers: np.ndarray, n_before: int, cells: np.ndarray, side: int, with_vectors: bool
) -> PageContents:
    """Return a map of photos in these cells; the first ``n_before`` are always the same."""
    ids = ids_of(numbers)
    row, col = cells // side, cells % side
    shares = [drawn(0, n_before), drawn(3, len(ids) - n_before)]
    away_x, away_y, scores = np.concatenate(shares, axis=1)
    layout = pd.DataFrame(
        {
            "image_id": ids,
            "uri": [f"/photos/folder {number % 97}/photo {number:07}.jpg" for number in numbers],
            "label": pd.array([f"class {number % 40}" for number in numbers], "string"),
            "x": col + away_x,
            "y": row + away_y,
            "row": row,
            "col": col,
        }
    )
    images = layout[["image_id", "uri"]].assign(
        width=640,
        height=480,
        n_bytes=100_000,
        taken_at=pd.array([None] * len(ids), "string"),
        duplicate_of=None,
    )
    table = pd.DataFrame({"image_id": ids, "score": scores})
    vectors = vectors_of(numbers) if with_vectors else None
    return PageContents("large", side, side, layout, images, vectors, table, "nsfw")


def drawn(seed: int, n: int) -> np.ndarray:
    """Return how far n photos lie from their cells, across and down, and their scores: (3, n)."""
    random = np.random.default_rng(seed)
    return np.stack([random.normal(0, 3, n), random.normal(0, 3, n), random.random(n) ** 2])


def vectors_of(numbers: np.ndarray) -> np.ndarray:
    """Return vectors in a thousand clusters, the same for the same number."""
    centres = np.random.default_rng(1).normal(size=(1000, DIMENSIONS)).astype(np.float32)
    vectors = np.empty((len(numbers), DIMENSIONS), np.float32)
    for begin in range(0, len(numbers), 1000):
        some = numbers[begin : begin + 1000]
        noise = [np.random.default_rng(int(one)).standard_normal(DIMENSIONS, "f4") for one in some]
        vectors[begin : begin + 1000] = centres[some % 1000] + np.stack(noise)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def cells_of(n: int, side: int) -> np.ndarray:
    """Return cells for the photos, with free ones here and there."""
    return np.random.default_rng(2).permutation(side * side)[:n]


def write(source: Path, place: Path, n: int, part: str) -> dict[str, Any]:
    side = math.ceil(math.sqrt(FREE_CELLS * n))
    n_shown = n + round(NEW * n) * (part == "again")
    numbers, cells = np.arange(n_shown), cells_of(n_shown, side)
    store = PhotoStore(place / "store")
    copies = list(catalogue_photos(str(source), store).images.image_id.unique())
    with_vectors = n <= MOST_DECODED
    contents = contents_of(numbers, n, cells, side, with_vectors)
    loader = Loader(store, copies, 0 if with_vectors else N_KEPT)
    before = page_files(place / "page")
    memory, wall, cpu = _peak(), time.perf_counter(), time.process_time()
    # Clear photos are a file each, of which a fifth of the photos here would have one.
    report = write_page(place / "page", contents, loader, PageSettings(clear=False), threads=2)
    after = page_files(place / "page")
    tiles = [name for name in after if name.startswith("tiles/")]
    anew = [name for name in tiles if name not in before or before[name] != after[name]]
    return {
        "part": part,
        "photos": n_shown,
        "grid": f"{side} x {side}",
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_mb": round(_peak()),
        "peak_before_mb": round(memory),
        "files": report.files,
        "mb": round(report.bytes / MEGABYTE, 1),
        "written": report.written,
        "tiles": len(tiles),
        "tiles_anew": len(anew),
        "photos_loaded": loader.n_loaded,
        "recall": report.recall,
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    from orchestration.cli.view import build_server, listening_on

    listening = listening_on(0)
    server = build_server(folder)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join()


# Counts frames from now on.
_BEGIN = """() => {
  window.frameTimes = [];
  const step = (now) => {
    if (!window.frameTimes) return;
    frameTimes.push(now);
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}"""
_END = """() => {
  const times = window.frameTimes, gaps = times.slice(1).map((one, i) => one - times[i]);
  window.frameTimes = null;
  const sorted = gaps.sort((a, b) => a - b);
  const share = (part) => sorted[Math.floor(sorted.length * part)];
  return {
    fps: Math.round((1000 * gaps.length) / (times[times.length - 1] - times[0])),
    median_ms: Math.round(share(0.5)), p95_ms: Math.round(share(0.95)),
  };
}"""
# Draws a circle around so many photos of the grid, with its pointer events.
_LASSO = """(many) => {
  const { left, top, cell } = tessera.map.seen(), map = document.getElementById("map");
  const box = map.getBoundingClientRect(), side = Math.sqrt(many) * cell;
  const radius = side / Math.sqrt(Math.PI), middle = Math.max(radius, side / 2);
  map.setPointerCapture = () => {};
  tessera.state.use("lasso");
  const fire = (what, turn) => map.dispatchEvent(new PointerEvent(what, {
    clientX: box.left + left + middle + radius * Math.cos(turn),
    clientY: box.top + top + middle + radius * Math.sin(turn),
    button: 0, pointerId: 1, bubbles: true, cancelable: true,
  }));
  fire("pointerdown", 0);
  for (let i = 1; i < 60; i++) fire("pointermove", (i / 60) * 2 * Math.PI);
  const begun = performance.now();
  fire("pointerup", 0);
  const ms = Math.round(performance.now() - begun);
  tessera.state.use("move");
  return { selected: tessera.state.selected.size, ms };
}"""


def browse(place: Path) -> dict[str, Any]:
    """Open the page, and measure what a person waits for."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-3d-apis", "--no-first-run"]
    with _served(place / "page") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(240_000)
        sizes: list[int] = []
        page.on("requestfinished", lambda request: sizes.append(_transferred(request)))
        page.goto(address)
        page.wait_for_selector("html[data-ready]", state="attached")
        page.wait_for_timeout(1500)
        found: dict[str, Any] = {"part": "browser", "requests": len(sizes)}
        found["first_view_mb"] = round(sum(sizes) / MEGABYTE, 2)
        found["first_paint_ms"] = page.evaluate(
            "Math.round(performance.getEntriesByName('first-contentful-paint')[0].startTime)"
        )
        found["ready_ms"] = page.evaluate(
            "Math.round(performance.getEntriesByType('navigation')[0].domComplete)"
        )
        found["grid"] = _frames(page)
        page.evaluate("tessera.map.showAll(false)")
        found["lasso"] = page.evaluate(_LASSO, N_LASSO)
        found["grid_with_selection"] = _frames(page)
        page.evaluate("tessera.state.select([])")
        page.evaluate("tessera.map.showAll(false)")
        page.evaluate("tessera.state.show('plane')")
        page.wait_for_function("() => !tessera.marks.isTravelling()")
        found["plane"] = _frames(page)
        browser.close()
    return found


def _frames(page: "Page") -> dict[str, Any]:
    """Drag the map to and fro, and turn the wheel; return the frames a second of both."""
    found = {}
    for kind, move in (("pan", _drag), ("zoom", _turn)):
        page.evaluate("tessera.map.showAll(false)")
        page.evaluate("tessera.map.zoomBy(1.5)")
        page.wait_for_timeout(1500)
        page.mouse.move(500, 450)
        page.evaluate(_BEGIN)
        move(page)
        found[kind] = page.evaluate(_END)
        page.wait_for_timeout(500)
    return found


def _drag(page: "Page") -> None:
    page.mouse.down()
    begun = time.perf_counter()
    while (passed := time.perf_counter() - begun) < SECONDS:
        page.mouse.move(500 + 350 * math.sin(2 * passed), 450 + 250 * math.sin(3 * passed))
    page.mouse.up()


def _turn(page: "Page") -> None:
    begun = time.perf_counter()
    while (passed := time.perf_counter() - begun) < SECONDS:
        page.mouse.wheel(0, -60 if passed < SECONDS / 2 else 60)


def _transferred(request: Any) -> int:
    sizes = request.sizes()
    return int(sizes["responseBodySize"] + sizes["responseHeadersSize"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="Folder of photos that are repeated.")
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--place", type=Path, required=True, help="Folder for the page; large.")
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for part in options.part or PARTS:
        if not options.here:
            subprocess.run([sys.executable, "-m", "bench.large_page", str(options.source),
                            "--photos", str(options.photos), "--place", str(options.place),
                            "--part", part, "--here"], check=True)  # fmt: skip
            continue
        os.environ.setdefault("TESSERA_HOME", str(options.place / "home"))
        args = (options.source, options.place, options.photos)
        print(json.dumps(browse(options.place) if part == "browser" else write(*args, part)))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
