"""What a PINE client says of its vector: the norm, and how the wrap-around checks came out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from secagg.errors import InputRefused
from secagg.primitives.field import Elements
from secagg.vdaf.angle import AngleBound
from secagg.vdaf.circuit import to_bits
from secagg.vdaf.norm import NormBound

__all__ = ["claim", "encode_floats", "report", "squared_norm"]

_LOW = (1 << 32) - 1


def encode_floats(values: NDArray[np.float64], fraction_bits: int) -> NDArray[np.int64]:
    """float64 (d,) -> int64 (d,): `values` times 2**fraction_bits, rounded half to even.

    `InputRefused` for NaN, infinities, subnormal numbers [PINE, §4.1.1], and beyond 2**62.
    """
    if not np.all(np.isfinite(values)):
        raise InputRefused("a vector must be finite")
    magnitudes = np.abs(values)
    if np.any((magnitudes > 0) & (magnitudes < np.finfo(np.float64).tiny)):
        raise InputRefused("a vector must have no subnormal number")
    scaled = np.ldexp(values, fraction_bits)
    if np.any(np.abs(scaled) > 2.0**62):
        raise InputRefused(f"2**{fraction_bits} times an entry must not exceed 2**62")
    return np.rint(scaled).astype(np.int64)


def squared_norm(vector: NDArray[np.int64]) -> int:
    """The exact sum of squares of entries below 2**31."""
    squares = (vector * vector).astype(np.uint64)
    low, high = squares & np.uint64(_LOW), squares >> np.uint64(32)
    return int(low.sum()) + (int(high.sum()) << 32)


def claim(limits: NormBound, vector: NDArray[np.int64]) -> Elements:
    """(limits.claimed,): `vector` (dimension,), the bits of its squared norm and of an angle.

    Raises `InputRefused` unless the norm is within the bound, and the angle too.
    """
    if vector.shape != (limits.dimension,):
        raise InputRefused(f"a vector has shape ({limits.dimension},), got {vector.shape}")
    if np.any(vector > limits.bound) or np.any(vector < -limits.bound):
        raise InputRefused(f"norm <= {limits.bound} must hold: an entry alone is over it")
    norm, most = squared_norm(vector), limits.bound**2
    if norm > most:
        raise InputRefused(f"norm <= {limits.bound} must hold for the vector")
    bits = [to_bits(limits.field, value, limits.norm_bits) for value in (norm, most - norm)]
    if isinstance(limits, AngleBound):
        product = int(vector[limits.head :] @ limits.reference.vector)
        bits.append(limits.bits_of(int(vector[: limits.head].sum()), product, norm))
    return np.concatenate([limits.field.embed(vector), *bits])


def report(limits: NormBound, results: Elements) -> Elements:
    """(checks * (result_bits + 1),): for each check its shifted result, and whether it succeeded.

    Raises `InputRefused` if too few succeeded, which an honest vector meets with probability
    below 2**-100; other randomness gives other checks.
    """
    shifted = limits.field.add(results, limits.field.array([limits.reach - 1]))
    hit = shifted < 2 * limits.reach
    succeeded = hit & (np.cumsum(hit) <= limits.successes)
    if np.count_nonzero(succeeded) < limits.successes:
        raise InputRefused("too few wrap-around checks succeeded: shard with fresh randomness")
    values = np.where(hit, shifted, limits.field.zeros(1)).astype(np.uint64)
    places = np.arange(limits.result_bits, dtype=np.uint64)
    rows = np.column_stack([values[:, None] >> places & np.uint64(1), succeeded])
    return rows.ravel().astype(limits.field.dtype)
