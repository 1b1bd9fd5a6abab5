"""Published Rényi bounds for integer noise: a baseline to compare the default accountant with.

[AKL21] bounds Skellam noise, [Kairouz21] sums of discrete Gaussians, [ZW19] Poisson sampling of
anything; Rényi differential privacy composes by addition [Mironov17] and is turned into epsilon and
delta by dp-accounting. In float64, rounded to nearest: for tables, not for promises.
"""

from __future__ import annotations

import math
from functools import lru_cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from dp.account import Accountant, check_delta, check_epsilon, leaves, unknown
from dp.events import Event, Gaussian, Release, Sampled
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam

__all__ = ["ORDERS", "PublishedAccountant", "ddg_rdp", "sampled_rdp", "skellam_rdp"]

_Floats = NDArray[np.float64]

_MOST_ORDER = 256
_MOST_SQUARED = 1 << 200  # beyond any noise that there is, and no float64 below overflows
ORDERS = np.arange(2, _MOST_ORDER + 1, dtype=np.float64)
"""Integers, as [AKL21] and [ZW19] need; without a gap, as the latter sums over all below one."""


class PublishedAccountant(Accountant):
    """Rényi bounds as published, at the integer orders 2 ... 256."""

    def epsilon(self, event: Event, delta: float) -> float:
        """See `Accountant`."""
        delta = check_delta(delta)
        return float(_conversions().compute_epsilon(ORDERS, _total(event), delta)[0])

    def delta(self, event: Event, epsilon: float) -> float:
        """See `Accountant`."""
        epsilon = check_epsilon(epsilon)
        return float(_conversions().compute_delta(ORDERS, _total(event), epsilon)[0])


def skellam_rdp(orders: _Floats, variance: float, l1: float, l2: float) -> _Floats:
    """[AKL21, Thm 3.5] at integer orders, float64 (o,), for noise of this total variance.

    Of integer vectors with these norms.
    """
    linear = ((2 * orders - 1) * l2**2 + 6 * l1) / (4 * variance**2)
    return orders * l2**2 / (2 * variance) + np.minimum(linear, 3 * l1 / (2 * variance))


def ddg_rdp(
    orders: _Floats, variance: float, l1: float, l2: float, coordinates: int, tau: float
) -> _Floats:
    """[Kairouz21, Prop. 14] at orders, float64 (o,): a sum of discrete Gaussians, tau off.

    `variance` is the sum of their parameters.
    """
    cost, cost1 = l2**2 / variance, l1 / math.sqrt(variance)
    additive = orders / 2 * cost + tau * coordinates
    crossed = orders / 2 * (cost + 2 * cost1 * tau + tau**2 * coordinates)
    joint = orders / 2 * (math.sqrt(cost) + math.sqrt(coordinates) * tau) ** 2
    return np.minimum(np.minimum(additive, crossed), joint)


def sampled_rdp(rdp: _Floats, probability: float) -> _Floats:
    """[ZW19, Thm 5]: `rdp` at the orders 2, 3, ... of what is released on a Poisson sample.

    For 0 < probability < 1. Float64 (o,), of the same orders.
    """
    size = len(rdp) + 2
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size)))])
    join, skip = math.log(probability), math.log1p(-probability)
    found = np.empty_like(rdp)
    for alpha in range(2, size):
        others = np.arange(2, alpha + 1)
        choose = factorials[alpha] - factorials[others] - factorials[alpha - others]
        terms = choose + (alpha - others) * skip + others * join + (others - 1) * rdp[others - 2]
        terms[1:] += math.log(3)
        first = (alpha - 1) * skip + math.log1p((alpha - 1) * probability)
        found[alpha - 2] = np.logaddexp.reduce(terms, initial=first) / (alpha - 1)
    return np.minimum(found, rdp)


def _total(event: Event) -> _Floats:
    return sum((count * _rdp(leaf) for leaf, count in leaves(event)), np.zeros_like(ORDERS))


@lru_cache(maxsize=256)
def _rdp(event: Event) -> _Floats:
    if isinstance(event, Sampled):
        single = _rdp(event.event)
        return single if event.probability == 1 else sampled_rdp(single, event.probability)
    if isinstance(event, Gaussian):
        return ORDERS / (2 * event.noise_multiplier**2)
    if isinstance(event, Release):
        return _release(event)
    raise unknown(event)


def _release(event: Release) -> _Floats:
    if event.sensitivity.squared > _MOST_SQUARED:
        return np.full_like(ORDERS, np.inf)
    variance = float(event.parts * event.noise.sigma_squared)
    l1, l2 = event.sensitivity.l1, event.sensitivity.l2
    if type(event.noise) is Skellam:  # a subclass may have another law
        return skellam_rdp(ORDERS, variance, l1, l2)
    if type(event.noise) is DiscreteGaussian:
        tau = float(event.noise.summed(event.parts)[1])
        return ddg_rdp(ORDERS, variance, l1, l2, event.sensitivity.coordinates, tau)
    raise unknown(event)


def _conversions() -> ModuleType:
    try:
        from dp_accounting.rdp import rdp_privacy_accountant  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("Rényi accounting needs pip install 'secagg[dp]'") from error
    assert isinstance(rdp_privacy_accountant, ModuleType)
    return rdp_privacy_accountant
