"""The published bounds against figures that were computed elsewhere."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from dp import DiscreteGaussian, Skellam
from dp.account_published import (
    ORDERS,
    PublishedAccountant,
    ddg_rdp,
    sampled_rdp,
    skellam_rdp,
)
from dp.account_reduction import ReductionAccountant
from dp.events import Composed, Event, Gaussian, Release, Sampled
from dp.sensitivity import Sensitivity

BETA = math.exp(-0.5)


def release(law: type[Skellam | DiscreteGaussian], multiplier: float, sigma: float) -> Release:
    """100 clients whose noise sums to deviation `sigma`, on 10**5 coordinates padded to 2**17."""
    norm = Fraction(sigma) / Fraction(multiplier)
    reals = Sensitivity(squared=norm**2, coordinates=1 << 17, integral=False)
    return Release(law(Fraction(sigma) ** 2 / 100), 100, reals.rounded(BETA))


def repeated(event: Event, count: int) -> Composed:
    return Composed(((Sampled(0.01, event), count),))


@pytest.mark.parametrize(
    ("multiplier", "sigma", "expected"),
    [
        (1.0, 123.3, 9.440),
        (1.0, 493.5, 5.096),
        (1.0, 1974, 4.775),
        (1.0, 7896, 4.754),
        (0.5, 7171, 10.803),
        (2.0, 8115, 2.171),
        (4.0, 8173, 1.017),
    ],
)
def test_one_round(multiplier: float, sigma: float, expected: float) -> None:
    """Figures of the formulas as google-research/federated has them, 10 ... 16 bits."""
    for law in (Skellam, DiscreteGaussian):
        found = PublishedAccountant().epsilon(release(law, multiplier, sigma), 1e-5)
        assert found == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(
    ("multiplier", "sigma", "rounds", "expected"),
    [
        (0.6, 7380, 1000, 11.635),
        (1.0, 493.5, 1000, 2.846),
        (1.0, 7896, 1000, 2.452),
        (1.0, 7896, 100, 1.355),
        (2.0, 8115, 1000, 0.904),
    ],
)
def test_sampled_rounds(multiplier: float, sigma: float, rounds: int, expected: float) -> None:
    for law in (Skellam, DiscreteGaussian):
        event = repeated(release(law, multiplier, sigma), rounds)
        assert PublishedAccountant().epsilon(event, 1e-5) == pytest.approx(expected, abs=6e-4)


def test_a_gaussian_round() -> None:
    assert PublishedAccountant().epsilon(Gaussian(1.0), 1e-5) == pytest.approx(4.7527, abs=1e-4)


def test_the_reduction_is_never_dearer() -> None:
    for law in (Skellam, DiscreteGaussian):
        for sigma in (30.5, 493.5, 7896):
            single = release(law, 1.0, sigma)
            for event in (single, repeated(single, 100)) if sigma > 400 else (single,):
                ours = ReductionAccountant().epsilon(event, 1e-5)
                assert ours < PublishedAccountant().epsilon(event, 1e-5)


def test_skellam_s_two_extra_terms() -> None:
    orders = np.array([2.0, 3.0])
    # wide noise: ((2 a - 1) 4 + 6 * 2) / (4 * 100**2); narrow: 3 * 2 / (2 * 0.1)
    wide = skellam_rdp(orders, 100.0, l1=2.0, l2=2.0)
    assert wide == pytest.approx([0.04 + 24 / 40_000, 0.06 + 32 / 40_000])
    narrow = skellam_rdp(orders, 0.1, l1=2.0, l2=2.0)
    assert narrow == pytest.approx([40 + 30, 60 + 30])


def test_discrete_gaussians_three_ways() -> None:
    orders = np.array([2.0])
    for tau, coordinates, expected in (
        (0.0, 10, 1.0),
        (0.1, 1, min(1 + 0.1, 1 + 0.2 + 0.01, 1.1**2)),
        (1.0, 4, min(1 + 4, 1 + 2 + 4, 3**2)),
    ):
        found = ddg_rdp(orders, 4.0, l1=2.0, l2=2.0, coordinates=coordinates, tau=tau)
        assert found == pytest.approx([expected])


def test_sampling_by_hand_at_order_two() -> None:
    """(1 - q) (1 + q) + q**2 exp(rdp(2)): exact for order 2, no factor 3."""
    for probability in (0.01, 0.5, 0.99):
        rdp = np.array([0.3, 0.45])
        found = sampled_rdp(rdp, probability)
        second = (1 - probability) * (1 + probability) + probability**2 * math.exp(0.3)
        assert found[0] == pytest.approx(math.log(second), rel=1e-12)
        q = probability
        third = (
            (1 - q) ** 2 * (1 + 2 * q)
            + 3 * q**2 * (1 - q) * math.exp(0.3)
            + 3 * q**3 * math.exp(0.9)
        )
        assert found[1] == pytest.approx(min(math.log(third) / 2, 0.45), rel=1e-12)


def test_orders_are_the_integers_from_two() -> None:
    assert ORDERS.tolist() == list(range(2, len(ORDERS) + 2))


def test_sensitivities_beyond_any_noise_cost_everything() -> None:
    huge = Sensitivity(squared=Fraction(2) ** 1700, coordinates=4, integral=True)
    assert PublishedAccountant().epsilon(Release(Skellam(4), 1, huge), 1e-5) == math.inf
    assert PublishedAccountant().delta(Release(Skellam(4), 1, huge), 1.0) == 1
