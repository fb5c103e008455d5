import time
from itertools import combinations

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.methods.photos.near_duplicates import (
    duplicates_table,
    earliest_near,
    mark_duplicates,
    near_groups,
)


def images(*rows: tuple[str, str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["image_id", "uri", "phash"])
    return frame.astype("string")


def brute_force(hashes: list[int], near_distance: int) -> list[int]:
    found = []
    for index, one in enumerate(hashes):
        near = [
            earlier
            for earlier, other in enumerate(hashes[:index])
            if (one ^ other).bit_count() <= near_distance and other.bit_count() >= 16
        ]
        found.append(near[0] if near and one.bit_count() >= 16 else -1)
    return found


def test_exact_copies():
    marked = mark_duplicates(
        images(
            ("b" * 64, "z.jpg", "00000000ffffffff"),
            ("a" * 64, "y.jpg", "ffffffff00000000"),
            ("a" * 64, "x.jpg", "ffffffff00000000"),
        )
    )
    assert marked["uri"].tolist() == ["x.jpg", "y.jpg", "z.jpg"]
    assert marked["duplicate_of"].isna().tolist() == [True, False, True]
    assert marked["duplicate_of"][1] == "a" * 64


def test_near_copies():
    marked = mark_duplicates(
        images(
            ("a", "1", "00000000ffffffff"),
            ("b", "2", "00000000fffffff0"),
            ("c", "3", "00000000ffffff80"),
            ("c", "4", "00000000ffffff80"),
        ),
        near_distance=4,
    )
    # c is seven bits from a, and three from b.
    assert marked["duplicate_of"].fillna("").tolist() == ["", "a", "b", "c"]


def test_each_copy_is_named_with_the_photo_shown_and_both_labels():
    labels = {"2": "cat", "3": "dog", "4": " Cat", "5": None, "6": "cat", "7": "dog", "1": "cat"}
    marked = mark_duplicates(
        images(
            ("a", "3", "00000000ffffffff"),
            ("a", "2", "00000000ffffffff"),
            ("a", "4", "00000000ffffffff"),
            ("a", "5", "00000000ffffffff"),
            ("b", "7", "00000000fffffff0"),
            ("b", "6", "00000000fffffff0"),
            ("c", "1", "0f0f0f0f0f0f0f0f"),
        )
    )
    marked["label"] = marked["uri"].map(labels).astype("string")
    table = duplicates_table(marked)
    expected = pd.DataFrame(
        [
            ("3", "dog", "a", "exact", "2", "cat", "a", True),
            ("4", " Cat", "a", "exact", "2", "cat", "a", False),
            ("5", None, "a", "exact", "2", "cat", "a", False),
            ("6", "cat", "b", "near", "2", "cat", "a", False),
            ("7", "dog", "b", "exact", "6", "cat", "b", True),
        ],
        columns=[
            *("uri", "label", "image_id", "kind"),
            *("shown_uri", "shown_label", "shown_image_id", "labels_differ"),
        ],
    )
    expected[list(expected.columns[:-1])] = expected[list(expected.columns[:-1])].astype("string")
    pd.testing.assert_frame_equal(table, expected)
    alone = duplicates_table(marked[marked.uri == "1"])
    assert alone.dtypes.to_dict() == expected.dtypes.to_dict()
    assert len(alone) == 0


def test_featureless_pictures_are_nobodys_near_duplicates():
    flat = "8000000000000000"
    marked = mark_duplicates(images(("a", "1", flat), ("b", "2", flat), ("c", "3", "0" * 16)))
    assert marked["duplicate_of"].isna().all()


def test_the_order_of_the_rows_does_not_matter():
    random = np.random.default_rng(0)
    rows = [(f"{random.integers(30):02}", str(number), "0f" * 8) for number in range(50)]
    frame = images(*rows)
    frame["phash"] = frame["image_id"].map(lambda text: f"{int(text) % 3:016x}".replace("0", "f"))
    expected = mark_duplicates(frame)
    for seed in range(3):
        shuffled = frame.sample(frac=1, random_state=seed)
        pd.testing.assert_frame_equal(mark_duplicates(shuffled), expected)


def test_no_images():
    marked = mark_duplicates(images())
    assert len(marked) == 0
    assert marked["duplicate_of"].dtype == "string"


hashes = st.lists(
    st.one_of(
        st.integers(0, 2**64 - 1),
        st.sampled_from([0x00000000FFFFFFFF, 0x0F0F0F0F0F0F0F0F]).flatmap(
            lambda base: st.sets(st.integers(0, 63), max_size=6).map(
                lambda bits: base ^ sum(1 << bit for bit in bits)
            )
        ),
    ),
    max_size=30,
)


@given(hashes, st.integers(0, 8))
def test_against_brute_force(some, near_distance):
    found = earliest_near(np.array(some, dtype=np.uint64), near_distance)
    assert found.tolist() == brute_force(some, near_distance)


def test_groups_are_linked_through_any_near_pair():
    # The first two are eight bits apart and both four from the last, which is earlier to neither.
    some = [0x00000000FFFFFFFF, 0x00000000FFFFFF00, 0xFFFF0000FFFF0000, 0x00000000FFFFFFF0]
    hashes = np.array(some, dtype=np.uint64)
    assert earliest_near(hashes, 4).tolist() == [-1, -1, -1, 0]
    assert near_groups(hashes, 4).tolist() == [0, 0, 1, 0]
    assert near_groups(hashes, 3).tolist() == [0, 1, 2, 3]


def test_featureless_pictures_are_alone():
    hashes = np.array([0, 0, 0x00000000FFFFFFFF, 1, 0x00000000FFFFFFFF], dtype=np.uint64)
    assert near_groups(hashes).tolist() == [0, 1, 2, 3, 2]
    assert near_groups(hashes[:0]).tolist() == []


@given(hashes, st.integers(0, 8))
def test_groups_against_networkx(some, near_distance):
    graph = nx.Graph()
    graph.add_nodes_from(range(len(some)))
    graph.add_edges_from(
        (one, other)
        for one, other in combinations(range(len(some)), 2)
        if (some[one] ^ some[other]).bit_count() <= near_distance
        and min(some[one].bit_count(), some[other].bit_count()) >= 16
    )
    expected = sorted(sorted(group) for group in nx.connected_components(graph))
    groups = near_groups(np.array(some, dtype=np.uint64), near_distance)
    found = [np.flatnonzero(groups == number).tolist() for number in range(len(expected))]
    assert found == expected


@pytest.mark.parametrize("near_distance", [63, 64])
def test_the_greatest_distances(near_distance):
    some = [0x00000000FFFFFFFF, 0xFFFFFFFF00000000, 0x0F0F0F0F0F0F0F0F]
    found = earliest_near(np.array(some, dtype=np.uint64), near_distance)
    assert found.tolist() == brute_force(some, near_distance)


def test_a_hundred_thousand_in_seconds():
    random = np.random.default_rng(0)
    some = random.integers(0, 2**64, 100_000, dtype=np.uint64)
    some[50_000:60_000] = some[:10_000] ^ np.uint64(1 << 40)
    some[60_000:90_000] = some[0]
    started = time.process_time()
    found = earliest_near(some, 4)
    assert time.process_time() - started < 10
    assert (found[50_001:60_000] == np.arange(1, 10_000)).all()
    assert (found[60_000:90_000] == 0).all()


def test_groups_of_a_hundred_thousand_in_seconds():
    random = np.random.default_rng(0)
    # A thousand series of a hundred, each picture one bit from the one before it.
    flips = np.uint64(1) << random.integers(0, 64, (1000, 100), dtype=np.uint64)
    flips[:, 0] = random.integers(0, 2**64, 1000, dtype=np.uint64)
    series = np.bitwise_xor.accumulate(flips, axis=1)
    started = time.process_time()
    groups = near_groups(series.ravel(), 4).reshape(1000, 100)
    assert time.process_time() - started < 10
    assert (groups == np.arange(1000)[:, None]).all()
