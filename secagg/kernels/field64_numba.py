"""`Field64`, compiled: needs the extra `fast`."""

from __future__ import annotations

from typing import ClassVar

import numba
import numpy as np
from numpy.typing import NDArray

from secagg.primitives.field import Elements
from secagg.primitives.field64 import MODULUS, Field64

__all__ = ["Field64Numba"]

_P = np.uint64(MODULUS)
_FOLD = np.uint64((1 << 32) - 1)
_HALF = np.uint64(32)
_ONE = np.uint64(1)
_WIDE = 32  # columns transformed together: 2**12 rows of them fit the second-level cache
_PART = 1 << 11  # bytes of draws per pass: the values they weigh stay in the first-level cache


class Field64Numba(Field64):
    """The loops that proofs spend their time in, one pass each."""

    compiled: ClassVar[bool] = True

    def mul(self, left: Elements, right: Elements) -> Elements:
        left, right = np.broadcast_arrays(left, right)
        found = np.empty(left.shape, self.dtype)
        _mul(np.ascontiguousarray(left).ravel(), np.ascontiguousarray(right).ravel(), found.ravel())
        return found

    def inner(self, left: Elements, right: Elements) -> Elements:
        found = np.empty(len(left), self.dtype)
        _inner(np.ascontiguousarray(left), np.ascontiguousarray(right), found)
        return found

    def combine(self, weights: Elements, rows: Elements) -> Elements:
        found = np.zeros(rows.shape[1], self.dtype)
        _combine(np.ascontiguousarray(weights), np.ascontiguousarray(rows), found)
        return found

    def butterflies(self, values: Elements, roots: Elements) -> None:
        _butterflies(values, roots, _WIDE)

    def ternary(self, values: Elements, draws: NDArray[np.uint8]) -> Elements:
        sums = np.zeros((2, len(draws) + 1), np.uint64)
        _ternary(np.ascontiguousarray(values), np.ascontiguousarray(draws), sums, _PART)
        *found, less = [low + (high << 32) for low, high in sums.T.tolist()]
        return self.array([one - less for one in found])


@numba.njit(inline="always")
def _product(a, b):  # type: ignore[no-untyped-def]
    a0, a1 = a & _FOLD, a >> _HALF
    b0, b1 = b & _FOLD, b >> _HALF
    low, cross, across = a0 * b0, a0 * b1, a1 * b0
    middle = (low >> _HALF) + (cross & _FOLD) + (across & _FOLD)
    low = (low & _FOLD) | (middle << _HALF)
    high = a1 * b1 + (cross >> _HALF) + (across >> _HALF) + (middle >> _HALF)
    top = high >> _HALF
    found = low - top
    if low < top:
        found -= _FOLD
    folded = (high & _FOLD) * _FOLD
    found += folded
    if found < folded:
        found += _FOLD
    return found - _P if found >= _P else found


@numba.njit(inline="always")
def _sum(a, b):  # type: ignore[no-untyped-def]
    found = a + b
    return found + _FOLD if found < a or found >= _P else found


@numba.njit(cache=True)
def _mul(left, right, found):  # type: ignore[no-untyped-def]
    for at in range(found.size):
        found[at] = _product(left[at], right[at])


@numba.njit(cache=True)
def _inner(left, right, found):  # type: ignore[no-untyped-def]
    for row in range(found.size):
        total = np.uint64(0)
        for at in range(left.shape[1]):
            total = _sum(total, _product(left[row, at], right[row, at]))
        found[row] = total


@numba.njit(cache=True)
def _combine(weights, rows, found):  # type: ignore[no-untyped-def]
    for row in range(weights.size):
        weight = weights[row]
        for at in range(found.size):
            found[at] = _sum(found[at], _product(weight, rows[row, at]))


@numba.njit(cache=True)
def _butterflies(values, roots, wide):  # type: ignore[no-untyped-def]
    size, width = values.shape
    for first in range(0, width, wide):
        last = min(first + wide, width)
        half = 1
        while half < size:
            step = size // (2 * half)
            for start in range(0, size, 2 * half):
                for j in range(half):
                    root, one, two = roots[j * step], start + j, start + j + half
                    for at in range(first, last):
                        even, odd = values[one, at], _product(values[two, at], root)
                        values[one, at] = _sum(even, odd)
                        values[two, at] = even - odd - (_FOLD if even < odd else np.uint64(0))
            half *= 2


@numba.njit(cache=True)
def _ternary(values, draws, sums, part):  # type: ignore[no-untyped-def]
    """Sums of both halves, weighed by 0, 1 and 2 in each row, and of the values themselves last."""
    checks, size = draws.shape
    low, high = np.zeros((4, part), np.uint64), np.zeros((4, part), np.uint64)
    for first in range(0, size, part):
        for at in range(4 * part):
            place = 4 * first + at
            value = values[place] if place < values.size else np.uint64(0)
            low[at & 3, at >> 2], high[at & 3, at >> 2] = value & _FOLD, value >> _HALF
        sums[0, checks] += low.sum()
        sums[1, checks] += high.sum()
        for check in range(checks):
            row = draws[check, first : first + part]
            for k in range(4):
                a, b, shift = np.uint64(0), np.uint64(0), np.uint8(2 * k)
                lows, highs = low[k], high[k]
                for at in range(row.size):
                    pair = np.uint64(row[at] >> shift)
                    twice = (pair & _ONE) + ((pair >> _ONE) & _ONE)
                    a += twice * lows[at]
                    b += twice * highs[at]
                sums[0, check] += a
                sums[1, check] += b
