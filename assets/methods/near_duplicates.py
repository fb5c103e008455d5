"""Copies of photos: exact ones by image_id, near ones by perceptual hash."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd

HASH_BITS = 64
# The perceptual hash of a picture with features sets half of its bits, because each says whether a
# frequency is above the median. Flat pictures and plain gradients have mostly zeros instead: their
# hashes are alike whatever the pictures are.
_FEWEST_BITS = 16


def mark_duplicates(images: pd.DataFrame, near_distance: int = 4) -> pd.DataFrame:
    """Sort by (image_id, uri) and add ``duplicate_of``.

    Of the rows with one image_id the first is kept; the others are exact duplicates and get their
    own image_id. A kept row gets the image_id of the first kept row before it whose ``phash`` (16
    hex digits) differs in at most ``near_distance`` bits, else null. Featureless pictures are
    nobody's near duplicates.
    """
    marked = images.sort_values(["image_id", "uri"], ignore_index=True)
    is_copy = marked["image_id"].duplicated().to_numpy()
    kept = np.flatnonzero(~is_copy)
    ids = marked["image_id"].to_numpy(dtype=object)
    hashes = np.array([int(text, 16) for text in marked["phash"].iloc[kept]], dtype=np.uint64)
    originals = earliest_near(hashes, near_distance)
    duplicate_of = np.full(len(marked), None, dtype=object)
    duplicate_of[is_copy] = ids[is_copy]
    is_near = originals >= 0
    duplicate_of[kept[is_near]] = ids[kept[originals[is_near]]]
    marked["duplicate_of"] = pd.array(duplicate_of, dtype="string")
    return marked


def earliest_near(hashes: np.ndarray, near_distance: int) -> np.ndarray:
    """For each hash the index of the first earlier one within ``near_distance`` bits, or -1.

    hashes: uint64 [n]. Returns int64 [n]. Two hashes that differ in at most d bits agree in at
    least one of d + 1 bands of bits, so only hashes that share a band are compared.
    """
    has_features = np.bitwise_count(hashes) >= _FEWEST_BITS
    indices = np.flatnonzero(has_features)
    distinct, first, group = np.unique(hashes[indices], return_index=True, return_inverse=True)
    earliest = first.copy()
    edges = np.linspace(0, HASH_BITS, near_distance + 2).round().astype(int)
    for low, high in pairwise(edges):
        band = (distinct >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        for left, right in _pairs_with_equal_keys(band):
            is_near = np.bitwise_count(distinct[left] ^ distinct[right]) <= near_distance
            left, right = left[is_near], right[is_near]
            np.minimum.at(earliest, left, first[right])
            np.minimum.at(earliest, right, first[left])
    result = np.full(len(hashes), -1, dtype=np.int64)
    found = earliest[group]
    is_earlier = found < np.arange(len(indices))
    result[indices[is_earlier]] = indices[found[is_earlier]]
    return result


def _pairs_with_equal_keys(keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every unordered pair of positions with equal keys, as arrays of a bounded number of pairs."""
    order = np.argsort(keys, kind="stable")
    in_order = keys[order]
    starts = np.arange(len(keys))
    for step in range(1, len(keys)):
        starts = starts[starts + step < len(keys)]
        starts = starts[in_order[starts] == in_order[starts + step]]
        if not len(starts):
            return
        yield order[starts], order[starts + step]
