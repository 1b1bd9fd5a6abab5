"""`secagg.rand`: exactly uniform, by counting what a known source must give."""

from __future__ import annotations

import os
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import ParameterError
from secagg.rand import Rand, uniform_below


def counting(start: int = 0) -> Rand:
    """A source of the words start, start + 1, …: over a period all low bits are equally often."""
    at = start

    def rand(size: int) -> bytes:
        nonlocal at
        words = np.arange(at, at + size // 8, dtype=np.uint64)
        at += size // 8
        return words.astype("<u8").tobytes()

    return rand


def by_hand(bound: int, count: int, rand: Rand) -> list[int]:
    """The same rule, one draw at a time in Python integers."""
    bits = (bound - 1).bit_length()
    kept: list[int] = []
    while len(kept) < count:
        data = rand(16 * (count - len(kept)))
        draws = [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]
        below = [draw % (1 << bits) for draw in draws if draw % (1 << bits) < bound]
        kept += below[: count - len(kept)]
    return kept


@pytest.mark.parametrize("bound", [*range(1, 40), 255, 256, 257])
def test_a_whole_period_of_the_source_gives_every_value_equally_often(bound: int) -> None:
    """Exhaustive: of each run of 2^bits draws exactly one becomes each value."""
    rounds = 7
    counts = Counter(uniform_below(bound, rounds * bound, counting()).tolist())
    assert counts == dict.fromkeys(range(bound), rounds)


@pytest.mark.parametrize("bound", [2, 3, 10, 100, 129])
def test_a_random_source_passes_a_chi_square(bound: int) -> None:
    drawn = uniform_below(bound, 200 * bound, random.Random(bound).randbytes)
    counts = np.bincount(drawn.astype(np.int64), minlength=bound)
    statistic = float(((counts - 200) ** 2 / 200).sum())
    freedom = bound - 1  # mean and half the variance of the statistic
    assert abs(statistic - freedom) < 5 * (2 * freedom) ** 0.5 + 5


@given(
    st.sampled_from([1, 2, 3, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, (1 << 64) - 1])
    | st.just(1 << 64)
    | st.integers(1, 1 << 64),
    st.integers(0, 50),
    st.integers(0, 1 << 32),
)
@settings(deadline=None)
def test_draws_are_those_of_rejection_by_hand(bound: int, count: int, seed: int) -> None:
    drawn = uniform_below(bound, count, random.Random(seed).randbytes)
    assert drawn.dtype == np.uint64
    assert drawn.tolist() == by_hand(bound, count, random.Random(seed).randbytes)
    assert all(value < bound for value in drawn.tolist())


def test_the_largest_bounds_reach_their_last_value() -> None:
    full = (1 << 64) - 1
    assert uniform_below(1 << 64, 2, lambda size: b"\xff" * size).tolist() == [full, full]
    words = [full, 1 << 63, (1 << 63) + 1, 5]  # the first and third are over the bound
    source = b"".join(word.to_bytes(8, "little") for word in words)
    assert uniform_below((1 << 63) + 1, 2, lambda size: source[:size]).tolist() == [1 << 63, 5]


def test_a_source_is_asked_only_while_values_are_missing() -> None:
    asked: list[int] = []

    def rand(size: int) -> bytes:
        asked.append(size)
        return bytes(size)

    assert uniform_below(10, 0, rand).size == 0
    assert asked == []
    assert uniform_below(1, 3, rand).tolist() == [0, 0, 0]
    assert asked == [48]


def test_os_urandom_fits() -> None:
    assert uniform_below(6, 100, os.urandom).max() < 6


@pytest.mark.parametrize("bound", [0, -1, (1 << 64) + 1])
def test_other_bounds_are_refused(bound: int) -> None:
    with pytest.raises(ParameterError, match=r"1 <= bound <= 2\*\*64"):
        uniform_below(bound, 1, os.urandom)


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ParameterError, match="count >= 0"):
        uniform_below(2, -1, os.urandom)
