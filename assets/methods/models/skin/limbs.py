"""From a mask of skin to limbs, and from limbs to bodies.

The ideas are those of "Finding Naked People" (Fleck, Forsyth and Bregler, ECCV 1996): a limb is a
region of roughly constant width between two nearly parallel pieces of outline, and a body is limbs
that meet as a skeleton lets them. The paper finds edges inside the skin; here the outline of the
mask is all there is. Every number in this file is ours, set by drawn bodies and by how many of a
thousand plain photographs are reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

Point = tuple[float, float]

# The number of a limb, and which of its ends.
_End = tuple[int, int]


@dataclass(frozen=True)
class GroupingRules:
    """The numbers of the grouper; all are ours. Lengths without a unit are in widths of a limb.

    Attributes:
        smoothing: of the mask before its outline is drawn, sigma in px.
        tolerance: how far, in px, the outline may lie from the straight pieces that stand for it.
        shortest_piece: of the outline, px.
        largest_taper: angle between the two sides of a region, degrees.
        covered: share of a region that is in the mask.
        shortest_limb: as a share of the mask's longer side.
        elongation: length over width of a limb.
        torso_elongation: smallest and largest of a torso.
        overlap: share of a region's area in a better one above which it is dropped.
        gap: between ends that meet.
        width_ratio, length_ratio: largest between limbs that meet.
        sharpest_joint: angle between limbs that meet, degrees.
        torso_ratio: smallest width of a torso.
    """

    smoothing: float = 1.0
    tolerance: float = 1.0
    shortest_piece: float = 4
    largest_taper: float = 25
    covered: float = 0.9
    shortest_limb: float = 0.08
    elongation: float = 1.8
    torso_elongation: tuple[float, float] = (0.5, 2.5)
    overlap: float = 0.5
    gap: float = 1.0
    width_ratio: float = 2.0
    length_ratio: float = 3.0
    sharpest_joint: float = 30
    torso_ratio: float = 1.5


@dataclass(frozen=True)
class Limb:
    """An elongated region of roughly constant width; a torso is one that is wide and short.

    ``ends`` are those of the axis, (x, y) in px; ``width`` and ``length`` are in px.
    """

    ends: tuple[Point, Point]
    width: float
    length: float

    @property
    def elongation(self) -> float:
        """Length over width."""
        return self.length / self.width


@dataclass(frozen=True)
class Body:
    """Limbs that meet, with a torso that holds at least two of them or without one."""

    limbs: tuple[Limb, ...]
    torso: Limb | None


GROUPING_RULES = GroupingRules()


def find_limbs(mask: np.ndarray) -> tuple[list[Limb], list[Limb]]:
    """Find the regions of a mask that are limbs, and those that may be torsos; longest first.

    A limb that bends is several. A region may be in both lists. Where the image cuts a limb off,
    its outline ends. ``mask`` is (h, w) bool.
    """
    regions = _regions(mask)
    least, most = GROUPING_RULES.torso_elongation
    limbs = [region for region in regions if region.elongation >= GROUPING_RULES.elongation]
    torsos = [region for region in regions if least <= region.elongation <= most]
    return limbs, torsos


def group_limbs(limbs: Sequence[Limb], torsos: Sequence[Limb]) -> list[Body]:
    """Group limbs into bodies, the one of most limbs first.

    Two limbs meet if their ends are near, their widths and lengths alike and the angle between them
    not too sharp. A limb hangs on a torso if it is narrower, begins at it and leads away from it.
    Limbs that are connected so, however many joints apart, are a body if two or more hang on one
    torso, or if three meet in one place.
    """
    joints = [
        ((one, end), (other, other_end))
        for one, other in combinations(range(len(limbs)), 2)
        for end, other_end in _meeting_ends(limbs[one], limbs[other])
    ]
    held = [
        {number for number, limb in enumerate(limbs) if _hangs(limb, torso)} for torso in torsos
    ]
    bodies = []
    for members in _connected(len(limbs), joints, held):
        torso = _holder(members, held)
        if torso is not None or _three_meet(members, joints):
            chosen = tuple(limbs[number] for number in sorted(members))
            bodies.append(Body(chosen, None if torso is None else torsos[torso]))
    return sorted(bodies, key=lambda body: -len(body.limbs))


@dataclass(frozen=True)
class _Region:
    limb: Limb
    pixels: tuple[np.ndarray, np.ndarray]


def _regions(mask: np.ndarray) -> list[Limb]:
    """Find the regions between facing pieces of outline, the longer of those that overlap."""
    pieces = _outline_pieces(mask)
    shortest = GROUPING_RULES.shortest_limb * max(mask.shape)
    found = [
        region
        for one, other in _facing(pieces)
        if (region := _region_between(pieces[one], pieces[other], mask)) is not None
        and region.limb.length >= shortest
    ]
    taken = np.zeros(mask.shape, dtype=bool)
    kept = []
    for region in sorted(found, key=lambda region: -region.limb.length):
        if taken[region.pixels].mean() <= GROUPING_RULES.overlap:
            taken[region.pixels] = True
            kept.append(region.limb)
    return kept


def _outline_pieces(mask: np.ndarray) -> np.ndarray:
    """Return the straight pieces of the outline, (n, 2, 2): start and end, each x and y in px.

    Pieces along the image's border are left out: there the image ends, not the skin.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.measure import approximate_polygon, find_contours

    pieces = []
    smooth = gaussian_filter(np.pad(mask, 1).astype(np.float64), GROUPING_RULES.smoothing)
    for contour in find_contours(smooth, 0.5):
        # From (row, column) of padded pixels' centres to (x, y) with 0 at the image's corner.
        corners = approximate_polygon(contour, GROUPING_RULES.tolerance / 2)[:-1, ::-1] - 0.5
        corners = _simplified(corners, GROUPING_RULES.tolerance)
        pieces.append(np.stack([corners, np.roll(corners, -1, axis=0)], axis=1))
    if not pieces:
        return np.zeros((0, 2, 2))
    joined = np.concatenate(pieces)
    size = np.array(mask.shape[::-1])
    on_border = (np.abs(joined) < 1).all(axis=1) | (np.abs(joined - size) < 1).all(axis=1)
    long = np.linalg.norm(joined[:, 1] - joined[:, 0], axis=1) >= GROUPING_RULES.shortest_piece
    return joined[long & ~on_border.any(axis=1)]


def _simplified(corners: np.ndarray, tolerance: float) -> np.ndarray:
    """Drop corners, (n, 2) of a closed polygon, that lie within ``tolerance`` of a straight side.

    approximate_polygon splits a long straight side of a thin outline anywhere.
    """
    while len(corners) > 3:
        before, after = np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0)
        side, offset = after - before, corners - before
        area = np.abs(side[:, 0] * offset[:, 1] - side[:, 1] * offset[:, 0])
        heights = area / np.maximum(np.linalg.norm(side, axis=1), 1e-9)
        least = int(np.argmin(heights))
        if heights[least] > tolerance:
            break
        corners = np.delete(corners, least, axis=0)
    return corners


def _facing(pieces: np.ndarray) -> np.ndarray:
    """Return the pairs of pieces, (n, 2) int, that run against each other with skin between.

    Pieces too far apart for their length are left out: no torso is so wide.
    """
    along = pieces[:, 1] - pieces[:, 0]
    lengths = np.linalg.norm(along, axis=1)
    along = along / lengths[:, None]
    opposed = along @ along.T <= -np.cos(np.radians(GROUPING_RULES.largest_taper))
    # find_contours keeps what is high on the right of its way, with y growing downwards.
    inwards = np.stack([-along[:, 1], along[:, 0]], axis=1)
    centres = pieces.mean(axis=1)
    depth = inwards @ centres.T - (inwards * centres).sum(axis=1)[:, None]
    widest = np.maximum(lengths[:, None], lengths) / GROUPING_RULES.torso_elongation[0]
    faces = (depth > 0) & (depth <= widest)
    return np.argwhere(np.triu(opposed & faces & faces.T))


def _region_between(one: np.ndarray, other: np.ndarray, mask: np.ndarray) -> _Region | None:
    """Return the region between two facing pieces, or None if it is no region of skin."""
    from skimage.draw import polygon

    axis = _unit((one[1] - one[0]) / np.linalg.norm(one[1] - one[0]) + _unit(other[0] - other[1]))
    low = max((one @ axis).min(), (other @ axis).min())
    high = min((one @ axis).max(), (other @ axis).max())
    if high <= low:
        return None
    sides = np.array([[_at(piece, axis, place) for place in (low, high)] for piece in (one, other)])
    widths = np.linalg.norm(sides[0] - sides[1], axis=1)
    corners = np.concatenate([sides[0], sides[1][::-1]])
    rows, columns = polygon(corners[:, 1] - 0.5, corners[:, 0] - 0.5, mask.shape)
    if widths.min() < 1 or not len(rows):
        return None
    if mask[rows, columns].mean() < GROUPING_RULES.covered:
        return None
    width = float(widths.mean())
    start, end = sides.mean(axis=0)
    # Round ends lie beyond the straight sides, and a limb reaches into what it hangs on.
    start, end = _extended(start, -axis, width / 2, mask), _extended(end, axis, width / 2, mask)
    length = float(np.linalg.norm(end - start))
    ends = ((float(start[0]), float(start[1])), (float(end[0]), float(end[1])))
    return _Region(Limb(ends, width, length), (rows, columns))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _at(piece: np.ndarray, axis: np.ndarray, place: float) -> np.ndarray:
    """Return the point of a piece's line whose projection on ``axis`` is ``place``."""
    along = piece[1] - piece[0]
    return piece[0] + along * ((place - piece[0] @ axis) / (along @ axis))


def _extended(end: np.ndarray, step: np.ndarray, most: float, mask: np.ndarray) -> np.ndarray:
    """Move an end along a unit step, at most ``most`` px, as long as it stays in the mask."""
    moved = end
    for distance in np.arange(0.5, most + 0.5, 0.5):
        x, y = end + step * min(distance, most)
        if not (0 <= x < mask.shape[1] and 0 <= y < mask.shape[0] and mask[int(y), int(x)]):
            break
        moved = np.array([x, y])
    return moved


def _meeting_ends(limb: Limb, other: Limb) -> list[tuple[int, int]]:
    """Return the pairs of ends, 0 or 1 of each, at which two limbs meet."""
    if (
        _ratio(limb.width, other.width) > GROUPING_RULES.width_ratio
        or _ratio(limb.length, other.length) > GROUPING_RULES.length_ratio
    ):
        return []
    reach = GROUPING_RULES.gap * (limb.width + other.width) / 2
    return [
        (end, other_end)
        for end, other_end in product((0, 1), repeat=2)
        if np.linalg.norm(np.subtract(limb.ends[end], other.ends[other_end])) <= reach
        and _angle_between(limb, end, other, other_end) >= GROUPING_RULES.sharpest_joint
    ]


def _ratio(one: float, other: float) -> float:
    return max(one, other) / min(one, other)


def _angle_between(limb: Limb, end: int, other: Limb, other_end: int) -> float:
    """Return the angle, in degrees, between the ways that lead off from two ends."""
    away = np.subtract(limb.ends[1 - end], limb.ends[end]) / limb.length
    other_away = np.subtract(other.ends[1 - other_end], other.ends[other_end]) / other.length
    return float(np.degrees(np.arccos(np.clip(away @ other_away, -1, 1))))


def _hangs(limb: Limb, torso: Limb) -> bool:
    if torso.width < GROUPING_RULES.torso_ratio * limb.width:
        return False
    near, far = sorted(_distance(end, torso) for end in limb.ends)
    return near <= GROUPING_RULES.gap * limb.width and far - near >= limb.length / 2


def _distance(point: Point, torso: Limb) -> float:
    """Return how far a point lies outside of the rectangle of a torso, px."""
    axis = np.subtract(torso.ends[1], torso.ends[0]) / torso.length
    offset = np.subtract(point, np.mean(torso.ends, axis=0))
    along = abs(offset @ axis) - torso.length / 2
    across = abs(offset[0] * axis[1] - offset[1] * axis[0]) - torso.width / 2
    return float(np.hypot(max(along, 0), max(across, 0)))


def _connected(
    n_limbs: int, joints: list[tuple[_End, _End]], held: list[set[int]]
) -> list[set[int]]:
    """Return the sets of limbs that joints and torsos connect."""
    groups = [{number} for number in range(n_limbs)]
    links = [{one[0], other[0]} for one, other in joints] + [link for link in held if link]
    for link in links:
        touched = [group for group in groups if group & link]
        groups = [group for group in groups if not group & link] + [set().union(*touched)]
    return groups


def _holder(members: set[int], held: list[set[int]]) -> int | None:
    """Return the number of the torso that holds most of a body's limbs, two at least."""
    most = max(range(len(held)), key=lambda torso: len(held[torso] & members), default=None)
    return most if most is not None and len(held[most] & members) >= 2 else None


def _three_meet(members: set[int], joints: list[tuple[_End, _End]]) -> bool:
    ends = [end for joint in joints for end in joint if end[0] in members]
    return any(ends.count(end) >= 2 for end in ends)
