"""Exact inversion of one uniform real per sample, of which only the bits that matter are drawn.

The first 64 bits decide all but about 2**-46 of the samples: one for the sign, 63 against a table.
A sample that they leave open draws more bits and meets finer enclosures, until it is decided. The
law of the output is therefore the law itself, not an approximation (docs/spec/sampling.md).

Table look-ups depend on the noise: they are not constant-time, and an observer of the cache of the
client's own processor may learn about it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dp.sample_law import Enclosure, Law, enclose

__all__ = ["Bits", "Table", "refine", "table"]

PREFIX = 63  # bits of a word that are compared; the last bit of the word is the sign
FIRST_LEVEL = 96  # bits of the enclosures behind the table
MAX_GUIDE = 20  # bits; 4 MiB of int32
_CHUNK = 1 << 16  # samples; words, indices and results stay in the L2 cache
_OPEN = -1


class Bits(Protocol):
    """A source of uniform bits, such as `dp.sample.KeyStream`."""

    def words(self, count: int) -> NDArray[np.uint64]: ...

    def bits(self, count: int) -> int: ...


class Table:
    """Thresholds of |X| at `prefix` bits, and a guide that answers most words with one look-up.

    Tests make `prefix` small, so that ties are frequent.
    """

    def __init__(self, law: Law, prefix: int = PREFIX) -> None:
        self.law = law
        self.prefix = prefix
        self.lower, self.upper = _thresholds(enclose(law, FIRST_LEVEL), prefix)
        self.guide_bits = min(prefix, MAX_GUIDE, max(12, self.lower.size.bit_length() + 4))
        self.guide = self._make_guide()

    def sample(self, count: int, source: Bits) -> NDArray[np.int64]:
        """`count` independent samples of X."""
        found = np.empty(count, np.int64)
        for start in range(0, count, _CHUNK):
            chunk = found[start : start + _CHUNK]
            self._fill(chunk, source)
        return found

    def _fill(self, out: NDArray[np.int64], source: Bits) -> None:
        words = source.words(out.size)
        index = (words >> np.uint64(64 - self.guide_bits)).view(np.int64)
        magnitude = self.guide[index]
        left = np.flatnonzero(magnitude < 0)
        if left.size:
            magnitude[left] = self._search(words[left] >> np.uint64(64 - self.prefix), source)
        # 0 or -1; (x ^ -1) + 1 = -x
        sign = -(words & np.uint64(1)).view(np.int64)
        np.bitwise_xor(magnitude, sign, out=out)
        out -= sign

    def _search(self, prefixes: NDArray[np.uint64], source: Bits) -> NDArray[np.int32]:
        least = np.searchsorted(self.upper, prefixes, "right")
        most = np.searchsorted(self.lower, prefixes, "right")
        for tie in np.flatnonzero(least != most):
            least[tie] = refine(self.law, int(prefixes[tie]), self.prefix, source)
        return least.astype(np.int32)

    def _make_guide(self) -> NDArray[np.int32]:
        """Per value of the leading bits: the answer if it is the same for all that follows."""
        shift = np.uint64(self.prefix - self.guide_bits)
        first = np.arange(1 << self.guide_bits, dtype=np.uint64) << shift
        final = first + np.uint64((1 << int(shift)) - 1)
        least = np.searchsorted(self.upper, first, "right")
        most = np.searchsorted(self.lower, final, "right")
        return np.where(least == most, least, _OPEN).astype(np.int32)


@lru_cache(maxsize=32)
def table(law: Law) -> Table:
    """The table of a law, built once: about 2 microseconds per entry."""
    return Table(law)


def refine(law: Law, prefix: int, known: int, source: Bits) -> int:
    """|X| for a U whose first `known` bits are `prefix`; draws as many more as it takes.

    What level after level leaves open has a probability that tends to 0, so it ends almost surely.
    """
    level, found = FIRST_LEVEL, None
    while found is None:
        prefix, known = prefix << (level - known) | source.bits(level - known), level
        found = _finer(law, level).locate(prefix)
        level *= 2
    return found


_finer = lru_cache(maxsize=2)(enclose)


def _thresholds(enclosure: Enclosure, prefix: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The enclosures, widened to `prefix` bits; what is above the last is left to the tie branch.

    The table ends where its lower end can rise no more, and its last upper end is 1.
    """
    drop = enclosure.bits - prefix
    lower = [value >> drop for value in enclosure.lower]
    size = min(len(lower), 1 + _first_at_least(lower, (1 << prefix) - 1))
    upper = [-(-value >> drop) for value in enclosure.upper[:size]]
    upper[-1] = 1 << prefix  # it is already, unless the last pair is an integer without width
    return np.array(lower[:size], np.uint64), np.array(upper, np.uint64)


def _first_at_least(values: list[int], bound: int) -> int:
    return next((at for at, value in enumerate(values) if value >= bound), len(values))
