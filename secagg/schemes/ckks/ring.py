"""The rings of BFV: a degree, the primes that TenSEAL's library picks for it, a plaintext prime.

Everything is computed here from sizes alone, in integers, so that a party without TenSEAL, as the
aggregator is, knows the same moduli. `cipher_tenseal` checks that the library agrees.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import blake2b

from secagg.errors import ParameterError

__all__ = ["MOST_BITS", "MOST_PLAIN_BITS", "SPECIAL_BITS", "KeyRing", "PlainRing", "next_prime"]

MOST_BITS = {4096: 101, 8192: 202, 16384: 411}
"""Degree -> most bits of all primes together, for 128 bits of security against quantum computers
too, with ternary secrets [HES, table 2]. Stricter than TenSEAL, which checks 109, 218, 438.
"""
MOST_PRIME_BITS = 60
MOST_PLAIN_BITS = 59
"""A plaintext prime has at most 60 bits in TenSEAL, and holds one bit fewer in full."""
SPECIAL_BITS = 17
"""Of the prime that fresh ciphertexts are divided by; the least that exists below degree 16384."""
ERROR_BOUND = 21
"""Largest coefficient of a fresh error: a centered binomial of 2 x 21 bits [SEAL, rlwe.cpp]."""
_BFV = 1
_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)  # decide every integer below 2**64


@dataclass(frozen=True, kw_only=True)
class KeyRing:
    """Where keys live: they do not depend on what is encrypted under them.

    degree: N, coefficients of a polynomial, and slots of a ciphertext. bits: of each of the primes
    whose product q is the modulus of a ciphertext; all alike. count: how many.

    Raises `ParameterError` unless the primes and the special one stay within `MOST_BITS`, and there
    are so many.
    """

    degree: int
    bits: int
    count: int

    def __post_init__(self) -> None:
        most = MOST_BITS.get(self.degree)
        if most is None:
            raise ParameterError(f"degree in {sorted(MOST_BITS)} must hold, got {self.degree}")
        if not SPECIAL_BITS < self.bits <= MOST_PRIME_BITS:
            raise ParameterError(f"17 < bits <= {MOST_PRIME_BITS} must hold, got {self.bits}")
        total = self.count * self.bits + SPECIAL_BITS
        if self.count < 1 or total > most:
            raise ParameterError(
                f"1 <= count and count * bits + {SPECIAL_BITS} <= {most} must hold for 128 bits of "
                f"security, got {self.count} primes of {self.bits} bits"
            )
        if len(self.primes) != self.count + 1:
            raise ParameterError(
                f"{self.count} primes p % {2 * self.degree} == 1 of {self.bits} bits must exist, "
                f"there are {len(self.primes) - 1}"
            )

    @cached_property
    def primes(self) -> tuple[int, ...]:
        """The primes of q, then the special one, as the library orders them."""
        found = itertools.islice(_primes_below(self.bits, 2 * self.degree), self.count)
        special = next(_primes_below(SPECIAL_BITS, 2 * self.degree))
        return (*sorted(found), special)

    @property
    def modulus(self) -> int:
        """q, of a ciphertext."""
        product = 1
        for prime in self.primes[:-1]:
            product *= prime
        return product

    @property
    def least_plain(self) -> int:
        """The least plaintext prime that these keys can have."""
        plain = next_prime(2, 2 * self.degree)
        while plain in self.primes:
            plain = next_prime(plain + 1, 2 * self.degree)
        return plain

    @property
    def noise(self) -> int:
        """Most that a fresh ciphertext's noise can be, in absolute value, rounded up.

        |e u + e0 + e1 s| <= 21 (2 N + 1) before the division by the special prime, which adds a
        rounding of 1/2 to each of the two polynomials: (1 + N) / 2 in all; and 1/2 for scaling the
        message. Worst cases throughout: no honest ciphertext exceeds it.
        """
        before = ERROR_BOUND * (2 * self.degree + 1)
        return -(-before // self.primes[-1]) + self.degree // 2 + 2

    @property
    def words(self) -> int:
        """Residues in one ciphertext: two polynomials, modulo each prime of q."""
        return 2 * self.count * self.degree

    @property
    def key_words(self) -> int:
        """Residues in the public key: two polynomials, modulo every prime."""
        return 2 * (self.count + 1) * self.degree


@dataclass(frozen=True, kw_only=True)
class PlainRing:
    """A `KeyRing` with a plaintext prime t = 1 mod 2 N, so that slots add independently.

    keys: where ciphertexts live. plain: t. summands: fresh ciphertexts in a sum, at most.

    Raises `ParameterError` unless 4 * t * summands * noise <= q: then every sum of honest
    ciphertexts decrypts exactly, without a chance of failure, and to spare by a factor of two.
    """

    keys: KeyRing
    plain: int
    summands: int

    def __post_init__(self) -> None:
        if self.plain % (2 * self.keys.degree) != 1 or not _is_prime(self.plain):
            raise ParameterError(
                f"plain must be a prime with plain % {2 * self.keys.degree} == 1, got {self.plain}"
            )
        if self.plain in self.keys.primes:
            raise ParameterError(f"plain must not be a prime of the ciphertexts, got {self.plain}")
        if self.plain >> (MOST_PLAIN_BITS + 1):
            raise ParameterError(f"plain < 2**{MOST_PLAIN_BITS + 1} must hold, got {self.plain}")
        needed = 4 * self.plain * self.summands * self.keys.noise
        if self.summands < 1 or needed > self.keys.modulus:
            raise ParameterError(
                f"4 * plain * summands * noise <= q must hold, got {needed} > {self.keys.modulus}"
            )

    def identifier(self, *, key: bool) -> bytes:
        """The 32 bytes by which the library knows these parameters.

        key: those of keys, with the special prime.
        """
        primes = self.keys.primes if key else self.keys.primes[:-1]
        numbers = (_BFV, self.keys.degree, *primes, self.plain)
        words = b"".join(number.to_bytes(8, "little") for number in numbers)
        return blake2b(words, digest_size=32).digest()


@cache
def next_prime(least: int, step: int) -> int:
    """The least prime p >= `least` with p % step == 1."""
    first = least + (1 - least) % step
    return next(p for p in itertools.count(first, step) if _is_prime(p))


def _primes_below(bits: int, step: int) -> Iterator[int]:
    """Primes of exactly `bits` bits with p % step == 1, descending."""
    first = (1 << bits) - step + 1
    return (p for p in range(first, 1 << (bits - 1), -step) if _is_prime(p))


@cache
def _is_prime(number: int) -> bool:
    """Miller and Rabin's test, exact below 2**64."""
    if number < 2 or any(number % p == 0 for p in _WITNESSES):
        return number in _WITNESSES
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return not any(_proves_composite(w, number, odd, twos) for w in _WITNESSES)


def _proves_composite(witness: int, number: int, odd: int, twos: int) -> bool:
    power = pow(witness, odd, number)
    if power in (1, number - 1):
        return False
    for _ in range(twos - 1):
        power = power * power % number
        if power == number - 1:
            return False
    return True
