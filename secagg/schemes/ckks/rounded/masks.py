"""Masks over ciphertexts: uniform modulo every prime, on the polynomial that holds the message.

Under CKKS plaintexts are no residues, so nothing is uniform among them. Residues of ciphertexts
are, and their sums lose exactly the masks that are taken off.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from secagg.primitives.prg import encryptor
from secagg.schemes.ckks.masks import uniform
from secagg.schemes.ckks.residues import Residues
from secagg.schemes.ckks.ring import KeyRing

__all__ = ["add_masks"]


def add_masks(
    residues: Residues, keys: KeyRing, plus: Sequence[bytes] = (), minus: Sequence[bytes] = ()
) -> None:
    """Add the masks of the seeds in `plus` to ciphertexts, subtract those in `minus`, in place."""
    for seed in plus:
        _fold(residues, keys, seed, negative=False)
    for seed in minus:
        _fold(residues, keys, seed, negative=True)


def _fold(residues: Residues, keys: KeyRing, seed: bytes, *, negative: bool) -> None:
    source = encryptor(seed)
    for first, _ in residues.reshape(-1, 2, keys.count, keys.degree):
        for row, prime in zip(first, keys.primes[:-1], strict=True):
            mask = uniform(source, keys.degree, prime)
            found = row + (np.uint64(prime) - mask if negative else mask)
            # below twice the prime; without it the difference wraps and is never the smaller
            np.minimum(found, found - np.uint64(prime), out=row)
