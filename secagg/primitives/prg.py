"""Mask streams: AES-128-CTR under a key and a counter block that are both derived and secret.

256 derived bits enter each stream (128 of key, 128 of initial counter), so that one of the many
streams of a round is no easier to hit than one alone. AES-CTR runs at memory speed where the
processor has AES instructions; without them it is slower and not constant-time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from secagg.primitives.ring import Words

__all__ = ["KEY_SIZE", "add_streams", "encryptor", "stream"]

KEY_SIZE = 32
_CHUNK = 1 << 17  # bytes: accumulator chunk, keystream chunk and zeros share the L2 cache
_BATCH = 128  # cipher contexts alive at a time; bounds memory for a server with 10**5 masks
_ZEROS = memoryview(bytes(_CHUNK))


def add_streams(
    accumulator: Words, plus: Sequence[bytes] = (), minus: Sequence[bytes] = ()
) -> None:
    """Add to `accumulator` the streams of the keys in `plus`, subtract those in `minus`, in place.

    Arithmetic is that of the accumulator's unsigned dtype. Chunks of the accumulator are the
    outer loop: each stays in cache while every stream passes over it, which is up to twice as
    fast as one whole stream after another.
    """
    signed: list[tuple[bytes, np.ufunc]] = [(key, np.add) for key in plus]
    signed += [(key, np.subtract) for key in minus]
    for start in range(0, len(signed), _BATCH):
        batch = [(encryptor(key), fold) for key, fold in signed[start : start + _BATCH]]
        _fold(accumulator, batch)


def stream(key: bytes, size: int) -> bytes:
    """The first `size` bytes of the stream of `key`."""
    return encryptor(key).update(bytes(size))


def _fold(accumulator: Words, batch: list[tuple[CipherContext, np.ufunc]]) -> None:
    step = _CHUNK // accumulator.itemsize
    buffer = bytearray(_CHUNK + 16)  # update_into wants a block of slack
    words = np.frombuffer(
        buffer, accumulator.dtype.newbyteorder("<"), _CHUNK // accumulator.itemsize
    )
    for start in range(0, accumulator.size, step):
        chunk = accumulator[start : start + step]
        zeros, keystream = _ZEROS[: chunk.nbytes], words[: chunk.size]
        for source, fold in batch:
            source.update_into(zeros, buffer)
            fold(chunk, keystream, out=chunk)


def encryptor(key: bytes) -> CipherContext:
    """The stream of `key` piece by piece: each update turns zeros into its next bytes."""
    if len(key) != KEY_SIZE:
        raise ValueError(f"a stream key has {KEY_SIZE} bytes, got {len(key)}")
    return Cipher(algorithms.AES(key[:16]), modes.CTR(key[16:])).encryptor()
