"""Stored values that nothing points at, earlier maps, and what faults and upgrades have left."""

import re
from collections.abc import Iterator
from pathlib import Path

from assets.generations import is_generation
from assets.io_managers import CHECKSUMS, pointed_at
from assets.kept_maps import KeptMaps
from assets.methods.common.files import half_removed
from assets.resources.mlflow_database import BACKUPS
from assets.resources.photos import MAPS
from orchestration.housekeeping.removals import Removal, removal_of_places

_CORRUPT = re.compile(r".+\.corrupt(-\d+)?(-wal|-shm|-journal)?")


def old_values(home: Path, keep: int) -> Removal:
    """Return the values of each collection but the newest ``keep`` and those in use."""
    old = []
    for folder in sorted((home / "outputs").glob("*/*/")):
        generations = sorted(
            (path for path in folder.iterdir() if is_generation(path.name)),
            key=lambda path: (_made(path), path.name),
            reverse=True,
        )
        in_use = pointed_at(folder)
        old += [path for path in generations[keep:] if path.name not in in_use]
    return removal_of_places("value", home, old)


def old_maps(home: Path, keep: int) -> Removal:
    """Return the kept maps of each collection but the newest ``keep``."""
    maps = KeptMaps(home=str(home))
    old = [
        file
        for folder in sorted((home / MAPS).glob("[!.]*/"))
        for file in maps.files(folder.name)[:-keep]
    ]
    return removal_of_places("kept map", home, old)


def half_removed_folders(home: Path) -> Removal:
    """Return what a removal has left that was killed: any command that removes finishes it."""
    return removal_of_places("half removed", home, half_removed(home))


def leftovers(home: Path, keep: int) -> Iterator[Removal]:
    """Yield what is left of removals that were interrupted, and old damaged files and backups."""
    yield half_removed_folders(home)
    corrupt = [path for path in home.rglob("*.corrupt*") if _CORRUPT.fullmatch(path.name)]
    yield removal_of_places("damaged file", home, _but_newest(corrupt, keep))
    backups = list((home / BACKUPS).glob("[!.]*"))
    yield removal_of_places("backup", home, _but_newest(backups, keep))


def _but_newest(places: list[Path], keep: int) -> list[Path]:
    newest_first = sorted(places, key=lambda place: (place.stat().st_mtime_ns, place.name))[::-1]
    return newest_first[keep:]


def _made(generation: Path) -> int:
    place = generation / CHECKSUMS
    return (place if place.exists() else generation).stat().st_mtime_ns
