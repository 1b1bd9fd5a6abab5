"""Masks over whole slots, uniform modulo the plaintext prime.

They are taken off before lanes are read. A mask on each coordinate modulo 2^width would leave its
wraps in the carries of a lane, where an authority that knows the mask could tell signs by them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import CipherContext

from secagg.primitives.prg import encryptor
from secagg.schemes.ckks.layout import Slots

__all__ = ["add_masks", "uniform"]


def add_masks(
    slots: Slots, plain: int, plus: Sequence[bytes] = (), minus: Sequence[bytes] = ()
) -> None:
    """Add the masks of the seeds in `plus` to (blocks, degree), subtract those in `minus`.

    In place, modulo `plain` < 2^63; slots are below it before and after.
    """
    for seed in plus:
        _fold(slots, plain, seed, lambda mask: mask)
    for seed in minus:
        _fold(slots, plain, seed, lambda mask: np.uint64(plain) - mask)


def _fold(slots: Slots, plain: int, seed: bytes, term: Callable[[Slots], Slots]) -> None:
    source, prime = encryptor(seed), np.uint64(plain)
    for at in range(len(slots)):
        found = slots[at] + term(uniform(source, slots.shape[1], plain))
        # below twice the prime; without it the difference wraps around and is never the smaller
        np.minimum(found, found - prime, out=slots[at])


def uniform(source: CipherContext, count: int, plain: int) -> Slots:
    """(count,): the next words of the stream below a multiple of `plain`, reduced."""
    least = np.uint64((1 << 64) // plain * plain)
    found = np.zeros(0, np.uint64)
    while found.size < count:
        words = np.frombuffer(source.update(bytes(8 * (count - found.size))), "<u8")
        found = np.concatenate([found, words[words < least]])
    return found % np.uint64(plain)
