import numpy as np
import pytest

from assets.methods.study.doll_sets import DollSet, draw_doll_set
from assets.methods.study.paper_dolls import DollKind, draw_dolls

CLOTHED_PLAIN, BARE_PLAIN = (DollKind(bare, red_lips=False) for bare in (False, True))
CLOTHED_RED, BARE_RED = (DollKind(bare, red_lips=True) for bare in (False, True))
DESIGNS = ("flawed", "redesigned", "unflawed")


@pytest.fixture(scope="module")
def sets():
    return {design: draw_doll_set(design, 20, seed=3) for design in DESIGNS}


@pytest.mark.parametrize(
    ("design", "kinds"),
    [
        ("flawed", {CLOTHED_PLAIN: 10, BARE_RED: 10}),
        ("redesigned", {CLOTHED_RED: 10, BARE_RED: 10}),
        ("unflawed", {CLOTHED_PLAIN: 5, BARE_PLAIN: 5, CLOTHED_RED: 5, BARE_RED: 5}),
    ],
)
def test_a_design_has_its_kinds(sets, design, kinds):
    drawn = [doll.kind for doll in sets[design].dolls]
    assert {kind: drawn.count(kind) for kind in set(drawn)} == kinds


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("n", [0, 1, 6, 7])
def test_half_of_a_set_of_any_size_is_bare(design, n):
    dolls = draw_doll_set(design, n, seed=0)
    assert len(dolls.dolls) == len(dolls.is_positive) == len(dolls.slices) == n
    assert dolls.is_positive.sum() == n // 2


def test_bare_dolls_are_positive(sets):
    for dolls in sets.values():
        assert dolls.is_positive.dtype == bool
        assert dolls.is_positive.tolist() == [doll.kind.bare for doll in dolls.dolls]


def test_slices_tell_the_lips(sets):
    lips = {design: dolls.slices["lips"].tolist() for design, dolls in sets.items()}
    assert lips == {
        "flawed": ["plain", "red"] * 10,
        "redesigned": ["red"] * 20,
        "unflawed": ["plain", "plain", "red", "red"] * 5,
    }


def test_an_image_id_is_of_one_picture(sets):
    for dolls in sets.values():
        assert len(set(dolls.image_ids)) == len(dolls.dolls)
        load_image = dolls.loader()
        for image_id, doll in zip(dolls.image_ids, dolls.dolls, strict=True):
            assert load_image(image_id) is doll.image


def test_the_same_picture_has_the_same_image_id(sets):
    again = DollSet(tuple(draw_dolls([BARE_RED] * 2, seed=3)))
    # The second doll of each of these sets is bare and has red lips.
    assert again.image_ids[1] == sets["flawed"].image_ids[1] == sets["redesigned"].image_ids[1]
    assert again.image_ids[0] not in sets["flawed"].image_ids


def test_what_is_labelled_is_the_set(sets):
    dolls = sets["unflawed"]
    assert dolls.labelled.image_ids == dolls.image_ids
    np.testing.assert_array_equal(dolls.labelled.is_positive, dolls.is_positive)


def test_sets_of_one_seed_have_one_pose_a_place(sets):
    for places in zip(*(dolls.dolls for dolls in sets.values()), strict=True):
        assert len({doll.regions.tobytes() for doll in places}) == 1


def test_a_longer_set_begins_with_the_shorter(sets):
    for design, dolls in sets.items():
        assert draw_doll_set(design, 8, seed=3).image_ids == dolls.image_ids[:8]
