"""STAGE float64 (d,) <-> bounded integers <-> ring Z_{2^width}.

    vector, weight --quantize--> int64 (d+1,) --to_ring--> residues (d+1,)          client
    sum of residues --decode_sum--> int64 (d+1,) --decode--> mean (d,), weight      server

Coordinate 0 is the client's secret weight w; the others are q = round(2^f * w * clip(x)). The
server divides the sum of the q by 2^f times the sum of the w, and learns neither alone.

Nothing wraps: a `FixedPoint` is refused at construction unless `cohort` clients at their bounds
stay inside the ring. Nothing is silently wrong: `decode` withholds what honest clients cannot sum
to. The norm bound holds for the integers themselves, in exact arithmetic, so that a scheme may
prove it and `dp` may take it as the sensitivity.

Error budget, per coordinate, of the mean of n clients of total weight W against the mean of the
clipped updates: below 2^-f * n / W for `Stochastic`, half of that for `HalfEven` (`error`). To it
come float64 roundings, at most (d + 16) * 2^-53 of the clip bound, and under `NormClip` the cost
of the re-check. A vector over the bound, or that rounding pushed over it, is shrunk to a norm
between `effective_clip(d)` and the bound, or as a last resort (p < 2^-40 under `Stochastic`)
truncated toward zero, which doubles the budget of `HalfEven`. So `Stochastic` is unbiased up to
the norm `effective_clip(d)`; longer vectors are biased toward zero, by a factor not below
`effective_clip(d) / bound`, which is 1 - 4e-6 at 2^20 units and d = 10^6.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

from secagg.errors import InputRefused, IntegrityError, ParameterError
from secagg.primitives.ring import centered, reduce
from secagg.rand import Rand

__all__ = ["Clip", "FixedPoint", "HalfEven", "NormClip", "RangeClip", "Rounding", "Stochastic"]

_EXACT = 1 << 52  # up to here float64 has every integer, and a bit for a fraction
# A chunk and what is made of it stay in cache, and below 10,000 elements BLAS starts no threads.
_CHUNK = 8192
# sqrt(ln(2^40) / 2): by Hoeffding a sum passes its mean by so many ranges with p <= 2^-40.
_TAIL = math.sqrt(40 * math.log(2) / 2)

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]
_Residues = NDArray[np.unsignedinteger[Any]]
_Map = Callable[[_Floats], _Floats]  # of one chunk


@dataclass(frozen=True)
class HalfEven:
    """To the nearest integer, halves to even: the smallest error, but biased for a fixed value."""

    unit: ClassVar[float] = 0.5

    def _rounder(self, rand: Rand) -> _Map:
        return np.rint


@dataclass(frozen=True)
class Stochastic:
    """Up with the probability of the fraction, else down: unbiased to 2^-32 of a unit.

    The probability is the fraction rounded up to a multiple of 2^-32, from a ChaCha20 stream
    whose fresh 32-byte key comes from `rand`. Integers stay as they are.
    """

    unit: ClassVar[float] = 1.0

    def _rounder(self, rand: Rand) -> _Map:
        encryptor = Cipher(ChaCha20(rand(32), bytes(16)), None).encryptor()
        zeros, block = bytes(4 * _CHUNK), bytearray(4 * _CHUNK)
        words = np.frombuffer(block, "<u4")

        def up_or_down(chunk: _Floats) -> _Floats:
            encryptor.update_into(zeros, block)
            floor = np.floor(chunk)
            # Exact, except that the fraction of a value in (-2^-53, 0) becomes 1: it ends as 0.
            chunk -= floor
            chunk *= 2.0**32
            floor += words[: chunk.size] < chunk
            return floor

        return up_or_down


@dataclass(frozen=True)
class _Clip:
    bound: float

    def __post_init__(self) -> None:
        number = isinstance(self.bound, int | float) and not isinstance(self.bound, bool)
        holds = number and 0 < self.bound <= sys.float_info.max
        _require(holds, f"0 < clip bound < inf, not {self.bound!r},")
        object.__setattr__(self, "bound", float(self.bound))


@dataclass(frozen=True)
class RangeClip(_Clip):
    """Each coordinate into [-bound, bound], bound > 0 in the units of the update."""

    def _limit(self, bits: int, weight: int) -> int:
        return math.ceil(weight * _units(self.bound, bits))

    def _fill(self, out: _Integers, x: _Floats, bits: int, weight: int, rounder: _Map) -> None:
        """`out`, int64 (d,): each |q| <= ceil(2^f * w * bound).

        That limit is a float64, and the product and its rounding are monotone: neither passes it.
        """
        scale = math.ldexp(weight, bits)
        _map(out, x, lambda part: np.clip(part, -self.bound, self.bound) * scale, rounder)

    def _effective(self, bits: int, dimension: int) -> float:
        return self.bound


@dataclass(frozen=True)
class NormClip(_Clip):
    """The whole vector into the ball of L2 norm `bound` > 0, in the units of the update."""

    def _limit(self, bits: int, weight: int) -> int:
        return math.floor(weight * _units(self.bound, bits))

    def _fill(self, out: _Integers, x: _Floats, bits: int, weight: int, rounder: _Map) -> None:
        """`out`, int64 (d,): sum q^2 <= floor(2^f * w * bound)^2, exactly.

        A vector within the bound is rounded as it is. One beyond, or that rounding pushed beyond,
        is shrunk to a norm from which rounding stays within, except with probability 2^-40. What
        is left is truncated toward zero at a norm below the limit by more than float64 can err,
        which cannot fail.
        """
        limit, norm = self._limit(bits, weight), _norm(x)
        within = Fraction(norm[0]) * Fraction(2) ** norm[1] <= self.bound
        shrunk = _shrunk(limit, x.size)
        for target in (math.inf, shrunk) if within else (shrunk,):
            if _map(out, x, _scaling(norm, target, bits, weight), rounder) <= limit * limit:
                return
        certain = limit * (1 - (x.size + 16) * 2.0**-52)
        _map(out, x, _scaling(norm, certain, bits, weight), np.trunc)

    def _effective(self, bits: int, dimension: int) -> float:
        # Weight 1: a larger one only has more units to the same norm, and shrinks by less.
        shrunk = _shrunk(limit := self._limit(bits, 1), dimension)
        reason = f"or rounding costs {dimension} coordinates half of their norm,"
        _require(2 * shrunk >= limit, f"2**fraction_bits * clip = {limit} > ~sqrt(d), {reason}")
        return math.ldexp(shrunk, -bits)


Clip = NormClip | RangeClip
Rounding = HalfEven | Stochastic


def _norm(x: _Floats) -> tuple[float, int]:
    """(n, e) with the L2 norm n * 2^e: neither 1e300 nor a subnormal makes it inf or 0."""
    peak = max(x.max(), -x.min()) if x.size else 0.0
    exponent = max(math.frexp(peak)[1], -1000)  # 2^1074 would be inf, and 2^1000 is enough
    scaled = (x[part] * math.ldexp(1.0, -exponent) for part in _chunks(x.size))
    return math.sqrt(sum(float(part @ part) for part in scaled)), exponent


def _scaling(norm: tuple[float, int], target: float, bits: int, weight: int) -> _Map:
    """Multiplication by min(2^f * w, target / norm), in two steps that stay in range."""
    (length, exponent), shrink = norm, math.ldexp(1.0, -norm[1])
    free = math.ldexp(weight, bits + exponent) if bits + exponent < 900 else math.inf
    factor = min(free, max(target, 0.0) / length) if length else 0.0
    return lambda part: part * shrink * factor


def _shrunk(limit: int, dimension: int) -> float:
    """The norm T from which rounding d coordinates stays within `limit`; may be <= 0.

    E[sum q^2] <= T^2 + d/4, and each q^2 takes two values, at most 2|y| + 1 apart; the norm of
    these ranges is at most 2T + sqrt(d). Solved for T at the tail 2^-40 of [Hoeffding63, Thm 2].
    In a few dimensions the certain T = limit - sqrt(d) is larger.
    """
    root = math.sqrt(dimension)
    radicand = float(limit) ** 2 - dimension / 4 - _TAIL * root + _TAIL**2
    return max(math.sqrt(max(radicand, 0.0)) - _TAIL, limit - root)


def _chunks(size: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, size, _CHUNK))


def _map(out: _Integers, x: _Floats, prepare: _Map, rounder: _Map) -> int:
    """Fills `out` with rounder(prepare(x)), a chunk at a time; returns exactly sum out^2."""
    squares = 0
    for part in _chunks(x.size):
        out[part] = rounded = rounder(prepare(x[part]))
        squares += _square_sum(rounded)
    return squares


def _square_sum(integers: _Floats) -> int:
    """Exactly sum v^2, |v| <= 2^52: squares that sum to less than 2^53 were exact all along."""
    squares = float(integers @ integers)
    return int(squares) if squares < 2.0**53 else _split_square_sum(integers.astype(np.int64))


def _split_square_sum(values: _Integers) -> int:
    """The same in integers: v = 2^26 high + low, and 1024 products stay below 2^63."""
    high, low = values >> 26, values & ((1 << 26) - 1)
    starts = np.arange(0, values.size, 1024)
    parts = (np.add.reduceat(p, starts).tolist() for p in (high * high, high * low, low * low))
    squares, cross, rest = map(sum, parts)
    return (squares << 52) + (cross << 27) + rest


@dataclass(frozen=True, kw_only=True)
class FixedPoint:
    """The encoding of one round: public, the same for every client and for the server.

    Attributes
    ----------
    clip: `NormClip` or `RangeClip`, for the unweighted update.
    fraction_bits: f; one unit is 2^-f. Negative where a unit may exceed 1.
    rounding: `Stochastic` or `HalfEven`.
    cohort: the most clients that one sum can have.
    max_weight: the largest weight of one client, such as its number of examples.
    width: bits of the ring. 0 takes the smallest, and the attribute is then that.

    Raises `ParameterError` with the inequality that fails.
    """

    clip: Clip
    fraction_bits: int
    rounding: Rounding
    cohort: int
    max_weight: int = 1
    width: int = 0

    def __post_init__(self) -> None:
        _require(isinstance(self.clip, Clip), "clip: NormClip | RangeClip")
        _require(isinstance(self.rounding, Rounding), "rounding: Stochastic | HalfEven")
        _require_int("fraction_bits", self.fraction_bits, -128, 128)  # 2^f * w cannot overflow
        _require_int("cohort", self.cohort, 1, _EXACT)
        _require_int("max_weight", self.max_weight, 1, _EXACT)
        _require_int("width", self.width, 0, 64)
        self._require_exact()
        self._settle_width()

    @property
    def bound(self) -> int:
        """The largest |integer| of one coordinate of one client; for `NormClip` also of its norm.
        2^f * clip * max_weight: up for `RangeClip`, down, by the re-check, for `NormClip`.
        """
        return self.clip._limit(self.fraction_bits, self.max_weight)

    def length(self, size: int) -> int:
        """Residues of an update of `size` coordinates: a weight and these."""
        return size + 1

    @property
    def resolution(self) -> float:
        """2^-f: one unit, in the units of an update of weight 1."""
        return math.ldexp(1.0, -self.fraction_bits)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The smallest of uint16, uint32 and uint64 that holds a residue."""
        return np.dtype(f"u{2 if self.width <= 16 else 4 if self.width <= 32 else 8}")

    def error(self, clients: int, total_weight: int) -> float:
        """How far rounding can move a coordinate of the mean: the module's error budget."""
        return self.rounding.unit * self.resolution * clients / total_weight

    def effective_clip(self, dimension: int) -> float:
        """The least to which an update over the clip bound is brought: see the error budget.

        Raises `ParameterError`, as `quantize` does, where rounding d = `dimension` coordinates,
        which has a norm of its own, could cost more than half of the norm bound.
        """
        return self.clip._effective(self.fraction_bits, dimension)

    def quantize(self, vector: _Floats, weight: int, rand: Rand) -> _Integers:
        """The weight and the weighted integers of an update, int64 (d+1,).

        `vector` is float64 (d,); `weight` an int in [0, max_weight]. `Stochastic` draws 32 bytes
        from `rand`, `HalfEven` none. Raises `InputRefused`, and `effective_clip`'s error.
        """
        _require_vector(vector)
        self._require_weight(weight)
        self.effective_clip(vector.size)
        out = np.empty(vector.size + 1, np.int64)
        out[0] = weight
        rounder = self.rounding._rounder(rand)
        with np.errstate(under="ignore"):  # what underflows is no part of a unit
            self.clip._fill(out[1:], vector, self.fraction_bits, weight, rounder)
        return out

    def to_ring(self, integers: _Integers) -> _Residues:
        """The residues in [0, 2^width), (d+1,), of int64 (d+1,).

        Raises `InputRefused` where one is beyond its bound, so that a cohort of such could wrap.
        """
        if not _is_array(integers, np.dtype(np.int64), least=1):
            raise InputRefused("the integers are not an int64 array of shape (d+1,)")
        self._require_weight(int(integers[0]))
        if _peak(integers[1:]) > self.bound:
            raise InputRefused(f"a coordinate is beyond the bound {self.bound}")
        return reduce(integers.astype(self.dtype), self.width)

    def encode(self, vector: _Floats, weight: int, rand: Rand) -> _Residues:
        """`to_ring` of `quantize`: float64 (d,) -> residues (d+1,)."""
        return self.to_ring(self.quantize(vector, weight, rand))

    def decode_sum(self, total: _Residues, clients: int) -> _Integers:
        """The integers, int64 (d+1,), that the residues of `clients` clients sum to, exactly.

        Raises `ParameterError` for a wrong shape, dtype or number of clients, and `IntegrityError`
        for what that many honest clients cannot sum to.
        """
        _require_int("clients", clients, 1, self.cohort)
        if not _is_array(total, self.dtype, least=1):
            raise ParameterError(f"the total is not an array of dtype {self.dtype}, shape (d+1,)")
        if int(total.max()) >> self.width:
            raise IntegrityError(f"a residue of the total is not below 2**{self.width}")
        integers = centered(total, self.width)
        if not 0 <= integers[0] <= clients * self.max_weight:
            raise IntegrityError(f"the total weight is not in [0, {clients} * {self.max_weight}]")
        if _peak(integers[1:]) > clients * self.bound:
            raise IntegrityError(f"a coordinate is beyond what {clients} clients can sum to")
        return integers

    def decode(self, total: _Residues, clients: int) -> tuple[_Floats, int]:
        """The weighted mean, float64 (d,), of `clients` updates, and their total weight.

        Raises as `decode_sum`, and `IntegrityError` where every weight was zero.
        """
        integers = self.decode_sum(total, clients)
        total_weight = int(integers[0])
        if total_weight == 0:
            raise IntegrityError("the total weight is zero: nobody contributed")
        return integers[1:] / math.ldexp(total_weight, self.fraction_bits), total_weight

    def _require_weight(self, weight: int) -> None:
        if type(weight) is not int or not 0 <= weight <= self.max_weight:
            raise InputRefused(f"the weight is not an int in [0, {self.max_weight}]")

    def _require_exact(self) -> None:
        units = f"2**{self.fraction_bits} * {self.clip.bound}"
        enough = _units(self.clip.bound, self.fraction_bits) >= 1
        _require(enough, f"2**fraction_bits * clip = {units} >= 1")
        exact = f"2**fraction_bits * clip * max_weight = {units} * {self.max_weight} <= 2**52"
        _require(self.bound <= _EXACT, exact)

    def _settle_width(self) -> None:
        # The weights fit where the coordinates do: 2^f * clip >= 1 makes bound >= max_weight.
        needed = (self.cohort * self.bound).bit_length() + 1
        width = self.width or min(needed, 64)
        given = f"cohort * bound = {self.cohort} * {self.bound}"
        limit = f"2**(width-1) - 1 = {(1 << (width - 1)) - 1} (width {width}, {needed} needed)"
        _require(needed <= width, f"{given} <= {limit}")
        object.__setattr__(self, "width", width)


def _units(bound: float, bits: int) -> Fraction:
    """Exactly 2^bits * bound."""
    return Fraction(bound) * Fraction(2) ** bits


def _peak(values: _Integers) -> int:
    return max(int(values.max()), -int(values.min())) if values.size else 0


def _is_array(value: Any, dtype: np.dtype[Any], least: int) -> bool:
    shaped = type(value) is np.ndarray and value.ndim == 1 and value.size >= least
    return shaped and value.dtype == dtype


def _require_vector(vector: _Floats) -> None:
    if not _is_array(vector, np.dtype(np.float64), least=0):
        raise InputRefused("the vector is not a float64 array of shape (d,)")
    # min and max carry a NaN, and make no temporary.
    if vector.size and not (np.isfinite(vector.min()) and np.isfinite(vector.max())):
        raise InputRefused(f"not finite at position {int(np.argmin(np.isfinite(vector)))}")


def _require(holds: bool, inequality: str) -> None:
    if not holds:
        raise ParameterError(f"{inequality} must hold")


def _require_int(name: str, value: object, least: int, most: int) -> None:
    holds = type(value) is int and least <= value <= most
    _require(holds, f"{least} <= {name} <= {most}, an int, not {value!r},")
