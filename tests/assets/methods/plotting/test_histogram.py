import numpy as np
import pytest

from assets.methods.plotting.histogram import draw_histogram


@pytest.mark.parametrize(
    "values",
    [[], [1.0], [2.0] * 50, [np.nan, 1.0, np.inf], np.random.default_rng(0).normal(size=(100, 50))],
    ids=["none", "one", "all the same", "not finite", "many"],
)
def test_any_values_are_drawn_the_same_each_time(values):
    picture = draw_histogram(np.array(values), "Distance", "cells")
    assert picture.size == (800, 500)
    assert picture.mode == "RGB"
    assert picture.tobytes() == draw_histogram(np.array(values), "Distance", "cells").tobytes()


def test_different_values_give_different_pictures():
    pictures = {draw_histogram(np.arange(n), "n", "n").tobytes() for n in (10, 11)}
    assert len(pictures) == 2
