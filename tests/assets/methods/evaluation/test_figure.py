import dataclasses

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from assets.methods.evaluation.evaluate import EvaluationSettings, evaluate_scores
from assets.methods.evaluation.figure import draw_evaluation, evaluation_figure
from assets.methods.plotting.text import COLOURS
from support.figures import assert_words_are_readable, drawn_texts, line_data, panel

PANELS = (
    "ROC",
    "Precision and recall",
    "Reliability",
    "Reliability, scaled",
    "Recall of slices",
    "False-positive rate of slices",
    "Precision of slices",
)


def evaluation(n=200, n_slices=3, seed=0, slices=None, **settings):
    rng = np.random.default_rng(seed)
    is_positive = np.arange(n) % 4 == 0
    scores = 0.7 * rng.random(n) + 0.1 * (1 + seed) * is_positive
    if n_slices and slices is None:
        slices = pd.DataFrame({"source": rng.integers(0, n_slices, n)})
    return evaluate_scores(is_positive, scores, EvaluationSettings(**settings), slices)


ONE = evaluation()


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_one_model_is_drawn_on_an_orderly_page():
    picture = draw_evaluation({"opennsfw": ONE})
    assert picture.mode == "RGB"
    assert picture.width == 1800
    array = np.asarray(picture)
    assert all((part == 255).all() for part in (array[:9], array[-9:], array[:, :9], array[:, -9:]))
    assert draw_evaluation({"opennsfw": ONE}).tobytes() == picture.tobytes()


def test_each_model_has_its_colour_in_every_panel():
    figure = evaluation_figure({name: evaluation(seed=seed) for seed, name in enumerate("abc")})
    for heading in PANELS:
        assert {line.get_color() for line in panel(figure, heading).get_lines()} >= {*COLOURS[:3]}


def test_the_curves_are_those_of_the_evaluation():
    figure = evaluation_figure({"model": ONE})
    table, metrics = ONE.roc, ONE.metrics
    (x, y), dot = line_data(panel(figure, "ROC"), COLOURS[0])
    # Between its points the curve is a straight line on a linear axis.
    expected = np.interp(x, [0, *table.false_positive_rate], [0, *table.true_positive_rate])
    between = (x > x[0]) & ~np.isin(x, table.false_positive_rate)
    assert y[between] == pytest.approx(expected[between])
    assert {*table.true_positive_rate} <= {*y}
    assert np.ravel(dot) == pytest.approx(
        [metrics["false_positive_rate"].value, metrics["recall"].value]
    )
    table = ONE.precision_recall
    steps, chance, dot = line_data(panel(figure, "Precision and recall"), COLOURS[0])
    assert np.array(steps)[:, 1:] == pytest.approx(table[["recall", "precision"]].to_numpy().T)
    assert set(chance[1]) == {0.25}
    assert np.ravel(dot) == pytest.approx([metrics["recall"].value, metrics["precision"].value])
    tables = (ONE.reliability_before, ONE.reliability_after)
    for heading, table in zip(PANELS[2:4], tables, strict=True):
        ((x, y),) = line_data(panel(figure, heading), COLOURS[0])
        assert x == pytest.approx(table.mean_score)
        assert y == pytest.approx(table.positive_share)


def test_the_dots_of_slices_stand_beside_their_names_and_numbers():
    slices = pd.DataFrame({"half": np.where(np.arange(200) % 4 == 0, "bare", "clothed")})
    lips = pd.DataFrame({"lips": np.arange(200) % 3})
    found = evaluation(slices=slices.join(lips))
    figure = evaluation_figure({"model": found})
    by_name = found.slices.set_index("slice").set_index("value", append=True)
    names = labels(panel(figure, PANELS[4]).yaxis)
    assert {*names} == {f"{name}: {value}" for name, value in by_name.index}
    for heading, rate, counted in (
        (PANELS[4], "recall", "n_positive"),
        (PANELS[5], "false_positive_rate", "n_negative"),
        (PANELS[6], "precision", "n_flagged"),
    ):
        axes = panel(figure, heading)
        ((rates, places),) = line_data(axes, COLOURS[0])
        (beside,) = axes.child_axes
        numbers = labels(beside.yaxis)
        at = dict(zip(places.round().astype(int), zip(rates, numbers, strict=True), strict=True))
        for place, name in enumerate(names):
            row = by_name.loc[tuple(name.split(": "))]
            # No dot stands for a rate that does not exist, and its number is 0.
            np.testing.assert_equal(at[place], (row[rate], f"{row[counted]:,.0f}"))


def test_the_flagged_of_each_model_are_counted():
    slices = pd.DataFrame({"all": np.ones(200)})
    found = [evaluation(slices=slices, threshold=threshold) for threshold in (0.2, 0.5)]
    axes = panel(evaluation_figure(dict(zip("ab", found, strict=True))), PANELS[6])
    (beside,) = axes.child_axes
    first, second = (one.slices["n_flagged"][0] for one in found)
    assert labels(beside.yaxis) == [f"{first} / {second}"]


def test_the_tables_hold_each_metric_with_its_interval():
    written = [text for text, _ in drawn_texts(evaluation_figure({"model": ONE}))]
    for words in (
        "■ model",
        "precision if 1 % positive",
        "threshold for recall 0.95",
        "AUC",
        "200",
        "50",
    ):
        assert words in written
    auc = ONE.metrics["auc"]
    assert f"{auc.value:.2f} ({auc.low:.2f}–{auc.high:.2f})" in written


@pytest.mark.parametrize("name", ["$x^2$", r"$\frac{1}{$", "{}", "写真\n.jpg", "W" * 300])
def test_names_are_data(name):
    slices = ONE.slices.assign(slice=name, value=name + ONE.slices["value"])
    found = dataclasses.replace(ONE, slices=slices, notes=(f"About {name}.",))
    assert_words_are_readable(evaluation_figure({name: found}))


def test_the_page_is_as_high_as_what_is_on_it():
    def height(*found):
        return evaluation_figure({f"{i}": one for i, one in enumerate(found)}).bbox.height

    none, some, many = (height(evaluation(n=800, n_slices=n)) for n in (0, 3, 40))
    assert none < some < many
    # Twenty slices at most are drawn, 24 px each; so are lines of notes and of the subtitle.
    assert many - some == pytest.approx(17 * 24)
    noted = [
        height(dataclasses.replace(ONE, notes=notes)) for notes in (("A note.",), ("A", "B", "C"))
    ]
    assert noted[1] - noted[0] == pytest.approx(48)


def test_slices_of_one_row_each_do_not_hide_one_that_is_surely_bad():
    n = 400
    is_positive, number = np.arange(n) % 2 == 0, np.arange(n)
    is_bad = number % 8 < 2
    # Of the bad source half of the negatives are flagged, of the other a tenth.
    scores = np.where(is_positive, 0.9, np.where(is_bad, number % 16 < 8, number % 20 == 3) * 0.8)
    slices = pd.DataFrame({"id": number, "source": np.where(is_bad, "bad", "good")})
    found = evaluate_scores(is_positive, scores, EvaluationSettings(), slices)
    figure = evaluation_figure({"model": found})
    names = labels(panel(figure, PANELS[4]).yaxis)
    assert len(names) == 20
    assert names[0] == "source: bad"
    title = "Slices at the threshold of 0.5, the 20 of 402 with surely the most errors"
    assert title in [text for text, _ in drawn_texts(figure)]


def test_a_slice_whose_positives_are_missed_is_as_bad_as_one_with_false_alarms():
    number = np.arange(400)
    is_positive = number % 2 == 0
    # All negatives are below the threshold, and so are all positives of the missed source.
    is_missed = number < 40
    scores = np.where(is_positive & ~is_missed, 0.9, 0.1)
    slices = pd.DataFrame({"id": number, "source": np.where(is_missed, "missed", "found")})
    figure = evaluation_figure(
        {"model": evaluate_scores(is_positive, scores, EvaluationSettings(), slices)}
    )
    assert labels(panel(figure, PANELS[4]).yaxis)[0] == "source: missed"


@pytest.mark.parametrize(
    "found",
    [
        evaluation(n=20, n_slices=0),
        evaluation(threshold=1.0),
        evaluate_scores(np.arange(40) < 20, np.full(40, 0.5)),
        evaluate_scores(np.arange(40) < 20, np.arange(40) / 40),
        evaluate_scores(np.arange(40) < 20, (np.arange(40) < 20).astype(np.float32)),
    ],
    ids=["few", "nothing flagged", "equal scores", "wrong way round", "perfect"],
)
def test_extreme_evaluations_are_drawn(found):
    assert_words_are_readable(evaluation_figure({"model": found}))


def test_more_models_than_colours_with_long_names_and_many_slices_are_drawn():
    name = "runs/2024/an experiment with a very long name {}/best.safetensors"
    found = {name.format(seed): evaluation(n=800, n_slices=42, seed=seed % 3) for seed in range(9)}
    assert_words_are_readable(evaluation_figure(found))


@pytest.mark.parametrize(
    "scores",
    [
        np.arange(40) < 20,
        np.arange(40) >= 20,
        np.full(40, 0.5),
        np.random.default_rng(0).random(40),
    ],
    ids=["perfect", "wrong way round", "one score", "random"],
)
def test_no_point_of_a_curve_lies_on_the_edge_of_its_axes(scores):
    is_positive = np.arange(40) < 20
    slices = pd.DataFrame({"half": is_positive})
    found = evaluate_scores(is_positive, scores.astype(float), EvaluationSettings(), slices)
    figure = evaluation_figure({"model": found})
    FigureCanvasAgg(figure).draw()
    for heading in PANELS:
        axes = panel(figure, heading)
        edges = axes.get_window_extent()
        # Dashed and dotted lines of chance go from edge to edge.
        for line in (one for one in axes.get_lines() if one.get_linestyle() in ("-", "None")):
            points = axes.transData.transform(line.get_xydata())
            points = points[np.isfinite(points).all(axis=1)]
            assert len(points) > 0
            # Half of the widest line, and some px more to see what is beside it.
            assert (points[:, 0] > edges.x0 + 5).all(), heading
            assert (points[:, 0] < edges.x1 - 5).all(), heading
            assert (points[:, 1] > edges.y0 + 3).all(), heading
            assert (points[:, 1] < edges.y1 - 3).all(), heading


def test_a_false_positive_rate_of_zero_has_a_tick():
    axes = panel(evaluation_figure({"model": ONE}), "ROC")
    assert labels(axes.xaxis) == ["0", "$10^{-3}$", "$10^{-2}$", "$10^{-1}$", "1"]
    assert axes.get_xlim()[0] < 0 < 1 < axes.get_xlim()[1]


def test_the_same_curve_of_a_second_model_is_seen_behind_that_of_the_first():
    is_positive = np.arange(40) < 20
    same = [
        evaluate_scores(is_positive, scores) for scores in (is_positive * 0.8, is_positive * 1.0)
    ]
    figure = evaluation_figure({"one": same[0], "same": same[1], "other": ONE})
    for heading in ("ROC", "Precision and recall"):
        lines = [line for line in panel(figure, heading).get_lines() if line.get_linestyle() == "-"]
        first, second, other = lines
        assert first.get_linewidth() < second.get_linewidth()
        assert first.get_zorder() > second.get_zorder()
        assert other.get_linewidth() == first.get_linewidth()


def test_the_subtitle_is_written_below_the_title_in_as_many_lines_as_it_needs():
    subtitle = "; ".join(f"model {number}: P(tabby, tabby cat) for animal" for number in range(9))
    figure = evaluation_figure({"model": ONE}, subtitle)
    texts = assert_words_are_readable(figure)
    (lines,) = [text for text in texts if text.startswith("model 0: P(")]
    assert " ".join(lines.split("\n")) == subtitle


def test_names_that_begin_and_end_alike_are_told_apart():
    name = "runs/2024/an experiment with a very long name {}/best.safetensors"
    figure = evaluation_figure({"nsfw": ONE, **{name.format(n): ONE for n in (1, 2)}})
    written = [text for text, _ in drawn_texts(figure)]
    assert written.count("■ …long name 1/best.safetensors") == 2
    assert written.count("■ …long name 2/best.safetensors") == 2
    assert written.count("■ nsfw") == 2


def test_nothing_to_draw_is_a_bug():
    with pytest.raises(ValueError, match="no evaluation"):
        draw_evaluation({})
