"""The discrete Gaussian of [CKS20], for noise that one party adds.

It has no `share`: a sum of discrete Gaussians is only near one. `summed` says how near.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Self

from dp.errors import require
from dp.noise import MOST, IntegerNoise, whole
from dp.sample_interval import Interval, exp_minus, times

__all__ = ["DiscreteGaussian"]

_GUARD = 8
_LEAST = Fraction(1, 2)  # of sigma_squared, for a sum
_TWICE_PI_SQUARED = Fraction(197392088, 10**7)  # a lower bound
_TERMS = 64


@dataclass(frozen=True, init=False)
class DiscreteGaussian(IntegerNoise):
    """P(X = k) proportional to exp(-k**2 / (2 sigma_squared))."""

    @property
    def variance(self) -> Fraction:
        """A lower bound; the variance is below `sigma_squared` [CKS20, Cor. 9]."""
        return _variance(self)

    def summed(self, parts: int) -> tuple[Self, Fraction]:
        """A discrete Gaussian of the added parameters, near by [Kairouz21, Prop. 14].

        The bound is 10 times the sum over k < parts of exp(-2 pi**2 sigma_squared k / (k + 1)).
        Raises `ParameterError` unless parts = 1 or sigma_squared >= 1/2.
        """
        count = whole("parts", parts, 1)
        require(
            count == 1 or self.sigma_squared >= _LEAST,
            f"sigma_squared >= 1/2 for a sum of discrete Gaussians, not {self.sigma_squared},",
        )
        return type(self)(count * self.sigma_squared), _distance(self.sigma_squared, count)

    def ratios(self, count: int, bits: int) -> list[Interval]:
        """r_k = exp(-(2 k + 1) / (2 sigma_squared)), each the last one times exp(-1 / ...)."""
        work = bits + count.bit_length() + _GUARD
        ratio = exp_minus(1 / (2 * self.sigma_squared), work)
        step = exp_minus(1 / self.sigma_squared, work)
        found, drop = [], work - bits
        for _ in range(count):
            found.append((ratio[0] >> drop, -(-ratio[1] >> drop)))
            ratio = times(ratio, step, work)
        return found


@lru_cache(maxsize=64)
def _variance(noise: DiscreteGaussian) -> Fraction:
    if noise.sigma_squared > MOST:
        # by Poisson's summation it is s - 4 pi**2 s**2 E[N**2], s = sigma_squared, for N of
        # probabilities proportional to exp(-2 pi**2 s n**2)
        return noise.sigma_squared * (1 - Fraction(1, 1 << 80))
    # a Fraction of thousands of bits would slow every use of it
    return Fraction(int(noise.enclosure().second_moment() * (1 << 80)), 1 << 80)


def _distance(sigma_squared: Fraction, parts: int) -> Fraction:
    """Terms fall with k, so those from `_TERMS` on are charged at its price."""
    summed = [(k, 1) for k in range(1, min(parts, _TERMS))]
    if parts > _TERMS:
        summed.append((_TERMS, parts - _TERMS))
    return 10 * sum((count * _defect(sigma_squared, k) for k, count in summed), Fraction(0))


def _defect(sigma_squared: Fraction, k: int) -> Fraction:
    """An upper bound on exp(-2 pi**2 sigma_squared k / (k + 1)), at most 2**-157 above it."""
    exponent = _TWICE_PI_SQUARED * sigma_squared * Fraction(k, k + 1)
    return Fraction(exp_minus(exponent, 160)[1], 1 << 160)
