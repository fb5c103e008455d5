import dataclasses

import numpy as np
import pandas as pd
import pytest

from assets.methods.evaluation.evaluate import EvaluationSettings, evaluate_scores
from assets.methods.evaluation.figure import draw_evaluation, evaluation_figure
from assets.methods.plotting.text import COLOURS
from support.figures import assert_words_are_readable, drawn_texts, line_data, panel

PANELS = (
    "ROC",
    "Precision and recall",
    "Reliability",
    "Reliability, scaled",
    "False-positive rate of slices",
)


def evaluation(n=200, n_slices=3, seed=0, **settings):
    rng = np.random.default_rng(seed)
    is_positive = np.arange(n) % 4 == 0
    scores = 0.7 * rng.random(n) + 0.1 * (1 + seed) * is_positive
    slices = pd.DataFrame({"source": rng.integers(0, n_slices, n)}) if n_slices else None
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


def test_the_dots_of_slices_stand_beside_their_names():
    axes = panel(evaluation_figure({"model": ONE}), PANELS[4])
    ((rates, places),) = line_data(axes, COLOURS[0])
    found = dict(zip(places.round().astype(int), rates, strict=True))
    for place, label in enumerate(labels(axes.yaxis)):
        name, n_negative = label.removeprefix("source: ").split("   n ")
        row = ONE.slices.set_index("value").loc[name]
        assert (found[place], int(n_negative)) == (row.false_positive_rate, row.n_negative)


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
    # Twenty slices at most are drawn, 24 px each; so are lines of notes.
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
    assert names[0].startswith("source: bad ")
    assert any(
        text.endswith("By the low end of the interval, the 20 highest of 202.")
        for text, _ in drawn_texts(figure)
    )


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


def test_nothing_to_draw_is_a_bug():
    with pytest.raises(ValueError, match="no evaluation"):
        draw_evaluation({})
