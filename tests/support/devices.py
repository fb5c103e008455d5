"""The device of the tests marked `cuda`.

Each of them runs the same code on a card and on the CPU and compares the results. With
TESSERA_TEST_DEVICE=cpu they run without a card, as a rehearsal.
"""

import os

import pytest
import torch

from assets.methods.common.devices import ComputePlan, Precision

CARD = os.environ.get("TESSERA_TEST_DEVICE", "cuda")
HAS_CARD = CARD == "cuda" and torch.cuda.is_available()

needs_card = [
    pytest.mark.cuda,
    pytest.mark.skipif(CARD == "cuda" and not HAS_CARD, reason="no CUDA device"),
]


def card_plan(batch_size: int = 8, precision: Precision = "float32") -> ComputePlan:
    """A plan that computes on the card, in two threads."""
    return ComputePlan(CARD, batch_size, precision, 2)
