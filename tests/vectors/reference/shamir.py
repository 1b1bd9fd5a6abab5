"""Shamir sharing over GF(2^16), polynomials as integers: no table, no numpy.

The field is GF(2)[x] modulo x^16 + x^12 + x^3 + x + 1. A secret of 2m bytes is m little-endian
words, each shared by a polynomial of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["evaluate", "inverse", "multiply", "reconstruct", "shares", "words"]

POLYNOMIAL = 0x1100B


def multiply(x: int, y: int) -> int:
    """The product of two field elements: multiply without carries, then divide."""
    product = 0
    for bit in range(16):
        if y >> bit & 1:
            product ^= x << bit
    for bit in range(30, 15, -1):
        if product >> bit & 1:
            product ^= POLYNOMIAL << bit - 16
    return product


def inverse(x: int) -> int:
    """x^(2^16 - 2), which is 1/x because the group has 2^16 - 1 elements."""
    result = 1
    for _ in range(15):
        x = multiply(x, x)
        result = multiply(result, x)
    return result


def evaluate(coefficients: Sequence[int], at: int) -> int:
    """c_0 + c_1 at + c_2 at^2 + …"""
    total, power = 0, 1
    for coefficient in coefficients:
        total ^= multiply(coefficient, power)
        power = multiply(power, at)
    return total


def words(data: bytes) -> list[int]:
    """Little-endian words of 16 bits."""
    return [int.from_bytes(data[start : start + 2], "little") for start in range(0, len(data), 2)]


def shares(
    secrets: Sequence[bytes], coefficients: bytes, threshold: int, point: int
) -> list[bytes]:
    """The share of each secret at `point`.

    `coefficients` holds those of x^1 for every word of every secret in order, then those of x^2,
    up to x^(threshold - 1).
    """
    constants = words(b"".join(secrets))
    drawn = words(coefficients)
    rows = [drawn[at * len(constants) :][: len(constants)] for at in range(threshold - 1)]
    values = [
        evaluate([constant, *(row[place] for row in rows)], point)
        for place, constant in enumerate(constants)
    ]
    joined = b"".join(value.to_bytes(2, "little") for value in values)
    size = len(joined) // len(secrets)
    return [joined[start : start + size] for start in range(0, len(joined), size)]


def reconstruct(held: Mapping[int, bytes]) -> bytes:
    """The secret whose share at each point is given, by Lagrange interpolation at 0."""
    weights = {point: _weight_at_zero(point, held) for point in held}
    columns = {point: words(share) for point, share in held.items()}
    size = len(next(iter(columns.values())))
    secret = bytearray()
    for place in range(size):
        total = 0
        for point, column in columns.items():
            total ^= multiply(weights[point], column[place])
        secret += total.to_bytes(2, "little")
    return bytes(secret)


def _weight_at_zero(point: int, points: Mapping[int, bytes]) -> int:
    """The product over the other points q of q / (q - point); minus is exclusive or."""
    weight = 1
    for other in points:
        if other != point:
            weight = multiply(weight, multiply(other, inverse(other ^ point)))
    return weight
