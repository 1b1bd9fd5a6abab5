"""The discrete Gaussian of [CKS20], for noise that one party adds.

It has no `share`: a sum of discrete Gaussians is only near one, and its accounting is another.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from dp.noise import IntegerNoise
from dp.sample_interval import Interval, exp_minus, times

__all__ = ["DiscreteGaussian"]

_GUARD = 8


@dataclass(frozen=True, init=False)
class DiscreteGaussian(IntegerNoise):
    """P(X = k) proportional to exp(-k**2 / (2 sigma_squared))."""

    @property
    def variance(self) -> Fraction:
        """A lower bound; the variance is below `sigma_squared` [CKS20, Cor. 9]."""
        return _variance(self)

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
    # a Fraction of thousands of bits would slow every use of it
    return Fraction(int(noise.enclosure().second_moment() * (1 << 80)), 1 << 80)
