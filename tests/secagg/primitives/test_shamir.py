"""`secagg.primitives.shamir` against carry-less arithmetic and Lagrange, done slowly."""

from __future__ import annotations

import random
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import ParameterError
from secagg.primitives import shamir

POLYNOMIAL = 0x1100B
ELEMENTS = st.sampled_from([0, 1, 2, 3, 0x8000, 0xFFFF, 0x100B]) | st.integers(0, 0xFFFF)


def times(a: int, b: int) -> int:
    """The product in GF(2^16): carry-less, then reduced bit by bit."""
    total = 0
    for bit in range(16):
        if b >> bit & 1:
            total ^= a << bit
    for bit in range(31, 15, -1):
        if total >> bit & 1:
            total ^= POLYNOMIAL << (bit - 16)
    return total


def power(a: int, exponent: int) -> int:
    result = 1
    for bit in bin(exponent)[2:]:
        result = times(result, result)
        if bit == "1":
            result = times(result, a)
    return result


def inverse(a: int) -> int:
    return power(a, (1 << 16) - 2)


def evaluate(coefficients: list[int], x: int) -> int:
    """The polynomial, constant term first."""
    total = 0
    for coefficient in reversed(coefficients):
        total = times(total, x) ^ coefficient
    return total


def at_zero(points: list[int], values: list[int]) -> int:
    """Lagrange at 0, straight from the definition."""
    total = 0
    for i, x in enumerate(points):
        term = values[i]
        for j, other in enumerate(points):
            if i != j:
                term = times(times(term, other), inverse(other ^ x))
        total ^= term
    return total


def product_of_tables(a: int, b: int) -> int:
    rows, factors = np.array([[a]], np.uint16), np.array([b], np.uint16)
    return int(shamir._multiply_columns(rows, factors)[0, 0])


def words(data: bytes) -> list[int]:
    return [int(word) for word in np.frombuffer(data, "<u2")]


def source(seed: int = 0) -> Any:
    return random.Random(seed).randbytes


# -- the field ---------------------------------------------------------------------------------


def test_logarithms_are_a_bijection_so_x_generates_the_group() -> None:
    powers, log = shamir._tables()
    assert sorted(log[1:].tolist()) == list(range(65535))
    assert np.array_equal(powers[log[1:]], np.arange(1, 1 << 16))
    assert powers[0] == 1
    assert powers[1] == 2


def test_no_root_and_no_factor_the_polynomial_is_irreducible() -> None:
    """x^(2^16) = x and x^(2^8) != x: Rabin's test, for the only prime factor 2 of 16."""
    assert power(2, 1 << 16) == 2
    assert power(2, 1 << 8) != 2
    for factor in (3, 5, 17, 257):
        assert power(2, 65535 // factor) != 1, "x is a generator"


@given(ELEMENTS, ELEMENTS)
@settings(max_examples=200, deadline=None)
def test_products_agree_with_carry_less_multiplication(a: int, b: int) -> None:
    assert product_of_tables(a, b) == times(a, b)


@given(ELEMENTS, ELEMENTS, ELEMENTS)
@settings(max_examples=100, deadline=None)
def test_the_tables_are_a_field(a: int, b: int, c: int) -> None:
    assert product_of_tables(a, b) == product_of_tables(b, a)
    assert product_of_tables(a, 1) == a
    assert product_of_tables(a, 0) == 0
    left, right = product_of_tables(a, b ^ c), product_of_tables(a, b) ^ product_of_tables(a, c)
    assert left == right
    assert product_of_tables(product_of_tables(a, b), c) == product_of_tables(
        a, product_of_tables(b, c)
    )
    if a:
        assert product_of_tables(a, inverse(a)) == 1


def test_zero_annihilates_every_element() -> None:
    everything = np.arange(1 << 16, dtype=np.uint16)[None, :]
    assert not shamir._multiply_columns(everything, np.zeros(1, np.uint16)).any()
    one = shamir._multiply_columns(everything, np.ones(1, np.uint16))
    assert np.array_equal(one, everything)


# -- sharing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [1, 2, 3, 5])
def test_shares_are_values_of_the_polynomial_that_was_drawn(threshold: int) -> None:
    secrets = [b"\x01\x02\xff\xff", b"\0\0\0\x80"]
    points = [1, 2, 700, 65534, 65535]
    shares = shamir.split(secrets, threshold, points, source())
    drawn = words(source()(2 * (threshold - 1) * 4))
    for column, constant in enumerate(words(b"".join(secrets))):
        coefficients = [constant, *drawn[column::4]]
        expected = [evaluate(coefficients, x) for x in points]
        found = shares.reshape(len(points), -1).copy().view("<u2")[:, column].tolist()
        assert found == expected


def test_shares_have_the_size_of_the_secret_and_secrets_keep_their_place() -> None:
    shares = shamir.split([bytes(6), bytes(6), bytes(6)], 2, range(1, 6), source())
    assert shares.shape == (5, 3, 6)
    assert shares.dtype == np.uint8


@pytest.mark.parametrize("threshold", range(1, 7))
def test_every_subset_of_the_threshold_reconstructs(threshold: int) -> None:
    secrets = [bytes(32), bytes(range(32)), b"\xff" * 32]
    points = [1, 2, 3, 1000, 65534, 65535]
    shares = shamir.split(secrets, threshold, points, source())
    for chosen in combinations(range(6), threshold):
        at = [points[i] for i in chosen]
        assert shamir.reconstruct(at, shares[list(chosen)]) == secrets


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_subset_in_any_order_reconstructs(data: st.DataObject) -> None:
    places = st.sampled_from([1, 65535]) | st.integers(1, 65535)
    points = data.draw(st.lists(places, min_size=1, max_size=12, unique=True))
    threshold = data.draw(st.integers(1, len(points)))
    size = 2 * data.draw(st.integers(1, 20))
    blobs = st.binary(min_size=size, max_size=size)
    secrets = data.draw(st.lists(blobs, min_size=1, max_size=4))
    shares = shamir.split(secrets, threshold, points, data.draw(st.randoms()).randbytes)
    chosen = data.draw(st.permutations(range(len(points))))[:threshold]
    at = [points[i] for i in chosen]
    assert shamir.reconstruct(at, shares[chosen]) == secrets


def test_more_shares_than_the_threshold_reconstruct_too() -> None:
    shares = shamir.split([b"ab"], 3, range(1, 8), source())
    assert shamir.reconstruct(range(1, 8), shares) == [b"ab"]


def test_all_65535_points_can_hold_a_share() -> None:
    everybody = range(1, 65536)
    shares = shamir.split([b"\x12\x34"], 3, everybody, source())
    assert shamir.reconstruct([65533, 65534, 65535], shares[-3:]) == [b"\x12\x34"]
    ends = [1, 32768, 65535]
    assert shamir.reconstruct(ends, shares[[0, 32767, 65534]]) == [b"\x12\x34"]
    assert shamir.MAX_POINT == 65535


def test_a_large_threshold_reconstructs() -> None:
    points = range(1, 301)
    shares = shamir.split([bytes(range(32))], 300, points, source())
    assert shamir.reconstruct(points, shares) == [bytes(range(32))]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_reconstruct_is_lagrange_at_zero_for_any_words(data: st.DataObject) -> None:
    points = data.draw(st.lists(st.integers(1, 65535), min_size=1, max_size=5, unique=True))
    values = data.draw(st.lists(ELEMENTS, min_size=len(points), max_size=len(points)))
    shares = np.array(values, "<u2").view(np.uint8).reshape(len(points), 1, 2)
    assert words(shamir.reconstruct(points, shares)[0]) == [at_zero(points, values)]


def test_strided_shares_reconstruct() -> None:
    shares = shamir.split([b"abcd", b"efgh"], 3, range(1, 7), source())
    assert shamir.reconstruct([1, 3, 5], shares[::2]) == [b"abcd", b"efgh"]
    assert shamir.reconstruct([6, 4, 2], shares[::-2]) == [b"abcd", b"efgh"]


# -- secrecy -----------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_one_share_too_few_fits_every_secret(data: st.DataObject) -> None:
    """For t - 1 shares and *any* secret there is exactly one polynomial that gives both."""
    threshold = data.draw(st.integers(2, 5))
    points = data.draw(
        st.lists(st.integers(1, 65535), min_size=threshold, max_size=threshold, unique=True)
    )
    secret, other = data.draw(st.binary(min_size=2, max_size=2)), data.draw(ELEMENTS)
    shares = shamir.split([secret], threshold, points, data.draw(st.randoms()).randbytes)
    seen = [words(row[0].tobytes())[0] for row in shares[:-1]]
    # the value at the last point that would make `other` the secret, by Lagrange through 0
    target = _value_at(points[-1], [0, *points[:-1]], [other, *seen])
    last = np.array([[[target]]], "<u2").view(np.uint8)
    forged = np.concatenate([shares[:-1], last])
    assert words(shamir.reconstruct(points, forged)[0]) == [other]


def _value_at(x: int, points: list[int], values: list[int]) -> int:
    return at_zero([point ^ x for point in points], values)  # moves x to 0


def test_one_share_too_few_is_uniform_whatever_the_secret() -> None:
    """Exhaustive in the coefficient: for t = 2 each share takes each value exactly once."""
    everything = np.arange(1 << 16, dtype="<u2").tobytes()
    for secret in (b"\0\0", b"\xff\x7f"):
        batch = shamir.split([secret * (1 << 16)], 2, [7, 65535], lambda size: everything[:size])
        for row in batch[:, 0, :]:
            assert np.unique(row.copy().view("<u2")).size == 1 << 16


@given(st.lists(st.integers(1, 65535), min_size=1, max_size=4, unique=True))
@settings(max_examples=30, deadline=None)
def test_one_share_too_few_is_jointly_uniform(points: list[int]) -> None:
    """Shares are linear in the drawn bits; full rank makes t - 1 of them uniform for any secret."""
    unknown = 16 * len(points)  # bits of the t - 1 coefficients
    basis = np.zeros((len(points), unknown), "<u2")
    for bit in range(unknown):
        basis[bit // 16, bit] = 1 << bit % 16
    holders = [*points, next(x for x in range(1, 9) if x not in points)]
    shares = shamir.split(
        [b"\0\0"] * unknown, len(points) + 1, holders, lambda size: basis.tobytes()[:size]
    )
    images = [int.from_bytes(shares[:-1, bit, :].tobytes(), "little") for bit in range(unknown)]
    assert rank_over_two(images) == unknown


def rank_over_two(rows: list[int]) -> int:
    reduced: list[int] = []
    for row in rows:
        for other in reduced:
            row = min(row, row ^ other)  # noqa: PLW2901
        if row:
            reduced.append(row)
    return len(reduced)


def test_randomness_is_drawn_afresh_for_every_word_and_secret() -> None:
    asked: list[int] = []

    def counted(size: int) -> bytes:
        asked.append(size)
        return random.Random(size).randbytes(size)

    shares = shamir.split([bytes(32), bytes(32)], 5, range(1, 9), counted)
    assert sum(asked) == 2 * 4 * 32
    flat = shares.reshape(8, -1).copy().view("<u2")
    assert np.unique(flat[0]).size > 30, "equal words of the secret have unequal shares"


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [[0, 1], [1, 65536], [-1, 2], [], [1, 1], [5, 7, 5]])
def test_points_outside_the_group_or_repeated_are_refused(points: list[int]) -> None:
    good = shamir.split([b"ab"], 1, [1, 65535], source())
    assert shamir.reconstruct([1], good[:1]) == [b"ab"]
    with pytest.raises(ParameterError, match=r"points must|threshold <= points"):
        shamir.split([b"ab"], 1, points, source())
    with pytest.raises(ParameterError, match="points must"):
        shamir.reconstruct(points, np.zeros((len(points), 1, 2), np.uint8))


@pytest.mark.parametrize("threshold", [0, -1, 4])
def test_a_threshold_no_set_of_holders_can_meet_is_refused(threshold: int) -> None:
    shamir.split([b"ab"], 3, [1, 2, 3], source())
    with pytest.raises(ParameterError, match=f"got {threshold} and 3 points"):
        shamir.split([b"ab"], threshold, [1, 2, 3], source())


@pytest.mark.parametrize("secrets", [[], [b""], [b"abc"], [b"ab", b"abcd"], [b"ab", b""]])
def test_secrets_of_odd_or_unequal_length_are_refused(secrets: list[bytes]) -> None:
    with pytest.raises(ParameterError, match="equally long, of an even, positive number"):
        shamir.split(secrets, 1, [1, 2], source())


def test_shares_must_match_the_points() -> None:
    shares = shamir.split([b"ab"], 2, [1, 2, 3], source())
    with pytest.raises(ParameterError, match="2 points but 3 rows"):
        shamir.reconstruct([1, 2], shares)
