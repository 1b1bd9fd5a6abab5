"""Ciphertexts as what they are, vectors of residues: checked, packed, added. No native code.

Adding two BFV ciphertexts is adding their residues, so the aggregator needs neither TenSEAL nor any
parser of its formats: a ciphertext vector has one size and one encoding, and every residue below
its prime is valid.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from secagg.errors import DecodeError
from secagg.primitives.ring import pack, unpack
from secagg.schemes.ckks.ring import KeyRing

__all__ = [
    "Residues",
    "add",
    "moduli",
    "pack_key",
    "pack_residues",
    "unpack_key",
    "unpack_residues",
]

Residues = NDArray[np.uint64]
"""(words,): by block, polynomial, prime, coefficient."""


def pack_residues(residues: Residues, keys: KeyRing) -> bytes:
    """The one encoding of a ciphertext vector."""
    return pack(residues, keys.bits)


def unpack_residues(data: bytes | memoryview, words: int, keys: KeyRing) -> Residues:
    """A fresh vector of `words` residues; `DecodeError` for another size or encoding."""
    return _below(_unpacked(data, words, keys), _primes(keys, key=False))


def pack_key(residues: Residues, keys: KeyRing) -> bytes:
    """The one encoding of a public key, which has residues modulo the special prime too."""
    return pack(residues, keys.bits)


def unpack_key(data: bytes, keys: KeyRing) -> Residues:
    """A public key (key_words,); `DecodeError` for another size or a residue beyond its prime."""
    return _below(_unpacked(data, keys.key_words, keys), _primes(keys, key=True))


def add(total: Residues, residues: Residues, keys: KeyRing) -> None:
    """Add ciphertexts to `total`, in place."""
    primes = _primes(keys, key=False)
    rows = total.reshape(-1, *primes.shape)
    rows += residues.reshape(rows.shape)
    # below twice the prime; without it the difference wraps around and is never the smaller one
    np.minimum(rows, rows - primes, out=rows)


def moduli(keys: KeyRing) -> Residues:
    """The modulus of each residue of a ciphertext, (words,)."""
    return np.tile(_primes(keys, key=False), 2)


@lru_cache(maxsize=8)
def _primes(keys: KeyRing, *, key: bool) -> Residues:
    """The modulus of each residue of one polynomial, (primes, 1, or degree)."""
    primes = np.array(keys.primes if key else keys.primes[:-1], "<u8")
    moduli = np.repeat(primes, keys.degree)
    moduli.flags.writeable = False
    return moduli


def _unpacked(data: bytes | memoryview, words: int, keys: KeyRing) -> Residues:
    return unpack(data, words, keys.bits).astype("<u8", copy=False)


def _below(residues: Residues, primes: Residues) -> Residues:
    if np.any(residues.reshape(-1, *primes.shape) >= primes):
        raise DecodeError("a residue is not below its prime")
    return residues
