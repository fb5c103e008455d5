import numpy as np
import pandas as pd

from assets.methods.models.scoring import ScoringResult
from assets.methods.photos.animation import Animation, Frame
from assets.results.scores import frame_ids, score_table, unread_note

ANIMATIONS = {
    "b": Animation(9, 9, 2, tuple(Frame(number, number / 10) for number in (0, 2, 4, 8))),
    "c": Animation(9, 5, 0, (Frame(0, None), Frame(4, None))),
}


def test_the_frames_that_are_scored_have_ids():
    assert frame_ids(ANIMATIONS, 3) == {"b": ["b-0", "b-2", "b-4", "b-8"], "c": ["c-0", "c-4"]}
    assert frame_ids(ANIMATIONS, 1) == {"b": ["b-2"], "c": ["c-0"]}


def test_the_table_names_the_frame_of_each_score():
    scores = np.array([0.1, 0.7, 0.3], np.float32)
    found = ScoringResult(scores, 3, "f", ["a", "b-4", "c-0"])
    table = score_table(["a", "b", "c"], found, ANIMATIONS)
    assert table.image_id.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(table.score, scores)
    assert table.frame.tolist() == [pd.NA, 4, 0]
    assert table.frame.dtype == "Int64"
    np.testing.assert_array_equal(table.seconds, [np.nan, 0.4, np.nan])
    notes = table.note.dropna()
    assert notes.tolist() == ["Only the first 5 of 9 frames could be read."]
    assert unread_note(table) == "1 animation was read in part only, as the scores say."
    assert unread_note(table.head(2)) is None
