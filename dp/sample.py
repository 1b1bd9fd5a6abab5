"""Randomness of samplers: a `Rand` gives one 32-byte key, ChaCha20 expands it to uniform words.

Whoever can guess the key can subtract the noise, so `Rand` must be a source of secrets:
`os.urandom` in production. Distributed systems have shipped noise seeded with 32 bits or with the
time of day, and a server finds such a seed by correlating the sum with every candidate.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray

from dp.errors import RandomnessError

__all__ = ["KEY_SIZE", "KeyStream", "Rand", "draw"]

Rand = Callable[[int], bytes]

KEY_SIZE = 32
_NONCE = bytes(16)  # block counter and nonce; a key is used for one stream only


class KeyStream:
    """Uniform bits from ChaCha20 under a fresh key of 32 bytes from `rand`.

    The counter block starts at 0. OpenSSL carries the 32-bit block counter into the next word,
    so that no block repeats within any length that a machine can draw.

    Raises `RandomnessError` if `rand` does not return 32 bytes.
    """

    def __init__(self, rand: Rand) -> None:
        key = draw(KEY_SIZE, rand)
        self._encryptor = Cipher(algorithms.ChaCha20(key, _NONCE), mode=None).encryptor()

    def words(self, count: int) -> NDArray[np.uint64]:
        """`count` uniform integers of [0, 2**64), read-only."""
        return np.frombuffer(self._encryptor.update(bytes(8 * count)), "<u8")

    def bits(self, count: int) -> int:
        """A uniform integer of [0, 2**count)."""
        size = (count + 7) // 8
        return int.from_bytes(self._encryptor.update(bytes(size)), "little") >> (8 * size - count)


def draw(size: int, rand: Rand) -> bytes:
    """`size` bytes of `rand`, whose length is checked: a short read would be a guessable key.

    Raises `RandomnessError` if it is not of `bytes` of that length.
    """
    data = rand(size)
    if not isinstance(data, bytes) or len(data) != size:
        raise RandomnessError(f"rand({size}) must return {size} bytes")
    return data
