import dataclasses

import numpy as np
import pandas as pd
import pytest

from assets.methods.evaluation.evaluate import EvaluationSettings, evaluate_scores
from assets.methods.evaluation.figure import draw_evaluation
from assets.methods.plotting.sheet import FigureSheet


def evaluation(n=200, n_slices=3, seed=0, **settings):
    rng = np.random.default_rng(seed)
    is_positive = np.arange(n) % 4 == 0
    scores = 0.7 * rng.random(n) + 0.1 * (1 + seed) * is_positive
    slices = pd.DataFrame({"source": rng.integers(0, n_slices, n)}) if n_slices else None
    return evaluate_scores(is_positive, scores, EvaluationSettings(**settings), slices)


ONE = evaluation()


def margins_are_white(picture):
    array = np.asarray(picture)
    return all((part == 255).all() for part in (array[:30], array[-15:], array[:, :38]))


def test_one_model_is_drawn_on_an_orderly_page():
    picture = draw_evaluation({"opennsfw": ONE})
    assert picture.mode == "RGB"
    assert picture.width == 1800
    assert margins_are_white(picture)
    assert draw_evaluation({"opennsfw": ONE}).tobytes() == picture.tobytes()


def test_each_model_has_its_colour_in_every_panel():
    found = {name: evaluation(seed=seed) for seed, name in enumerate("abc")}
    array = np.asarray(draw_evaluation(found))
    for colour in ((76, 120, 168), (228, 87, 86), (84, 162, 75)):
        rows, columns = np.nonzero((array == colour).all(axis=2))
        right, reliability, slices = columns > 900, rows > 1050, rows > 1750
        for panel in (
            ~right & ~reliability,
            right & ~reliability,
            ~right & reliability & ~slices,
            right & reliability & ~slices,
            right & slices,
        ):
            assert panel.any()


@pytest.mark.parametrize("name", ["$x^2$", r"$\frac{1}{$", "{}", "写真\n.jpg", "W" * 300])
def test_names_are_data(name):
    slices = ONE.slices.assign(slice=name, value=name + ONE.slices["value"])
    found = dataclasses.replace(ONE, slices=slices, notes=(f"About {name}.",))
    assert margins_are_white(draw_evaluation({name: found}))


def test_the_page_is_as_high_as_what_is_on_it():
    def height(*found):
        return draw_evaluation({f"{i}": one for i, one in enumerate(found)}).height

    none, some, many = (height(evaluation(n=800, n_slices=n)) for n in (0, 3, 40))
    assert none < some < many
    # Twenty slices at most are drawn, 26 px each.
    assert many - some == 17 * 26
    assert height(dataclasses.replace(ONE, notes=("A note.", "Another."))) == some + 48


def test_slices_of_one_row_each_do_not_hide_one_that_is_surely_bad(monkeypatch):
    n = 400
    is_positive, number = np.arange(n) % 2 == 0, np.arange(n)
    is_bad = number % 8 < 2
    # Of the bad source half of the negatives are flagged, of the other a tenth.
    scores = np.where(is_positive, 0.9, np.where(is_bad, number % 16 < 8, number % 20 == 3) * 0.8)
    slices = pd.DataFrame({"id": number, "source": np.where(is_bad, "bad", "good")})
    found = evaluate_scores(is_positive, scores, EvaluationSettings(), slices)
    written = []
    write = FigureSheet.write

    def note(self, x, y, text, *args, **kwargs):
        written.append(text)
        return write(self, x, y, text, *args, **kwargs)

    monkeypatch.setattr(FigureSheet, "write", note)
    draw_evaluation({"model": found})
    labels = [text for text in written if text.startswith(("source: ", "id: "))]
    assert len(labels) == 20
    assert labels[0] == "source: bad"
    assert any(
        text.endswith("By the low end of the interval, the 20 highest of 202.") for text in written
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
    assert margins_are_white(draw_evaluation({"model": found}))


def test_more_models_than_colours_are_drawn():
    picture = draw_evaluation({f"model {i}": ONE for i in range(9)})
    assert margins_are_white(picture)


def test_nothing_to_draw_is_a_bug():
    with pytest.raises(ValueError, match="no evaluation"):
        draw_evaluation({})
