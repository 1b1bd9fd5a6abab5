"""Extendable output: a seed, a domain tag and a binder in, any number of bytes out.

Two from the specifications, for their published vectors: `HmacAes` [PINE, XofHmacSha256Aes128],
which needs nothing but `cryptography`, and TurboSHAKE128 in `xof_turboshake`. The production suite
uses the first, whose stream runs at the speed of AES.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from secagg.primitives.field import Elements, Field

__all__ = ["BlockCounter", "HmacAes", "MakeXof", "Xof", "draw_elements"]

_BLOCK = 16


class Xof(Protocol):
    """A stream of bytes, read front to back."""

    def read(self, size: int) -> bytes:
        """The next `size` bytes."""
        ...


MakeXof = Callable[..., Xof]
"""(seed, tag, *binders) -> the stream; the binders are absorbed one after the other."""


def draw_elements(stream: Xof, field: Field, count: int) -> Elements:
    """(count,): the next elements of the stream, uniform by rejection [VDAF, §6.2]."""
    found = field.accept(stream.read(count * field.size))
    if len(found) == count:
        return found
    parts, missing = [found], count - len(found)
    while missing:
        part = field.accept(stream.read(missing * field.size))
        parts.append(part)
        missing -= len(part)
    return np.concatenate(parts)


class HmacAes:
    """AES-128-CTR under a key and a counter block from HMAC-SHA256 of tag and binders."""

    seed_size = 32

    def __init__(self, seed: bytes, tag: bytes, *binders: bytes) -> None:
        mac = HMAC(seed, SHA256())
        mac.update(len(tag).to_bytes(1, "little") + tag)
        for binder in binders:
            mac.update(binder)
        derived = mac.finalize()
        self._stream = BlockCounter(derived[:16], derived[16:])

    def read(self, size: int) -> bytes:
        """See `Xof`."""
        return self._stream.read(size)


class BlockCounter:
    """AES-128-CTR whose counter is the last 8 bytes of the block, big-endian, modulo 2**64."""

    def __init__(self, key: bytes, block: bytes) -> None:
        self._key, self._nonce = key, block[:8]
        self._left = ((1 << 64) - int.from_bytes(block[8:], "big")) * _BLOCK
        self._cipher = self._from(block)

    def read(self, size: int) -> bytes:
        """The next `size` bytes. The counter wraps without a carry into the first 8 bytes."""
        if size <= self._left:
            self._left -= size
            return self._cipher.update(bytes(size))
        head = self._cipher.update(bytes(self._left))
        rest, self._left = size - self._left, (1 << 64) * _BLOCK
        self._cipher = self._from(self._nonce + bytes(8))
        return head + self.read(rest)

    def _from(self, block: bytes) -> CipherContext:
        return Cipher(algorithms.AES(self._key), modes.CTR(block)).encryptor()
