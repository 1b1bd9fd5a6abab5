"""The first words of many Mersenne Twisters at once: how fast seeds can be tried.

`numpy.random.RandomState(seed)` and Python's peers of it start from 32 bits. The first outputs need
but two thirds of the state, and that for thousands of seeds in each vector operation [Matsumoto98].

[Matsumoto98]  Matsumoto, Nishimura: Mersenne Twister, ACM TOMACS 8, 1998.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dp.errors import require

__all__ = ["MOST_WORDS", "first_words"]

MOST_WORDS = 200
_MIDDLE = 397
_U32 = np.uint32
_Words = NDArray[np.uint32]


def first_words(seeds: _Words, count: int) -> _Words:
    """What `RandomState(seed)` draws first, uint32 (count, s), for seeds uint32 (s,).

    Raises `ParameterError` unless 1 <= count <= 200.
    """
    require(1 <= count <= MOST_WORDS, f"1 <= count <= {MOST_WORDS}, not {count!r},")
    state = np.empty((_MIDDLE + count, seeds.size), _U32)
    state[0] = seeds
    for at in range(1, len(state)):
        before = state[at - 1]
        state[at] = _U32(1812433253) * (before ^ (before >> _U32(30))) + _U32(at)
    joined = (state[:count] & _U32(0x80000000)) | (state[1 : count + 1] & _U32(0x7FFFFFFF))
    odd = (joined & _U32(1)) * _U32(0x9908B0DF)
    return _tempered(state[_MIDDLE:] ^ (joined >> _U32(1)) ^ odd)


def _tempered(words: _Words) -> _Words:
    words = words ^ (words >> _U32(11))
    words = words ^ ((words << _U32(7)) & _U32(0x9D2C5680))
    words = words ^ ((words << _U32(15)) & _U32(0xEFC60000))
    tempered: _Words = words ^ (words >> _U32(18))
    return tempered
