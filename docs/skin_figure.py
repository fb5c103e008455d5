"""A figure of what the skin baseline of 1996 finds in an image, step by step."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from assets.methods.models.skin.baseline import SkinEvidence
from assets.methods.models.skin.limbs import Limb
from assets.methods.plotting.text import DARK, sheet_font

# Lengths in px.
_SIDE = 260
_GAP = 14
_CAPTION = 30
_FONT = 15

_BACKGROUND = "white"
_MARKED = "#ffffff"
_GROWN = "#b9b9b9"
_NO_SKIN = "#3a3a3a"
_LIMB = "#d62728"
_TORSO = "#1f77b4"


def draw_skin_figure(image: Image.Image, evidence: SkinEvidence) -> Image.Image:
    """Draw an image, its skin, its limbs, and its largest body side by side.

    Skin that passed the narrow bands is white; skin that regions grew by, and filled holes, are
    grey. The axes of limbs are red, the axis of a torso is blue.

    Args:
        image: the image, RGB.
        evidence: what was found in it.

    Returns:
        An RGB image, the same for the same arguments.
    """
    scale = _SIDE / max(evidence.planes.skin.shape)
    height, width = (max(1, round(scale * side)) for side in evidence.planes.skin.shape)
    skin = _skin_picture(evidence).resize((width, height), Image.Resampling.NEAREST)
    limbs, grouped = skin.copy(), skin.copy()
    _draw_axes(limbs, evidence.limbs, _LIMB, scale)
    for body in evidence.bodies[:1]:
        _draw_axes(grouped, [body.torso] if body.torso else [], _TORSO, scale)
        _draw_axes(grouped, body.limbs, _LIMB, scale)
    photo = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    return _row([photo, skin, limbs, grouped], _captions(evidence))


def _captions(evidence: SkinEvidence) -> list[str]:
    bodies = evidence.bodies
    return [
        f"score {evidence.score:.2f}",
        f"skin {evidence.skin_share:.0%}",
        _limbs(len(evidence.limbs)),
        f"figure of {_limbs(len(bodies[0].limbs))}" if bodies else "no figure",
    ]


def _limbs(n: int) -> str:
    return "1 limb" if n == 1 else f"{n} limbs"


def _skin_picture(evidence: SkinEvidence) -> Image.Image:
    picture = Image.new("RGB", evidence.planes.skin.shape[::-1], _NO_SKIN)
    picture.paste(_GROWN, mask=_as_mask(evidence.planes.skin))
    picture.paste(_MARKED, mask=_as_mask(evidence.planes.marked))
    return picture


def _as_mask(where: np.ndarray) -> Image.Image:
    return Image.fromarray(where.astype(np.uint8) * 255)


def _draw_axes(picture: Image.Image, limbs: Sequence[Limb], colour: str, scale: float) -> None:
    draw = ImageDraw.Draw(picture)
    for limb in limbs:
        draw.line([(x * scale, y * scale) for x, y in limb.ends], fill=colour, width=3)


def _row(pictures: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """Place images of one size side by side, each above its caption."""
    width, height = pictures[0].size
    column = max(width, _SIDE)
    row = Image.new(
        "RGB",
        (_GAP + len(pictures) * (column + _GAP), _GAP + height + _CAPTION + _GAP // 2),
        _BACKGROUND,
    )
    draw = ImageDraw.Draw(row)
    font = sheet_font(_FONT)
    for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left = _GAP + place * (column + _GAP)
        row.paste(picture, (left + (column - width) // 2, _GAP))
        baseline = _GAP + height + _FONT + 6
        draw.text((left + column / 2, baseline), caption, fill=DARK, font=font, anchor="ms")
    return row
