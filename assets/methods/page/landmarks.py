"""The landmarks of a page: groups of like photos that lie together, with a photo and a name each.

Squares of the grid are merged with their neighbours by Ward's method, on the means of their
vectors, until one group is left. A page shows as many groups as there is room for: undoing the last
merges one by one divides the groups further, the most unlike parts first.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Raise it whenever other landmarks are found for the same photos.
_VERSION = 1
# More cells are first joined to so many squares.
_MOST_SQUARES = 4096
# So many groups at most, and none of them smaller on average than so many photos.
_MOST_GROUPS = 512
_PHOTOS_A_GROUP = 8
# Fewer photos are seen at one glance.
_FEWEST_PHOTOS = 24
_SAMPLE = 1024
# A group is called by one label, or two, if they are those of so many of its photos, and each that
# of such a part of them. By what a network takes photos for, it has one name.
_NAMED = 0.6
_PART = 0.3
# The part of a group's photos, along each side, that lies in its box.
_INSIDE = (0.05, 0.95)
_NEVER = np.iinfo(np.uint16).max

# The names that photos have, and for each photo the place of its name among them; -1 for none.
Naming = tuple[list[str], NDArray[np.int64]]


@dataclass(frozen=True)
class PlacedPhotos:
    """What landmarks depend on, of n photos.

    Attributes:
        vectors: (n, d), by which photos are alike.
        cells: row and column in the grid, (n, 2).
        points: place in the plane, as whole numbers (n, 2).
        is_blurred: (n,); such a photo stands for others only where all of them are.
        columns, rows: those of the grid.
    """

    vectors: NDArray[np.float32]
    cells: NDArray[np.int64]
    points: NDArray[np.int64]
    is_blurred: NDArray[np.bool_]
    columns: int
    rows: int


@dataclass(frozen=True)
class _Group:
    """Photos that are one group while there are ``first`` groups or more, but less than ``end``."""

    members: NDArray[np.int64]
    first: int
    end: int
    children: tuple[int, ...]


def landmarks_source(photos: PlacedPhotos, namings: list[Naming], guessed_by: str) -> str:
    """Return a digest of what landmarks depend on; ``guessed_by`` stands for what is guessed."""
    about = (_VERSION, photos.columns, photos.rows, photos.vectors.shape, guessed_by)
    digest = hashlib.sha256(repr((about, [names for names, _ in namings])).encode())
    columns = (photos.vectors, photos.cells, photos.points, photos.is_blurred)
    for column in (*columns, *(codes for _, codes in namings)):
        digest.update(np.ascontiguousarray(column).data.cast("B"))
    return digest.hexdigest()


def find_landmarks(
    photos: PlacedPhotos, namings: list[Naming], guess: Callable[[], Naming | None]
) -> dict[str, Any]:
    """Return the groups of photos as columns, the largest first.

    Args:
        photos: in any order; the landmarks name them by their place in it.
        namings: what photos are called: the first that most of a group share is the group's.
        guess: returns what a network takes them for; only called if no group has another name.

    Returns:
        for each group: first and end (it is one while there are so many groups), many (its photos),
        photo (which stands for it), inGrid and inPlane (the photos in its middle), gridBoxes (the
        lowest row and column, the highest ones), planeBoxes (x and y likewise), names, and isGuess.
    """
    groups = _groups(photos) if len(photos.vectors) >= _FEWEST_PHOTOS else {}
    names = {node: _name(group.members, namings, 2) for node, group in groups.items()}
    is_guess = not any(names.values())
    classes = guess() if groups and is_guess else None
    if classes is not None:
        names = {node: _name(group.members, [classes], 1) for node, group in groups.items()}
    groups = _in_place_of_nameless(groups, names)
    alike = _called_alike(groups, names)
    # What is called by one name is not divided.
    kept = groups.keys() - {below for node in alike for below in _below(groups, node)}
    if any(names.values()):
        kept = {node for node in kept if names[node]}
    shown = sorted(kept, key=lambda node: (-len(groups[node].members), node))
    about = [_about(photos, groups[node].members) for node in shown]
    return {
        "first": np.array([groups[node].first for node in shown], np.uint16),
        "end": np.array([_NEVER if n in alike else groups[n].end for n in shown], np.uint16),
        "many": np.array([len(groups[node].members) for node in shown], np.uint32),
        **{
            name: np.array([one[name] for one in about], kind).ravel()
            for name, kind in _COLUMNS.items()
        },
        "names": [names[node] for node in shown],
        "isGuess": is_guess,
    }


_COLUMNS = {
    "photo": np.uint32,
    "inGrid": np.uint32,
    "inPlane": np.uint32,
    "gridBoxes": np.uint16,
    "planeBoxes": np.uint16,
}


def _groups(photos: PlacedPhotos) -> dict[int, _Group]:
    """Return the groups by their numbers in the tree of merges, the parts of one before it."""
    square_of, members_of = _squares(photos)
    n = len(members_of)
    most = min(_MOST_GROUPS, len(photos.vectors) // _PHOTOS_A_GROUP, n)
    children = _merges(photos, square_of, members_of)
    # Merge m makes the group n + m, which is whole while the merges after it alone are undone.
    parent = {child: n + merge for merge, pair in enumerate(children) for child in map(int, pair)}
    groups = {}
    for node in range(n, 2 * n - 1):
        first, end = 2 * n - parent.get(node, 2 * n - 1), 2 * n - node
        if first <= most:
            parts = tuple(int(part) for part in children[node - n] if part >= n and end <= most)
            members = np.concatenate(list(_members(node, children, members_of)))
            groups[node] = _Group(members, first, end, parts)
    return groups


def _squares(photos: PlacedPhotos) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return the number of each photo's square, and the photos in each square.

    Squares without a photo have no number; the numbers go row by row.
    """
    side = ceil(sqrt(photos.columns * photos.rows / _MOST_SQUARES))
    across = ceil(photos.columns / side)
    row, column = (photos.cells // side).T
    _, square_of = np.unique(row * across + column, return_inverse=True)
    order = np.argsort(square_of, kind="stable")
    ends = np.flatnonzero(np.diff(square_of[order])) + 1
    return square_of, np.split(order, ends)


def _merges(
    photos: PlacedPhotos, square_of: NDArray[np.int64], members_of: list[NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Return the two groups of each merge, (n - 1, 2); groups below n are squares."""
    from scipy.sparse import coo_array
    from sklearn.cluster import ward_tree

    means = [photos.vectors[members].mean(axis=0, dtype=np.float64) for members in members_of]
    place = np.full((photos.rows + 1, photos.columns + 1), -1)
    place[tuple(photos.cells.T)] = square_of
    pairs = np.concatenate([_beside(place, place[1:, :]), _beside(place, place[:, 1:])], axis=1)
    n = len(members_of)
    beside = coo_array((np.ones(pairs.shape[1]), pairs), shape=(n, n)).tocsr()
    with warnings.catch_warnings():
        # Squares apart from all others, between cells without a photo, are joined to the nearest.
        warnings.filterwarnings("ignore", "the number of connected components", UserWarning)
        # Rounded: different processors add up in different orders.
        children, *_ = ward_tree(np.round(means, 6), connectivity=beside + beside.T)
    return children


def _beside(place: NDArray[np.int64], shifted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the pairs of squares, (2, k), that are side by side in cells and their neighbours."""
    here = place[: shifted.shape[0], : shifted.shape[1]]
    is_pair = (here >= 0) & (shifted >= 0) & (here != shifted)
    return np.stack([here[is_pair], shifted[is_pair]])


def _members(
    node: int, children: NDArray[np.int64], members_of: list[NDArray[np.int64]]
) -> Iterator[NDArray[np.int64]]:
    waiting, n = [node], len(members_of)
    while waiting:
        one = waiting.pop()
        if one < n:
            yield members_of[one]
        else:
            waiting.extend(int(child) for child in children[one - n])


def _name(members: NDArray[np.int64], namings: list[Naming], most: int) -> str:
    """Return what most of the members are called by the first naming that tells; "" if none does.

    It is made of up to ``most`` names.
    """
    for names, codes in namings:
        many = np.bincount(codes[members] + 1, minlength=len(names) + 1)[1:]
        order = np.argsort(-many, kind="stable")[:most]
        frequent = [code for code in order if many[code] >= _PART * len(members)]
        if frequent and many[frequent].sum() >= _NAMED * len(members):
            return ", ".join(names[code] for code in frequent)
    return ""


def _in_place_of_nameless(groups: dict[int, _Group], names: dict[int, str]) -> dict[int, _Group]:
    """Let the parts of groups without a name be groups as early as these, if others have one."""
    changed = dict(groups)
    if any(names.values()):
        # Parts have lower numbers than what they are merged to.
        for node in sorted(groups, reverse=True):
            for part in groups[node].children if not names[node] else ():
                changed[part] = replace(changed[part], first=changed[node].first)
    return changed


def _called_alike(groups: dict[int, _Group], names: dict[int, str]) -> set[int]:
    """Return the groups that have a name, and whose parts all have the same one."""
    alike: set[int] = set()
    for node, group in groups.items():
        if names[node] and all(
            part in alike and names[part] == names[node] for part in group.children
        ):
            alike.add(node)
    return alike


def _below(groups: dict[int, _Group], node: int) -> Iterator[int]:
    waiting = list(groups[node].children)
    while waiting:
        part = waiting.pop()
        yield part
        waiting.extend(groups[part].children)


def _about(photos: PlacedPhotos, members: NDArray[np.int64]) -> dict[str, Any]:
    """Return the photos that stand for a group, and where it is."""
    return {
        "photo": _typical(photos, members),
        "inGrid": _middle(photos.cells, members),
        "inPlane": _middle(photos.points, members),
        "gridBoxes": _box(photos.cells[members]),
        "planeBoxes": _box(photos.points[members]),
    }


def _typical(photos: PlacedPhotos, members: NDArray[np.int64]) -> int:
    """Return the member whose vector is nearest to the mean; a blurred one if there is no other."""
    clear = members[~photos.is_blurred[members]]
    members = clear if len(clear) else members
    some = members[:: ceil(len(members) / _SAMPLE)]
    vectors = photos.vectors[some].astype(np.float64)
    away = ((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1).round(6)
    return int(some[np.lexsort((some, away))[0]])


def _middle(places: NDArray[np.int64], members: NDArray[np.int64]) -> int:
    own = places[members].astype(np.float64)
    away = ((own - np.median(own, axis=0)) ** 2).sum(axis=1)
    return int(members[np.lexsort((members, away))[0]])


def _box(places: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.quantile(places, _INSIDE, axis=0, method="nearest").ravel()
