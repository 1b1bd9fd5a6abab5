"""Gaussians that dominate integer noise, and what a Gaussian costs, in ball arithmetic.

Integer noise X is *mu-GDP for a shift of 1* when every test of X against X + 1 errs at least as
much as the best test of N(0, 1) against N(mu, 1). Then adding an integer vector x to independent
noise of this law is mu * ||x||_2 - GDP, whatever its dimension, with nothing charged to delta.
For Skellam noise and the discrete Gaussian such a mu is proved in docs/explanation/dominance.md for
the law itself, tails included. It follows from P(X = 0) alone, so that no sum is cut off.

Figures are balls of python-flint [Johansson17]: what is returned lies on the side that its
docstring says, for certain. Needs the extra `dp`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from dp.errors import UnknownEvent, require
from dp.noise import IntegerNoise
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam

__all__ = ["Dominance", "gaussian_delta", "gaussian_epsilon", "gaussian_parameter"]

_Ball = Any  # flint.arb, which has no types

_BITS = 256
_PRECISION = threading.RLock()  # of flint, which has one for all threads of a process
_GRID = 128  # bits after the point of what is returned as a Fraction
_FAR = Fraction(13028, 10_000)  # above (sqrt(13) - 1) / 2
_MOST = 2.0**40  # an epsilon beyond it is called infinite
_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Dominance:
    """mu for a shift of 1.

    Attributes
    ----------
    mu: adding x costs at most mu * ||x||_2 in Gaussian differential privacy.
    least: no smaller figure is true of a shift of 1; `mu` is at most 2**-128 above it where tight.
    """

    mu: Fraction
    least: Fraction


@lru_cache(maxsize=256)
def gaussian_parameter(noise: IntegerNoise) -> Dominance:
    """The Gaussian that dominates `noise`.

    Skellam noise: 2 Phi^-1((1 + P(X = 0)) / 2), which is tight [Theorem 3]. Discrete Gaussian: the
    same or c / sigma, whichever is more [Theorem 4]; by about 1 / (24 sigma**2) from tight.

    Raises `UnknownEvent` for noise of another law, `ParameterError` for a discrete Gaussian of
    sigma_squared < 1/64, which is zero but for 10**-13, `ImportError` without the extra `dp`.
    """
    with _balls() as flint:
        if type(noise) is Skellam:  # a subclass may have another law
            middle = _middle_step(flint, _skellam_peak(flint, noise.sigma_squared))
            return Dominance(_above(middle), _below(middle))
        if type(noise) is DiscreteGaussian:
            require(64 * noise.sigma_squared >= 1, f"sigma_squared >= 1/64 for {noise!r}")
            middle = _middle_step(flint, _gaussian_peak(flint, noise.sigma_squared))
            outer = _outer_step(flint, noise.sigma_squared)
            return Dominance(max(_above(middle), _above(outer)), _below(middle))
    raise UnknownEvent(f"no Gaussian is known to dominate {type(noise).__name__}")


def gaussian_delta(squared: Fraction, epsilon: float) -> float:
    """The delta of a mu-GDP mechanism at `epsilon` >= 0, mu**2 = `squared`; rounded up.

    Phi(mu/2 - epsilon/mu) - exp(epsilon) Phi(-mu/2 - epsilon/mu) [BW18, Thm 8].
    """
    with _balls() as flint:
        mu = _ball(flint, squared).sqrt()
        far = flint.arb(epsilon) / mu
        gain = ((far - mu / 2) / flint.arb(2).sqrt()).erfc() / 2
        loss = ((far + mu / 2) / flint.arb(2).sqrt()).erfc() / 2
        found = gain - flint.arb(epsilon).exp() * loss
        return _float_above(found)


def gaussian_epsilon(squared: Fraction, delta: float) -> float:
    """An epsilon of a mu-GDP mechanism at `delta`: proved, and within about 1e-12 of the least.

    Infinite beyond 2**40.
    """
    low, high = 0.0, 1.0
    if gaussian_delta(squared, low) <= delta:
        return low
    while gaussian_delta(squared, high) > delta:
        low, high = high, 2 * high
        if high > _MOST:
            return math.inf
    while high - low > _TOLERANCE * high:
        middle = (low + high) / 2
        if gaussian_delta(squared, middle) <= delta:
            high = middle
        else:
            low = middle
    return high


def _skellam_peak(flint: Any, variance: Fraction) -> _Ball:
    """P(X = 0) = exp(-v) I_0(v)."""
    return _ball(flint, variance).bessel_i(0, scaled=True)


def _gaussian_peak(flint: Any, sigma_squared: Fraction) -> _Ball:
    """P(X = 0) = 1 / theta_3(0 | i / (2 pi sigma**2)), the sum of exp(-k**2 / (2 sigma**2))."""
    height = 1 / (2 * flint.arb.pi() * _ball(flint, sigma_squared))
    theta = flint.acb(0).modular_theta(flint.acb(0, height))[2]
    return 1 / theta.real


def _middle_step(flint: Any, peak: _Ball) -> _Ball:
    """2 Phi^-1((1 + peak) / 2)."""
    return flint.arb(8).sqrt() * peak.erfinv()


def _outer_step(flint: Any, sigma_squared: Fraction) -> _Ball:
    """1 / sigma / (1 - 1 / (12 sigma**2)), or 1.3028 / sigma where that is less."""
    factor = _FAR
    if 12 * sigma_squared > 1:
        factor = min(factor, 12 * sigma_squared / (12 * sigma_squared - 1))
    return _ball(flint, factor) / _ball(flint, sigma_squared).sqrt()


@contextmanager
def _balls() -> Iterator[Any]:
    """python-flint at `_BITS`, and at the caller's precision afterwards."""
    try:
        import flint  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("certified accounting needs pip install 'secagg[dp]'") from error
    with _PRECISION, flint.ctx.workprec(_BITS):
        yield flint


def _ball(flint: Any, value: Fraction) -> _Ball:
    return flint.arb(value.numerator) / flint.arb(value.denominator)


def _above(ball: _Ball) -> Fraction:
    """An upper bound on every point of the ball, of `_GRID` bits after the point."""
    return Fraction(math.ceil(_exact(ball.upper()) * (1 << _GRID)), 1 << _GRID)


def _below(ball: _Ball) -> Fraction:
    """A lower bound, likewise."""
    return Fraction(math.floor(_exact(ball.lower()) * (1 << _GRID)), 1 << _GRID)


def _exact(point: _Ball) -> Fraction:
    mantissa, exponent = point.man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def _float_above(ball: _Ball) -> float:
    """A float of [0, 1] that no point of the ball is above; 1 where the ball is all reals."""
    upper = ball.upper()
    if not upper.is_finite() or upper >= 1:
        return 1.0
    return max(0.0, math.nextafter(float(upper), math.inf))
