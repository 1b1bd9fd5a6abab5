"""STAGE float64 (D,) -> int64 (D,): unbiased rounding whose result keeps a norm bound, exactly.

Rounding D coordinates at random can add D / 4 to a squared norm on average, and far more by bad
luck; a worst-case bound would be paid for in noise. So it is repeated until the integers are within
a bound that a fixed share of all tries meets [Kairouz21, Theorem 1]. The bound holds for what is
returned, in exact arithmetic, and a mechanism may take it as its sensitivity.

How often it is repeated depends on the update: the time of `conditional_round` is a side channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dp.errors import require
from dp.noise import real, shown, whole
from dp.sample import KeyStream, Rand

__all__ = ["conditional_round", "inflated_norm", "slack", "square_sum", "tries"]

MOST_BETA = 0.9
_MOST_NORM = 2.0**900  # so that its square's excess is a finite float64, whatever the size
_MOST_SIZE = 1 << 64
_FAILURE_BITS = 40  # an honest vector meets the last resort with probability 2**-40 at most
_CHUNK = 8192  # what is made of a chunk stays in cache, and BLAS starts no threads for it

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


def slack(norm: float, beta: float, size: int) -> float:
    """What rounding to integers may add to the squared norm of `size` coordinates.

    A vector of L2 norm at most `norm` exceeds norm**2 + slack with probability `beta` at most, by
    [Kairouz21, Theorem 1] at granularity 1; never by the first of its two bounds, which is the
    smaller one in few dimensions and the only one at beta = 0.

    Raises `ParameterError` unless 0 <= beta <= 0.9, 0 <= norm <= 2**900 and 1 <= size <= 2**64.
    """
    beta = _beta(beta)
    norm = real("0 <= norm <= 2**900", norm, lambda value: 0 <= value <= _MOST_NORM)
    root = math.sqrt(_size(size))
    always = size + 2 * norm * root
    if beta == 0:
        return always
    # Logarithms differ by an ulp between platforms, and both sides of a round need one limit.
    deviations = round(math.sqrt(-2 * math.log(beta)) * 2**40) / 2**40
    return min(always, size / 4 + deviations * (norm + root / 2))


def inflated_norm(norm: float, granularity: float, beta: float, size: int) -> float:
    """The norm that rounding to multiples of `granularity` keeps, but with probability `beta`.

    min{c + g sqrt(d), sqrt(c**2 + g**2 d / 4 + sqrt(2 ln(1 / beta)) g (c + g sqrt(d) / 2))} for
    c = `norm` and d = `size` [Kairouz21, Theorem 1].

    Raises `ParameterError` as `slack`, of which c / g is the norm, and unless 0 < g < inf.
    """
    step = real("0 < granularity < inf", granularity, lambda value: 0 < value < math.inf)
    units = real("0 <= norm < inf", norm, lambda value: 0 <= value < math.inf) / step
    return step * math.hypot(units, math.sqrt(slack(units, beta, size)))


def tries(beta: float) -> int:
    """The least count with beta**count <= 2**-40. Raises `ParameterError` as `slack`."""
    beta = _beta(beta)
    if beta == 0:
        return 1
    return math.ceil(_FAILURE_BITS * math.log(2) / -math.log(beta))


def _beta(beta: float) -> float:
    return real(f"0 <= beta <= {MOST_BETA}", beta, lambda value: 0 <= value <= MOST_BETA)


def _size(size: int) -> int:
    count = whole("size", size, 1)
    require(count <= _MOST_SIZE, f"size <= 2**64, not {shown(count)},")
    return count


def conditional_round(values: _Floats, limit_squared: int, beta: float, rand: Rand) -> _Integers:
    """int64 (D,) with sum q**2 <= `limit_squared`, exactly, each q next to its value.

    `values` is float64 (D,), of magnitudes up to 2**52. Each coordinate goes up with the
    probability of its fraction (rounded up to a multiple of 2**-32), else down, and all of them
    again while the sum is over the limit. If norm**2 + slack(norm, beta, D) <= limit_squared, then
    `tries(beta)` tries fail with probability 2**-40 at most. Then, and for values that break that
    condition, the coordinates are truncated toward zero, and shrunk before if they have to be.

    Reads 32 bytes of `rand`, whatever the number of tries.
    """
    stream = KeyStream(rand)
    out = np.empty(values.size, np.int64)
    for _ in range(tries(beta)):
        if _stochastic(values, stream, out) <= limit_squared:
            return out
    return _certain(values, limit_squared)


def square_sum(integers: _Floats) -> int:
    """Exactly sum v**2 over one chunk of integral floats, |v| <= 2**52.

    Squares that sum to less than 2**53 in float64 were exact all along.
    """
    squares = float(integers @ integers)
    return int(squares) if squares < 2.0**53 else _split_square_sum(integers.astype(np.int64))


def _split_square_sum(values: _Integers) -> int:
    """The same in integers: v = 2**26 high + low, and 1024 products stay below 2**63."""
    high, low = values >> 26, values & ((1 << 26) - 1)
    starts = np.arange(0, values.size, 1024)
    parts = (np.add.reduceat(p, starts).tolist() for p in (high * high, high * low, low * low))
    squares, cross, rest = map(sum, parts)
    return int((squares << 52) + (cross << 27) + rest)


def _stochastic(values: _Floats, stream: KeyStream, out: _Integers) -> int:
    """Fills `out`; returns exactly sum out**2."""
    squares = 0
    for part in _chunks(values.size):
        fraction = values[part].copy()
        whole = np.floor(fraction)
        # Exact, except that the fraction of a value in (-2**-53, 0) becomes 1: it ends as 0.
        fraction -= whole
        fraction *= 2.0**32
        words = stream.words((whole.size + 1) // 2).view("<u4")
        whole += words[: whole.size] < fraction
        out[part] = whole
        squares += square_sum(whole)
    return squares


def _certain(values: _Floats, limit_squared: int) -> _Integers:
    """Toward zero: no coordinate grows, so the integers are within if the values were.

    Values beyond the limit are scaled to a norm that is below it by more than float64 can err: the
    computed norm is right to (D + 16) 2**-53, the product to 2**-52.
    """
    plain = np.trunc(values)
    if _total(plain) <= limit_squared:
        return plain.astype(np.int64)
    peak = float(np.abs(values).max())
    norm = peak * math.sqrt(sum(float(np.dot(x, x)) for x in _parts(values / peak)))
    target = math.sqrt(limit_squared) * (1 - (values.size + 16) * 2.0**-51)
    return np.trunc(values * (max(target, 0.0) / norm)).astype(np.int64)


def _total(integers: _Floats) -> int:
    return sum(square_sum(part) for part in _parts(integers))


def _parts(values: _Floats) -> Iterator[_Floats]:
    return (values[part] for part in _chunks(values.size))


def _chunks(size: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, size, _CHUNK))
