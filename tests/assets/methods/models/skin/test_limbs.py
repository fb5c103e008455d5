import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from assets.methods.models.skin.limbs import Limb, find_limbs, group_limbs
from support.limb_drawings import LIMBS, TORSO, UPPER_ARMS, body, capsule, union


def limb(begin, end, width=10):
    return Limb((begin, end), width, float(np.hypot(*np.subtract(end, begin))))


def bodies_of(mask):
    return group_limbs(*find_limbs(mask))


def distance_of_ends(found, begin, end):
    """The largest distance, px, between the ends of a limb and two points, in either order."""
    apart = np.linalg.norm(
        np.array(found.ends)[:, None] - np.array([begin, end], float)[None], axis=2
    )
    return min(max(apart[0, 0], apart[1, 1]), max(apart[0, 1], apart[1, 0]))


def test_a_bar_is_one_limb_of_its_size():
    mask = np.zeros((60, 100), dtype=bool)
    mask[20:30, 15:75] = True
    (found,), torsos = find_limbs(mask)
    assert distance_of_ends(found, (15, 25), (75, 25)) < 0.8
    assert found.width == pytest.approx(10, abs=0.4)
    assert found.length == pytest.approx(60, abs=0.8)
    assert found.elongation == pytest.approx(6, abs=0.3)
    assert torsos == []


@pytest.mark.parametrize("angle", [0, 20, 45, 77, 90, 120, 165])
@pytest.mark.parametrize("width", [6, 10, 14])
def test_the_limb_of_a_capsule_is_found(angle, width):
    along = 24 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    tip = along * (1 + width / 2 / 24)
    centre = np.array([56.0, 55.0])
    (found,), _ = find_limbs(capsule(centre - along, centre + along, width))
    # Each side may lie 1 px off, and the round ends are cut short.
    assert distance_of_ends(found, centre - tip, centre + tip) < 5
    assert found.width == pytest.approx(width, abs=2)
    across, down = np.subtract(*found.ends)
    off = abs(np.degrees(np.arctan2(down, across)) % 180 - angle)
    assert min(off, 180 - off) < 4


def test_a_limb_that_bends_is_two():
    mask = union([((20, 30), (56, 30), 10), ((56, 30), (66, 66), 10)])
    found, _ = find_limbs(mask)
    assert len(found) == 2
    assert distance_of_ends(found[0], (66, 70), (57, 32)) < 6
    assert distance_of_ends(found[1], (16, 30), (54, 30)) < 6


def test_a_limb_that_the_image_cuts_off_ends_there():
    (found,), _ = find_limbs(capsule((40, 60), (40, 200), 12))
    assert distance_of_ends(found, (40, 55), (40, 112)) < 2.5


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((112, 112), dtype=bool),
        np.ones((112, 30), dtype=bool),
        capsule((56, 56), (57, 56), 50),
        np.pad(np.ones((40, 40), dtype=bool), 30),
        capsule((56, 56), (57, 56), 90) & ~capsule((56, 56), (57, 56), 30),
        np.pad(np.ones((1, 1), dtype=bool), 9),
        np.ones((1, 1), dtype=bool),
        np.ones((1, 50), dtype=bool),
    ],
    ids=["nothing", "all", "disc", "square", "ring", "speck", "pixel", "row"],
)
def test_what_is_not_long_has_no_limbs(mask):
    limbs, torsos = find_limbs(mask)
    assert limbs == []
    assert group_limbs(limbs, torsos) == []


def test_between_two_bars_there_is_no_limb():
    mask = union([((20, 40), (90, 40), 8), ((20, 56), (90, 56), 8)])
    found, _ = find_limbs(mask)
    assert len(found) == 2
    assert all(one.width < 9.5 for one in found)


def test_a_drawn_body_is_found_with_its_torso_and_limbs():
    (found,) = bodies_of(body())
    begin, end, width = TORSO
    assert found.torso is not None
    assert found.torso.width == pytest.approx(width, abs=6)
    assert distance_of_ends(found.torso, begin, end) < 20
    for part in LIMBS:
        centre = np.mean(part[:2], axis=0)
        nearest = min(
            found.limbs, key=lambda one: np.linalg.norm(np.mean(one.ends, axis=0) - centre)
        )
        assert np.linalg.norm(np.mean(nearest.ends, axis=0) - centre) < 7
        assert nearest.width == pytest.approx(part[2], abs=2)


@pytest.mark.parametrize(
    "mask",
    [body()[:, ::-1], np.rot90(body()), body(scale=2), np.pad(body(), 30)],
    ids=["mirrored", "turned", "larger", "farther away"],
)
def test_a_body_is_found_however_it_is_seen(mask):
    (found,) = bodies_of(mask)
    assert found.torso is not None
    assert len(found.limbs) == 8


def test_two_bodies_are_found_as_two():
    assert [len(found.limbs) for found in bodies_of(np.hstack([body(), body()]))] == [8, 8]


STICK_MAN = [
    ((56, 35), (56, 70), 7),
    ((56, 35), (35, 55), 7),
    ((56, 35), (77, 55), 7),
    ((56, 70), (42, 100), 7),
    ((56, 70), (70, 100), 7),
]


def test_a_stick_man_is_a_body_without_a_torso():
    (found,) = bodies_of(union(STICK_MAN))
    assert found.torso is None
    assert len(found.limbs) == 5


@pytest.mark.parametrize(
    "parts",
    [
        [((14, 14), (44, 14), 7), ((14, 40), (14, 80), 7), ((70, 30), (95, 60), 7)],
        [((x, 20), (x, 90), 7) for x in range(15, 105, 14)],
        [((20, 20), (60, 20), 8), ((60, 20), (60, 70), 8)],
        [((10, 40), (35, 70), 7), ((35, 70), (60, 40), 7), ((60, 40), (85, 70), 7)],
        UPPER_ARMS,
    ],
    ids=["scattered", "fence", "corner", "zigzag", "arms without a body"],
)
def test_limbs_that_are_not_joined_as_a_skeleton_s_are_no_body(parts):
    mask = union(parts)
    assert len(find_limbs(mask)[0]) >= 2
    assert bodies_of(mask) == []


MEETING = [
    limb((50, 50), (50, 20)),
    limb((51, 52), (20, 60)),
    limb((80, 60), (49, 52)),
]


def test_three_limbs_that_meet_are_a_body():
    (found,) = group_limbs(MEETING, [])
    assert found.limbs == tuple(MEETING)


@pytest.mark.parametrize(
    "third",
    [
        limb((80, 60), (65, 56)),  # ends 16 px away
        limb((80, 60), (49, 52), width=21),  # more than twice as wide
        limb((145, 80), (49, 52)),  # more than three times as long
    ],
    ids=["apart", "wider", "longer"],
)
def test_a_limb_that_does_not_fit_makes_no_body(third):
    assert group_limbs([*MEETING[:2], third], []) == []


def test_limbs_that_would_be_folded_onto_each_other_do_not_meet():
    fan = [
        limb((0, 0), (40 * np.cos(angle), 40 * np.sin(angle))) for angle in np.radians([0, 25, 50])
    ]
    assert group_limbs(fan, []) == []


BROAD = Limb(((50, 30), (50, 70)), 30, 40)
ARM = limb((64, 36), (100, 36))
LEG = limb((42, 73), (38, 110))


def test_two_limbs_on_a_torso_are_a_body():
    (found,) = group_limbs([ARM, LEG], [BROAD])
    assert found.torso == BROAD
    assert found.limbs == (ARM, LEG)


def test_a_limb_joined_to_a_limb_on_a_torso_belongs_to_the_body():
    shin = limb((38, 111), (60, 130))
    (found,) = group_limbs([shin, ARM, LEG], [BROAD])
    assert found.limbs == (shin, ARM, LEG)


@pytest.mark.parametrize(
    "second",
    [
        limb((42, 90), (38, 127)),  # begins 20 px below the torso
        limb((42, 73), (38, 110), width=21),  # more than two thirds as wide
        limb((30, 76), (70, 76)),  # lies along the lower edge
    ],
    ids=["apart", "wide", "across"],
)
def test_a_limb_that_does_not_hang_on_the_torso_makes_no_body(second):
    assert group_limbs([ARM, second], [BROAD]) == []


def test_one_limb_or_none_is_no_body():
    assert group_limbs([ARM], [BROAD]) == []
    assert group_limbs([], [BROAD]) == []
    assert group_limbs([], []) == []


def test_blots_are_searched_in_reasonable_time_and_the_same_way_each_time():
    mask = gaussian_filter(np.random.default_rng(0).normal(size=(128, 128)), 2) > 0
    assert find_limbs(mask) == find_limbs(mask)
