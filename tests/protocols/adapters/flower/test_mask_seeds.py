"""A mask of Flower's own SecAgg+, on a vector that was made up: why ours have seeds of 256 bits."""

from __future__ import annotations

import base64
import os

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")

from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

from dp.audit.attack import Access, View
from dp.audit.update_seeded import SeedSearch, ascii_fold

SIZE = 40


@pytest.mark.parametrize("width", [24, 32])
def test_a_mask_from_a_derived_key_falls(width: int) -> None:
    """The key is as clients derive it; 2**16 of its 2**28 folds are tried, around the right one."""
    key = base64.urlsafe_b64encode(os.urandom(32))
    (mask,) = pseudo_rand_gen(key, 1 << width, [(SIZE,)])
    fold = 0
    for at in range(0, len(key), 4):
        fold ^= int.from_bytes(key[at : at + 4], "little")
    assert fold & 0x80808080 == 0
    number = sum(((fold >> 8 * at) & 127) << 7 * at for at in range(4))
    first = np.uint32(number & ~0xFFFF)
    limit = 1 << (width - 10)
    vector = np.random.default_rng(2).integers(0, limit, SIZE)
    attack = SeedSearch(
        width=width, limit=limit, bits=16, seeds=lambda numbers: ascii_fold(numbers | first)
    )
    view = View({Access.MASKED: ((vector + mask) % 2**width).astype(np.float64)})
    found = attack.run(view, np.random.default_rng(3))
    np.testing.assert_array_equal(found + limit / 2, vector)
