"""X25519 agreement and the HKDF-SHA256 keys derived from it."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secagg.errors import RemoteProtocolError
from secagg.primitives.digest import Label

__all__ = ["KEY_SIZE", "agree", "check_public", "derive", "public_key"]

KEY_SIZE = 32
_PRIME = (1 << 255) - 19
_PROBE = X25519PrivateKey.from_private_bytes(bytes(32))  # any scalar finds a point of low order


def public_key(private: bytes) -> bytes:
    """The public key of 32 private bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: X25519PrivateKey, public: bytes) -> bytes:
    """The shared secret of a private key and a peer's 32-byte public key.

    Raises `RemoteProtocolError` for a point of low order, whose shared secret is all zero
    [RFC 7748, §6.1]: a peer that sends one would choose the mask.
    """
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise RemoteProtocolError("a public key of low order gives an all-zero secret") from None


def check_public(public: bytes) -> None:
    """`RemoteProtocolError` unless `public` is a canonical point that is not of low order.

    X25519 reduces other encodings silently; two texts for one key would let a client deny its own.
    """
    if int.from_bytes(public, "little") >= _PRIME:
        raise RemoteProtocolError("a public key is not canonical")
    agree(_PROBE, public)


def derive(secret: bytes, label: Label, *parts: bytes, size: int = KEY_SIZE) -> bytes:
    """`size` bytes of HKDF-SHA256 for one purpose; `parts` are of fixed length per label."""
    info = label.value + b"".join(parts)
    return HKDF(algorithm=SHA256(), length=size, salt=None, info=info).derive(secret)
