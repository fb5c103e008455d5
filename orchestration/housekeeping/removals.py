"""What is to be removed from a home: named first, then removed."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def places_of(removals: Iterable[Removal]) -> list[Path]:
    """Return all files and folders that are removed."""
    return [place for one in removals for item in one.items for place in item.places]


def freed_bytes(places: Iterable[Path]) -> int:
    """Return what the removal of files and folders frees: a file with another name stays."""
    sizes, names = dict[tuple[int, int], int](), dict[tuple[int, int], int]()
    links = dict[tuple[int, int], int]()
    for file in _files(places):
        state = file.lstat()
        key = state.st_dev, state.st_ino
        sizes[key], links[key] = state.st_size, state.st_nlink
        names[key] = names.get(key, 0) + 1
    return sum(size for key, size in sizes.items() if names[key] >= links[key])


def size_of_folder(folder: Path) -> int:
    """Return the bytes of all files below a folder, each counted once whatever names it has."""
    files = {(state.st_dev, state.st_ino): state.st_size for state in _states(folder)}
    return sum(files.values())


def _states(folder: Path) -> Iterable[Any]:
    for file in _files([folder]):
        with suppress(FileNotFoundError):
            yield file.lstat()


def _files(places: Iterable[Path]) -> Iterable[Path]:
    seen = set[Path]()
    for place in places:
        for file in place.rglob("*") if place.is_dir() else [place]:
            if file not in seen and (file.is_symlink() or file.is_file()):
                seen.add(file)
                yield file
