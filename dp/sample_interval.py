"""Fixed-point intervals over Python's integers: the lower end rounds down, the upper end up.

A pair (low, high) at `bits` encloses the real x when low <= x * 2**bits <= high. No float occurs,
so every enclosure is a theorem about integers and not about a rounding mode.
"""

from __future__ import annotations

from fractions import Fraction

__all__ = ["Interval", "ceil_div", "ceil_shift", "exp_minus", "times"]

Interval = tuple[int, int]

_HALVINGS = 8  # the Taylor argument is at most 2**-8: about bits/10 terms
_GUARD = 16


def ceil_div(numerator: int, denominator: int) -> int:
    """The least integer that is not below numerator / denominator, for a positive denominator."""
    return -(-numerator // denominator)


def ceil_shift(value: int, bits: int) -> int:
    """The least integer that is not below value / 2**bits."""
    return -(-value >> bits)


def times(x: Interval, y: Interval, bits: int) -> Interval:
    """An enclosure of the product of two non-negative reals."""
    return x[0] * y[0] >> bits, ceil_shift(x[1] * y[1], bits)


def exp_minus(exponent: Fraction, bits: int) -> Interval:
    """An enclosure of exp(-exponent) at `bits`, for exponent >= 0; at most 3 units wide.

    exp(-a) = exp(-a / 2**j) ** (2**j), where j makes a / 2**j <= 2**-8. Each squaring at most
    doubles the width, which j guard bits absorb.
    """
    halvings = (exponent.__ceil__()).bit_length() + _HALVINGS
    work = bits + halvings + _GUARD
    low, high = _exp_minus_small(exponent / (1 << halvings), work)
    for _ in range(halvings):
        low, high = times((low, high), (low, high), work)
    return low >> (work - bits), ceil_shift(high, work - bits)


def _exp_minus_small(exponent: Fraction, bits: int) -> Interval:
    """Taylor's series for 0 <= exponent <= 1. It alternates and its terms decrease.

    Hence what is cut off is smaller than the first term left out, whatever its sign.
    """
    p, q = exponent.numerator, exponent.denominator
    term = low, high = (1 << bits, 1 << bits)
    count = 0
    while term[1] > 1:
        count += 1
        term = term[0] * p // (q * count), ceil_div(term[1] * p, q * count)
        if count % 2:
            low, high = low - term[1], high - term[0]
        else:
            low, high = low + term[0], high + term[1]
    return max(low - term[1], 0), high + term[1]
