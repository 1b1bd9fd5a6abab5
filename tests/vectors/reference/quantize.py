"""Fixed-point numbers with halves to even, for vectors within their clip bound.

Only what floating point gives alike everywhere is covered: one product per coordinate, rounded to
binary64 and then to an integer. Vectors beyond a norm bound are scaled, and are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from reference.refused import require

__all__ = ["decode", "encode", "ring_width"]


def ring_width(plan: Mapping[str, Any]) -> int:
    """The smallest ring in which a cohort of clients at their bounds does not wrap."""
    largest: int = plan["cohort"] * _bound(plan)
    return largest.bit_length() + 1


def encode(plan: Mapping[str, Any], vector: Sequence[float], weight: int, width: int) -> list[int]:
    """The residues of the weight, then of round(2^f * weight * clip(x)) for each coordinate."""
    clipped = [_clip(plan, x) for x in vector]
    scale = math.ldexp(weight, plan["fraction_bits"])
    integers = [round(x * scale) for x in clipped]  # halves to even
    limit = _bound({**plan, "max_weight": weight})
    if plan["clip"] == "norm":
        exact = sum(Fraction(x) ** 2 for x in vector)
        require(exact <= Fraction(plan["bound"]) ** 2, "the vector is within the norm bound")
        require(sum(q * q for q in integers) <= limit**2, "and so are its integers")
    return [value % 2**width for value in (weight, *integers)]


def decode(plan: Mapping[str, Any], total: Sequence[int], width: int) -> tuple[list[float], int]:
    """The weighted mean and the total weight of a sum of encodings."""
    weight, *integers = (value - 2**width * (value >> width - 1) for value in total)
    return [value / math.ldexp(weight, plan["fraction_bits"]) for value in integers], weight


def _clip(plan: Mapping[str, Any], x: float) -> float:
    bound: float = plan["bound"]
    return min(max(x, -bound), bound) if plan["clip"] == "range" else x


def _bound(plan: Mapping[str, Any]) -> int:
    """The largest integer of a client: rounded up for a range, down for a norm."""
    units: Fraction = Fraction(plan["bound"]) * Fraction(2) ** plan["fraction_bits"]
    units *= plan["max_weight"]
    return math.ceil(units) if plan["clip"] == "range" else math.floor(units)
