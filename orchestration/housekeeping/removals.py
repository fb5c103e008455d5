"""What is to be removed from a home: named first, then removed."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from assets.methods.common.files import remove
from assets.methods.common.shown_text import printable


@dataclass(frozen=True)
class Item:
    """One thing to remove: its name, and the files and folders that go with it."""

    name: str
    places: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Removal:
    """Things of one ``kind``, and the function that removes them.

    It may be interrupted at any point: called again, or planned again, it finishes.
    """

    kind: str
    items: tuple[Item, ...]
    remove: Callable[[], None]

    def lines(self) -> Iterable[str]:
        """Yield a line for each thing: its kind, a tab, and its name."""
        for item in self.items:
            yield f"{self.kind}\t{printable(item.name)}"


def removal_of_places(kind: str, home: Path, places: Iterable[Path]) -> Removal:
    """Return the removal of files and folders below a home, each named by its path there."""
    items = tuple(Item(str(place.relative_to(home)), (place,)) for place in places)
    return Removal(kind, items, partial(_remove_all, items))


def places_of(removals: Iterable[Removal]) -> list[Path]:
    """Return all files and folders that are removed."""
    return [place for one in removals for item in one.items for place in item.places]


def freed_bytes(places: Iterable[Path]) -> int:
    """Return what the removal of files and folders frees: a file with another name stays."""
    names, states = Counter[tuple[int, int]](), dict[tuple[int, int], os.stat_result]()
    for state in _states(places):
        key = state.st_dev, state.st_ino
        names[key] += 1
        states[key] = state
    return sum(one.st_size for key, one in states.items() if names[key] >= one.st_nlink)


def size_of_folder(folder: Path) -> int:
    """Return the bytes of all files below a folder, each counted once whatever names it has."""
    sizes = {(state.st_dev, state.st_ino): state.st_size for state in _states([folder])}
    return sum(sizes.values())


def _remove_all(items: Iterable[Item]) -> None:
    for item in items:
        for place in item.places:
            remove(place)


def _states(places: Iterable[Path]) -> Iterator[os.stat_result]:
    """Yield the state of each file, once for each of its names; some may go meanwhile."""
    seen = set[Path]()
    for place in places:
        for file in place.rglob("*") if place.is_dir() else [place]:
            if file not in seen and (file.is_symlink() or file.is_file()):
                seen.add(file)
                with suppress(FileNotFoundError):
                    yield file.lstat()
