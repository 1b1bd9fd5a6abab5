"""How far a noisy sum strays: what a ring must hold, and what a total cannot be.

Every bound here follows from one property of the noise X of parameter v = `sigma_squared`:

    E exp(t X) <= exp(v (cosh t - 1))  for every t.

Skellam noise has equality. The discrete Gaussian has E exp(t X) <= exp(v t**2 / 2), since the sum
over k of exp(-(k - c)**2 / 2 v) is largest at integers c (its Fourier coefficients are positive),
and t**2 / 2 <= cosh t - 1. A sum of independent noises has the sum of their v. Proofs of the rest:
docs/spec/mechanism.md, Ring.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Stray", "either", "energy"]

_STEPS = 40  # bisections: any t gives a bound, and this one is near the best
_ROUNDING = 1 - 2.0**-30  # float64 errs by less; an exponent closer to 0 is a weaker bound


@dataclass(frozen=True, kw_only=True)
class Stray:
    """A sum of three independent parts, of which one coordinate is looked at.

    Attributes
    ----------
    fixed: at most this, always.
    spread: sub-Gaussian with this variance: E exp(t Y) <= exp(spread t**2 / 2).
    noise: noise of this `sigma_squared`.
    """

    fixed: float
    spread: float
    noise: float

    def log2_tail(self, bound: float) -> float:
        """An upper bound on log2 P(|sum| >= bound), by Chernoff; 0 where it says nothing."""
        room = bound - self.fixed
        if room <= 0:
            return 0.0
        if self.spread == self.noise == 0:
            return -math.inf
        return min(0.0, 1 + self._exponent(room) * _ROUNDING / math.log(2))

    def _exponent(self, room: float) -> float:
        """About the least over t of log E exp(t (Y + X)) - t room; any t gives a bound."""
        if self.noise == 0:
            return -room * room / (2 * self.spread)
        low, high = 0.0, self._steepest(room)
        for _ in range(_STEPS):
            t = (low + high) / 2
            low, high = (t, high) if self._slope(t) < room else (low, t)
        # cosh t - 1, without cancellation
        growth = 2 * math.sinh(low / 2) ** 2
        return self.spread * low * low / 2 + self.noise * growth - low * room

    def _slope(self, t: float) -> float:
        return self.spread * t + self.noise * math.sinh(t)

    def _steepest(self, room: float) -> float:
        """A t that is not below the best one, where either part alone has the slope `room`."""
        spread = room / self.spread if self.spread else math.inf
        return min(spread, math.asinh(room / self.noise))


def either(*log2: float) -> float:
    """log2 of the sum of probabilities: a bound on that of any of the events, at most 0."""
    return min(0.0, math.log2(math.fsum(2.0**value for value in log2) or 5e-324))


def energy(size: int, noise: float, bits: int) -> float:
    """A bound on the sum of X**2 over `size` coordinates, exceeded with p <= 2**-bits.

    But for 2**-(bits + 1), every |X| is below a `peak`. Bernstein then bounds the sum of
    X**2 <= peak**2, with E X**2 <= v and E X**4 <= 24 (exp(v (cosh t - 1)) - 1) / t**4 for any t.
    """
    if noise == 0:
        return 0.0
    rest = (bits + 1) * math.log(2)
    peak = _peak(noise, -(bits + 1) - math.log2(size)) ** 2
    t = math.sqrt(3.2 / max(noise, 1.0))
    fourth = 24 * math.expm1(noise * 2 * math.sinh(t / 2) ** 2) / t**4
    deviation = math.sqrt(2 * size * rest * fourth) + 2 * peak * rest / 3
    return min(size * peak, size * noise + deviation)


def _peak(noise: float, log2: float) -> float:
    """A b with P(|X| >= b) <= 2**log2."""
    stray, low, high = Stray(fixed=0.0, spread=0.0, noise=noise), 0.0, 1.0
    while stray.log2_tail(high) > log2:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if stray.log2_tail(middle) > log2 else (low, middle)
    return high
