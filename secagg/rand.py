"""Randomness is an argument: `Rand` is a function from a length to that many uniform bytes.

`os.urandom` already fits. There is no `seed=` anywhere in the library; the reproducible
source for tests is `secagg.testing.SeededRand`, whose name says what it is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from secagg.errors import ParameterError

__all__ = ["Rand", "uniform_below"]

Rand = Callable[[int], bytes]


def uniform_below(bound: int, count: int, rand: Rand) -> NDArray[np.uint64]:
    """`count` independent integers, exactly uniform on [0, bound), by rejection.

    Draws masked to the bit length of `bound - 1` are kept when they are below `bound`, so fewer
    than half are thrown away on average and none is biased.

    Raises `ParameterError` unless 1 <= bound <= 2**64 and count >= 0.
    """
    if not 1 <= bound <= 1 << 64:
        raise ParameterError(f"1 <= bound <= 2**64 must hold, got {bound}")
    if count < 0:
        raise ParameterError(f"count >= 0 must hold, got {count}")
    mask = np.uint64((1 << (bound - 1).bit_length()) - 1)
    kept = np.empty(0, np.uint64)
    while kept.size < count:
        missing = count - kept.size
        draw = np.frombuffer(rand(16 * missing), "<u8") & mask
        if bound < 1 << 64:
            draw = draw[draw < np.uint64(bound)]
        kept = np.concatenate([kept, draw[:missing]])
    return kept
