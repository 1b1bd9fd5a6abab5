"""The discrete Gaussian: the conformance suite, and its law against the definition."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest

from dp import DiscreteGaussian, DivisibleNoise
from dp.testing import NoiseConformance, SeededRand


class TestDiscreteGaussian(NoiseConformance):
    def noises(self) -> Sequence[DiscreteGaussian]:
        return [DiscreteGaussian(v) for v in (Fraction(1, 7), 9, 0.5, 640_000)]


@pytest.mark.parametrize("sigma_squared", [Fraction(1, 3), Fraction(9), Fraction(41, 4)])
def test_the_enclosures_hold_the_definition(sigma_squared: Fraction) -> None:
    law = DiscreteGaussian(sigma_squared).enclosure(96)
    with localcontext(prec=60):
        double = Decimal(2 * sigma_squared.numerator) / sigma_squared.denominator
        weights = [(-(k * k) / double).exp() for k in range(120)]
        total = 2 * sum(weights) - 1
        for value in range(40):
            exact = weights[value] / total * 2**96
            low, high = law.probability(value)
            assert low - Decimal("1e-20") <= exact <= high + Decimal("1e-20")
            assert high - low <= 2


def test_it_has_no_shares() -> None:
    assert not isinstance(DiscreteGaussian(9), DivisibleNoise)
    assert not hasattr(DiscreteGaussian(9), "share")


def test_the_variance_is_a_lower_bound_below_the_parameter() -> None:
    """[CKS20, Cor. 9]; at 1/7 the two are far apart, at 9 they agree to 2**-60."""
    small, large = DiscreteGaussian(Fraction(1, 7)), DiscreteGaussian(9)
    assert 0 < small.variance < Fraction(1, 2) * small.sigma_squared
    assert large.variance < large.sigma_squared < large.variance + Fraction(1, 1 << 60)


def test_the_smallest_parameter_works() -> None:
    least = DiscreteGaussian(Fraction(1, 1 << 32))
    assert not least.sample(1000, SeededRand(1)).any()
    assert least.variance == 0
