"""How much one client can add to a sum, followed through the stages that an update goes through.

Each stage of a mechanism has a map here. A mechanism builds its sensitivity by the maps of the
stages that it runs, so that the figure an accountant gets is derived, and not typed in.

Neighbors are two rounds of the same participants, in one of which all that one client adds is
replaced by the zero vector. Who took part is public: the server of a secure aggregation knows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from numbers import Rational
from typing import Self

from dp.errors import require
from dp.noise import shown, whole
from dp.round import slack

__all__ = ["Sensitivity", "root_up"]

_RANGE = Fraction(2) ** 1800  # so that every root below is a finite, normal float64
_MOST_COORDINATES = 1 << 64


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Bounds on the vector x that one client adds to a sum.

    Attributes
    ----------
    squared: an upper bound on the sum of x**2, exactly; an int counts as the rational that it is.
    coordinates: the length of x.
    integral: whether x has integer coordinates, which makes three more bounds hold.

    Raises `ParameterError` unless 2**-1800 <= squared <= 2**1800 and 1 <= coordinates <= 2**64.
    """

    squared: Fraction
    coordinates: int
    integral: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "squared", _rational("squared", self.squared))
        holds = 1 / _RANGE <= self.squared <= _RANGE
        require(holds, f"2**-1800 <= squared <= 2**1800, not {shown(self.squared)},")
        count = whole("coordinates", self.coordinates, 1)
        require(count <= _MOST_COORDINATES, f"coordinates <= 2**64, not {shown(count)},")
        object.__setattr__(self, "coordinates", count)
        require(type(self.integral) is bool, f"integral: bool, not {shown(self.integral)},")

    @property
    def l2(self) -> float:
        """An upper bound on the L2 norm: `squared`'s root, rounded up."""
        return root_up(self.squared)

    @property
    def l1(self) -> float:
        """An upper bound on the L1 norm, rounded up: |x| <= x**2 for an integer."""
        by_size = self.coordinates * self.squared
        return root_up(min(by_size, self.squared**2) if self.integral else by_size)

    @property
    def largest(self) -> int:
        """No integer coordinate is beyond it. Raises `ParameterError` unless `integral`."""
        self._require_integral()
        return math.isqrt(math.floor(self.squared))

    @property
    def nonzero(self) -> int:
        """At most so many integer coordinates differ from 0: each costs the squared norm 1.

        Raises `ParameterError` unless `integral`.
        """
        self._require_integral()
        return min(self.coordinates, math.floor(self.squared))

    @classmethod
    def clipped(cls, bound: float, size: int) -> Self:
        """Of `size` reals, clipped to the L2 norm `bound`, which counts as the rational it is."""
        return cls(squared=_positive("bound", bound) ** 2, coordinates=size, integral=False)

    def weighted(self, most: Fraction | float) -> Self:
        """Multiplied by a weight of the client's, of [-most, most], that need not be an integer."""
        return self._times(most, "most", integral=False)

    def scaled(self, factor: Fraction | float) -> Self:
        """Multiplied by a public `factor` > 0. An integer factor leaves integers integral."""
        return self._times(factor, "factor", self.integral and isinstance(factor, Rational))

    def padded(self, coordinates: int) -> Self:
        """With zeros, to the length `coordinates`."""
        least = self.coordinates
        return replace(self, coordinates=whole("coordinates", coordinates, least))

    def rotated(self) -> Self:
        """By an orthonormal matrix: the norm is kept, and integers are lost."""
        return replace(self, integral=False)

    def rounded(self, beta: float) -> Self:
        """To integers whose norm is re-checked against what is computed here.

        It is the limit for `dp.round.conditional_round`, that one try in 1 / (1 - beta) meets.
        """
        more = Fraction(slack(self.l2, beta, self.coordinates))
        limit = max(1, math.floor(self.squared + more))
        return replace(self, squared=Fraction(limit), integral=True)

    def extended(self, units: int) -> Self:
        """By one more coordinate, an integer of [-units, units]."""
        more = whole("units", units, 1) ** 2
        return replace(self, squared=self.squared + more, coordinates=self.coordinates + 1)

    def replaced(self) -> Self:
        """For neighbors of which one client's vector is replaced by another: twice the norm."""
        return replace(self, squared=4 * self.squared)

    def _times(self, factor: Fraction | float, name: str, integral: bool) -> Self:
        exact = _positive(name, factor)
        kept = integral and exact.denominator == 1
        return replace(self, squared=self.squared * exact**2, integral=kept)

    def _require_integral(self) -> None:
        require(self.integral, "integral")


def root_up(square: Fraction) -> float:
    """The square root, rounded up: at most two float64 above the least one that is not below."""
    shift = (square.numerator.bit_length() - square.denominator.bit_length() - 120) // 2
    root = math.ldexp(math.isqrt(math.ceil(square / Fraction(4) ** shift)), shift)
    while Fraction(root) ** 2 < square:
        root = math.nextafter(root, math.inf)
    return root


def _positive(name: str, value: Fraction | float) -> Fraction:
    ratio = _rational(name, value)
    require(ratio > 0, f"{name} > 0, not {shown(value)},")
    return ratio


def _rational(name: str, value: object) -> Fraction:
    number = isinstance(value, Rational | float) and not isinstance(value, bool)
    holds = number and (not isinstance(value, float) or math.isfinite(value))
    require(holds, f"{name}: a finite rational or float, not {shown(value)},")
    assert isinstance(value, Rational | float)
    return Fraction(*value.as_integer_ratio()) if isinstance(value, float) else _plain(value)


def _plain(value: Rational) -> Fraction:
    # numpy's integers count as Rational, and their numerators would overflow in a Fraction
    return Fraction(int(value.numerator), int(value.denominator))
