"""Keyed 64-bit hashes: of strings one by one and remembered, of numbers by the array.

All sites of a federation share one salt, which no outsider knows: who knows it can look for inputs
that fall into the cells of usual ones.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

__all__ = ["U64", "hash_text", "mix", "mix_step"]

U64 = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_MASK = (1 << 64) - 1


_SHORT = 256  # characters of what is remembered: who sends long texts must not fill the memory


def hash_text(salt: bytes, text: str) -> int:
    """64 bits of BLAKE2b keyed by `salt`."""
    return (_hashed if len(text) < _SHORT else _hashed.__wrapped__)(salt, text)


@lru_cache(maxsize=1 << 17)
def _hashed(salt: bytes, text: str) -> int:
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8, key=salt).digest(), "little")


def mix(*parts: U64) -> U64:
    """One 64-bit number for each row of numbers, by the finalizer of SplitMix64 [Steele14]."""
    state = np.zeros_like(parts[0])
    for part in parts:
        state = (state ^ part) + _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * _FIRST
        state = (state ^ (state >> np.uint64(27))) * _SECOND
        state = state ^ (state >> np.uint64(31))
    return state


def mix_step(state: int) -> int:
    """One part of `mix` for a single number: the next is xored to the result of the last."""
    state = (state + 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)
