import dataclasses
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from PIL import Image

from assets.methods.evaluation.evaluate import evaluate_scores
from assets.methods.plotting.text import CHANCE, COLOURS
from assets.methods.study.doll_sets import draw_doll_set
from assets.methods.study.figure import (
    doll_box,
    draw_doll_sheet,
    draw_study,
    finding,
    kind_words,
    region_areas,
    study_figure,
)
from assets.methods.study.paper_dolls import REGIONS, SIDE, Doll, DollKind
from assets.methods.study.study import ExplainedDoll, StudiedNetwork, Study
from support.figures import assert_words_are_readable, line_data, panel

BLUE, RED = COLOURS[:2]
FLAWED, UNFLAWED = draw_doll_set("flawed", 40, 2), draw_doll_set("unflawed", 40, 3)


def scores(dolls, trait):
    """Distinct scores, above a half where dolls have the trait."""
    has = np.array([getattr(doll.kind, trait) for doll in dolls.dolls])
    return 0.1 + 0.6 * has + 0.2 * np.random.default_rng(0).random(len(has))


def network(design, trait, occlusion, deconvnet, n_explained=3):
    """A network that tells dolls by a trait; all that is attributed lies on a region."""
    on_flawed, on_unflawed = (
        evaluate_scores(dolls.is_positive, scores(dolls, trait), slices=dolls.slices)
        for dolls in (FLAWED, UNFLAWED)
    )
    bare = [doll for doll in FLAWED.dolls if doll.kind.bare][:n_explained]
    maps = [
        [doll.mask(part).astype(np.float32) for part in (occlusion, deconvnet)] for doll in bare
    ]
    return StudiedNetwork(
        design,
        Path("weights"),
        on_flawed,
        on_unflawed,
        tuple(ExplainedDoll(doll, 0.8, *both) for doll, both in zip(bare, maps, strict=True)),
        {region: float(region == occlusion) for region in REGIONS},
        {region: 0.5 * (region in (deconvnet, "face")) for region in REGIONS},
    )


BEFORE = network("flawed", "red_lips", "lips", "face")
AFTER = network("redesigned", "bare", "torso", "limbs")
STUDY = Study(BEFORE, AFTER, FLAWED, UNFLAWED)


@pytest.fixture(scope="module")
def figure():
    return study_figure(STUDY)


def maps(figure):
    """Return the axes of the dolls and of their maps, (5, 4); of absent ones None."""
    shown = panel(figure, "What they look at").figure.axes
    return np.array([axes if axes.get_visible() else None for axes in shown]).reshape(5, 4)


def shown_in(axes):
    return np.asarray(axes.images[0].get_array())


def test_a_study_is_drawn_on_an_orderly_page():
    picture = draw_study(STUDY)
    assert picture.mode == "RGB"
    assert picture.width == 1600
    array = np.asarray(picture)
    assert all((part == 255).all() for part in (array[:4], array[-4:], array[:, :4], array[:, -4:]))
    assert draw_study(STUDY).tobytes() == picture.tobytes()


def test_words_are_readable(figure):
    assert_words_are_readable(figure)


def test_the_longest_headline_is_readable():
    elsewhere = dataclasses.replace(BEFORE, occlusion=AFTER.occlusion)
    study = Study(elsewhere, elsewhere, FLAWED, UNFLAWED)
    assert "had learned a shortcut; redesigned training data do not mend it" in finding(study)[0]
    assert_words_are_readable(study_figure(study))


@pytest.mark.parametrize(("row", "region"), [(1, "lips"), (2, "face"), (3, "torso"), (4, "limbs")])
def test_each_map_glows_where_its_network_and_method_attribute(figure, row, region):
    for axes, one in zip(maps(figure)[row], BEFORE.explained, strict=False):
        grey = np.asarray(one.doll.image.convert("L"), float)
        glow = shown_in(axes)[..., 0] - 0.4 * grey
        means = [glow[one.doll.mask(name)].mean() for name in REGIONS]
        assert REGIONS[int(np.argmax(means))] == region


def test_captions_tell_the_scores_and_the_share_on_the_lips(figure):
    assert [axes.get_xlabel() for axes in maps(figure)[:, 0]] == [
        "P(nsfw) 0.80 → 0.80",
        "100 % on the lips",
        *["0 % on the lips"] * 3,
    ]


def test_a_map_of_nothing_is_dark():
    zero = np.zeros((SIDE, SIDE), np.float32)
    explained = [dataclasses.replace(one, occlusion=zero) for one in AFTER.explained]
    after = dataclasses.replace(AFTER, explained=tuple(explained))
    axes = maps(study_figure(dataclasses.replace(STUDY, after=after)))[3, 0]
    grey = 0.4 * np.asarray(AFTER.explained[0].doll.image.convert("L"), float)
    assert np.abs(shown_in(axes) - grey[..., np.newaxis]).max() < 3
    assert axes.get_xlabel() == "nothing"


def test_dolls_are_shown_as_they_are_each_in_its_column(figure):
    for axes, one in zip(maps(figure)[0], BEFORE.explained, strict=False):
        assert (shown_in(axes) == np.asarray(one.doll.image)).all()


def test_four_dolls_are_shown_at_most():
    before, after = (
        network(design, "bare", "torso", "torso", n_explained=6)
        for design in ("flawed", "redesigned")
    )
    shown = maps(study_figure(Study(before, after, FLAWED, UNFLAWED)))
    assert all(len(axes.images) == 1 for axes in shown.flat)


def test_places_of_dolls_that_were_not_explained_are_empty(figure):
    assert [axes is None for axes in maps(figure).flat] == [False, False, False, True] * 5


def test_both_networks_have_their_colour_in_every_panel(figure):
    words = [text.get_color() for text in figure.findobj(Text) if "■" in text.get_text()]
    assert words == [BLUE, RED, *[BLUE] * 2, *[RED] * 2]
    for heading in ("Share of attribution, occlusion", "Share of attribution, deconvnet"):
        bars = panel(figure, heading).containers
        assert [to_hex(bar[0].get_facecolor()) for bar in bars] == [BLUE, RED, CHANCE]


@pytest.mark.parametrize(("heading", "flawed"), [("Test with the flaw", 1), ("Honest test", 0)])
def test_the_curves_are_those_of_the_test(figure, heading, flawed):
    axes = panel(figure, heading).figure.axes[1]
    for one, colour in ((BEFORE, BLUE), (AFTER, RED)):
        table = (one.flawed if flawed else one.unflawed).roc
        ((x, y),) = line_data(axes, colour)
        assert [*x] == [0, *table.false_positive_rate]
        assert [*y] == [0, *table.true_positive_rate]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend[0].startswith("before: AUC " + ("1.00 (" if flawed else "0.45 ("))
    assert legend[1].startswith("after: AUC 1.00 (")


@pytest.mark.parametrize("flagged", [0, 3, 10])
def test_the_bar_of_false_alarms_is_as_high_as_their_rate(flagged):
    found = scores(UNFLAWED, "bare")
    kind = DollKind(bare=False, red_lips=True)
    red = [place for place, doll in enumerate(UNFLAWED.dolls) if doll.kind == kind]
    found[red[:flagged]] = 0.9
    unflawed = evaluate_scores(UNFLAWED.is_positive, found, slices=UNFLAWED.slices)
    study = dataclasses.replace(STUDY, before=dataclasses.replace(BEFORE, unflawed=unflawed))
    axes = panel(study_figure(study), "False alarms").figure.axes[1]
    before, after = (bar[0] for bar in axes.containers)
    assert [to_hex(bar.get_facecolor()) for bar in (before, after)] == [BLUE, RED]
    assert before.get_height() == pytest.approx(flagged / len(red))
    assert after.get_height() == 0


def test_bars_of_shares_are_as_long_as_the_shares(figure):
    areas = region_areas([one.doll for one in BEFORE.explained])
    for method in ("occlusion", "deconvnet"):
        axes = panel(figure, f"Share of attribution, {method}")
        assert [label.get_text() for label in axes.get_yticklabels()] == list(REGIONS)
        expected = (getattr(BEFORE, method), getattr(AFTER, method), areas)
        for bars, shares in zip(axes.containers, expected, strict=True):
            lengths = [bar.get_width() for bar in bars]
            assert lengths == pytest.approx([shares[region] for region in REGIONS])
        assert not axes.yaxis_inverted()


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


def test_the_finding_is_the_head(figure):
    other = dataclasses.replace(STUDY, after=dataclasses.replace(AFTER, unflawed=BEFORE.unflawed))
    for study, drawn in ((STUDY, figure), (other, study_figure(other))):
        headline, before, after = finding(study)
        written = [text.get_text() for text in drawn.findobj(Text)]
        assert headline in written
        assert f"{before}\n{after}" in written
    assert finding(other) != finding(STUDY)


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
    before, after = (dataclasses.replace(one, explained=()) for one in (BEFORE, AFTER))
    with pytest.raises(ValueError, match="no doll"):
        draw_study(Study(before, after, FLAWED, UNFLAWED))


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


@pytest.mark.parametrize("n", [1, 7, 10, 11])
def test_a_sheet_shows_each_doll_pixel_by_pixel(n):
    sheet = draw_doll_sheet(UNFLAWED.dolls[:n])
    covered = np.zeros((sheet.height, sheet.width), int)
    for place, doll in enumerate(UNFLAWED.dolls[:n]):
        left, upper, right, lower = doll_box(place)
        assert sheet.crop((left, upper, right, lower)).tobytes() == doll.image.tobytes()
        covered[upper : lower + 38, left:right] += 1
    assert covered.max() == 1
    # Beside the dolls and their labels there is nothing.
    assert (np.asarray(sheet)[covered == 0] == 255).all()
    assert sheet.width == 14 + min(n, 10) * (SIDE + 14)


def test_dolls_of_a_kind_have_the_same_label_and_of_another_kind_another():
    sheet = draw_doll_sheet(UNFLAWED.dolls[:8])

    def label(place):
        left, _, right, lower = doll_box(place)
        return sheet.crop((left, lower, right, lower + 38)).tobytes()

    # Four kinds, in turn.
    assert len({label(place) for place in range(4)}) == 4
    assert [label(place) for place in range(4)] == [label(place) for place in range(4, 8)]
