import numpy as np

from assets.methods.common.fingerprints import digest_parts, digest_weights


def test_names_types_shapes_and_numbers_make_a_digest():
    weights = np.arange(6, dtype=np.float32)
    variants = [
        {"a": weights},
        {"b": weights},
        {"a": weights.reshape(2, 3)},
        {"a": weights.view(np.int32)},
        {"a": weights + 1},
    ]
    digests = [digest_weights(variant) for variant in variants]
    assert len(set(digests)) == len(variants)
    assert digest_weights({"a": weights.copy()}) == digests[0]


def test_memory_order_is_no_part_of_a_digest():
    weights = np.arange(6.0).reshape(2, 3)
    assert digest_weights({"a": np.asfortranarray(weights)}) == digest_weights({"a": weights})


def test_parts_come_in_any_order():
    assert digest_parts({"a": 1, "b": [2]}) == digest_parts({"b": [2], "a": 1})
    assert digest_parts({"a": 1}) != digest_parts({"a": 2})
