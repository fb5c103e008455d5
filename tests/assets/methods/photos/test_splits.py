from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.methods.common.errors import UserError
from assets.methods.photos.decode import image_id
from assets.methods.photos.splits import (
    SPLITS,
    SplitFractions,
    assign_splits,
    split_name,
    with_validation,
)

IDS = [image_id(str(number).encode()) for number in range(5000)]


def alone(n_photos: int) -> np.ndarray:
    return np.arange(n_photos)


@pytest.mark.parametrize(
    ("split", "texts"),
    [
        ("train", ["train", "Train", "training", "TRAINING "]),
        ("validation", ["validation", "VALIDATION", "val", "Valid", " dev"]),
        ("test", ["test", " Test ", "testing", "eval", "Evaluation"]),
        (None, ["holdout", "", "tests", "train2", "all"]),
    ],
)
def test_names(split, texts):
    assert {split_name(text) for text in texts} == {split}


def test_the_strongest_split_given_takes_the_group():
    ids = list("abcdefg")
    groups = np.array([0, 0, 0, 1, 1, 2, 2])
    claims = ["train", "test", "validation", None, "validation", "train", None]
    assert assign_splits(ids, groups, claims) == ["test"] * 3 + ["validation"] * 2 + ["train"] * 2


def test_a_hash_places_the_group_by_its_smallest_id():
    # By `printf "split e" | sha256sum`, as shares of 2^32: a 1c2e6fa8 = 0.110, e 3f034775 = 0.246,
    # g 96d14a26 = 0.589, c c07cff14 = 0.752, b ea2f1df2 = 0.915.
    shares = SplitFractions(train=0.25, validation=0.5, test=0.25)
    expected = ["train", "train", "validation", "test", "test"]
    assert assign_splits(list("aegcb"), alone(5), fractions=shares) == expected
    of_groups = assign_splits(list("zbxyg"), np.array([1, 1, 2, 2, 2]), fractions=shares)
    assert of_groups == ["test", "test", "validation", "validation", "validation"]


def test_the_shares_of_the_splits():
    counts = Counter(assign_splits(IDS, alone(len(IDS))))
    # Five standard deviations of a binomial count are at most 5 * sqrt(5000 * 0.7 * 0.3) = 162.
    for name, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
        assert abs(counts[name] - share * len(IDS)) < 162


def test_the_size_of_a_group_does_not_decide_its_split():
    groups = alone(len(IDS)) // 10
    counts = Counter(assign_splits(IDS, groups)[::10])
    # Again five standard deviations, of 500 groups.
    for name, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
        assert abs(counts[name] - share * 500) < 52


@pytest.mark.parametrize(
    ("fractions", "wanted"),
    [
        (SplitFractions(1, 0, 0), {"train"}),
        (SplitFractions(0, 0, 1), {"test"}),
        (SplitFractions(0.9, 0.1, 0), {"train", "validation"}),
        (SplitFractions(0.8, 0, 0.2), {"train", "test"}),
    ],
)
def test_a_share_of_nothing_gets_nothing(fractions, wanted):
    assert set(assign_splits(IDS, alone(len(IDS)), fractions=fractions)) == wanted


@pytest.mark.parametrize(
    "shares", [(0.7, 0.1, 0.1), (1.2, -0.1, -0.1), (70, 10, 20), (float("nan"), 0.5, 0.5)]
)
def test_shares_that_are_none(shares):
    with pytest.raises(UserError, match=r"^The shares of train, validation, test are .* sum to 1"):
        SplitFractions(*shares)


def test_a_part_of_each_class_becomes_validation():
    labels = ["rare" if number < 16 else "common" for number in range(80)]
    splits = with_validation(IDS[:80], alone(80), labels, ["train"] * 80)
    counts = Counter(zip(labels, splits, strict=True))
    # An eighth: 0.1 of 0.7 and 0.1.
    assert counts["rare", "validation"] == 2
    assert counts["common", "validation"] == 8
    # The same photos, whatever their order and however groups are numbered.
    backwards = with_validation(IDS[79::-1], alone(80) + 7, labels[::-1], ["train"] * 80)
    assert backwards[::-1] == splits
    # With more photos most of them stay.
    more = with_validation(IDS[:160], alone(160), labels + ["common"] * 80, ["train"] * 160)
    before = {one for one, split in zip(IDS, splits, strict=False) if split == "validation"}
    after = {one for one, split in zip(IDS, more, strict=False) if split == "validation"}
    assert len(before - after) <= 3


@pytest.mark.parametrize(
    ("n_photos", "shares", "n_taken"),
    [(1, (0.7, 0.1), 0), (2, (0.7, 0.1), 1), (4, (0.7, 0.1), 1), (4, (0, 0.8), 3), (4, (0, 0), 0)],
)
def test_at_least_one_photo_of_a_class_is_taken_and_one_stays(n_photos, shares, n_taken):
    fractions = SplitFractions(shares[0], shares[1], 1 - sum(shares))
    labels, splits = ["one"] * n_photos, ["train"] * n_photos
    taken = with_validation(IDS[:n_photos], alone(n_photos), labels, splits, fractions)
    assert taken.count("validation") == n_taken


grouped = st.lists(
    st.tuples(st.sampled_from(IDS[:40]), st.integers(0, 8), st.sampled_from([None, *SPLITS])),
    min_size=1,
    max_size=40,
)


@given(grouped)
def test_no_group_straddles(photos):
    ids, groups, claims = zip(*photos, strict=True)
    splits = assign_splits(ids, np.array(groups), claims)
    for group in set(groups):
        of_group = {split for split, own in zip(splits, groups, strict=True) if own == group}
        given_to_it = {name for name, own in zip(claims, groups, strict=True) if own == group}
        assert len(of_group) == 1
        assert of_group <= given_to_it or given_to_it == {None}


@given(grouped)
def test_validation_takes_whole_groups_of_train_and_nothing_else(photos):
    ids, groups, claims = zip(*photos, strict=True)
    splits = assign_splits(ids, np.array(groups), claims)
    after = with_validation(ids, np.array(groups), ["one"] * len(ids), splits)
    for group in set(groups):
        of_group = {split for split, own in zip(after, groups, strict=True) if own == group}
        assert len(of_group) == 1
    changed = {(one, two) for one, two in zip(splits, after, strict=True) if one != two}
    assert changed <= {("train", "validation")}
    assert "train" not in splits or "train" in after


@given(st.dictionaries(st.sampled_from(IDS[:60]), st.integers(0, 20), min_size=1), st.data())
def test_new_photos_move_only_the_groups_that_they_join(group_of, data):
    old = data.draw(st.sets(st.sampled_from(sorted(group_of)), min_size=1))
    shuffled = data.draw(st.permutations(sorted(group_of)))

    def splits_of(ids: list[str], names: int) -> dict[str, str]:
        groups = np.array([(group_of[one] + names) % 21 for one in ids])
        return dict(zip(ids, assign_splits(ids, groups), strict=True))

    before = splits_of(sorted(old), 0)
    # Neither the order of the photos nor how groups are numbered decides anything.
    after = splits_of(shuffled, 5)
    joined = {group_of[one] for one in group_of.keys() - old}
    for one in old:
        assert after[one] == before[one] or group_of[one] in joined
