"""Noise in layers: what drop-outs made necessary, and did not need, is taken off the sum again.

    levels 0 = j_0 < j_1 < ... < j_m     numbers of clients that may be missing
    v(j) = h v / (h + j_m - j)           variance of one client's noise if exactly j are
    layer 0 of v(j_0), layer i of v(j_i) - v(j_(i-1)): together the share v = v(j_m)

Each client adds all its layers before it knows who will be missing. Once d are known to be, the
layers above the least level that is not below d are excess: the others make up the promised noise
without them. Layers above 0 are drawn from keys in a chain, so that 32 bytes let the server draw
all excess of one client again, and tell it nothing of the layers that stay. The idea is that of
Dordis [Jiang24]; levels, keys and the count of colluding clients are ours. Proofs:
docs/spec/mechanism.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise
from math import ceil

import numpy as np
from numpy.typing import NDArray

from dp.errors import require
from dp.noise import MOST_SUMMED, DivisibleNoise, whole
from dp.parties import ByClients
from dp.sample import KEY_SIZE, Rand

__all__ = ["ByLayers", "spaced"]

EXCESS = Fraction(9, 8)  # of variance that `spaced` levels leave at most; 6 % of a deviation
_PERSON = b"dp noise layers."

_Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ByLayers(ByClients):
    """As `ByClients`, and the sum of a round in which fewer dropped out can be relieved of excess.

    Attributes
    ----------
    noise: v, what one client adds in all; divisible.
    parts: h, the honest clients that are left if as many are missing as may be.
    levels: from 0 to the most that may be missing, strictly ascending.

    Raises `ParameterError` for other levels, noise that is no `DivisibleNoise`, and a layer whose
    variance would be below 2**-32.
    """

    noise: DivisibleNoise
    levels: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = type(self.noise).__name__
        require(isinstance(self.noise, DivisibleNoise), f"noise: a DivisibleNoise, not {kind},")
        require(type(self.levels) is tuple, f"levels: a tuple, not {self.levels!r},")
        levels = tuple(whole("levels", level, 0) for level in self.levels)
        rising = levels[:1] == (0,) and all(low < high for low, high in pairwise(levels))
        require(rising, f"levels: 0, then ascending, not {self.levels!r},")
        object.__setattr__(self, "levels", levels)
        self.layers  # noqa: B018  raises for a layer too thin

    @property
    def most(self) -> int:
        """N = h + j_m: the honest clients if nobody is missing."""
        return self.parts + self.levels[-1]

    @cached_property
    def layers(self) -> tuple[DivisibleNoise, ...]:
        """The laws of the layers. Their sum has the law of `noise`, exactly."""
        shares = [Fraction(self.parts, self.most - level) for level in self.levels]
        steps = [shares[0], *(high - low for low, high in pairwise(shares))]
        return tuple(_part(self.noise, step) for step in steps)

    def kept(self, missing: int) -> int:
        """How many layers, from 0 on, stay in the noise of a client if `missing` are not there."""
        found = bisect_left(self.levels, whole("missing", missing, 0))
        return min(found + 1, len(self.levels))

    def remaining(self, missing: int) -> DivisibleNoise:
        """The law of the layers that stay."""
        level = self.levels[self.kept(missing) - 1]
        return _part(self.noise, Fraction(self.parts, self.most - level))

    def sample(self, length: int, rand: Rand, key: bytes) -> _Integers:
        """All layers of one client, int64 (length,).

        `key` is 32 secret bytes of this one sum, from which the layers above 0 are drawn; layer 0
        reads 32 bytes of `rand`. Raises `ParameterError` for another key.
        """
        return self.layers[0].sample(length, rand) + self.excess([key], 0, length)

    def disclosed(self, key: bytes, missing: int) -> bytes | None:
        """What lets others draw the excess of this client again, 32 bytes; None if it has none.

        To be disclosed for one number of `missing` only: that for less of them opens more layers.
        """
        first = self.kept(missing)
        if first == len(self.layers):
            return None
        _check_key(key)
        for _ in range(1, first):
            _, key = _expanded(key)
        return key

    def excess(self, disclosed: Iterable[bytes], missing: int, length: int) -> _Integers:
        """What clients disclosed for `missing`, drawn and added up: int64 (length,).

        Raises `ParameterError` for what is not 32 bytes.
        """
        total = np.zeros(length, np.int64)
        keys, first = list(disclosed), self.kept(missing)
        # layer by layer: a table of thresholds is built once, however many clients there are
        for law in self.layers[first:]:
            for at, state in enumerate(keys):
                _check_key(state)
                drawn, keys[at] = _expanded(state)
                total += law.sample(length, _Key(drawn))
        return total


class _Key:
    """A `Rand` that has one key, for one sampler."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, _size: int) -> bytes:
        return self._key


def spaced(parts: int, most: int) -> tuple[int, ...]:
    """Levels for `parts` = h of `most` = N honest clients, as few as `EXCESS` allows.

    With d missing, (N - d) / (N - j) times the promised variance is left. Each level j is the
    highest that keeps it within `EXCESS` for the least d above the level before.
    """
    levels, last = [0], most - whole("parts", parts, 1)
    require(last >= 0, f"parts <= most, not {parts} and {most},")
    while levels[-1] < last:
        least = ceil((most - levels[-1] - 1) / EXCESS)
        levels.append(min(most - least, last))
    return tuple(levels)


def _part(noise: DivisibleNoise, share: Fraction) -> DivisibleNoise:
    """The law of so large a part of `noise`, 0 < share <= 1."""
    count, parts = share.as_integer_ratio()
    # in the order whose middle is a law that there is: one may be too thin, the other too wide
    if noise.sigma_squared * count <= MOST_SUMMED:
        law, distance = noise.summed(count)
        law = law.share(parts) if isinstance(law, DivisibleNoise) else law
    else:
        law, distance = noise.share(parts).summed(count)
    require(distance == 0, f"noise: one whose sums are of its kind, not {type(noise).__name__},")
    return law


def _expanded(state: bytes) -> tuple[bytes, bytes]:
    """The key of one layer, and the state that the keys of all layers above it follow from.

    A generator whose states tell nothing of what it gave before [Bellare03], by a keyed hash.
    """
    both = blake2b(key=state, digest_size=2 * KEY_SIZE, person=_PERSON).digest()
    return both[:KEY_SIZE], both[KEY_SIZE:]


def _check_key(key: object) -> None:
    require(type(key) is bytes and len(key) == KEY_SIZE, f"key: {KEY_SIZE} bytes")
