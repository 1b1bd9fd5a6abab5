"""Sketches over the field are those over the integers, and linear."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.primitives.field64 import MODULUS, field64
from secagg.sketch import SketchMap
from secagg.sketch_field import of_elements

FIELD = field64()


def sketch(length: int, seed: int, buckets: int = 16) -> SketchMap:
    return SketchMap(seed.to_bytes(32, "little"), length=length, width=64, rows=7, buckets=buckets)


@given(
    seed=st.integers(0, 1 << 64),
    values=st.lists(st.integers(-(1 << 40), 1 << 40), min_size=1, max_size=50),
)
def test_small_integers_give_what_they_give_over_the_integers(seed: int, values: list[int]) -> None:
    made, vector = sketch(len(values), seed), np.array(values, np.int64)
    found = FIELD.centered(of_elements(made, FIELD, FIELD.embed(vector)))
    expected = made.of_words(vector.astype(np.uint64)[None])[0].astype(np.int64)
    assert found.tolist() == expected.tolist()


elements = st.integers(0, MODULUS - 1) | st.sampled_from(
    [0, 1, MODULUS - 1, 1 << 32, (1 << 32) - 1, MODULUS // 2, MODULUS // 2 + 1]
)


@given(seed=st.integers(0, 1 << 64), pairs=st.lists(st.tuples(elements, elements), min_size=1))
def test_shares_of_a_sketch_are_sketches_of_shares(seed: int, pairs: list[tuple[int, int]]) -> None:
    made = sketch(len(pairs), seed)
    one, other = (FIELD.array(column) for column in zip(*pairs, strict=True))
    halves = FIELD.add(of_elements(made, FIELD, one), of_elements(made, FIELD, other))
    assert halves.tolist() == of_elements(made, FIELD, FIELD.add(one, other)).tolist()


@pytest.mark.parametrize("value", [MODULUS - 1, MODULUS // 2])
def test_the_largest_elements_do_not_overflow_a_counter(value: int) -> None:
    length = 20_000
    made = sketch(length, 3, buckets=1)
    found = of_elements(made, FIELD, FIELD.array([value] * length))
    signs = sum(
        np.where(places < 1, 1, -1).astype(np.int64).sum(axis=1) for _, places in made.places()
    )
    rows = made.products(signs[None].astype(np.float64))[0]
    assert found.tolist() == [int(row) * value % MODULUS for row in rows]
