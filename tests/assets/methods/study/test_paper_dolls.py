import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from assets.methods.study.paper_dolls import REGIONS, SIDE, DollKind, draw_doll, draw_dolls

KINDS = [DollKind(bare, red_lips) for bare in (False, True) for red_lips in (False, True)]
SEEDS = range(40)

# Edges are smooth and the lens is a little out of focus: so far a region reaches beyond its mask.
REACH = 4  # px


def pixels(doll):
    return np.asarray(doll.image, dtype=np.float64)


def near(mask):
    """Return where a mask is at most ``REACH`` px away."""
    widened = Image.fromarray(mask.astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * REACH + 1))
    return np.asarray(widened) > 0


def assert_same(one, other):
    assert one.image.tobytes() == other.image.tobytes()
    assert one.regions.tobytes() == other.regions.tobytes()
    assert one.kind == other.kind


@pytest.fixture(scope="module")
def drawn():
    """By seed, a doll of each kind."""
    return [{kind: draw_doll(kind, seed) for kind in KINDS} for seed in SEEDS]


@pytest.fixture(scope="module")
def dolls(drawn):
    return [doll for by_kind in drawn for doll in by_kind.values()]


def test_a_doll_is_a_small_square_picture(dolls):
    for doll in dolls:
        assert (doll.image.mode, doll.image.size) == ("RGB", (SIDE, SIDE))
        assert (doll.regions.dtype, doll.regions.shape) == (np.uint8, (SIDE, SIDE))


def test_each_pixel_belongs_to_one_region(dolls):
    for doll in dolls:
        assert (sum(doll.mask(region).astype(int) for region in REGIONS) == 1).all()


def test_each_region_can_be_seen(dolls):
    # Lips of fewer pixels could hardly be told from the rest of the face.
    least = {"background": 5000, "limbs": 500, "torso": 250, "face": 500, "lips": 40}
    for doll in dolls:
        for region in REGIONS:
            assert doll.mask(region).sum() >= least[region], region


def test_lips_lie_in_the_face(dolls):
    for doll in dolls:
        around = near(doll.mask("lips")) & ~doll.mask("lips")
        assert doll.mask("face")[around].mean() > 0.9


def test_lips_are_red_where_they_are_asked_for(dolls):
    for doll in dolls:
        red, green, blue = pixels(doll)[doll.mask("lips")].mean(axis=0)
        assert (red - max(green, blue) > 80) == doll.kind.red_lips


def test_a_bare_doll_is_of_one_colour(drawn):
    checked = 0
    for by_kind in drawn:
        doll = by_kind[DollKind(bare=True, red_lips=False)]
        values = pixels(doll)
        if values[~doll.mask("background")].max() == 255:
            continue  # overexposed, which changes a hue
        colours = {region: np.median(values[doll.mask(region)], axis=0) for region in REGIONS}
        # The light is brighter in some places, of the same hue in all.
        hues = {region: colour / colour.sum() for region, colour in colours.items()}
        for region in ("torso", "limbs"):
            np.testing.assert_allclose(hues[region], hues["face"], atol=0.03)
        checked += 1
    assert checked > len(drawn) / 2


def test_a_clothed_dolls_torso_has_not_the_skins_colour(drawn):
    for by_kind in drawn:
        clothed, bare = (by_kind[DollKind(one, red_lips=False)] for one in (False, True))
        torso = clothed.mask("torso")
        difference = pixels(clothed)[torso] - pixels(bare)[torso]
        assert np.linalg.norm(difference, axis=1).mean() > 50


def test_dolls_that_differ_in_kind_have_one_pose(drawn):
    for by_kind in drawn:
        first, *others = by_kind.values()
        for other in others:
            np.testing.assert_array_equal(other.regions, first.regions)


@pytest.mark.parametrize("bare", [False, True])
def test_the_lips_colour_changes_nothing_else(drawn, bare):
    for by_kind in drawn:
        red, plain = (by_kind[DollKind(bare, red_lips)] for red_lips in (True, False))
        lips = red.mask("lips")
        elsewhere = ~near(lips)
        np.testing.assert_array_equal(pixels(red)[elsewhere], pixels(plain)[elsewhere])
        assert (pixels(red)[lips] != pixels(plain)[lips]).any(axis=1).mean() > 0.9


@pytest.mark.parametrize("red_lips", [False, True])
def test_clothes_change_nothing_else(drawn, red_lips):
    for by_kind in drawn:
        bare, clothed = (by_kind[DollKind(one, red_lips)] for one in (True, False))
        elsewhere = ~near(bare.mask("torso") | bare.mask("limbs"))
        np.testing.assert_array_equal(pixels(bare)[elsewhere], pixels(clothed)[elsewhere])


def test_dolls_of_other_seeds_are_others(drawn):
    for kind in KINDS:
        pictures = {by_kind[kind].image.tobytes() for by_kind in drawn}
        assert len(pictures) == len(drawn)
        poses = {by_kind[kind].regions.tobytes() for by_kind in drawn}
        assert len(poses) == len(drawn)


kinds = st.builds(DollKind, st.booleans(), st.booleans())


@settings(max_examples=20)
@given(kinds=st.lists(kinds, min_size=1, max_size=4), seed=st.integers(0, 2**40))
def test_a_doll_depends_on_seed_place_and_kind_alone(kinds, seed):
    for place, doll in enumerate(draw_dolls(kinds, seed)):
        assert_same(doll, draw_doll(kinds[place], (seed, place)))
