"""Masks and pictures of drawn limbs and figures, whose limbs are known."""

import numpy as np

SKIN = (216, 160, 128)
GROUND = (60, 90, 160)
CLOTH = (40, 60, 140)

# Where the parts of a figure are, in px of a side of 112: begin, end and width of capsules.
TORSO = ((56, 36), (56, 62), 30)
HEAD = ((56, 12), (56, 13), 20)
UPPER_ARMS = (((44, 32), (22, 42), 9), ((68, 32), (90, 42), 9))
LOWER_ARMS = (((22, 42), (8, 62), 9), ((90, 42), (104, 62), 9))
UPPER_LEGS = (((47, 72), (38, 92), 12), ((65, 72), (74, 92), 12))
LOWER_LEGS = (((38, 92), (36, 108), 12), ((74, 92), (76, 108), 12))
LIMBS = (*UPPER_ARMS, *LOWER_ARMS, *UPPER_LEGS, *LOWER_LEGS)


def capsule(begin, end, width, shape=(112, 112)):
    """The pixels, bool of ``shape``, whose centres lie within half a width of a line."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    begin, along = np.array(begin, float), np.subtract(end, begin).astype(float)
    share = ((x - begin[0]) * along[0] + (y - begin[1]) * along[1]) / (along @ along)
    share = share.clip(0, 1)
    off = np.hypot(x - begin[0] - share * along[0], y - begin[1] - share * along[1])
    return off <= width / 2


def union(capsules, scale=1):
    """The pixels of any of some capsules, whose lengths are in px of a side of 112."""
    shape = (112 * scale, 112 * scale)
    scaled = [[np.multiply(length, scale) for length in part] for part in capsules]
    return np.any([capsule(begin, end, width, shape) for begin, end, width in scaled], axis=0)


def body(scale=1):
    """The mask of a bare figure: head, torso, arms and legs."""
    return union([TORSO, HEAD, *LIMBS], scale)


def painted(*layers, ground=GROUND, shape=(112, 112)):
    """A picture of masks in their colours, later ones over earlier ones."""
    picture = np.full((*shape, 3), ground, dtype=np.uint8)
    for mask, colour in layers:
        picture[mask] = colour
    return picture


def bare(skin=SKIN, ground=GROUND):
    return painted((body(), skin), ground=ground)


def clothed(skin=SKIN, ground=GROUND):
    """The same figure in a suit that leaves its face and forearms free."""
    suit = union([TORSO, *UPPER_ARMS, *UPPER_LEGS, *LOWER_LEGS])
    return painted((body(), skin), (suit, CLOTH), ground=ground)


def close_up(picture, share=0.9):
    """The middle of a picture, cut so that the figure fills more of it."""
    margin = round(picture.shape[0] * (1 - share) / 2)
    return picture[margin:-margin, margin:-margin]
