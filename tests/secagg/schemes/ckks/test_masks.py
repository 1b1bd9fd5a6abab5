"""Masks of whole slots: they cancel, stay below the prime, and hide what they are on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.schemes.ckks.masks import add_masks
from secagg.schemes.ckks.ring import next_prime

SEEDS = st.lists(st.binary(min_size=32, max_size=32), max_size=4)


def slots_below(plain: int, seed: int, blocks: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, plain, (blocks, 64), np.uint64)


@settings(max_examples=40)
@given(st.sampled_from([17, 40961, next_prime(1 << 40, 8192), next_prime(1 << 59, 8192)]), SEEDS)
def test_masks_cancel_in_any_order_and_stay_below_the_prime(plain: int, seeds: list[bytes]) -> None:
    before = slots_below(plain, 1)
    slots = before.copy()
    add_masks(slots, plain, plus=seeds)
    assert int(slots.max()) < plain
    add_masks(slots, plain, minus=seeds[::-1])
    assert slots.tolist() == before.tolist()


def test_a_seed_in_both_lists_changes_nothing() -> None:
    slots = slots_below(17, 2)
    before, seed = slots.copy(), bytes(32)
    add_masks(slots, 17, plus=[seed], minus=[seed])
    assert slots.tolist() == before.tolist()


def test_sums_of_masks_are_taken_off_a_sum() -> None:
    plain, seeds = next_prime(1 << 59, 8192), [bytes([at]) * 32 for at in range(5)]
    vectors = [slots_below(1 << 50, at) for at in range(5)]
    total = np.zeros_like(vectors[0])
    for vector, seed in zip(vectors, seeds, strict=True):
        masked = vector.copy()
        add_masks(masked, plain, plus=[seed])
        total = (total + masked) % np.uint64(plain)
    add_masks(total, plain, minus=seeds)
    assert total.tolist() == sum(vectors).tolist()


@pytest.mark.parametrize("plain", [40961, next_prime(1 << 59, 8192)])
def test_masks_are_uniform_below_the_prime(plain: int) -> None:
    """The mean of 2**16 of them is within six standard deviations of that of the law."""
    slots = np.zeros((16, 4096), np.uint64)
    add_masks(slots, plain, plus=[bytes(range(32))])
    drawn = slots.ravel() / plain
    assert abs(drawn.mean() - 0.5) < 6 * (1 / 12 / drawn.size) ** 0.5
    assert np.unique(slots).size > min(plain, slots.size) // 2
