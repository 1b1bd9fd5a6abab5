"""Enclosures enclose, and are as narrow as they say."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.sample_interval import _exp_minus_small, ceil_div, ceil_shift, exp_minus, times

naturals = st.integers(0, 1 << 80)


@given(st.integers(-(1 << 80), 1 << 80), st.integers(1, 1 << 40))
def test_division_rounds_up(numerator: int, denominator: int) -> None:
    found = ceil_div(numerator, denominator)
    assert (found - 1) * denominator < numerator <= found * denominator


@given(naturals, st.integers(0, 90))
def test_shifts_round_up(value: int, bits: int) -> None:
    assert ceil_shift(value, bits) == ceil_div(value, 1 << bits)


@given(naturals, naturals, naturals, naturals)
def test_products_hold_every_product_of_members(x: int, dx: int, y: int, dy: int) -> None:
    low, high = times((x, x + dx), (y, y + dy), 64)
    assert Fraction(low) <= Fraction(x * y, 1 << 64)
    assert Fraction(high) >= Fraction((x + dx) * (y + dy), 1 << 64)
    assert low + 1 > Fraction(x * y, 1 << 64)
    assert high - 1 < Fraction((x + dx) * (y + dy), 1 << 64)


@given(st.fractions(0, 60, max_denominator=10**6), st.integers(8, 200))
def test_the_exponential_is_enclosed(exponent: Fraction, bits: int) -> None:
    low, high = exp_minus(exponent, bits)
    assert 0 <= low <= high <= low + 3
    with localcontext(prec=120):
        exact = (-Decimal(exponent.numerator) / exponent.denominator).exp() * 2**bits
        # Decimal's own error is 10**-60 of a unit at most
        assert low - Decimal("1e-50") <= exact <= high + Decimal("1e-50")


@pytest.mark.parametrize("bits", [8, 17, 9, 12, 20, 25, 40])
def test_the_remainder_of_the_series_is_enclosed(bits: int) -> None:
    """exp(-1/256) at 8 and 17 bits: terms without rounding, so only the remainder gives width."""
    low, high = _exp_minus_small(Fraction(1, 256), bits)
    with localcontext(prec=60):
        assert low <= (Decimal(-1) / 256).exp() * 2**bits <= high
    assert high - low <= 8


@pytest.mark.parametrize("exponent", [0, 1, Fraction(1, 1 << 40), 1 << 31])
def test_extremes_are_enclosed(exponent: Fraction) -> None:
    low, high = exp_minus(Fraction(exponent), 128)
    assert high <= low + 3
    if exponent == 0:
        assert low <= 1 << 128 <= high
    if exponent == 1 << 31:
        assert (low, high) == (0, 1)
