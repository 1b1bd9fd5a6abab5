"""HPKE, base mode, opening one message [RFC 9180].

The suite is DHKEM(X25519, HKDF-SHA256) 0x0020, HKDF-SHA256 0x0001, AES-128-GCM 0x0001.
"""

from __future__ import annotations

from functools import cache

from reference.aes import gcm_open
from reference.hkdf import expand, extract
from reference.x25519 import public_key, shared_secret

__all__ = ["open_base"]

_KEM = b"KEM" + bytes.fromhex("0020")
_SUITE = b"HPKE" + bytes.fromhex("0020 0001 0001")
_BASE_MODE = b"\0"


@cache
def open_base(private: bytes, sealed: bytes, info: bytes, associated: bytes = b"") -> bytes:
    """The plaintext of `sealed`: 32 bytes of encapsulated key, then the AEAD's output.

    `Refused` for another key, another `info` or changed bytes.
    """
    encapsulated, ciphertext = sealed[:32], sealed[32:]
    key, nonce = _key_schedule(_decapsulate(private, encapsulated), info)
    return gcm_open(key, nonce, ciphertext, associated)  # sequence number 0: the nonce itself


def _decapsulate(private: bytes, encapsulated: bytes) -> bytes:
    """§4.1, Decap."""
    agreed = shared_secret(private, encapsulated)
    context = encapsulated + public_key(private)
    return _labeled_expand(
        _KEM, _labeled_extract(_KEM, b"", b"eae_prk", agreed), b"shared_secret", context, 32
    )


def _key_schedule(shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    """§5.1 in base mode: no pre-shared key, so `psk` and `psk_id` are empty."""
    context = (
        _BASE_MODE
        + _labeled_extract(_SUITE, b"", b"psk_id_hash", b"")
        + _labeled_extract(_SUITE, b"", b"info_hash", info)
    )
    secret = _labeled_extract(_SUITE, shared, b"secret", b"")
    return (
        _labeled_expand(_SUITE, secret, b"key", context, 16),
        _labeled_expand(_SUITE, secret, b"base_nonce", context, 12),
    )


def _labeled_extract(suite: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
    return extract(salt, b"HPKE-v1" + suite + label + secret)


def _labeled_expand(suite: bytes, key: bytes, label: bytes, info: bytes, size: int) -> bytes:
    return expand(key, size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, size)
