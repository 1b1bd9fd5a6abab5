"""Transforms against the sum that defines them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.primitives import ntt
from secagg.primitives.field import FIELD128, Field
from secagg.primitives.field64 import Field64, field64

fields = pytest.mark.parametrize(
    "field", [Field64(), field64(), FIELD128], ids=["numpy", "fastest", "FIELD128"]
)
shapes = given(log=st.integers(0, 5), columns=st.integers(1, 40), seed=st.integers(0, 2**32))


def drawn(field: Field, log: int, columns: int, seed: int) -> np.ndarray:
    words = np.random.default_rng(seed).integers(0, 1 << 62, (1 << log) * columns)
    return field.array(words.tolist()).reshape(1 << log, columns)


def at(field: Field, poly: list[int], point: int) -> int:
    return sum(c * pow(point, k, field.modulus) for k, c in enumerate(poly)) % field.modulus


@fields
@shapes
def test_values_are_those_of_the_polynomial(
    field: Field, log: int, columns: int, seed: int
) -> None:
    poly = drawn(field, log, columns, seed)
    values = ntt.evaluate(field, poly)
    assert ntt.coefficients(field, values).tolist() == poly.tolist()
    root, last = field.root(1 << log), poly[:, -1].tolist()
    assert values[:, -1].tolist() == [
        at(field, last, pow(root, k, field.modulus)) for k in range(1 << log)
    ]


@fields
@shapes
def test_doubling_interleaves(field: Field, log: int, columns: int, seed: int) -> None:
    poly = drawn(field, log, columns, seed)
    longer = np.concatenate([poly, field.zeros(*poly.shape)])
    values = ntt.evaluate(field, longer)
    assert ntt.double(field, values[::2]).tolist() == values[1::2].tolist()


@fields
@given(log=st.integers(0, 5), point=st.integers(2, 1 << 60), seed=st.integers(0, 2**32))
def test_weights_evaluate_anywhere(field: Field, log: int, point: int, seed: int) -> None:
    poly = drawn(field, log, 1, seed)[:, 0]
    weights = ntt.lagrange(field, point, 1 << log)
    assert field.dot(weights, ntt.evaluate(field, poly)) == at(field, poly.tolist(), point)


def test_the_next_power_of_two() -> None:
    assert [ntt.next_power(size) for size in (1, 2, 3, 4, 5)] == [1, 2, 4, 4, 8]
