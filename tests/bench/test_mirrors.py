import numpy as np

from bench.mirrors import mirror_ranks, nearest

# Unit vectors by their angles in degrees.
VECTORS = np.array([[np.cos(one), np.sin(one)] for one in np.radians([0, 10, 20, 90])])


def test_the_rank_counts_the_other_photos_that_are_nearer_than_the_mirror_image():
    mirrored = np.array([[np.cos(one), np.sin(one)] for one in np.radians([5, 15, -60])])
    assert mirror_ranks(VECTORS, np.array([0, 0, 0]), mirrored).tolist() == [1, 2, 3]


def test_the_nearest_are_others_than_the_photo():
    assert nearest(VECTORS, np.array([0, 3]), 2).tolist() == [[1, 2], [2, 1]]
