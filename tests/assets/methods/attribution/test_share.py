import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from assets.methods.attribution.share import attribution_shares, score_drop

RELEVANCE = np.array([[1, 2, 0], [3, 0, 2]], dtype=np.float32)


def mask(*rows):
    return np.array([[letter == "x" for letter in row] for row in rows])


def test_shares_worked_out_by_hand():
    found = attribution_shares(
        RELEVANCE,
        {
            "left": mask("x..", "x.."),
            "upper": mask("xxx", "..."),
            "silent": mask("..x", ".x."),
            "nowhere": mask("...", "..."),
            "everywhere": mask("xxx", "xxx"),
        },
    )
    assert found == {
        "left": 4 / 8,
        "upper": 3 / 8,
        "silent": 0,
        "nowhere": 0,
        "everywhere": 1,
    }


def test_many_small_values_beside_a_large_one_are_not_lost():
    relevance = np.ones((1000, 1000), dtype=np.float32)
    relevance[0, 0] = 1e8
    small = np.ones((1000, 1000), dtype=bool)
    small[0, 0] = False
    found = attribution_shares(relevance, {"small": small})
    assert found == {"small": pytest.approx(999_999 / 100_999_999, rel=1e-12)}


def test_a_map_that_attributes_nothing_has_no_shares():
    assert attribution_shares(np.zeros((2, 3)), {"all": mask("xxx", "xxx")}) is None


@pytest.mark.parametrize("wrong", [-1e-6, np.nan, np.inf, -np.inf])
def test_attribution_that_is_none_is_refused(wrong):
    relevance = RELEVANCE.copy()
    relevance[0, 2] = wrong
    with pytest.raises(ValueError, match="finite and not negative"):
        attribution_shares(relevance, {"all": mask("xxx", "xxx")})


@given(data=st.data())
def test_over_a_partition_shares_sum_to_one(data):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))
    values = st.floats(0, 1e6, width=32)
    relevance = data.draw(hnp.arrays(np.float32, shape, elements=values))
    regions = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 3)))
    shares = attribution_shares(relevance, {str(one): regions == one for one in range(4)})
    if not relevance.any():
        assert shares is None
        return
    assert sum(shares.values()) == pytest.approx(1, rel=1e-9)
    assert all(0 <= share <= 1 + 1e-12 for share in shares.values())


@given(
    relevance=hnp.arrays(np.float32, (4, 5), elements=st.floats(0.5, 100, width=32)),
    factor=st.sampled_from([0.25, 2, 1024]),
)
def test_the_scale_of_a_map_means_nothing(relevance, factor):
    masks = {"left": np.arange(5) < np.full((4, 1), 2)}
    scaled = (relevance * factor).astype(np.float32)
    assert attribution_shares(scaled, masks) == attribution_shares(relevance, masks)


def test_covering_counts_where_it_lowers_the_score():
    # P(class) of the whole is 0.75. Covered, it is 0.25, 0.75 and 1: `hidden` maps 1 less those.
    hidden = np.array([[0.75, 0.25, 0.0]], dtype=np.float32)
    lowered = score_drop(hidden, 0.75)
    assert lowered.tolist() == [[0.5, 0, 0]]
    assert lowered.dtype == np.float32


def test_what_differs_by_a_rounding_is_nothing():
    score = 0.1
    hidden = np.full((2, 2), np.nextafter(np.float32(1 - score), np.float32(1)))
    assert not score_drop(hidden, score).any()
