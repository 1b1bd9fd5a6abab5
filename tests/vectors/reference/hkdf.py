"""HKDF with SHA-256 [RFC 5869]."""

from __future__ import annotations

import hmac

__all__ = ["expand", "extract", "hkdf"]


def extract(salt: bytes, secret: bytes) -> bytes:
    """32 bytes; no salt is 32 zero bytes, which HMAC pads to the same key as an empty one."""
    return hmac.digest(salt, secret, "sha256")


def expand(key: bytes, info: bytes, size: int) -> bytes:
    """`size` bytes for the purpose `info`."""
    out, block = b"", b""
    for counter in range(1, -(-size // 32) + 1):
        block = hmac.digest(key, block + info + bytes((counter,)), "sha256")
        out += block
    return out[:size]


def hkdf(secret: bytes, info: bytes, size: int) -> bytes:
    """Extract without a salt, then expand."""
    return expand(extract(b"", secret), info, size)
