"""STAGE float64 (d,) -> float64 (D,): a random rotation, which spreads an update evenly.

x is padded with zeros to D, the next power of two, its signs are flipped by the public `seed`, and
the orthonormal Walsh-Hadamard transform is taken. The norm is kept, and whatever x was, each
coordinate is sub-Gaussian with variance norm**2 / D over the seeds: a small ring suffices
[Kairouz21, §3].

The seed hides nothing, and the bound needs it to be independent of the updates: it is drawn for one
round, after the cohort is fixed. An update made for a known seed costs correctness, never privacy.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

from dp.errors import require

__all__ = ["SEED_SIZE", "padded_size", "rotate", "unrotate"]

SEED_SIZE = 32
_COUNTER = bytes(4)
_NONCE = b"dp rotation."  # 12 bytes: another stream than any other use of the same seed
_LEVELS = 5  # a factor of 32 x 32 stays in the first-level cache

_Floats = NDArray[np.float64]


def padded_size(size: int) -> int:
    """The least power of two that is at least `size` >= 1."""
    return 1 << (size - 1).bit_length()


def rotate(vector: _Floats, seed: bytes) -> _Floats:
    """float64 (d,), d >= 1 -> float64 (D,), D = padded_size(d), of the same L2 norm.

    Float errors are below 91 ceil(log2(D) / 5) 2**-52 of the norm, and mostly near 2**-52 of it.
    Values must be below 2**1000 / D.
    """
    signs = _signs(seed, padded_size(vector.size))
    padded = np.zeros(signs.size)
    np.multiply(vector, signs[: vector.size], out=padded[: vector.size])
    return _transform(padded)


def unrotate(rotated: _Floats, seed: bytes, size: int) -> _Floats:
    """float64 (D,) -> float64 (size,): what `rotate` of `size` coordinates undoes.

    The transform is its own inverse, and so are the signs.
    """
    power = rotated.size == padded_size(rotated.size)
    require(power, f"the rotated size is a power of two, which {rotated.size} is not: it")
    restored = _transform(rotated)[:size]
    restored *= _signs(seed, rotated.size)[:size]
    return restored


def _signs(seed: bytes, size: int) -> _Floats:
    """+1 for a 0 and -1 for a 1 of the key stream, whose bytes are read from the lowest bit."""
    well_formed = type(seed) is bytes and len(seed) == SEED_SIZE
    require(well_formed, f"seed: {SEED_SIZE} bytes")
    stream = Cipher(ChaCha20(seed, _COUNTER + _NONCE), None).encryptor()
    data = np.frombuffer(stream.update(bytes(-(-size // 8))), np.uint8)
    signs = np.unpackbits(data, count=size, bitorder="little").astype(np.float64)
    signs *= -2.0
    signs += 1.0
    return signs


def _transform(x: _Floats) -> _Floats:
    """H x / sqrt(D) of float64 (D,), where H is Sylvester's Hadamard matrix.

    H is a Kronecker product of matrices of 32 rows, and each is a product along one axis of x.
    """
    left, inner = x.size.bit_length() - 1, 1
    scale = 1 / math.sqrt(x.size)
    while left:
        levels = min(left, _LEVELS)
        x = _along(_sylvester(levels), x, inner)
        left, inner = left - levels, inner << levels
    return x * scale


def _along(matrix: _Floats, x: _Floats, inner: int) -> _Floats:
    """Every 32 values that lie `inner` apart, multiplied by the matrix, which is symmetric."""
    rows = len(matrix)
    product: _Floats = (
        x.reshape(-1, rows) @ matrix if inner == 1 else matrix @ x.reshape(-1, rows, inner)
    )
    return product.reshape(-1)


@cache
def _sylvester(levels: int) -> _Floats:
    matrix = np.ones((1, 1))
    for _ in range(levels):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    matrix.flags.writeable = False
    return matrix
