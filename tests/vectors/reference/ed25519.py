"""Ed25519 on Python integers [RFC 8032, §5.1]. Slow, and not constant-time."""

from __future__ import annotations

import hashlib
from functools import cache

from reference.refused import Refused, require
from reference.x25519 import P

__all__ = ["is_small_order", "public_key", "sign", "verify"]

_L = 2**252 + 27742317777372353535851937790883648493  # order of the base point
_D = -121665 * pow(121666, P - 2, P) % P
_SQRT_MINUS_ONE = pow(2, (P - 1) // 4, P)

_Point = tuple[int, int, int, int]
"""Extended coordinates (X, Y, Z, T): x = X/Z, y = Y/Z, xy = T/Z."""

_NEUTRAL: _Point = (0, 1, 1, 0)


@cache  # a verifier meets the same keys and messages many times
def public_key(private: bytes) -> bytes:
    """The public key of 32 private bytes."""
    return _compress(_times(_secret_scalar(private)[0], _BASE))


@cache
def sign(private: bytes, message: bytes) -> bytes:
    """The one signature of `message`: 64 bytes."""
    scalar, prefix = _secret_scalar(private)
    nonce = _hash(prefix, message) % _L
    commitment = _compress(_times(nonce, _BASE))
    challenge = _hash(commitment, public_key(private), message)
    return commitment + ((nonce + challenge * scalar) % _L).to_bytes(32, "little")


@cache
def verify(public: bytes, message: bytes, signature: bytes) -> None:
    """Return if [S]B = R + [k]A without a cofactor and S < L; else raise `Refused`."""
    require(len(signature) == 64, "a signature has 64 bytes")
    commitment, response = signature[:32], int.from_bytes(signature[32:], "little")
    require(response < _L, "the second half of a signature is below the group's order")
    challenge = _hash(commitment, public, message) % _L
    minus_a = _negate(_decompress(public))
    found = _add(_times(response, _BASE), _times(challenge, minus_a))
    require(_compress(found) == commitment, "the signature does not verify")


def is_small_order(public: bytes) -> bool:
    """Whether eight times the point is the neutral one: a key that fits many messages at once."""
    return _compress(_times(8, _decompress(public))) == _compress(_NEUTRAL)


def _secret_scalar(private: bytes) -> tuple[int, bytes]:
    require(len(private) == 32, "an Ed25519 private key has 32 bytes")
    digest = hashlib.sha512(private).digest()
    number = int.from_bytes(digest[:32], "little") % 2**254 | 2**254
    return number - number % 8, digest[32:]


def _hash(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


def _add(one: _Point, other: _Point) -> _Point:
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a, b = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * t1 * t2 * _D % P, 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _negate(point: _Point) -> _Point:
    x, y, z, t = point
    return -x % P, y, z, -t % P


def _times(scalar: int, point: _Point) -> _Point:
    result = _NEUTRAL
    for bit in bin(scalar)[2:]:
        result = _add(result, result)
        if bit == "1":
            result = _add(result, point)
    return result


def _compress(point: _Point) -> bytes:
    x, y, z, _ = point
    inverse = pow(z, P - 2, P)
    x, y = x * inverse % P, y * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _decompress(data: bytes) -> _Point:
    require(len(data) == 32, "a public key has 32 bytes")
    number = int.from_bytes(data, "little")
    y, odd = number % 2**255, number >> 255
    require(y < P, "a coordinate is below the field's prime")
    x = _x_of(y, odd)
    return x, y, 1, x * y % P


def _x_of(y: int, odd: int) -> int:
    square = (y * y - 1) * pow(_D * y * y + 1, P - 2, P) % P
    root = pow(square, (P + 3) // 8, P)
    if root * root % P != square:
        root = root * _SQRT_MINUS_ONE % P
    if root * root % P != square or (root == 0 and odd):
        raise Refused("32 bytes that are no point of the curve")
    return root if root & 1 == odd else P - root


_BASE = _decompress((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
