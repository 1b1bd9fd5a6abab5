"""t-of-n Shamir sharing over GF(2^16), vectorised over secrets, words and holders.

A secret of 2m bytes is m field elements, shared word by word, so a share is exactly as long as
the secret and every byte string is a valid share: nothing to range-check, no bias. Holders are
the points 1 … 65535; the secret sits at 0. Any t - 1 shares are independent of the secret.

Multiplication goes through logarithm tables, whose access pattern depends on secret values:
like the rest of a Python process, this is not constant-time against a co-located observer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from secagg.errors import ParameterError
from secagg.rand import Rand

__all__ = ["MAX_POINT", "reconstruct", "split"]

MAX_POINT = (1 << 16) - 1
_ORDER = (1 << 16) - 1  # of the multiplicative group
_POLYNOMIAL = 0x1100B  # x^16 + x^12 + x^3 + x + 1, primitive: x generates the group
_LOG_ZERO = 2 * _ORDER  # log 0 points past every sum of two logarithms, into a run of zeros


def split(
    secrets: Sequence[bytes], threshold: int, points: Sequence[int], rand: Rand
) -> NDArray[np.uint8]:
    """Shares of each secret at each point, shape (len(points), len(secrets), bytes).

    `secrets` are equally long, of an even number of bytes; `points` are distinct in [1, 65535].
    Raises `ParameterError` otherwise, and unless 1 <= threshold <= len(points).
    """
    if not 1 <= threshold <= len(points):
        raise ParameterError(
            f"1 <= threshold <= points must hold, got {threshold} and {len(points)} points"
        )
    at = _points(points)
    constant = _words(secrets)
    drawn = np.frombuffer(rand(2 * (threshold - 1) * constant.size), "<u2")
    coefficients = drawn.reshape(threshold - 1, constant.size)
    shares = np.zeros((at.size, constant.size), np.uint16)
    for row in coefficients[::-1]:  # Horner, for all points and words at once
        shares = _multiply_columns(shares ^ row, at)
    shares ^= constant.reshape(-1)
    return shares.astype("<u2").view(np.uint8).reshape(at.size, len(secrets), -1)


def reconstruct(points: Sequence[int], shares: NDArray[np.uint8]) -> list[bytes]:
    """The secrets whose shares at `points` are `shares`, shape (len(points), secrets, bytes).

    All points given are used: pass exactly `threshold` of them. What comes back is meaningless
    when they are too few or any is wrong; compare with a commitment before use.
    """
    at = _points(points)
    if shares.shape[0] != at.size:
        raise ParameterError(f"{at.size} points but {shares.shape[0]} rows of shares")
    words = np.ascontiguousarray(shares).view("<u2").astype(np.uint16)
    flat = words.reshape(at.size, -1)
    terms = _multiply_columns(flat, _weights_at_zero(at))
    secret = np.bitwise_xor.reduce(terms, axis=0).astype("<u2")
    return [row.tobytes() for row in secret.reshape(words.shape[1:])]


def _points(points: Sequence[int]) -> NDArray[np.uint16]:
    if not points or min(points) < 1 or max(points) > MAX_POINT:
        raise ParameterError(f"points must lie in [1, {MAX_POINT}] and be at least one")
    if len(set(points)) != len(points):
        raise ParameterError("points must be distinct")
    return np.array(points, np.uint16)


def _words(secrets: Sequence[bytes]) -> NDArray[np.uint16]:
    sizes = {len(secret) for secret in secrets}
    if len(sizes) != 1 or not (size := sizes.pop()) or size % 2:
        raise ParameterError("secrets must be equally long, of an even, positive number of bytes")
    return np.frombuffer(b"".join(secrets), "<u2").reshape(len(secrets), -1).astype(np.uint16)


@cache
def _tables() -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
    """Powers of x, run out with zeros for the logarithm of 0, and logarithms to base x."""
    power = np.zeros(2 * _LOG_ZERO + 1, np.uint16)
    log = np.full(1 << 16, _LOG_ZERO, np.int32)
    value = 1
    for exponent in range(_ORDER):
        power[exponent] = power[exponent + _ORDER] = value
        log[value] = exponent
        value <<= 1
        if value >> 16:
            value ^= _POLYNOMIAL
    return power, log


def _multiply_columns(rows: NDArray[np.uint16], factors: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Row i of `rows` times factor i."""
    power, log = _tables()
    product: NDArray[np.uint16] = power[log[rows] + log[factors][:, None]]
    return product


def _weights_at_zero(at: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Lagrange weights at 0: the product over j != i of x_j / (x_j - x_i).

    In characteristic 2 the difference is an exclusive or; products are sums of logarithms.
    """
    power, log = _tables()
    logs = log[at].astype(np.int64)
    differences = log[at[:, None] ^ at[None, :]].astype(np.int64)
    np.fill_diagonal(differences, 0)
    exponents = logs.sum() - logs - differences.sum(axis=1)
    weights: NDArray[np.uint16] = power[exponents % _ORDER]
    return weights
