"""The least noise that keeps a promise."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count
from typing import Any

from dp.account import check_delta
from dp.account_reduction import ReductionAccountant, gaussian_multiplier
from dp.choose import Choice, choose
from dp.errors import require
from dp.events import Composed, Gaussian, Release, Sampled
from dp.noise import whole

__all__ = ["choose_within", "noise_multiplier", "release_multiplier"]

_Point = tuple[float, float]

_LEAST, _MOST = 2.0**-10, 2.0**30
_HAIR = 1 + 1e-9  # float64 on the way to the last epsilon must not cost a round
_FINE, _COARSE = 1e-12, 1e-5  # relative; a sampled round costs a second to try


def noise_multiplier(
    epsilon: float, delta: float, *, rounds: int = 1, sampling: float = 1.0
) -> float:
    """A z for which `rounds` Gaussian rounds are (epsilon, delta)-DP: the least one, rounded up.

    z is the deviation of the noise over the L2 sensitivity. What is returned passes
    `ReductionAccountant`, and is at most 1e-12 more than what does not, relatively; 1e-5 with
    sampling. What sampling is worth, and against whom, `dp.events.Sampled` says.

    Raises `ParameterError` unless 0 < epsilon < infinity, 0 < delta < 1, rounds >= 1 and
    0 < sampling <= 1, and unless some z of [2**-10, 2**30] is enough.
    """
    positive = not isinstance(epsilon, bool) and 0 < epsilon < math.inf
    require(positive, f"0 < epsilon < infinity, not {epsilon!r},")
    delta = check_delta(delta)
    many = whole("rounds", rounds, 1)
    accountant = ReductionAccountant()

    def spent(z: float) -> float:
        return accountant.epsilon(Composed(((Sampled(sampling, Gaussian(z)), many),)), delta)

    return _least(spent, epsilon, _FINE if sampling == 1 else _COARSE)


def choose_within(epsilon: float, delta: float, *, rounds: int = 1, **parameters: Any) -> Choice:
    """The mechanism of which `rounds` releases are (epsilon, delta)-DP, with the least noise.

    parameters: those of `choose`, but for the noise multiplier.

    Raises `ParameterError` as `noise_multiplier` and `choose` do.
    """

    def chosen(multiplier: float) -> Choice:
        return choose(noise_multiplier=multiplier, **parameters)

    return chosen(
        release_multiplier(epsilon, delta, lambda z: chosen(z).mechanism.event, rounds=rounds)
    )


def release_multiplier(
    epsilon: float, delta: float, release: Callable[[float], Release], *, rounds: int = 1
) -> float:
    """`noise_multiplier`, for the releases that `release` makes of a multiplier.

    Integers cost a hair more than the Gaussian that the multiplier is found for, and so get a hair
    more noise.
    """
    wanted = noise_multiplier(epsilon, delta, rounds=rounds)
    found = gaussian_multiplier(release(wanted))
    return wanted * max(wanted / found, 1.0) * _HAIR


def _least(spent: Callable[[float], float], most: float, tolerance: float) -> float:
    """The least z with spent(z) <= most, rounded up by `tolerance`; `spent` falls with z."""
    low, high = _bracket(spent, most)
    for step in count(1):
        if high[0] - low[0] <= tolerance * high[0]:
            break
        z = (low[0] + high[0]) / 2 if step % 3 == 0 else _guess(low, high, most, tolerance)
        found = z, spent(z)
        low, high = (low, found) if found[1] <= most else (found, high)
    return high[0]


def _bracket(spent: Callable[[float], float], most: float) -> tuple[_Point, _Point]:
    """(z, spent(z)) on either side, or at the least z of all."""
    high = 1.0, spent(1.0)
    low = high
    while high[1] > most:
        require(high[0] < _MOST, "noise_multiplier <= 2**30")
        low, high = high, (2 * high[0], spent(2 * high[0]))
    while low[1] <= most and low[0] > _LEAST:
        low, high = (low[0] / 2, spent(low[0] / 2)), low
    return (low, high) if low[1] > most else (low, low)


def _guess(low: _Point, high: _Point, most: float, tolerance: float) -> float:
    """Nearly a line in logarithms; a little off, towards the end that is farther away."""
    (x, fx), (y, fy) = low, high
    if not (fx < math.inf and fy > 0):
        return (x + y) / 2
    weight = (math.log(fx) - math.log(most)) / (math.log(fx) - math.log(fy))
    guess = x * math.pow(y / x, weight)
    off = min(0.4 * tolerance * y, (y - x) / 4)
    return min(max(guess + (off if 2 * guess < x + y else -off), x + off), y - off)
