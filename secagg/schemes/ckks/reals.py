"""The rings of CKKS and what goes where: one coordinate to a slot, two coefficients for each slot.

Every error that a decryption can have is bounded here, in the worst case, by a quarter: so what is
rounded to the next integer is the sum, whatever the noise was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from secagg.errors import ParameterError
from secagg.primitives.ring import Words, centered, reduce, word
from secagg.schemes.ckks.layout import CHECK_BITS
from secagg.schemes.ckks.ring import MOST_BITS, MOST_PRIME_BITS, SPECIAL_BITS, KeyRing

__all__ = ["RealRing", "Reals", "RoundedLayout", "rounded_layout"]

Reals = NDArray[np.float64]

_CKKS = 2
_EIGHTH = 3
_FLOAT_UNITS = 16
"""Units of 2^-53 that one of log2 N steps of the library's transform is off by at most, relative to
the L2 norm. [Higham02, theorem 24.2] has 7 for twiddle factors that are right to the last place.
"""
_QUARTER = 0.25


@dataclass(frozen=True, kw_only=True)
class RealRing:
    """A `KeyRing` with a scale: a slot holds a real number, times 2^scale_bits, and an error.

    summands: fresh ciphertexts in a sum, at most. largest: absolute value of a slot of each.

    Raises `ParameterError` with the inequality unless decryption is off by less than a quarter:
    noise and rounding in N coefficients, and the library's transforms in floating point, may have
    an eighth each.
    """

    keys: KeyRing
    scale_bits: int
    summands: int
    largest: int

    def __post_init__(self) -> None:
        total, scale = self.summands * self.largest, 1 << self.scale_bits
        noise = self.summands * self.keys.degree * (self.keys.noise + 1) << _EIGHTH
        if self.summands < 1 or self.largest < 1 or noise > scale:
            raise ParameterError(
                f"8 * summands * degree * (noise + 1) <= 2**scale_bits must hold, got {noise} and "
                f"scale_bits = {self.scale_bits}"
            )
        if 4 * scale * total > self.keys.modulus:
            raise ParameterError(
                f"4 * 2**scale_bits * summands * largest <= q must hold, got {4 * scale * total} > "
                f"{self.keys.modulus}"
            )
        steps = 2 * _FLOAT_UNITS * (self.keys.degree.bit_length() - 1)
        floats = steps * (math.isqrt(self.keys.degree - 1) + 1) * total << _EIGHTH
        if floats > 1 << 53:
            raise ParameterError(
                "256 * log2(degree) * sqrt(degree) * summands * largest <= 2**53 must hold, got "
                f"{floats}"
            )

    @property
    def scale(self) -> float:
        """What reals are multiplied by."""
        return math.ldexp(1.0, self.scale_bits)

    def identifier(self, *, key: bool) -> bytes:
        """The 32 bytes by which the library knows these parameters."""
        primes = self.keys.primes if key else self.keys.primes[:-1]
        numbers = (_CKKS, self.keys.degree, *primes, 0)
        words = b"".join(number.to_bytes(8, "little") for number in numbers)
        return blake2b(words, digest_size=32).digest()


@dataclass(frozen=True, kw_only=True)
class RoundedLayout:
    """One way to encrypt vectors of `length` residues of `width` bits, summed over `clients`."""

    clients: int
    length: int
    width: int
    ring: RealRing

    @property
    def slots(self) -> int:
        """Of a ciphertext: half its degree."""
        return self.ring.keys.degree // 2

    @property
    def zeros(self) -> int:
        """Slots at the end of each block that must sum to zero."""
        return -(-CHECK_BITS // self.width)

    @property
    def blocks(self) -> int:
        """Ciphertexts of a vector."""
        return -(-self.length // (self.slots - self.zeros))

    @cached_property
    def words(self) -> int:
        """Residues of all ciphertexts of a vector."""
        return self.blocks * self.ring.keys.words

    @property
    def size(self) -> int:
        """Bytes of all ciphertexts of a vector on the wire."""
        return (self.words * self.ring.keys.bits + 7) // 8

    def reals(self, vector: Words) -> Reals:
        """(length,) residues -> (blocks, slots): the signed integers that they stand for."""
        step = self.slots - self.zeros
        padded = np.zeros(self.blocks * step)
        padded[: self.length] = centered(vector, self.width)
        out = np.zeros((self.blocks, self.slots))
        out[:, :step] = padded.reshape(self.blocks, step)
        return out

    def opened(self, reals: Reals, summands: int) -> Words | None:
        """What was decrypted (blocks, slots) -> (length,); None for what is no sum of so many.

        Every slot must be within a quarter of an integer that a sum can be, and zeros of zero.
        """
        if not np.all(np.abs(reals) <= summands * self.ring.largest + _QUARTER):  # NaN is not
            return None
        whole, step = np.rint(reals), self.slots - self.zeros
        if np.any(np.abs(reals - whole) > _QUARTER) or np.any(whole[:, step:]):
            return None
        data = whole[:, :step].reshape(-1)[: self.length].astype(np.int64).view(np.uint64)
        return reduce(data, self.width).astype(word(self.width))


@lru_cache(maxsize=64)
def rounded_layout(clients: int, length: int, width: int) -> RoundedLayout:
    """The layout with the fewest bytes.

    Raises `ParameterError` where floating point does not hold `clients` times the largest value.
    """
    found = list(_layouts(clients, length, width))
    if not found:
        raise ParameterError(
            "256 * log2(degree) * sqrt(degree) * clients * 2**(width - 1) <= 2**53 must hold for "
            f"degree 4096, got {clients} clients and a width of {width}: take the exact mode"
        )
    return min(found, key=lambda shape: (shape.size, shape.ring.keys.degree))


def _layouts(clients: int, length: int, width: int) -> Iterator[RoundedLayout]:
    for degree in MOST_BITS:
        ring = _ring(degree, clients, 1 << (width - 1))
        if ring is not None:
            yield RoundedLayout(clients=clients, length=length, width=width, ring=ring)


def _ring(degree: int, summands: int, largest: int) -> RealRing | None:
    """The smallest ring of this degree; None if there is none."""
    for total in range(SPECIAL_BITS + 2, MOST_BITS[degree] - SPECIAL_BITS + 1):
        count = -(-total // MOST_PRIME_BITS)
        if total % count or total // count <= SPECIAL_BITS:
            continue
        try:
            keys = KeyRing(degree=degree, bits=total // count, count=count)
            bits = (8 * summands * degree * (keys.noise + 1) - 1).bit_length()
            return RealRing(keys=keys, scale_bits=bits, summands=summands, largest=largest)
        except ParameterError:
            continue
    return None
