import numpy as np
import pandas as pd
import pytest

from assets.methods.errors import UserError
from assets.values import Embeddings, with_points


def test_copies_of_a_photo_share_its_vector_and_its_point():
    embeddings = Embeddings.from_arrays(["a", "b"], np.eye(2, dtype=np.float32), "print", 2)
    np.testing.assert_array_equal(embeddings.of(["b", "a", "b"]), [[0, 1], [1, 0], [0, 1]])
    photos = pd.DataFrame({"image_id": ["b", "a", "b"], "uri": ["1", "2", "3"]})
    points = pd.DataFrame({"image_id": ["a", "b"], "x": [1.0, 2.0], "y": [0.0, 0.0]})
    joined = with_points(photos, points)
    assert joined.uri.tolist() == ["1", "2", "3"]
    assert joined.x.tolist() == [2.0, 1.0, 2.0]


def test_a_photo_without_a_point_is_not_dropped_in_silence():
    photos = pd.DataFrame({"image_id": ["a", "new"]})
    points = pd.DataFrame({"image_id": ["a"], "x": [1.0], "y": [0.0]})
    with pytest.raises(UserError, match="1 of 2 photos have no point"):
        with_points(photos, points)
