"""X25519 on Python integers [RFC 7748, §5]. Slow, and not constant-time."""

from __future__ import annotations

from functools import cache

from reference.refused import require

__all__ = ["P", "public_key", "shared_secret", "x25519"]

P = 2**255 - 19
_A24 = 121665
_BASE = (9).to_bytes(32, "little")


def public_key(private: bytes) -> bytes:
    """The public key of 32 private bytes."""
    return x25519(private, _BASE)


def shared_secret(private: bytes, public: bytes) -> bytes:
    """The Diffie-Hellman secret; a point of low order, which gives zero, is refused (§6.1)."""
    secret = x25519(private, public)
    require(secret != bytes(32), "an X25519 secret is not all zero")
    return secret


@cache  # a verifier meets the same pair of keys many times
def x25519(scalar: bytes, point: bytes) -> bytes:
    """The u-coordinate of `scalar` times the point with u-coordinate `point`, 32 bytes each."""
    require(len(scalar) == 32 and len(point) == 32, "X25519 takes 32 bytes and 32 bytes")
    u = int.from_bytes(point, "little") % 2**255 % P
    numerator, denominator = _ladder(_clamped(scalar), u)
    return (numerator * pow(denominator, P - 2, P) % P).to_bytes(32, "little")


def _clamped(scalar: bytes) -> int:
    number = int.from_bytes(scalar, "little") % 2**254 | 2**254
    return number - number % 8


def _ladder(k: int, u: int) -> tuple[int, int]:
    """(X, Z) with X/Z the u-coordinate of k times the point at u."""
    x2, z2, x3, z3 = 1, 0, u, 1
    for bit in range(254, -1, -1):
        one = k >> bit & 1
        if one:
            x2, z2, x3, z3 = x3, z3, x2, z2
        x2, z2, x3, z3 = _double_and_add(u, x2, z2, x3, z3)
        if one:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return x2, z2


def _double_and_add(u: int, x2: int, z2: int, x3: int, z3: int) -> tuple[int, int, int, int]:
    """2Q and Q + R for Q = X2/Z2 and R = X3/Z3, whose difference is the point at u."""
    total, rest = x2 + z2, x2 - z2
    square_total, square_rest = total * total % P, rest * rest % P
    e = square_total - square_rest
    cross, other = (x3 - z3) * total % P, (x3 + z3) * rest % P
    return (
        square_total * square_rest % P,
        e * (square_total + _A24 * e) % P,
        (cross + other) ** 2 % P,
        u * (cross - other) ** 2 % P,
    )
