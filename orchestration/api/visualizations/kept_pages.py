"""The pages of visualizations: each is kept with its mosaic, and goes with it."""

import re
import shutil
import time
from functools import lru_cache
from pathlib import Path

from assets.generations import origin_of
from assets.io_managers import KEPT, release
from assets.methods.page.folder import MANIFEST, PageFile, page_files
from assets.methods.page.page import INDEX
from assets.resources.photos import KEPT_PAGES, Photos

_UNTOUCHED_SECONDS = 3600
# Manifests in memory: that of a page of 100,000 photos has 7,000 files.
_OPEN_PAGES = 8
_RUN = re.compile(r"[0-9A-Za-z-]+")


def page_beside(home: Path, mosaic: Path) -> Path | None:
    """Return the folder of the page of a visualization; None if it has none, as in older homes.

    ``mosaic`` is the folder of the value of its mosaic.
    """
    run_id = origin_of(mosaic).run_id
    if not run_id or not _RUN.fullmatch(run_id):
        return None
    folder = Photos(home=str(home)).kept_page_folder(mosaic.parent.name, run_id)
    return folder if (folder / INDEX).is_file() and (folder / MANIFEST).is_file() else None


def page_file(folder: Path, name: str) -> PageFile | None:
    """Return what the manifest of a page says of a file; None if it is none of the page's.

    A name that leads elsewhere is in no manifest.
    """
    try:
        written = (folder / MANIFEST).stat().st_mtime_ns
    except OSError:
        return None
    return _manifest(folder, written).get(name)


@lru_cache(_OPEN_PAGES)
def _manifest(folder: Path, _written: int) -> dict[str, PageFile]:
    return page_files(folder)


def release_map(home: Path, mosaic: Path) -> None:
    """Stop keeping the mosaic of a visualization, and remove its page."""
    page = page_beside(home, mosaic)
    if page is not None:
        shutil.rmtree(page, ignore_errors=True)
    release(mosaic)


def sweep_pages(home: Path) -> None:
    """Remove pages whose runs have failed or whose mosaics are gone, unless a run is at work."""
    long_ago = time.time() - _UNTOUCHED_SECONDS
    for folder in (home / KEPT_PAGES).glob("*/*/"):
        kept = (home / "outputs" / "mosaic" / folder.parent.name).glob(f"*/{KEPT}")
        needed = {origin_of(mark.parent).run_id for mark in kept}
        if folder.name not in needed and folder.stat().st_mtime < long_ago:
            shutil.rmtree(folder, ignore_errors=True)
