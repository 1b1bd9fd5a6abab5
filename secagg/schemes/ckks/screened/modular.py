"""Products of small integers with residues, exactly, by floating-point matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["product", "shifted"]

Residues = NDArray[np.uint64]

_LIMB = 30  # bits: of residues below 2^60, two
_STEP = 3  # bits that a residue below 2^60 can be shifted by
_CHUNK = 64  # rows that are floating-point numbers at a time


def product(
    signs: NDArray[np.int8], values: Residues, moduli: Residues | np.uint64
) -> NDArray[np.uint64]:
    """Signs (..., r, b) of -1, 0 and 1 times values (..., b, w): (..., r, w), modulo `moduli`.

    moduli: one below 2^60, or (w,) of them. Exact up to b = 2^22: a limb has 30 bits, a sum of them
    at most 52.
    """
    low: Any = 0.0
    high: Any = 0.0
    for start in range(0, values.shape[-2], _CHUNK):
        part = values[..., start : start + _CHUNK, :]
        some = signs[..., start : start + _CHUNK].astype(np.float64)
        low = low + some @ (part & np.uint64((1 << _LIMB) - 1)).astype(np.float64)
        high = high + some @ (part >> np.uint64(_LIMB)).astype(np.float64)
    found = shifted(_residues(high, moduli), _LIMB, moduli)
    return (found + _residues(low, moduli)) % moduli


def shifted(values: Residues, bits: int, moduli: Residues | np.uint64) -> Residues:
    """2^bits times values (..., w), modulo `moduli`: one below 2^60, or (w,) of them."""
    found = values.copy()
    for start in range(0, bits, _STEP):
        found <<= np.uint64(min(_STEP, bits - start))
        found %= moduli
    return found


def _residues(sums: Any, moduli: Residues | np.uint64) -> Residues:
    found: Residues = np.mod(sums.astype(np.int64), moduli.astype(np.int64)).astype(np.uint64)
    return found
