"""Copies of photos: exact ones by image_id, near ones by perceptual hash."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd

HASH_BITS = 64
# In the perceptual hash of an image with features half of the bits are ones, because each bit says
# whether a frequency is above the median. The hashes of flat images and plain gradients are mostly
# zeros, and resemble each other whatever the images are.
_FEWEST_BITS = 16


def mark_duplicates(images: pd.DataFrame, near_distance: int = 4) -> pd.DataFrame:
    """Sort by (image_id, uri) and add ``duplicate_of``.

    Of the rows with one image_id the first is kept; the others are exact duplicates and get their
    own image_id. A kept row gets the image_id of the first kept row before it whose ``phash`` (16
    hex digits) differs in at most ``near_distance`` bits, else null. Images without features have
    no near duplicates.
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


def duplicates_table(images: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each copy, with the photo that a map shows instead of it.

    Args:
        images: image_id, uri, label and duplicate_of, in the order of `mark_duplicates`.

    Returns:
        uri, label and image_id of the copy; kind, which is exact or near; shown_uri, shown_label
        and shown_image_id; and labels_differ (bool), false where one of them has no label. The
        other columns are strings. A near copy is shown as well, beside the photo that it resembles.
    """
    first = images.drop_duplicates("image_id").set_index("image_id")[["uri", "label"]]
    copies = images[images["duplicate_of"].notna()].reset_index(drop=True)
    shown = first.loc[copies["duplicate_of"]].reset_index(drop=True)
    is_exact = (copies["duplicate_of"] == copies["image_id"]).astype(bool)
    label, shown_label = (one.str.strip().str.casefold() for one in (copies.label, shown.label))
    return pd.DataFrame(
        {
            "uri": copies["uri"],
            "label": copies["label"],
            "image_id": copies["image_id"],
            "kind": is_exact.map({True: "exact", False: "near"}).astype("string"),
            "shown_uri": shown["uri"],
            "shown_label": shown["label"],
            "shown_image_id": copies["duplicate_of"],
            "labels_differ": (label != shown_label).fillna(False).astype(bool),
        }
    )


def earliest_near(hashes: np.ndarray, near_distance: int) -> np.ndarray:
    """Find for each hash the index of the first earlier one within ``near_distance`` bits, or -1.

    hashes: uint64 [n]. Returns int64 [n].
    """
    indices = _with_features(hashes)
    distinct, first, group = np.unique(hashes[indices], return_index=True, return_inverse=True)
    earliest = first.copy()
    for left, right in _near_pairs(distinct, near_distance):
        np.minimum.at(earliest, left, first[right])
        np.minimum.at(earliest, right, first[left])
    result = np.full(len(hashes), -1, dtype=np.int64)
    found = earliest[group]
    is_earlier = found < np.arange(len(indices))
    result[indices[is_earlier]] = indices[found[is_earlier]]
    return result


def near_groups(hashes: np.ndarray, near_distance: int = 4) -> np.ndarray:
    """Number the groups of hashes that are linked by steps of at most ``near_distance`` bits.

    hashes: uint64 [n]. Returns int64 [n], from 0 in the order in which groups first occur. The
    groups are the connected components over all near pairs. An image without features is a group of
    its own.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    indices = _with_features(hashes)
    distinct, inverse = np.unique(hashes[indices], return_inverse=True)
    groups = np.arange(len(distinct))
    for left, right in _near_pairs(distinct, near_distance):
        left, right = groups[left], groups[right]
        is_new = left != right
        # Each array of pairs is joined at once, because all pairs of a large group do not fit.
        if is_new.any():
            links = (np.ones(is_new.sum(), dtype=bool), (left[is_new], right[is_new]))
            graph = coo_array(links, shape=(len(distinct), len(distinct)))
            groups = connected_components(graph, directed=False)[1][groups]
    numbers = len(distinct) + np.arange(len(hashes))
    numbers[indices] = groups[inverse]
    return pd.factorize(numbers)[0].astype(np.int64)


def _with_features(hashes: np.ndarray) -> np.ndarray:
    """Return the indices of the hashes of images with features."""
    return np.flatnonzero(np.bitwise_count(hashes) >= _FEWEST_BITS)


def _near_pairs(
    distinct: np.ndarray, near_distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield every pair of positions within ``near_distance`` bits, once or more, in bounded arrays.

    Two hashes that differ in at most d bits agree in at least one of d + 1 bands of bits, so only
    hashes that share a band are compared.
    """
    edges = np.linspace(0, HASH_BITS, near_distance + 2).round().astype(int)
    for low, high in pairwise(edges):
        band = (distinct >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        for left, right in _pairs_with_equal_keys(band):
            is_near = np.bitwise_count(distinct[left] ^ distinct[right]) <= near_distance
            yield left[is_near], right[is_near]


def _pairs_with_equal_keys(keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield every unordered pair of positions with equal keys, in arrays of a bounded length."""
    order = np.argsort(keys, kind="stable")
    in_order = keys[order]
    starts = np.arange(len(keys))
    for step in range(1, len(keys)):
        starts = starts[starts + step < len(keys)]
        starts = starts[in_order[starts] == in_order[starts + step]]
        if not len(starts):
            return
        yield order[starts], order[starts + step]
