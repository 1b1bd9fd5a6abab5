"""Skellam noise, the default: the difference of two Poisson variables of the same mean.

Sums of Skellam noise are Skellam noise, so shares of any number of clients add up exactly, and
what drop-outs leave behind is Skellam noise of a known smaller variance [AKL21].
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from dp.noise import DivisibleNoise, whole
from dp.sample_interval import Interval, ceil_div
from dp.sample_law import reach

__all__ = ["Skellam"]


@dataclass(frozen=True, init=False)
class Skellam(DivisibleNoise):
    """P(X = k) = exp(-v) I_k(v) with v = `sigma_squared`."""

    @property
    def variance(self) -> Fraction:
        """`sigma_squared`, exactly."""
        return self.sigma_squared

    def share(self, parts: int) -> Self:
        """Generating functions: exp(v (z + 1/z - 2) / 2) is the `parts`-th power at v / parts."""
        return type(self)(self.sigma_squared / whole("parts", parts, 1))

    def summed(self, parts: int) -> tuple[Self, Fraction]:
        """Skellam noise, exactly: variances add."""
        return type(self)(self.sigma_squared * whole("parts", parts, 1)), Fraction(0)

    def ratios(self, count: int, bits: int) -> list[Interval]:
        """r_k = I_{k+1}(v) / I_k(v), backwards from r_n in [0, 1] for an n far beyond `count`.

        I_{k-1}(v) - I_{k+1}(v) = (2 k / v) I_k(v) gives r_{k-1} = 1 / (2 k / v + r_k), whose
        derivative is -r_{k-1}**2: the first interval shrinks by I_n**2 / I_k**2.
        """
        start = max(count + 8, reach(self.sigma_squared, bits + bits // 2))
        p, q = self.sigma_squared.numerator, self.sigma_squared.denominator
        one, found = 1 << bits, []
        low, high = 0, one
        for k in range(start, 0, -1):
            step = (2 * k * q << bits) // p
            low, high = (one << bits) // (step + 1 + high), ceil_div(one << bits, step + low)
            if k <= count:
                found.append((low, high))
        return found[::-1]
