"""How finely a plan rounds: the width of the ring, and the bits after the point."""

from __future__ import annotations

import math
from fractions import Fraction

from secagg.errors import ParameterError
from secagg.quantize import Clip

__all__ = ["EXACT", "precision"]

_WIDTHS = (32, 40, 48, 56, 64)
_LEAST_UNITS = 256
_UNITS_PER_ROOT = 16  # 2^f * clip over sqrt(d): the norm bound then keeps 99.9 % of itself
_MOST_FRACTION_BITS = 128
EXACT = 1 << 52
"""Up to here float64 has every integer, and a bit for a fraction."""


def precision(
    clip: Clip, clients: int, max_weight: int, size: int, width: int | None, most: int = EXACT
) -> tuple[int, int]:
    """(width, fraction bits): the finest unit of `width` bits, of the first width that will do.

    most: the largest norm or coordinate of a client, in units.
    """
    enough = max(_LEAST_UNITS, _UNITS_PER_ROOT * math.sqrt(size))
    for bits in () if width else _WIDTHS[:-1]:
        fraction = _most_fraction_bits(clip, clients, max_weight, bits, most)
        if Fraction(clip.bound) * Fraction(2) ** fraction >= enough:
            return bits, fraction
    last = width or _WIDTHS[-1]
    if type(last) is not int or not 2 <= last <= 64:
        raise ParameterError(f"2 <= width <= 64, an integer, must hold, got {last!r:.40}")
    weights, room = 2 * clients * max_weight, 1 << (last - 1)
    if not weights < room:
        raise ParameterError(
            f"2 * clients * max_weight < 2**(width - 1) must hold, got {weights} and {room}"
        )
    return last, _most_fraction_bits(clip, clients, max_weight, last, most)


def _most_fraction_bits(clip: Clip, clients: int, max_weight: int, width: int, most: int) -> int:
    """The largest f with clients * 2^f * clip * max_weight <= 2^(width-1) - 1, and within most."""
    room = min(((1 << (width - 1)) - 1) // clients, most)
    ratio = Fraction(max(room, 1)) / (Fraction(clip.bound) * max_weight)
    estimate = ratio.numerator.bit_length() - ratio.denominator.bit_length()
    floor = estimate if ratio >= Fraction(2) ** estimate else estimate - 1
    return max(-_MOST_FRACTION_BITS, min(floor, _MOST_FRACTION_BITS))
