"""HPKE [RFC 9180] in base mode: X25519, HKDF-SHA256, AES-128-GCM, from `cryptography`."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from secagg.errors import DecodeError, RemoteProtocolError

__all__ = ["OVERHEAD", "open_sealed", "seal"]

OVERHEAD = 32 + 16  # encapsulated key and authentication tag
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_128_GCM)


def seal(plaintext: bytes, recipient: bytes, info: bytes) -> bytes:
    """Encrypt to a 32-byte public key; `info` must match on opening.

    Raises `RemoteProtocolError` for a public key of low order.
    """
    try:
        return _SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(recipient), info)
    except ValueError:
        raise RemoteProtocolError("a public key of low order cannot be sealed to") from None


def open_sealed(ciphertext: bytes, private: X25519PrivateKey, info: bytes) -> bytes:
    """Decrypt, or raise `DecodeError`: another key, another `info`, or changed bytes."""
    try:
        return _SUITE.decrypt(ciphertext, private, info)
    except (InvalidTag, ValueError):
        raise DecodeError("a sealed message does not open") from None
