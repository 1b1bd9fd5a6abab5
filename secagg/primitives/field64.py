"""The field of p = 2**64 - 2**32 + 1 elements, "Goldilocks", in numpy's 64-bit words.

Products of 128 bits are reduced by 2**64 = 2**32 - 1 and 2**96 = -1 (mod p), so that nothing but
shifts, additions and four 32-bit products is needed. `field64` gives the fastest there is.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from secagg.errors import DecodeError
from secagg.primitives.field import Elements, Field

__all__ = ["MODULUS", "Field64", "field64"]

MODULUS = (1 << 64) - (1 << 32) + 1
_P = np.uint64(MODULUS)
_FOLD = np.uint64((1 << 32) - 1)  # 2**64 mod p, and the mask of a low half
_HALF = np.uint64(32)
_BLOCK = 1 << 13  # elements multiplied at a time: temporaries stay in cache
_LIMB = 22  # bits that a float64 adds 2**31 times without rounding
_COLUMNS = 1 << 12  # bytes of a row of draws that are expanded at a time
_SIGNS = np.array([[((b >> 2 * k) & 1) + ((b >> 2 * k + 1) & 1) - 1 for k in range(4)]
                   for b in range(256)], np.float64)  # fmt: skip


class Field64(Field):
    """Without a compiler."""

    modulus = MODULUS
    size = 8
    generator = pow(7, (1 << 32) - 1, MODULUS)
    order = 1 << 32
    dtype: ClassVar[np.dtype[Any]] = np.dtype("<u8")
    compiled: ClassVar[bool] = False
    """Whether a first use waits for a compiler, or for what it has left."""

    def add(self, left: Elements, right: Elements) -> Elements:
        found: Elements = left + right
        found += _FOLD * ((found < left) | (found >= _P))
        return found

    def sub(self, left: Elements, right: Elements) -> Elements:
        found: Elements = left - right
        found -= _FOLD * (left < right)
        return found

    def mul(self, left: Elements, right: Elements) -> Elements:
        left, right = np.broadcast_arrays(left, right)
        found = np.empty(left.shape, self.dtype)
        if not found.size:
            return found
        steps = max(1, _BLOCK // max(1, found[0].size))
        for start in range(0, len(found), steps):
            block = slice(start, start + steps)
            found[block] = _multiply(left[block], right[block])
        return found

    def embed(self, values: NDArray[np.int64]) -> Elements:
        return values.astype(self.dtype) - _FOLD * (values < 0)

    def centered(self, values: Elements) -> NDArray[np.int64]:
        # what is above the middle is 2**64 too much for int64, and 2**64 is p + 2**32 - 1
        return (values + _FOLD * (values > _P // np.uint64(2))).astype(np.int64)

    def total(self, rows: Elements) -> Elements:
        low = (rows & _FOLD).sum(axis=1, dtype=self.dtype)
        high = (rows >> _HALF).sum(axis=1, dtype=self.dtype)  # both below 2**64 for 2**32 terms
        return self.add(_reduce(low), self.mul(_reduce(high), np.array([1 << 32], self.dtype)))

    def accept(self, stream: bytes) -> Elements:
        words = np.frombuffer(stream, self.dtype)
        return words[words < _P]

    def encode(self, values: Elements) -> bytes:
        return values.astype(self.dtype, copy=False).tobytes()

    def decode(self, data: bytes | memoryview) -> Elements:
        if len(data) % self.size:
            raise DecodeError(f"{len(data)} bytes are no whole number of field elements")
        words = np.frombuffer(data, self.dtype)
        if np.any(words >= _P):
            raise DecodeError("a field element is not canonical")
        return words

    def ternary(self, values: Elements, draws: NDArray[np.uint8]) -> Elements:
        sums = np.zeros((len(draws), 3), np.float64)
        for start in range(0, draws.shape[1], _COLUMNS):
            part = values[4 * start : 4 * (start + _COLUMNS)]
            signs = _SIGNS[draws[:, start : start + _COLUMNS]].reshape(len(draws), -1)
            sums += signs[:, : len(part)] @ _limbs(part)
        return self.array([sum(int(s) << _LIMB * i for i, s in enumerate(row)) for row in sums])


def _multiply(left: Elements, right: Elements) -> Elements:
    l0, l1 = left & _FOLD, left >> _HALF
    r0, r1 = right & _FOLD, right >> _HALF
    low, cross, across, high = l0 * r0, l0 * r1, l1 * r0, l1 * r1
    middle = (low >> _HALF) + (cross & _FOLD) + (across & _FOLD)
    low = (low & _FOLD) | (middle << _HALF)
    high += (cross >> _HALF) + (across >> _HALF) + (middle >> _HALF)
    top = high >> _HALF
    found = low - top
    found -= _FOLD * (low < top)
    folded = (high & _FOLD) * _FOLD
    found += folded
    found += _FOLD * (found < folded)
    return _reduce(found)


def _reduce(words: Elements) -> Elements:
    """Any words below 2**64, modulo p."""
    return words - _P * (words >= _P)


def _limbs(values: Elements) -> NDArray[np.float64]:
    """(n,) -> (n, 3): 22, 22 and 20 bits of each, from the lowest."""
    mask = np.uint64((1 << _LIMB) - 1)
    shifts = np.arange(0, 3 * _LIMB, _LIMB, dtype=np.uint64)
    return ((values[:, None] >> shifts) & mask).astype(np.float64)


@cache
def field64() -> Field64:
    """The fastest there is: compiled with the extra `fast`, bit for bit the same."""
    if find_spec("numba") is None:
        return Field64()
    from secagg.kernels.field64_numba import Field64Numba  # noqa: PLC0415 -- seconds to import

    return Field64Numba()
