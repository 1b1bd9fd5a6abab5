"""Vectors over Z_{2^width}: words that hold them, and b bits on the wire for b bits of residue.

A residue lives in the smallest machine word that holds it. Sums may run over the word's own
modulus, a multiple of 2**width, and are reduced once at the end.
"""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.errors import DecodeError, InputRefused, ParameterError

__all__ = [
    "Words",
    "centered",
    "check_vector",
    "check_width",
    "pack",
    "packed_size",
    "reduce",
    "unpack",
    "word",
]

Words = NDArray[Any]
"""One-dimensional array of `word(width)`: uint16, uint32 or uint64."""

_BLOCK = 1 << 13  # groups packed at a time: the working set stays in the second-level cache


def check_width(width: int) -> int:
    """`width`, or `ParameterError` unless it is an integer with 2 <= width <= 64."""
    if isinstance(width, bool) or not isinstance(width, int) or not 2 <= width <= 64:
        raise ParameterError(f"2 <= width <= 64 must hold for the ring Z_2^width, got {width!r}")
    return width


def word(width: int) -> np.dtype[Any]:
    """The smallest little-endian unsigned dtype that holds a residue."""
    return np.dtype("<u2" if width <= 16 else "<u4" if width <= 32 else "<u8")


def check_vector(value: object, length: int, width: int) -> Words:
    """`value`, or `InputRefused` unless it is an array of `length` residues of `width` bits.

    The dtype must be `word(width)` itself: a silent cast could wrap.
    """
    dtype = word(width)
    if type(value) is not np.ndarray or value.dtype != dtype:  # a masked array hides residues
        found = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise InputRefused(f"a ring vector is an array of {dtype}, got {found}")
    if value.shape != (length,):
        raise InputRefused(f"a ring vector of this round has shape ({length},), got {value.shape}")
    if width < dtype.itemsize * 8 and length and int(value.max()) >> width:
        raise InputRefused(f"a residue at position {int(value.argmax())} has over {width} bits")
    return value


def reduce(values: Words, width: int) -> Words:
    """`values` modulo 2**width, in place."""
    if width < values.itemsize * 8:
        values &= values.dtype.type((1 << width) - 1)
    return values


def centered(values: Words, width: int) -> NDArray[np.int64]:
    """The representative of each residue in [-2**(width-1), 2**(width-1))."""
    shift = np.int64(64 - width)
    lifted: NDArray[np.int64] = values.astype("<u8").view("<i8")
    lifted <<= shift  # the sign bit of the residue becomes the sign bit of the word …
    lifted >>= shift  # … and the arithmetic shift back copies it down
    return lifted


def packed_size(length: int, width: int) -> int:
    """Bytes that `length` residues of `width` bits take on the wire."""
    return (length * width + 7) // 8


def pack(values: Words, width: int) -> bytes:
    """`values` in [0, 2**width) as a little-endian bit stream, `width` bits each, zero padded."""
    if width == values.itemsize * 8:
        return values.astype(word(width), copy=False).tobytes()
    group, lanes = _grouping(width)
    count = -(-values.size // group)
    padded = np.zeros(count * group, "<u8")
    padded[: values.size] = values
    table = padded.reshape(count, group)
    out = np.zeros((count, lanes), "<u8")
    for start in range(0, count, _BLOCK):
        _pack_block(table[start : start + _BLOCK], out[start : start + _BLOCK], width)
    return out.tobytes()[: packed_size(values.size, width)]


def unpack(data: bytes | memoryview, length: int, width: int) -> Words:
    """The inverse of `pack`: a fresh array of `length` words.

    Raises `DecodeError` on another length, and on padding bits that are not zero: one vector has
    one encoding.
    """
    size = packed_size(length, width)
    if len(data) != size:
        raise DecodeError(f"a packed vector of {len(data)} bytes where {size} are due")
    dtype = word(width)
    if width == dtype.itemsize * 8:
        return np.frombuffer(data, dtype).copy()
    spare = -length * width % 8
    if spare and data[-1] >> (8 - spare):
        raise DecodeError("padding bits of a packed vector are not zero")
    group, lanes = _grouping(width)
    count = -(-length // group)
    padded = np.zeros(count * lanes * 8, np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    table = padded.view("<u8").reshape(count, lanes)
    out = np.empty((count, group), dtype)
    for start in range(0, count, _BLOCK):
        _unpack_block(table[start : start + _BLOCK], out[start : start + _BLOCK], width)
    return out.reshape(-1)[:length]


def _grouping(width: int) -> tuple[int, int]:
    """The fewest residues that fill whole 64-bit lanes, and how many lanes they fill."""
    common = gcd(width, 64)
    return 64 // common, width // common


def _pack_block(table: NDArray[np.uint64], out: NDArray[np.uint64], width: int) -> None:
    for column in range(table.shape[1]):
        lane, shift = divmod(column * width, 64)
        values = table[:, column]
        out[:, lane] |= values << np.uint64(shift)
        if shift + width > 64:
            out[:, lane + 1] |= values >> np.uint64(64 - shift)


def _unpack_block(table: NDArray[np.uint64], out: Words, width: int) -> None:
    mask = np.uint64((1 << width) - 1)
    for column in range(out.shape[1]):
        lane, shift = divmod(column * width, 64)
        values = table[:, lane] >> np.uint64(shift)
        if shift + width > 64:
            values |= table[:, lane + 1] << np.uint64(64 - shift)
        out[:, column] = values & mask
