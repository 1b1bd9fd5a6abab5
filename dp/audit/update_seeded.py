"""An update from under a mask that was expanded from a short seed.

A mask hides an update only if its seed cannot be guessed. Quantized updates are small in a ring
that has room for a sum, so that a wrong seed shows at the first few coordinates.

It runs on vectors that a test or a benchmark has made up. That the last unknown mask of a client is
one alone happens where all its neighbors but one collude with the server, or in a cohort of two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp.audit.attack import Access, Array, Attack, Goal, View
from dp.audit.mersenne import first_words
from dp.audit.update_any import AnyDirection
from dp.errors import require

__all__ = ["SeedSearch", "ascii_fold", "plain_seeds", "twister_mask"]

Seeds = Callable[[NDArray[np.uint32]], NDArray[np.uint32]]
"""Numbers 0 … 2**bits - 1 (s,) -> the seeds of these numbers (s,)."""

_BATCH = 1 << 15  # of seeds: their states stay in the cache of a processor
_LOOKED_AT = 4


def plain_seeds(numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Every number is a seed."""
    return numbers


def ascii_fold(numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The 2**28 seeds to which text folds, four bytes at a time by exclusive or: all bytes < 128.

    So is the key of Flower's SecAgg+ (1.41), which is base64, before it seeds `RandomState`.
    """
    seven = np.uint32(127)
    found = np.zeros_like(numbers)
    for at in range(4):
        found |= ((numbers >> np.uint32(7 * at)) & seven) << np.uint32(8 * at)
    return found


def twister_mask(seed: int, size: int, width: int) -> NDArray[np.int64]:
    """A mask of `size` residues of `width` <= 32 bits, as `RandomState(seed).randint` draws it."""
    words = np.random.RandomState(seed).randint(0, 2**32, size, dtype=np.uint64)
    return (words & np.uint64(2**width - 1)).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class SeedSearch(Attack):
    """All seeds, one after the other, until one leaves a small vector.

    width: bits of the ring, of which masks are the low bits of one word each. limit: what is masked
    is in 0 … limit - 1, and its middle counts as zero. seeds, bits: which there are, 2**bits.

    Raises `ParameterError` unless 1 <= bits <= 32, 1 <= width <= 32 and 2 <= limit <= 2**width / 4.
    """

    name = "seed search"
    goal = Goal.UPDATE
    needs = frozenset({Access.MASKED})
    width: int
    limit: int
    bits: int
    seeds: Seeds = plain_seeds

    def __post_init__(self) -> None:
        require(1 <= self.bits <= 32, f"1 <= bits <= 32, not {self.bits!r},")
        require(1 <= self.width <= 32, f"1 <= width <= 32, not {self.width!r},")
        fits = 2 <= self.limit <= 2**self.width // 4
        require(fits, f"2 <= limit <= 2**width / 4, not {self.limit!r},")

    @property
    def control(self) -> Attack:
        return AnyDirection()

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        masked = view[Access.MASKED].astype(np.int64)
        for seed in self._candidates(masked[:_LOOKED_AT]):
            found = (masked - twister_mask(seed, masked.size, self.width)) % 2**self.width
            if int(found.max()) < self.limit:
                return np.asarray(found - self.limit / 2)
        return np.zeros(masked.size)

    def _candidates(self, start: NDArray[np.int64]) -> Iterator[int]:
        """Seeds that leave the first coordinates small, of each batch."""
        ring = np.uint32(2**self.width - 1)
        for first in range(0, 2**self.bits, _BATCH):
            numbers = np.arange(first, min(first + _BATCH, 2**self.bits), dtype=np.uint32)
            seeds = self.seeds(numbers)
            words = first_words(seeds, len(start))
            left = (start[:, None].astype(np.uint32) - words) & ring
            yield from seeds[(left < self.limit).all(axis=0)].tolist()
