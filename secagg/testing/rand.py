"""Reproducible randomness, for tests and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

__all__ = ["SeededRand"]

T = TypeVar("T")
_LABEL = b"secagg test-only randomness\0"


class SeededRand:
    """A `Rand` that repeats itself: never for production, where `os.urandom` is the source.

    Whoever knows the seed knows every key and mask of the round. The bytes are an AES-256-CTR
    stream whose key is SHAKE-256 of the seed. `drawn` counts the bytes handed out.

    HPKE draws its own randomness inside `cryptography`, so two runs from one seed agree in every
    key, mask and share, but not in the sealed parcels that carry the shares.
    """

    def __init__(self, seed: int | str | bytes) -> None:
        self._seed = seed if isinstance(seed, bytes) else repr(seed).encode()
        key = hashlib.shake_256(_LABEL + self._seed).digest(48)
        self._stream = Cipher(algorithms.AES(key[:32]), modes.CTR(key[32:])).encryptor()
        self.drawn = 0

    def __call__(self, size: int) -> bytes:
        self.drawn += size
        return self._stream.update(bytes(size))

    def fork(self, *name: object) -> SeededRand:
        """An independent source that depends on the seed and on `name`, not on what was drawn."""
        return SeededRand(hashlib.shake_256(self._seed + repr(name).encode()).digest(32))

    def below(self, bound: int) -> int:
        """A uniform integer in [0, bound); the bias of 128 bits is below 2**-64."""
        return int.from_bytes(self(16), "little") % bound

    def chance(self, probability: float) -> bool:
        """True with this probability; 0 and 1 are exact."""
        return self.below(1 << 53) < probability * (1 << 53)

    def choice(self, items: Sequence[T]) -> T:
        """One of `items`."""
        return items[self.below(len(items))]

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """`items` in another order."""
        return [
            item for _, _, item in sorted((self(16), at, item) for at, item in enumerate(items))
        ]

    def __repr__(self) -> str:
        return f"SeededRand(TEST ONLY, drawn={self.drawn})"
