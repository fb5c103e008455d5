"""Paper dolls: drawn figures with labels, for a study of shortcuts that needs no explicit image.

A doll is a torso, four limbs and a face, posed and lit, on a background. It is clothed in any
colours, or it is bare, which means that all of it has one plain skin tone, as a mannequin has. Its
lips are red or have a shade of its skin. Each pixel belongs to one of ``REGIONS``.
"""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Region = Literal["background", "limbs", "torso", "face", "lips"]
REGIONS: tuple[Region, ...] = get_args(Region)  # by their number in ``Doll.regions``

SIDE = 112  # px

# Drawn larger and scaled down, so that edges are smooth.
_OVERSAMPLING = 3

# From pale to dark, each somewhat varied by the light.
_SKIN_TONES = (
    (243, 213, 190),
    (233, 190, 160),
    (222, 171, 127),
    (198, 143, 100),
    (160, 108, 74),
    (120, 78, 54),
    (88, 57, 43),
)
_HAIR_TONES = ((30, 26, 24), (72, 46, 32), (122, 84, 50), (200, 164, 96), (140, 62, 36), (150,) * 3)

# Clothes are nowhere nearer to the doll's own skin, as a distance in RGB.
_LEAST_CONTRAST = 90

Colour = tuple[int, ...]
Point = tuple[float, float]


@dataclass(frozen=True)
class DollKind:
    """The chosen properties of a doll; everything else about it is random."""

    bare: bool
    red_lips: bool


@dataclass(frozen=True)
class Doll:
    """A drawn figure.

    Attributes:
        image: RGB, ``SIDE`` px square.
        regions: uint8 (``SIDE``, ``SIDE``), each pixel's region by its number in ``REGIONS``.
        kind: the chosen properties.
    """

    image: Image.Image
    regions: NDArray[np.uint8]
    kind: DollKind

    def mask(self, region: Region) -> NDArray[np.bool_]:
        """Return where ``region`` is, (``SIDE``, ``SIDE``)."""
        return self.regions == REGIONS.index(region)


def draw_dolls(kinds: Sequence[DollKind], seed: int) -> list[Doll]:
    """Draw a doll of each kind; the n-th depends on the seed, n and its kind alone.

    Dolls of one seed and place that differ in their kind have the same pose, ground, light and
    skin.
    """
    return [draw_doll(kind, (seed, number)) for number, kind in enumerate(kinds)]


def draw_doll(kind: DollKind, seed: int | Sequence[int]) -> Doll:
    """Draw one doll; ``seed`` decides everything that its kind does not."""
    drawing = _Drawing(np.random.default_rng(seed))
    drawing.draw_ground()
    drawing.draw_figure(kind)
    return drawing.finish(kind)


class _Drawing:
    """An image that is being drawn, and the region of each of its pixels."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._side = SIDE * _OVERSAMPLING
        size = (self._side, self._side)
        self._image = Image.new("RGB", size)
        self._regions = Image.new("L", size, REGIONS.index("background"))

    def finish(self, kind: DollKind) -> Doll:
        image = _lit(self._image.reduce(_OVERSAMPLING), self._random)
        # Regions are names and cannot be averaged.
        regions = self._regions.resize((SIDE, SIDE), Image.Resampling.NEAREST)
        return Doll(image, np.array(regions), kind)

    def draw_ground(self) -> None:
        """Fill the image: plain, shaded, striped, chequered or clouded, in any two colours."""
        one, other = (np.array(_any_colour(self._random)) for _ in range(2))
        pattern = self._random.integers(5)
        down, across = np.mgrid[0 : 1 : SIDE * 1j, 0 : 1 : SIDE * 1j]
        turned = across * self._random.normal() + down * self._random.normal()
        period = self._random.uniform(0.08, 0.3)
        share = {
            0: np.zeros_like(down),
            1: (turned - turned.min()) / np.ptp(turned),
            2: turned / period % 1 > 0.5,
            3: (across / period % 1 > 0.5) ^ (down / period % 1 > 0.5),
            4: _clouds(self._random),
        }[int(pattern)]
        pixels = one + share[..., np.newaxis] * (other - one)
        ground = Image.fromarray(pixels.round().astype(np.uint8))
        self._image = ground.resize((self._side, self._side), Image.Resampling.NEAREST)

    def draw_figure(self, kind: DollKind) -> None:
        random = self._random
        # As many random numbers for each kind: those that follow are then the same for all.
        skin = _varied(random, _SKIN_TONES[random.integers(len(_SKIN_TONES))], 8)
        pose = _Pose.any(random)
        clothes = _Clothes.any(random, skin)
        hair = _varied(random, _HAIR_TONES[random.integers(len(_HAIR_TONES))], 10)
        shade = random.uniform(0.72, 0.86)
        red = tuple(int(random.integers(*span)) for span in ((185, 226), (8, 40), (25, 60)))
        if kind.bare:
            clothes = _Clothes.none(skin)
        for limb, colours in ((pose.legs, clothes.legs), (pose.arms, clothes.arms)):
            for joints, width in limb:
                self._limb(joints, width, colours)
        self._polygon(pose.torso, clothes.torso, "torso")
        self._stripes(pose, clothes)
        self._ellipse(pose.head, pose.head_size * 1.18, hair, "face")
        self._ellipse((pose.head[0], pose.head[1] + 0.012), pose.head_size, skin, "face")
        self._face(pose, hair)
        lips = red if kind.red_lips else tuple(int(shade * part) for part in skin)
        self._ellipse(pose.mouth, pose.mouth_size, lips, "lips")

    def _limb(self, joints: Sequence[Point], width: float, colours: Sequence[Colour]) -> None:
        for begin, end, colour in zip(joints, joints[1:], colours, strict=False):
            self._capsule(begin, end, width, colour, "limbs")
        # A hand or a foot.
        self._ellipse(joints[-1], np.array([width, width]) * 0.62, colours[-1], "limbs")

    def _stripes(self, pose: "_Pose", clothes: "_Clothes") -> None:
        if clothes.stripe is None:
            return
        left_shoulder, right_shoulder, right_hip, left_hip = (np.array(p) for p in pose.torso)
        for share in (0.3, 0.55, 0.8):
            begin = left_shoulder + share * (left_hip - left_shoulder)
            end = right_shoulder + share * (right_hip - right_shoulder)
            inner = 0.12 * (end - begin)
            self._capsule(tuple(begin + inner), tuple(end - inner), 0.02, clothes.stripe, "torso")

    def _face(self, pose: "_Pose", hair: Colour) -> None:
        x, y = pose.head
        across, down = pose.head_size
        for side in (-1, 1):
            eye = (x + side * 0.42 * across, y - 0.12 * down)
            self._ellipse(eye, np.array([0.14, 0.1]) * across, (250, 250, 250), "face")
            self._ellipse(eye, np.array([0.07, 0.09]) * across, hair, "face")

    def _capsule(
        self, begin: Point, end: Point, width: float, colour: Colour, region: Region
    ) -> None:
        radius = np.array([width / 2, width / 2])
        corner_to_corner = [*self._px(begin), *self._px(end)]
        for draw, fill in self._pens(colour, region):
            draw.line(corner_to_corner, fill=fill, width=max(1, round(width * self._side)))
        for joint in (begin, end):
            self._ellipse(joint, radius, colour, region)

    def _polygon(self, corners: Sequence[Point], colour: Colour, region: Region) -> None:
        for draw, fill in self._pens(colour, region):
            draw.polygon([self._px(corner) for corner in corners], fill=fill)

    def _ellipse(
        self, centre: Point, radii: NDArray[np.float64], colour: Colour, region: Region
    ) -> None:
        (x, y), (across, down) = centre, radii
        box = [*self._px((x - across, y - down)), *self._px((x + across, y + down))]
        for draw, fill in self._pens(colour, region):
            draw.ellipse(box, fill=fill)

    def _pens(
        self, colour: Colour, region: Region
    ) -> list[tuple[ImageDraw.ImageDraw, float | tuple[int, ...]]]:
        return [
            (ImageDraw.Draw(self._image), tuple(int(part) for part in colour)),
            (ImageDraw.Draw(self._regions), REGIONS.index(region)),
        ]

    def _px(self, point: Point) -> Point:
        return point[0] * self._side, point[1] * self._side


@dataclass(frozen=True)
class _Pose:
    """Where the parts are, in sides of the image: x to the right, y downwards."""

    torso: tuple[Point, Point, Point, Point]
    arms: tuple[tuple[tuple[Point, ...], float], ...]
    legs: tuple[tuple[tuple[Point, ...], float], ...]
    head: Point
    head_size: NDArray[np.float64]
    mouth: Point
    mouth_size: NDArray[np.float64]

    @classmethod
    def any(cls, random: np.random.Generator) -> "_Pose":
        """Return a random pose of a figure that is seen from the front."""
        size = random.uniform(0.88, 1.02)
        head_size = size * np.array([random.uniform(0.135, 0.155), random.uniform(0.16, 0.18)])
        head = (random.uniform(0.38, 0.62), 0.02 + 1.2 * head_size[1])
        lean = random.normal(0, 0.12)
        neck = (head[0], head[1] + head_size[1] * 0.9)
        hips = _reach(neck, 0.27 * size, lean)
        broad, slim = size * random.uniform(0.105, 0.135), size * random.uniform(0.075, 0.105)
        torso = (
            (neck[0] - broad, neck[1]),
            (neck[0] + broad, neck[1]),
            (hips[0] + slim, hips[1]),
            (hips[0] - slim, hips[1]),
        )
        arm, leg = size * random.uniform(0.062, 0.078), size * random.uniform(0.078, 0.095)
        arms = tuple(
            (_two_pieces(random, (corner[0], corner[1] + arm / 2), 0.15 * size, side, 0.9), arm)
            for side, corner in ((-1, torso[0]), (1, torso[1]))
        )
        apart = 0.7 * slim
        legs = tuple(
            (_two_pieces(random, (hips[0] + side * apart, hips[1]), 0.15 * size, side, 0.3), leg)
            for side in (-1, 1)
        )
        mouth = (head[0], head[1] + 0.52 * head_size[1])
        mouth_size = size * np.array([random.uniform(0.062, 0.076), random.uniform(0.028, 0.036)])
        return cls(torso, arms, legs, head, head_size, mouth, mouth_size)


@dataclass(frozen=True)
class _Clothes:
    """Colours: of the torso and its stripes, and of the upper and lower piece of each limb."""

    torso: Colour
    stripe: Colour | None
    arms: tuple[Colour, Colour]
    legs: tuple[Colour, Colour]

    @classmethod
    def none(cls, skin: Colour) -> "_Clothes":
        """Return the colours of a bare doll."""
        return cls(skin, None, (skin, skin), (skin, skin))

    @classmethod
    def any(cls, random: np.random.Generator, skin: Colour) -> "_Clothes":
        """Return random clothes: long or short, of one colour or two, striped or plain."""
        shirt, trousers, stripe = (_unlike(random, skin) for _ in range(3))
        if random.random() < 0.25:
            trousers = shirt
        return cls(
            shirt,
            stripe if random.random() < 0.35 else None,
            (shirt, shirt if random.random() < 0.5 else skin),
            (trousers, trousers if random.random() < 0.6 else skin),
        )


def _two_pieces(
    random: np.random.Generator, begin: Point, length: float, side: int, most: float
) -> tuple[Point, ...]:
    """Return the joints of a limb that is spread to its ``side`` by up to ``most`` radians."""
    angle = side * random.uniform(0.1, most)
    middle = _reach(begin, length, angle)
    return begin, middle, _reach(middle, length, angle + random.uniform(-0.6, 0.6))


def _reach(begin: Point, length: float, angle: float) -> Point:
    """Return the point that lies ``length`` below ``begin``, turned to the right by ``angle``."""
    return begin[0] + length * math.sin(angle), begin[1] + length * math.cos(angle)


def _any_colour(random: np.random.Generator) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(*random.uniform((0, 0.05, 0.25), (1, 0.9, 1)))
    return int(255 * red), int(255 * green), int(255 * blue)


def _unlike(random: np.random.Generator, skin: Colour) -> Colour:
    while True:
        colour = _any_colour(random)
        if math.dist(colour, skin) >= _LEAST_CONTRAST:
            return colour


def _varied(random: np.random.Generator, colour: Sequence[int], by: float) -> Colour:
    red, green, blue = np.clip(np.array(colour) + random.normal(0, by), 0, 255).astype(int)
    return int(red), int(green), int(blue)


def _clouds(random: np.random.Generator) -> NDArray[np.float64]:
    coarse = Image.fromarray(random.integers(0, 256, (7, 7), dtype=np.uint8))
    return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) / 255


def _lit(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Light an image from one side by a tinted lamp, and blur it slightly."""
    side = image.width
    down, across = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    slope = random.uniform(-0.15, 0.15, 2)
    brightness = random.uniform(0.8, 1.1) * (1 + slope[0] * down + slope[1] * across)
    tint = random.uniform(0.93, 1.07, 3)
    pixels = np.asarray(image) * brightness[..., np.newaxis] * tint
    lit = Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))
    return lit.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.6)))
