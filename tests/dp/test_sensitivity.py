"""Bounds on one client's vector hold for vectors, and every stage has the map of what it does."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.errors import ParameterError
from dp.sensitivity import Sensitivity

vectors = st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=8).filter(any)
squares = st.fractions(Fraction(1, 10**30), 10**30, max_denominator=10**40)


def of(vector: list[int]) -> Sensitivity:
    squared = Fraction(sum(x * x for x in vector))
    return Sensitivity(squared=squared, coordinates=len(vector), integral=True)


@given(vectors)
def test_every_bound_holds_for_a_vector_of_that_norm(vector: list[int]) -> None:
    ours = of(vector)
    assert Fraction(ours.l2) ** 2 >= ours.squared
    assert ours.l1 >= sum(abs(x) for x in vector)
    assert ours.largest >= max(abs(x) for x in vector)
    assert ours.nonzero >= np.count_nonzero(vector)


def test_the_bounds_are_met_by_some_vectors() -> None:
    for vector in ([1, 1, 1, 0, 0], [7], [3, 3]):
        assert of(vector).l1 == pytest.approx(sum(vector), rel=1e-15)
    assert of([0, -9]).largest == 9
    assert of([1, -1, 0]).nonzero == 2
    assert of([9, 9]).nonzero == 2


@given(squares)
def test_roots_are_rounded_up_by_less_than_three_ulps(squared: Fraction) -> None:
    root = Sensitivity(squared=squared, coordinates=1, integral=False).l2
    assert Fraction(root) ** 2 >= squared
    assert (Fraction(root) - 2 * Fraction(math.ulp(root))) ** 2 < squared


@pytest.mark.parametrize("power", [-1800, 1800])
def test_the_ends_of_the_range_have_roots(power: int) -> None:
    ours = Sensitivity(squared=Fraction(2) ** power, coordinates=1 << 40, integral=False)
    assert ours.l2 == 2.0 ** (power // 2)
    assert ours.l1 == 2.0 ** (power // 2 + 20)


@given(st.integers(-500, 500), st.lists(st.floats(-1, 1), min_size=1, max_size=6).filter(any))
def test_the_stages_of_a_real_vector(power: int, vector: list[float]) -> None:
    """Each map against the stage, done to the vector in exact rationals."""
    bound = math.ldexp(1.0, power)
    ours = Sensitivity.clipped(bound, len(vector)).padded(8).scaled(Fraction(7, 3)).weighted(5)
    squared = sum(Fraction(x) ** 2 for x in vector)
    clipped = min(Fraction(1), Fraction(bound) ** 2 / squared) * squared
    assert clipped * Fraction(35, 3) ** 2 <= ours.squared
    assert ours.squared == Fraction(bound) ** 2 * Fraction(35, 3) ** 2
    assert (ours.coordinates, ours.integral) == (8, False)


def test_a_float_counts_as_the_rational_that_it_is() -> None:
    assert Sensitivity.clipped(0.1, 3).squared == Fraction(0.1) ** 2
    assert of([2]).scaled(0.5).squared == 1


def test_integers_stay_integers_under_integer_factors_only() -> None:
    assert of([1, 2]).scaled(3).integral
    assert of([1, 2]).scaled(3).squared == 45
    for lost in (of([1]).scaled(Fraction(1, 2)), of([1]).weighted(3), of([1]).rotated()):
        assert not lost.integral
    assert of([1, 2]).rotated().squared == 5


@pytest.mark.parametrize(
    ("norm", "size", "beta"), [(10, 1, 0.5), (3, 100, 0.0), (50, 1 << 10, 0.9)]
)
def test_rounding_is_the_theorem_rounded_down(norm: int, size: int, beta: float) -> None:
    """[Kairouz21, Theorem 1] at granularity 1, written out."""
    ours = Sensitivity.clipped(norm, size).rounded(beta)
    always = (norm + math.sqrt(size)) ** 2
    deviation = math.sqrt(-2 * math.log(beta)) if beta else math.inf
    likely = norm**2 + size / 4 + deviation * (norm + math.sqrt(size) / 2)
    assert ours.squared == math.floor(min(always, likely) + 1e-9)
    assert ours.integral


def test_a_vector_below_one_unit_still_has_a_limit() -> None:
    assert Sensitivity.clipped(2.0**-20, 1).rounded(0.5).squared == 1


def test_a_flag_and_a_replacement() -> None:
    assert of([3, 4]).extended(12) == of([3, 4, 12])
    assert of([3, 4]).replaced().l2 == 10


WRONG: list[dict[str, Any]] = [
    *({"squared": value} for value in (0, -1, math.nan, math.inf, True, "4", None, 1j)),
    *({"squared": Fraction(2) ** power} for power in (-1801, 1801)),
    *({"coordinates": value} for value in (0, -1, 1.0, True)),
    *({"integral": value} for value in (1, None)),
]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_wrong_fields_are_refused(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {"squared": 4, "coordinates": 2, "integral": True}
    assert Sensitivity(**right).squared == 4
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        Sensitivity(**right | wrong)


def test_wrong_stages_are_refused() -> None:
    right = Sensitivity.clipped(1, 4)
    assert right.padded(4).coordinates == 4
    for wrong in (
        lambda: right.padded(3),
        lambda: right.scaled(0),
        lambda: right.scaled(math.nan),
        lambda: right.weighted(-1),
        lambda: right.rounded(1.0),
        lambda: right.rounded(-0.1),
        lambda: right.rounded(math.nan),
        lambda: right.extended(0),
        lambda: Sensitivity.clipped(math.inf, 4),
        lambda: right.largest,
        lambda: right.nonzero,
    ):
        with pytest.raises(ParameterError, match="must hold"):
            wrong()


def test_numpy_integers_do_not_overflow() -> None:
    large: Any = np.int64(1 << 62)
    ours = Sensitivity(squared=large, coordinates=np.int64(4), integral=True)  # type: ignore[arg-type]
    assert ours.scaled(8).squared == 1 << 68
    assert type(ours.coordinates) is int
