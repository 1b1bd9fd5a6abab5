"""Skellam noise: the conformance suite, and its law against the definition."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import factorial

import numpy as np
import pytest
from scipy.stats import skellam

from dp import ParameterError, Skellam
from dp.testing import DivisibleNoiseConformance, SeededRand, both_sides, convolve, same_law


class TestSkellam(DivisibleNoiseConformance):
    def noises(self) -> Sequence[Skellam]:
        return [Skellam(Fraction(1, 7)), Skellam(9), Skellam(0.5), Skellam(640_000)]


def poisson_difference(mean: Fraction, value: int, terms: int) -> Fraction:
    """P(X = value) * exp(2 * mean), cut off: sum over j of mean**(2j+k) / (j! (j+k)!)."""
    return sum(
        (mean ** (2 * j + value) / (factorial(j) * factorial(j + value)) for j in range(terms)),
        Fraction(0),
    )


@pytest.mark.parametrize("variance", [Fraction(1, 3), Fraction(9), Fraction(41, 4)])
def test_the_enclosures_hold_the_series_of_the_definition(variance: Fraction) -> None:
    mean, terms = variance / 2, 60
    law = Skellam(variance).enclosure(96)
    inverse = sum((variance**j / factorial(j) for j in range(120)), Fraction(0))
    for value in range(30):
        exact = poisson_difference(mean, value, terms) / inverse * 2**96
        low, high = law.probability(value)
        assert low - 2 <= exact <= high + 2  # the series are cut off below 2**-96
        assert high - low <= 2


@pytest.mark.parametrize("variance", [9, 640_000])
def test_an_independent_implementation_agrees(variance: int) -> None:
    law = Skellam(variance).enclosure(96)
    for value in (0, 1, int(variance**0.5), int(3 * variance**0.5)):
        reference = skellam.pmf(value, variance / 2, variance / 2)
        assert law.probability(value)[0] / 2**96 == pytest.approx(reference, rel=1e-9)


def test_shares_sum_to_the_whole_as_power_series() -> None:
    """I_n(a + b) = sum_k I_k(a) I_{n-k}(b): every coefficient of a**i b**j, in exact rationals."""

    def coefficient(order: int, power: int) -> Fraction:
        twice = power - abs(order)
        if twice < 0 or twice % 2:
            return Fraction(0)
        half = twice // 2
        return Fraction(1, 2**power * factorial(half) * factorial(half + abs(order)))

    checked = 0
    for n in range(4):
        for i in range(8):
            for j in range(8):
                binomial = factorial(i + j) // (factorial(i) * factorial(j))
                whole = coefficient(n, i + j) * binomial
                parts = sum(
                    (coefficient(k, i) * coefficient(n - k, j) for k in range(-i, i + 1)),
                    Fraction(0),
                )
                assert whole == parts
                checked += whole != 0
    assert checked > 50


def test_a_law_of_another_variance_is_noticed() -> None:
    part = both_sides(Skellam(3).enclosure(128))
    total = convolve(part, part, 128)
    same_law(total, both_sides(Skellam(6).enclosure(128)), slack=1 << 40)
    with pytest.raises(AssertionError):
        same_law(total, both_sides(Skellam(6 + 2.0**-30).enclosure(128)), slack=1 << 40)


def test_shares_of_clients_sum_to_the_variance() -> None:
    whole, clients, dimension = Skellam(10_000), 50, 20_000
    share = whole.share(clients)
    total = np.zeros(dimension, np.int64)
    for client in range(clients):
        total += share.sample(dimension, SeededRand(client))
    assert total.var() == pytest.approx(10_000, rel=8 * (2 / dimension) ** 0.5)


def test_the_smallest_variance_works_and_less_is_refused() -> None:
    least = Skellam(Fraction(1, 1 << 32))
    assert not least.sample(1000, SeededRand(1)).any()
    assert least.variance == Fraction(1, 1 << 32)
    with pytest.raises(ParameterError, match=r"2\*\*-32 <= sigma_squared <= 2\*\*60"):
        least.share(2)
