"""Fields against Python's integers, at the edges of words and everywhere else; numba as numpy."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import DecodeError
from secagg.primitives.field import FIELD128, BigField, Field
from secagg.primitives.field64 import MODULUS, Field64, field64

EDGES = [0, 1, 2, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, (1 << 63) - 1, 1 << 63, MODULUS - 1]
EDGES += [MODULUS - 2, MODULUS - (1 << 32), (MODULUS + 1) // 2, (MODULUS - 1) // 2]
BIG = BigField(modulus=MODULUS, size=8, generator=Field64.generator, order=Field64.order)
FAST = [Field64()] if find_spec("numba") is None else [Field64(), field64()]
fast = pytest.mark.parametrize("field", FAST, ids=lambda field: type(field).__name__)
both = pytest.mark.parametrize("field", [FAST[0], FIELD128], ids=["Field64", "FIELD128"])
element = st.one_of(st.sampled_from(EDGES), st.integers(0, MODULUS - 1))
pairs = st.lists(st.tuples(element, element), min_size=1, max_size=40)


@fast
@given(values=pairs)
def test_arithmetic_is_that_of_integers(field: Field, values: list[tuple[int, int]]) -> None:
    left, right = (field.array(column) for column in zip(*values, strict=True))
    assert field.add(left, right).tolist() == [(a + b) % MODULUS for a, b in values]
    assert field.sub(left, right).tolist() == [(a - b) % MODULUS for a, b in values]
    assert field.mul(left, right).tolist() == [a * b % MODULUS for a, b in values]
    assert field.dot(left, right) == sum(a * b for a, b in values) % MODULUS
    assert field.total(left[None]).tolist() == [sum(a for a, _ in values) % MODULUS]


@fast
def test_every_pair_of_edges(field: Field) -> None:
    left, right = np.meshgrid(field.array(EDGES), field.array(EDGES))
    for found, exact in (
        (field.add(left, right), lambda a, b: a + b),
        (field.sub(left, right), lambda a, b: a - b),
        (field.mul(left, right), lambda a, b: a * b),
    ):
        assert found.shape == left.shape
        expected = [
            exact(a, b) % MODULUS
            for a, b in zip(left.ravel().tolist(), right.ravel().tolist(), strict=True)
        ]
        assert found.ravel().tolist() == expected


@fast
@given(rows=st.integers(1, 9), columns=st.integers(1, 70), seed=st.integers(0, 2**32))
def test_products_of_matrices(field: Field, rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = rng.integers(0, MODULUS, (2, rows, columns), np.uint64)
    weights = rng.integers(0, MODULUS, rows, np.uint64)
    exact = left.astype(object), right.astype(object), weights.astype(object)
    assert field.inner(left, right).tolist() == BIG.inner(exact[0], exact[1]).tolist()
    assert field.combine(weights, left).tolist() == BIG.combine(exact[2], exact[0]).tolist()
    assert field.mul(weights[:, None], right).tolist() == (
        BIG.mul(exact[2][:, None], exact[1]).tolist()
    )


@fast
@given(count=st.integers(1, 3), size=st.integers(1, 90), seed=st.integers(0, 2**32))
def test_ternary_rows(field: Field, count: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = field.array(rng.choice(np.array(EDGES, object), size).tolist())
    draws = rng.integers(0, 256, (count, -(-size // 4)), np.uint8)
    expected = []
    for row in draws.tolist():
        pairs = [row[at // 4] >> 2 * (at % 4) & 3 for at in range(size)]
        signs = [{0: -1, 1: 0, 2: 0, 3: 1}[pair] for pair in pairs]
        expected.append(sum(s * int(v) for s, v in zip(signs, values, strict=True)) % MODULUS)
    assert field.ternary(values, draws).tolist() == expected
    assert BIG.ternary(values.astype(object), draws).tolist() == expected


@fast
def test_ternary_rows_longer_than_a_block(field: Field) -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, MODULUS, 40_001, np.uint64)
    draws = rng.integers(0, 256, (2, 10_001), np.uint8)
    assert field.ternary(values, draws).tolist() == (
        BIG.ternary(values.astype(object), draws).tolist()
    )


@both
def test_bytes_round_and_are_canonical(field: Field) -> None:
    values = field.array([0, 1, -1, 1 << 40])
    data = field.encode(values)
    assert len(data) == 4 * field.size
    assert field.decode(data).tolist() == values.tolist()
    most = (field.modulus - 1).to_bytes(field.size, "little")
    assert field.decode(most).tolist() == [field.modulus - 1]
    with pytest.raises(DecodeError, match="canonical"):
        field.decode(field.modulus.to_bytes(field.size, "little"))
    with pytest.raises(DecodeError, match="whole"):
        field.decode(data[:-1])


@both
def test_a_stream_gives_what_lies_below_the_modulus(field: Field) -> None:
    words = [3, field.modulus - 1, field.modulus, 2]
    stream = b"".join(word.to_bytes(field.size, "little") for word in words)
    assert field.accept(stream).tolist() == [3, field.modulus - 1, 2]


def test_words_are_cut_to_the_bits_of_the_modulus() -> None:
    small = BigField(modulus=97, size=1, generator=pow(5, 3, 97), order=32)
    assert small.accept(bytes([200, 97, 96, 225])).tolist() == [72, 96]


@both
def test_roots_have_their_order(field: Field) -> None:
    assert pow(field.generator, field.order // 2, field.modulus) == field.modulus - 1
    assert pow(field.root(8), 4, field.modulus) == field.modulus - 1
    assert field.powers(3, 5).tolist() == [1, 3, 9, 27, 81]
    assert field.inverse(2) * 2 % field.modulus == 1
    for size in (0, 3, 2 * field.order):
        with pytest.raises(ValueError, match="power of two"):
            field.root(size)


@both
@given(values=st.lists(st.integers(-(1 << 63) + (1 << 32), (1 << 63) - (1 << 32)), max_size=20))
def test_signed_integers_survive(field: Field, values: list[int]) -> None:
    embedded = field.embed(np.array(values, np.int64))
    assert embedded.tolist() == [value % field.modulus for value in values]
    assert field.centered(embedded).tolist() == values
    assert field.centered(embedded).dtype == np.int64
