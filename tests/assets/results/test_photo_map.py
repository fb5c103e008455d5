import pandas as pd
import pytest

from assets.results.photo_map import labels_of


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["cat", None, "dog"], ["cat", None, "dog"]),
        ([None, None], [None, None]),
        (["cat", "dog"] * 10, ["cat", "dog"] * 10),
        # Each photo has its own, so that colours and neighbours would say nothing.
        ([f"IMG_{number}" for number in range(20)], [None] * 20),
    ],
)
def test_labels_that_name_single_photos_are_none(labels, expected):
    photos = pd.DataFrame({"label": pd.array(labels, dtype="string")})
    assert labels_of(photos).tolist() == expected
