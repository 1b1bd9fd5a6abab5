"""The rotation is orthonormal, is undone, depends on its seed, and spreads what was one spike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dp.errors import ParameterError
from dp.rotate import padded_size, rotate, unrotate
from dp.testing import SeededRand

SEED = bytes(range(32))
seeds = st.binary(min_size=32, max_size=32)


def matrix(size: int, seed: bytes) -> np.ndarray:
    return np.array([rotate(row, seed) for row in np.eye(size)]).T


def sylvester(levels: int) -> np.ndarray:
    """Entry (i, j) is -1 to the number of common ones of i and j: the definition."""
    rows = np.arange(1 << levels)
    odd = np.bitwise_count(rows[:, None] & rows) % 2
    return np.where(odd, -1.0, 1.0)


@given(seeds)
def test_the_matrix_is_hadamard_times_signs_and_orthonormal(seed: bytes) -> None:
    dense = matrix(8, seed)
    np.testing.assert_allclose(dense @ dense.T, np.eye(8), atol=1e-14)
    signs = dense * sylvester(3) * math.sqrt(8)
    np.testing.assert_allclose(np.abs(signs), 1.0, atol=1e-14)
    np.testing.assert_allclose(signs, np.broadcast_to(signs[0], (8, 8)), atol=1e-14)


@pytest.mark.parametrize("levels", [0, 1, 4, 5, 6, 9, 10, 11])
def test_every_split_of_the_levels_is_the_same_matrix(levels: int) -> None:
    size = 1 << levels
    columns = matrix(size, SEED) * sylvester(levels) * math.sqrt(size)
    np.testing.assert_allclose(np.abs(columns), 1.0, atol=1e-12)
    np.testing.assert_allclose(columns, np.broadcast_to(columns[0], columns.shape), atol=1e-12)


def test_the_signs_are_those_of_the_specification() -> None:
    """ChaCha20 of the seed, counter 0, nonce "dp rotation.", from the lowest bit of each byte."""
    found = (matrix(32, bytes(32))[0] * math.sqrt(32)).round().astype(int)
    bits = "".join("1" if sign < 0 else "0" for sign in found)
    assert bits == KNOWN_SIGNS


KNOWN_SIGNS = "00101011011100001001100101111101"


@given(st.integers(1, 3000), seeds)
def test_round_trips_and_norms_within_float_errors(size: int, seed: bytes) -> None:
    vector = np.random.default_rng(size).normal(size=size)
    rotated = rotate(vector, seed)
    assert rotated.size == padded_size(size) >= size
    norm = np.linalg.norm(vector)
    error = (4 + 4 * math.log2(rotated.size)) * 2.0**-52
    assert np.linalg.norm(rotated) == pytest.approx(norm, rel=error)
    assert np.linalg.norm(unrotate(rotated, seed, size) - vector) <= error * norm


@given(hnp.arrays(np.float64, 5, elements=st.floats(-1e100, 1e100)))
def test_any_finite_vector_comes_back(vector: np.ndarray) -> None:
    error = 16 * 2.0**-52 * float(np.abs(vector).max()) + 1e-320
    np.testing.assert_allclose(unrotate(rotate(vector, SEED), SEED, 5), vector, atol=error, rtol=0)


def test_padding_is_to_the_next_power_of_two() -> None:
    sizes = [1, 2, 3, 4, 5, 1023, 1024, 1025]
    assert [padded_size(size) for size in sizes] == [1, 2, 4, 4, 8, 1024, 1024, 2048]


def test_a_spike_is_spread_evenly_and_a_flat_vector_by_chance() -> None:
    size = 1 << 12
    np.testing.assert_allclose(np.abs(rotate(np.eye(1, size)[0], SEED)), 1 / 64, rtol=1e-12)
    even = rotate(np.full(size, 1 / 64), SEED)
    # sub-Gaussian: beyond 9 / sqrt(D) with probability 2 D exp(-40.5) < 2**-44
    assert np.abs(even).max() < 9 / 64


def test_seeds_differ() -> None:
    vector = np.ones(256)
    first, second = rotate(vector, SEED), rotate(vector, bytes(32))
    assert abs(float(first @ second)) < 128  # the norms are 16: less than half of equal
    assert (rotate(vector, SEED) == first).all()


def test_signs_are_balanced_over_seeds() -> None:
    rand = SeededRand("signs")
    signs = np.array([np.sign(rotate(np.ones(1), rand(32)))[0] for _ in range(4000)])
    # Hoeffding: 2 exp(-4000 * 0.12**2 / 2) < 2**-40
    assert abs(signs.mean()) < 0.12


def test_the_input_is_left_alone() -> None:
    vector = np.ones(3)
    vector.flags.writeable = False
    rotate(vector, SEED)
    assert (vector == 1).all()


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33), "0" * 32, bytearray(32), None])
def test_wrong_seeds_are_refused(seed: Any) -> None:
    assert rotate(np.ones(2), bytes(32)).size == 2
    with pytest.raises(ParameterError, match="seed: 32 bytes"):
        rotate(np.ones(2), seed)


def test_only_rotated_sizes_are_undone() -> None:
    assert unrotate(np.ones(4), SEED, 3).size == 3
    with pytest.raises(ParameterError, match="power of two"):
        unrotate(np.ones(3), SEED, 3)
