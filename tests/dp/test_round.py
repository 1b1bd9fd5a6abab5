"""Rounding keeps its limit for every vector, moves each value to a neighbor, and does not lean."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dp.errors import ParameterError, RandomnessError
from dp.round import conditional_round, inflated_norm, slack, square_sum, tries
from dp.sample import Rand
from dp.testing import SeededRand

BETA = math.exp(-0.5)
vectors = hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1000, 1000))


def squared(integers: np.ndarray) -> int:
    return sum(x * x for x in integers.tolist())


def limit_of(vector: np.ndarray, beta: float) -> int:
    norm = math.hypot(*vector.tolist())
    return math.floor(norm**2 + slack(norm, beta, vector.size))


def test_the_inflated_norm_is_the_theorem() -> None:
    """The first figure is that of an independent implementation."""
    assert inflated_norm(1, 1e-2, 0.01, 10**9) == pytest.approx(158.13231445360802, abs=1e-12)
    assert inflated_norm(1, 1e-2, 0, 10**9) == pytest.approx(1 + 1e-2 * math.sqrt(10**9), rel=1e-15)
    assert inflated_norm(10, 1, 1e-9, 1) == 11  # the worst case is the better bound
    exact = math.sqrt(100**2 + 2.0**17 / 4 + 100 + math.sqrt(2**17) / 2)
    assert inflated_norm(100, 1, BETA, 1 << 17) == pytest.approx(exact, rel=1e-14)


@given(vectors, st.sampled_from([0.0, 0.1, BETA, 0.9]), st.integers())
def test_the_limit_is_kept_and_values_go_to_a_neighbor(
    vector: np.ndarray, beta: float, seed: int
) -> None:
    limit, rand = limit_of(vector, beta), SeededRand(seed)
    rounded = conditional_round(vector, limit, beta, rand)
    assert rounded.dtype == np.int64
    assert squared(rounded) <= limit
    assert (np.abs(rounded - vector) <= 1).all()
    assert rand.drawn == 32


@given(vectors, st.integers(0, 10**7), st.integers())
def test_any_limit_is_kept_for_any_vector(vector: np.ndarray, limit: int, seed: int) -> None:
    """The values may be far beyond the limit: the last resort shrinks them."""
    assert squared(conditional_round(vector, limit, BETA, SeededRand(seed))) <= limit


@pytest.mark.parametrize("peak", [1.5, 2.0**26, 2.0**40, 2.0**51])
def test_shrinking_loses_next_to_nothing(peak: float) -> None:
    vector = np.full(64, peak)
    limit = 48 * int(peak) ** 2
    rounded = conditional_round(vector, limit, BETA, SeededRand(1))
    assert squared(rounded) <= limit
    floor = math.floor(peak * math.sqrt(0.75) * (1 - 2.0**-40))
    assert (rounded >= min(floor, int(peak) - 1)).all()


def test_the_last_resort_is_toward_zero() -> None:
    halves = np.array([0.5, -0.5, 1.5, -1.5])
    assert conditional_round(halves, 2, BETA, SeededRand(1)).tolist() == [0, 0, 1, -1]
    assert conditional_round(np.array([3.0]), 8, BETA, SeededRand(1)).tolist() == [2]
    assert not conditional_round(np.array([0.5]), 0, BETA, SeededRand(1)).any()


def test_a_limit_whose_root_float64_rounds_up_is_kept() -> None:
    far, limit = np.array([2.0**30 + 5]), 2**60 - 1
    assert math.sqrt(limit) == 2.0**30
    assert conditional_round(far, limit, BETA, SeededRand(1)).tolist() == [2**30 - 1]


@pytest.mark.parametrize(("word", "rounded"), [(0, [3, 1, -2]), (2**32 - 1, [3, 0, -3])])
def test_the_ends_of_the_random_words(
    monkeypatch: pytest.MonkeyPatch, word: int, rounded: list[int]
) -> None:
    """An integer stays with the least word, and a fraction goes down with the largest."""

    class Constant:
        def __init__(self, rand: Rand) -> None: ...

        def words(self, count: int) -> np.ndarray:
            return np.full(count, word << 32 | word, np.uint64)

    monkeypatch.setattr("dp.round.KeyStream", Constant)
    values = np.array([3.0, 0.25, -2.5])
    assert conditional_round(values, 100, BETA, SeededRand(1)).tolist() == rounded


def test_a_rejected_try_is_followed_by_another() -> None:
    """Four halves within 1: one in 16 tries rounds to 0, four to a unit; the rest are rejected."""
    found = {
        tuple(conditional_round(np.full(4, 0.5), 1, 0.9, SeededRand(seed)).tolist())
        for seed in range(60)
    }
    assert found == {(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)}


@given(hnp.arrays(np.float64, st.integers(1, 20), elements=st.integers(-(2**50), 2**50)))
def test_integers_stay_as_they_are(vector: np.ndarray) -> None:
    exact = squared(vector.astype(np.int64))
    rounded = conditional_round(vector, exact, BETA, SeededRand(0))
    assert (rounded == vector).all()


@given(hnp.arrays(np.float64, st.integers(0, 3000), elements=st.integers(-(2**52), 2**52)))
def test_sums_of_squares_are_exact(vector: np.ndarray) -> None:
    assert square_sum(vector) == squared(vector.astype(np.int64))


def test_a_sum_of_squares_that_float64_cannot_hold() -> None:
    full = np.full(8192, 2.0**52 - 1)
    assert square_sum(full) == 8192 * (2**52 - 1) ** 2
    odd = np.array([2.0**26, 1.0, 1.0])  # 2**52 + 2
    assert square_sum(odd) == 2**52 + 2
    assert square_sum(np.append(np.full(2, 2.0**26), 1.0)) == 2**53 + 1


def test_chunks_are_all_counted() -> None:
    """One unit too many in the last chunk must be seen, and so rejected."""
    vector = np.zeros(8192 + 3)
    vector[[0, -1]] = 1.0
    assert squared(conditional_round(vector, 2, BETA, SeededRand(1))) == 2
    assert squared(conditional_round(vector, 1, BETA, SeededRand(1))) == 0


@pytest.mark.parametrize("value", [-5e-324, -(2.0**-60), 5e-324, -0.0])
def test_values_next_to_zero(value: float) -> None:
    for seed in range(20):
        assert not conditional_round(np.array([value]), 0, 0.5, SeededRand(seed)).any()


def test_tries_suffice() -> None:
    assert tries(0.0) == 1
    for beta in (1e-300, 0.01, BETA, 0.9):
        assert beta ** tries(beta) <= 2.0**-40 * (1 + 1e-9)
        assert beta ** (tries(beta) - 1) > 2.0**-40 * (1 - 1e-9) or tries(beta) == 1


def test_first_tries_are_accepted_as_often_as_the_theorem_says() -> None:
    """And so a limit that was by a fourth of its slack too small would show."""
    vector = np.full(400, 0.5)
    norm = math.hypot(*vector.tolist())
    limit = math.floor(norm**2 + slack(norm, BETA, vector.size))
    accepted = sum(
        squared(conditional_round(vector, 400, 0.0, SeededRand(seed))) <= limit
        for seed in range(500)
    )
    # Hoeffding: 0.17 below the mean with probability exp(-2 * 500 * 0.17**2) < 2**-41
    assert accepted / 500 >= 1 - BETA - 0.17


WRONG: list[tuple[Any, ...]] = [
    *((1.0, beta, 1) for beta in (-0.1, 0.91, 1.0, math.nan)),
    *((norm, 0.5, 1) for norm in (-1.0, math.inf, math.nan)),
    (1.0, 0.5, 0),
]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_wrong_arguments_of_the_theorem_are_refused(wrong: tuple[Any, ...]) -> None:
    assert slack(1.0, 0.5, 1) > 0
    with pytest.raises(ParameterError, match="must hold"):
        slack(*wrong)
    for granularity in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ParameterError, match="granularity"):
            inflated_norm(1.0, granularity, 0.5, 1)


def test_a_short_read_is_refused() -> None:
    with pytest.raises(RandomnessError, match="32 bytes"):
        conditional_round(np.zeros(1), 1, 0.5, lambda size: b"short")


@pytest.mark.slow
@pytest.mark.parametrize("fraction", [0.0, 2.0**-20, 0.25, 0.5, 0.999])
def test_rounding_is_unbiased(fraction: float) -> None:
    """Without a limit in the way. A right one fails with probability 2**-39 if seeds are random."""
    count = 4_000_000
    vector = np.full(count, 7 + fraction)
    rounded = conditional_round(vector, 64 * count, 0.0, SeededRand(("unbiased", fraction)))
    rate, rest = rounded.mean() - 7, math.log(2.0**40)
    # Bernstein
    deviation = math.sqrt(2 * fraction * rest / count) + rest / count
    assert abs(rate - fraction) <= deviation + 2.0**-32
