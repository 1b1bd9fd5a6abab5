"""Integer noise: what every noise offers to mechanisms and accountants.

Noise is added to integers and drawn exactly. Rounding or truncating a float sampler would leave the
law that an accountant speaks of, and has been attacked [Mironov12; JMRO22].
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Rational, Real
from typing import Self, TypeGuard

import numpy as np
from numpy.typing import NDArray

from dp.errors import ParameterError, require
from dp.sample import KeyStream, Rand
from dp.sample_interval import Interval
from dp.sample_law import Enclosure, enclose
from dp.sample_table import table

__all__ = ["DivisibleNoise", "IntegerNoise", "Shape", "exact", "real", "shown", "whole"]

Shape = int | tuple[int, ...]

LEAST = Fraction(1, 1 << 32)
MOST = Fraction(1 << 36)  # of what is drawn: a table has about 20 sigma entries
MOST_SUMMED = Fraction(1 << 60)  # of the law of a sum, which is only accounted for
_PRECISION = 96  # bits of what accountants are given
_MOST_BITS = 1 << 16  # of an enclosure
_MOST_AXES = 32
_MOST_BYTES = 1 << 62  # of one array; numpy counts them in a signed 64-bit integer


@dataclass(frozen=True, init=False)
class IntegerNoise(ABC):
    """A symmetric log-concave law on the integers, with one public parameter.

    `sigma_squared` is an int, a `Fraction`, or a float that counts as the rational it is.
    Implementations give `variance` and `ratios`; the sampler and all bounds follow from those.

    Noise of sigma_squared beyond 2**36 can be accounted for, and not be drawn: it stands for sums.

    Raises `ParameterError` unless 2**-32 <= sigma_squared <= 2**60.
    """

    sigma_squared: Fraction

    def __init__(self, sigma_squared: Fraction | float) -> None:
        value = exact("sigma_squared", sigma_squared, MOST_SUMMED)
        object.__setattr__(self, "sigma_squared", value)

    @property
    @abstractmethod
    def variance(self) -> Fraction:
        """The variance, or a lower bound on it (less noise than there is errs for privacy)."""

    @abstractmethod
    def ratios(self, count: int, bits: int) -> list[Interval]:
        """Enclosures of P(X = k + 1) / P(X = k) for k = 0 ... count - 1; see `dp.sample_law`."""

    @abstractmethod
    def summed(self, parts: int) -> tuple[Self, Fraction]:
        """A law for the sum of `parts` independent copies of this noise, and how far off it is.

        The second is an upper bound on |log ratio| of the two laws at every integer, 0 if exact.
        Raises `ParameterError` unless parts >= 1, and for a sum that no law is known for.
        """

    def sample(self, shape: Shape, rand: Rand) -> NDArray[np.int64]:
        """Independent noise, int64 of `shape`, exact if the expanded key of `rand` is uniform.

        Reads 32 bytes of `rand`. Raises `ParameterError` for a negative size and for a shape that
        no array has, `RandomnessError` if `rand` returns something else than 32 bytes.
        """
        self._require_table()
        sizes = _sizes(shape)
        return table(self).sample(math.prod(sizes), KeyStream(rand)).reshape(sizes)

    def enclosure(self, bits: int = _PRECISION) -> Enclosure:
        """Proved bounds on the law, about 2**-bits wide. Not cached: it is large."""
        if not _is_whole(bits) or not 1 <= bits <= _MOST_BITS:
            raise ParameterError(f"1 <= bits <= 2**16 must hold for an integer, got {shown(bits)}")
        self._require_table()
        return enclose(self, int(bits))

    def tail(self, bound: int) -> Fraction:
        """An upper bound on P(|X| > bound), never below about 2**-96; for the choice of a ring."""
        return self.enclosure().tail(whole("bound", bound, 0))

    def _require_table(self) -> None:
        if self.sigma_squared > MOST:
            raise ParameterError(
                f"sigma_squared <= 2**36 must hold for a table, got {float(self.sigma_squared):g}"
            )


@dataclass(frozen=True, init=False)
class DivisibleNoise(IntegerNoise):
    """Noise that is a sum of independent smaller noise of its own kind.

    Only this can be split over clients so that their sum has exactly the law of the whole.
    """

    @abstractmethod
    def share(self, parts: int) -> Self:
        """The noise of which `parts` independent copies sum to this one, exactly.

        Raises `ParameterError` unless parts >= 1.
        """


def exact(name: str, value: object, most: Fraction = MOST) -> Fraction:
    """`value` as a rational of [2**-32, most]; a float counts as the rational that it is.

    Raises `ParameterError` for anything else, NaN, infinities and booleans included.
    """
    bits = most.numerator.bit_length() - 1
    wanted = f"2**-32 <= {name} <= 2**{bits} must hold for a rational {name}, got {shown(value)}"
    if not _is_real(value) or not (isinstance(value, Rational) or math.isfinite(value)):
        raise ParameterError(wanted)
    ratio = Fraction(*_ratio(value))
    if not LEAST <= ratio <= most:
        raise ParameterError(wanted)
    return ratio


def whole(name: str, value: object, least: int) -> int:
    """`value` as an int that is at least `least`; booleans and floats are refused."""
    if not _is_whole(value) or value < least:
        raise ParameterError(
            f"{name} >= {least} must hold for an integer {name}, got {shown(value)}"
        )
    return int(value)


def real(inequality: str, value: object, holds: Callable[[float], bool]) -> float:
    """`value` as the float64 next to it, of which `inequality` holds.

    holds: says so of a float; it must deny NaN, which stands for what is no real number (booleans,
    strings, arrays), and infinity, which stands for what is beyond float64.

    Raises `ParameterError` with the inequality.
    """
    number = _nearest(value) if _is_real(value) else math.nan
    require(holds(number), f"{inequality}, not {shown(value)},")
    return number


def shown(value: object) -> str:
    """At most 60 characters of `repr`; Python refuses to write integers of thousands of digits."""
    try:
        return f"{value!r:.60}"
    except ValueError:
        return f"a {type(value).__name__} of thousands of digits"


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, Integral) and not isinstance(value, bool | np.bool_)


def _is_real(value: object) -> TypeGuard[Real]:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _nearest(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _ratio(value: Real) -> tuple[int, int]:
    # numpy's integers count as Rational, and their numerators would overflow in a Fraction
    if isinstance(value, Rational):
        return int(value.numerator), int(value.denominator)
    return float(value).as_integer_ratio()


def _sizes(shape: Shape) -> tuple[int, ...]:
    sizes = shape if isinstance(shape, tuple) else (shape,)
    found = tuple(whole("size", size, 0) for size in sizes)
    # an empty array has its other sizes too
    room = len(found) <= _MOST_AXES and 8 * math.prod(max(size, 1) for size in found) <= _MOST_BYTES
    require(room, f"shape: at most 32 sizes and 2**59 integers, not {shown(shape)},")
    return found
