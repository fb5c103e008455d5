import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assets.methods.evaluation.evaluate import evaluate_scores
from assets.methods.study.doll_sets import draw_doll_set
from assets.methods.study.figure import (
    doll_box,
    draw_doll_sheet,
    draw_study,
    finding,
    kind_words,
    map_box,
    region_areas,
)
from assets.methods.study.paper_dolls import REGIONS, SIDE, Doll, DollKind
from assets.methods.study.study import ExplainedDoll, StudiedNetwork, Study

BLUE, RED = (76, 120, 168), (228, 87, 86)
FLAWED, UNFLAWED = draw_doll_set("flawed", 40, 2), draw_doll_set("unflawed", 40, 3)


def scores(dolls, trait):
    """Distinct scores, above a half where dolls have the trait."""
    has = np.array([getattr(doll.kind, trait) for doll in dolls.dolls])
    return 0.1 + 0.6 * has + 0.2 * np.random.default_rng(0).random(len(has))


def network(design, trait, occlusion, deconvnet, n_explained=3):
    """A network that tells dolls by a trait; all that is attributed lies on a region."""
    found = [
        evaluate_scores(dolls.is_positive, scores(dolls, trait), slices=dolls.slices)
        for dolls in (FLAWED, UNFLAWED)
    ]
    bare = [doll for doll in FLAWED.dolls if doll.kind.bare][:n_explained]
    maps = [
        [doll.mask(part).astype(np.float32) for part in (occlusion, deconvnet)] for doll in bare
    ]
    return StudiedNetwork(
        design,
        Path("weights"),
        *found,
        tuple(ExplainedDoll(doll, 0.8, *both) for doll, both in zip(bare, maps, strict=True)),
        {region: float(region == occlusion) for region in REGIONS},
        {region: 0.5 * (region in (deconvnet, "face")) for region in REGIONS},
    )


BEFORE = network("flawed", "red_lips", "lips", "face")
AFTER = network("redesigned", "bare", "torso", "limbs")
STUDY = Study(BEFORE, AFTER, FLAWED, UNFLAWED)


@pytest.fixture(scope="module")
def picture():
    return draw_study(STUDY)


def is_colour(picture, colour):
    return (np.asarray(picture) == colour).all(axis=2)


def heat(picture, row, column):
    """What a map adds to the picture in grey that it lies over, (tile, tile)."""
    grey = np.asarray(picture.crop(map_box(0, column)).convert("L"), float)
    return np.asarray(picture.crop(map_box(row, column)), float)[..., 0] - 0.4 * grey


def test_a_study_is_drawn_on_an_orderly_page(picture):
    assert picture.mode == "RGB"
    assert picture.width == 1600
    array = np.asarray(picture)
    for margin in (array[:38], array[-15:], array[:, :38], array[:, -30:]):
        assert (margin == 255).all()


def test_the_same_study_draws_the_same_bytes(picture):
    assert draw_study(STUDY).tobytes() == picture.tobytes()


@pytest.mark.parametrize(("row", "region"), [(1, "lips"), (2, "face"), (3, "torso"), (4, "limbs")])
def test_each_map_glows_where_its_network_and_method_attribute(picture, row, region):
    for column, one in enumerate(BEFORE.explained):
        glow = heat(picture, row, column)
        regions = Image.fromarray(one.doll.regions).resize(glow.shape, Image.Resampling.NEAREST)
        means = [glow[np.asarray(regions) == number].mean() for number in range(len(REGIONS))]
        assert REGIONS[int(np.argmax(means))] == region


def test_a_map_of_nothing_is_dark():
    zero = np.zeros((SIDE, SIDE), np.float32)
    explained = [dataclasses.replace(one, occlusion=zero) for one in AFTER.explained]
    after = dataclasses.replace(AFTER, explained=tuple(explained))
    picture = draw_study(dataclasses.replace(STUDY, after=after))
    assert heat(picture, 3, 0).max() < 2 < heat(picture, 4, 0).max()


def test_dolls_are_shown_as_they_are_each_in_its_column(picture):
    for column, one in enumerate(BEFORE.explained):
        shown = picture.crop(map_box(0, column)).resize((SIDE, SIDE), Image.Resampling.BOX)
        difference = np.asarray(shown, float) - np.asarray(one.doll.picture, float)
        assert np.abs(difference).mean() < 4


def test_four_dolls_are_shown_at_most():
    both = [
        network(design, "bare", "torso", "torso", n_explained=6)
        for design in ("flawed", "redesigned")
    ]
    picture = draw_study(Study(*both, FLAWED, UNFLAWED))
    left, upper, _, lower = map_box(0, 4)
    # The labels of bars come next, which are dark words on white.
    assert is_colour(picture.crop((left, upper, left + 40, lower)), (255, 255, 255)).all()
    assert not is_colour(picture.crop(map_box(0, 3)), (255, 255, 255)).all()


def test_places_of_dolls_that_were_not_explained_are_empty(picture):
    for row in range(5):
        assert is_colour(picture.crop(map_box(row, 3)), (255, 255, 255)).all()


def test_both_networks_have_their_colour_in_every_panel(picture):
    upper = map_box(0, 0)[1]
    for colour in (BLUE, RED):
        rows, columns = np.nonzero(is_colour(picture, colour))
        figures = rows < upper
        for panel in (
            figures & (columns < 400),
            figures & (columns > 450) & (columns < 830),
            figures & (columns > 860) & (columns < 1230),
            ~figures & (columns < 150),
            ~figures & (columns > 1000) & (rows < upper + 400),
            ~figures & (columns > 1000) & (rows > upper + 500),
        ):
            assert panel.any()
    # The second network raises no false alarm.
    assert is_colour(picture, BLUE)[:upper, 1300:].any()
    assert not is_colour(picture, RED)[:upper, 1300:].any()


def test_the_first_network_is_perfect_where_the_test_shares_the_flaw_and_there_alone(picture):
    def passes_the_middle(left, colour):
        return is_colour(picture, colour)[416:620, left + 100 : left + 300].any()

    flawed, unflawed = 472, 878
    assert not passes_the_middle(flawed, BLUE)
    assert passes_the_middle(unflawed, BLUE)
    assert not passes_the_middle(flawed, RED)
    assert not passes_the_middle(unflawed, RED)


@pytest.mark.parametrize("flagged", [0, 3, 10])
def test_the_bar_of_false_alarms_is_as_high_as_their_rate(flagged):
    found = scores(UNFLAWED, "bare")
    kind = DollKind(bare=False, red_lips=True)
    red = [place for place, doll in enumerate(UNFLAWED.dolls) if doll.kind == kind]
    found[red[:flagged]] = 0.9
    unflawed = evaluate_scores(UNFLAWED.is_positive, found, slices=UNFLAWED.slices)
    study = dataclasses.replace(STUDY, before=dataclasses.replace(BEFORE, unflawed=unflawed))
    page = np.asarray(draw_study(study))[: map_box(0, 0)[1], 1300:]
    bar = (page == BLUE).all(axis=2).sum(axis=1) > 40
    # The axes are 338 px high and end at 1.02.
    assert bar.sum() == pytest.approx(flagged / len(red) * 338 / 1.02, abs=2)


def test_bars_of_shares_are_as_long_as_the_shares(picture):
    upper = map_box(0, 0)[1]
    page = is_colour(picture, BLUE)[:, 900:]
    lengths = page.sum(axis=1)
    full, half = lengths[upper : upper + 420].max(), lengths[upper + 500 :].max()
    # The line of the area is drawn over a bar.
    assert half == pytest.approx(full / 2, abs=4)
    assert full > 300


def test_the_finding_tells_a_shortcut_that_was_mended():
    headline, before, after = finding(STUDY)
    assert headline == (
        "A flawed test hides that the network looks at lips; redesigned training data mend it"
    )
    area = region_areas([one.doll for one in BEFORE.explained])["lips"]
    assert before.startswith(
        "Before: AUC 1.00 on a test that shares the flaw of training, 0.45 on "
    )
    assert f"100 % of the attribution is on the lips, {100 * area:.0f} % of the" in before
    assert after == "After: AUC 1.00 on the honest test; 0 % of the attribution is on the lips."


def test_the_finding_does_not_claim_what_was_not_found():
    def headline(**changes):
        return finding(dataclasses.replace(STUDY, **changes))[0]

    assert headline(after=BEFORE).endswith("redesigned training data do not mend it")
    assert headline(before=AFTER) == "The network did not learn the planted shortcut"
    elsewhere = dataclasses.replace(BEFORE, occlusion=AFTER.occlusion)
    assert "lips" not in headline(before=elsewhere)


def test_another_finding_writes_another_head(picture):
    other = dataclasses.replace(STUDY, after=dataclasses.replace(AFTER, unflawed=BEFORE.unflawed))
    assert finding(other) != finding(STUDY)
    heads = [one.crop((0, 0, 1600, 190)).tobytes() for one in (picture, draw_study(other))]
    assert heads[0] != heads[1]


def test_shares_of_the_area_are_known():
    regions = np.zeros((SIDE, SIDE), np.uint8)
    regions[: SIDE // 2] = REGIONS.index("lips")
    halved = Doll(Image.new("RGB", (SIDE, SIDE)), regions, DollKind(bare=True, red_lips=True))
    whole = dataclasses.replace(halved, regions=np.full_like(regions, REGIONS.index("torso")))
    areas = region_areas([halved, whole])
    assert areas == {"background": 0.25, "limbs": 0, "torso": 0.5, "face": 0, "lips": 0.25}


def test_other_dolls_before_than_after_are_a_bug():
    after = dataclasses.replace(AFTER, explained=AFTER.explained[::-1])
    with pytest.raises(ValueError, match="not the same dolls"):
        draw_study(dataclasses.replace(STUDY, after=after))


def test_no_explained_doll_is_a_bug():
    none = [dataclasses.replace(one, explained=()) for one in (BEFORE, AFTER)]
    with pytest.raises(ValueError, match="no doll"):
        draw_study(Study(*none, FLAWED, UNFLAWED))


@pytest.mark.parametrize(
    ("bare", "red_lips", "words"),
    [
        (False, False, ("clothed", "plain lips")),
        (False, True, ("clothed", "red lips")),
        (True, False, ("bare", "plain lips")),
        (True, True, ("bare", "red lips")),
    ],
)
def test_a_kind_is_said_in_words(bare, red_lips, words):
    assert kind_words(DollKind(bare=bare, red_lips=red_lips)) == words


@pytest.mark.parametrize(("n", "columns"), [(1, 10), (7, 3), (10, 10), (11, 10)])
def test_a_sheet_shows_each_doll_pixel_by_pixel(n, columns):
    sheet = draw_doll_sheet(UNFLAWED.dolls[:n], columns)
    covered = np.zeros((sheet.height, sheet.width), int)
    for place, doll in enumerate(UNFLAWED.dolls[:n]):
        left, upper, right, lower = doll_box(place, columns)
        assert sheet.crop((left, upper, right, lower)).tobytes() == doll.picture.tobytes()
        covered[upper : lower + 38, left:right] += 1
    assert covered.max() == 1
    # Beside the dolls and their labels there is nothing.
    assert (np.asarray(sheet)[covered == 0] == 255).all()
    assert sheet.width == 14 + min(n, columns) * (SIDE + 14)


def test_dolls_of_a_kind_have_the_same_label_and_of_another_kind_another():
    sheet = draw_doll_sheet(UNFLAWED.dolls[:8], 8)

    def label(place):
        left, _, right, lower = doll_box(place, 8)
        return sheet.crop((left, lower, right, lower + 38)).tobytes()

    # Four kinds, in turn.
    assert len({label(place) for place in range(4)}) == 4
    assert [label(place) for place in range(4)] == [label(place) for place in range(4, 8)]


@pytest.mark.parametrize(("n", "columns"), [(0, 10), (3, 0)])
def test_a_sheet_of_nothing_is_a_bug(n, columns):
    with pytest.raises(ValueError, match="cannot be drawn"):
        draw_doll_sheet(UNFLAWED.dolls[:n], columns)
