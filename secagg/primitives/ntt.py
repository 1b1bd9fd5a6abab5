"""Polynomials of length n, a power of two: by values at the n-th roots of unity, or coefficients.

Every function works on columns: (n, …) holds one polynomial in each column.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from secagg.primitives.field import Elements, Field

__all__ = ["coefficients", "double", "evaluate", "lagrange", "next_power"]


def evaluate(field: Field, poly: Elements) -> Elements:
    """Coefficients -> values at w**0, w**1, …, where w = `field.root(n)`."""
    size = len(poly)
    values = np.ascontiguousarray(poly.reshape(size, -1)[_reversal(size)])
    field.butterflies(values, _roots(field, size))
    return values.reshape(poly.shape)


def coefficients(field: Field, values: Elements) -> Elements:
    """The inverse of `evaluate`."""
    size = len(values)
    poly = evaluate(field, values)
    poly = np.concatenate([poly[:1], poly[:0:-1]])
    return field.scale(poly, field.inverse(size))


def double(field: Field, values: Elements) -> Elements:
    """Values at n roots -> values at those between them, the odd powers of the 2n-th root."""
    poly = coefficients(field, values)
    shift = field.powers(field.root(2 * len(values)), len(values))
    return evaluate(field, field.mul(poly, shift.reshape(-1, *[1] * (values.ndim - 1))))


def lagrange(field: Field, point: int, size: int) -> Elements:
    """(size,): weights w with f(point) = sum w[k] f(root**k) for every f of degree below `size`.

    The weight of root**k is 1/n sum_j (point / root**k)**j: an inverse transform of powers.
    """
    return coefficients(field, field.powers(point, size))


def next_power(size: int) -> int:
    """The least power of two that is at least `size` >= 1."""
    return 1 << (size - 1).bit_length()


@lru_cache(maxsize=64)
def _reversal(size: int) -> NDArray[np.intp]:
    order = np.zeros(1, np.intp)
    while order.size < size:
        order = np.concatenate([2 * order, 2 * order + 1])
    order.flags.writeable = False
    return order


@lru_cache(maxsize=64)
def _roots(field: Field, size: int) -> Elements:
    roots = field.powers(field.root(size), max(1, size // 2))
    roots.flags.writeable = False
    return roots
