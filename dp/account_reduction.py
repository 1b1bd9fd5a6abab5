"""The default accountant: integer noise at the price of the Gaussian that dominates it.

A release of an integer vector of L2 norm l is mu-GDP with mu = mu_1 * l (`dp.dominance`), so that
it composes like a Gaussian, and a pair of Gaussians dominates it. Where nothing is sampled, the
result is the closed form, in ball arithmetic. Where something is, dominating pairs still compose
and may be sampled [ZDW22, Thm 10 and 11], and dp-accounting composes their privacy loss
distributions, rounded up to a grid.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from dp.account import Accountant, check_delta, check_epsilon, leaves, unknown
from dp.dominance import gaussian_delta, gaussian_epsilon, gaussian_parameter
from dp.errors import require
from dp.events import Event, Gaussian, Release, Sampled
from dp.sensitivity import root_up

__all__ = ["ReductionAccountant", "gaussian_multiplier"]

_GRID = 1e-4  # of privacy losses
_ALLOWANCE = 1e-11  # of delta, for float64 in the transforms of dp-accounting
_LEAST_DELTA = 1e-10
_WIDEST = 1 << 20  # of mu**2
_LEAST = Fraction(1, 1 << 40)
_LOSSES = 1 << 16  # on the grid, for one event
_MOST_LOSSES = 1 << 26  # on the grid, for all rounds together: a gigabyte in the transforms
_MOST_SLACK = 700.0
_HAIR = 1 + 2.0**-40  # more than the roundings of a handful of float64 operations


def gaussian_multiplier(release: Release) -> float:
    """The noise multiplier of the Gaussian that costs as much as `release` does, rounded down.

    Integers cost a hair more than their deviation says; see `dp.dominance`.
    """
    return _multiplier(_gaussian(release)[0])


@dataclass(frozen=True)
class _Bound:
    """A Gaussian, sampled Gaussians, and how far the laws that are accounted for are off.

    Attributes
    ----------
    squared: mu**2 of all that is not sampled.
    sampled: (probability, mu**2, count).
    distance: a bound on |log ratio| of the laws of the whole output, per neighbor.
    """

    squared: Fraction
    sampled: tuple[tuple[float, Fraction, int], ...]
    distance: Fraction


class ReductionAccountant(Accountant):
    """Epsilon and delta of Gaussian noise that dominates the integer noise.

    Without sampling the results are proved to the last bit. With sampling, 1e-11 of delta is kept
    back for float64 errors in dp-accounting's transforms, which is an allowance and no proof, and
    delta >= 1e-10 must hold. `Sampled` says against whom sampling counts.
    """

    def epsilon(self, event: Event, delta: float) -> float:
        """See `Accountant`."""
        delta = check_delta(delta)
        bound = _bound(event)
        if not bound.distance:
            return _epsilon(bound, delta)
        slack = _up(bound.distance)
        return (_epsilon(bound, delta * math.exp(-slack) / _HAIR) + 2 * slack) * _HAIR

    def delta(self, event: Event, epsilon: float) -> float:
        """See `Accountant`."""
        epsilon = check_epsilon(epsilon)
        bound = _bound(event)
        slack = _up(bound.distance)
        if not slack or slack > _MOST_SLACK:
            return 1.0 if slack else _delta(bound, epsilon)
        # H at exp(a), a < 0, is at most 1 - exp(a) above H at 1
        left = math.nextafter(epsilon - 2 * slack, -math.inf)
        least = _delta(bound, max(0.0, left)) + max(0.0, -left)
        return min(1.0, math.exp(slack) * least * _HAIR)


def _bound(event: Event) -> _Bound:
    squared, distance = Fraction(0), Fraction(0)
    sampled: Counter[tuple[float, Fraction]] = Counter()
    for leaf, count in leaves(event):
        probability, single = _unsampled(leaf)
        cost, off = _gaussian(single)
        distance += count * off
        if probability == 1:
            squared += count * cost
        else:
            sampled[probability, cost] += count
    pairs = tuple((*key, count) for key, count in sampled.items())
    return _feasible(_Bound(squared, pairs, distance))


def _feasible(bound: _Bound) -> _Bound:
    """Without sampling, which only lowers a price, where the losses would need a huge grid."""
    narrow = max([bound.squared, *(squared for _, squared, _ in bound.sampled)]) <= _WIDEST
    if narrow and _spread(bound) <= _MOST_LOSSES * _grid(bound):
        return bound
    every = sum((count * squared for _, squared, count in bound.sampled), bound.squared)
    return _Bound(every, (), bound.distance)


def _spread(bound: _Bound) -> float:
    """About how far the losses of all sampled rounds together reach."""
    mean = sum(count * p * float(squared) / 2 for p, squared, count in bound.sampled)
    variance = sum(count * p * float(squared) for p, squared, count in bound.sampled)
    return mean + 12 * math.sqrt(variance)


def _unsampled(event: Event) -> tuple[float, Event]:
    return (event.probability, event.event) if isinstance(event, Sampled) else (1.0, event)


def _gaussian(event: Event) -> tuple[Fraction, Fraction]:
    """mu**2, and a bound on |log ratio| of the law of the output and the one that mu is for.

    Where the laws P and P' of a coordinate are within exp(+-tau), those of N coordinates are
    within exp(+-tau N), and so H_exp(e)(P) <= exp(tau N) H_exp(e - 2 tau N)(P').
    """
    if isinstance(event, Gaussian):
        return 1 / Fraction(event.noise_multiplier) ** 2, Fraction(0)
    if isinstance(event, Release):
        total, tau = event.noise.summed(event.parts)
        mu = gaussian_parameter(total).mu
        return mu**2 * event.sensitivity.squared, tau * event.sensitivity.coordinates
    raise unknown(event)


def _epsilon(bound: _Bound, delta: float) -> float:
    if not bound.sampled:
        return gaussian_epsilon(bound.squared, delta) if bound.squared else 0.0
    _check_sampled(delta)
    return float(_composed(bound).get_epsilon(delta - _ALLOWANCE)) * _HAIR


def _delta(bound: _Bound, epsilon: float) -> float:
    if not bound.sampled:
        return gaussian_delta(bound.squared, epsilon) if bound.squared else 0.0
    return min(1.0, float(_composed(bound).get_delta(epsilon)) * _HAIR + _ALLOWANCE)


def _check_sampled(delta: float) -> None:
    holds = delta >= _LEAST_DELTA
    require(holds, f"delta >= {_LEAST_DELTA} where rounds are sampled, not {delta},")


@lru_cache(maxsize=16)
def _composed(bound: _Bound) -> Any:
    """The pessimistic privacy loss distribution of all."""
    try:
        from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent  # noqa: PLC0415
        from dp_accounting.pld import PLDAccountant  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("accounting of samples needs pip install 'secagg[dp]'") from error
    accountant = PLDAccountant(value_discretization_interval=_grid(bound))
    if bound.squared:
        accountant.compose(GaussianDpEvent(_multiplier(bound.squared)))
    for probability, squared, count in bound.sampled:
        single = PoissonSampledDpEvent(probability, GaussianDpEvent(_multiplier(squared)))
        accountant.compose(single, count)
    return accountant


def _grid(bound: _Bound) -> float:
    """Privacy losses of a Gaussian lie within mu**2 / 2 + 10 mu, but for one of 10**23."""
    most = math.sqrt(max([bound.squared, *(squared for _, squared, _ in bound.sampled)]))
    return max(_GRID, (most**2 / 2 + 10 * most) / _LOSSES)


def _multiplier(squared: Fraction) -> float:
    """1 / mu, rounded down: less noise costs more. It ends at 2**20, where mu**2 is 2**-40."""
    return 1 / (root_up(max(squared, _LEAST)) * _HAIR)


def _up(value: Fraction) -> float:
    return math.nextafter(float(value), math.inf) if value else 0.0
