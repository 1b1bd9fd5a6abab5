"""`summed`: the law of a sum of independent draws, and how far off it is."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from dp import DiscreteGaussian, IntegerNoise, ParameterError, Skellam
from dp.testing import both_sides, convolve, same_law

BITS = 200


def exact_sum(noise: IntegerNoise, parts: int) -> list[tuple[int, int]]:
    part = both_sides(noise.enclosure(BITS))
    total = part
    for _ in range(parts - 1):
        total = convolve(total, part, BITS)
    return total


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_skellam_noise_sums_to_skellam_noise(parts: int) -> None:
    total, distance = Skellam(Fraction(7, 3)).summed(parts)
    assert distance == 0
    assert total.share(parts) == Skellam(Fraction(7, 3))
    exact = exact_sum(Skellam(Fraction(7, 3)), parts)
    same_law(exact, both_sides(total.enclosure(BITS)), slack=1 << 40)


@pytest.mark.parametrize("variance", [Fraction(1, 2), Fraction(3, 4), 1, 2])
@pytest.mark.parametrize("parts", [2, 3, 6])
def test_discrete_gaussians_sum_to_nearly_one(variance: Fraction, parts: int) -> None:
    total, distance = DiscreteGaussian(variance).summed(parts)
    assert total == DiscreteGaussian(variance * parts)
    exact, near = (
        exact_sum(DiscreteGaussian(variance), parts),
        both_sides(total.enclosure(BITS)),
    )
    middle = len(exact) // 2, len(near) // 2
    worst = 0.0
    for at in range(8):
        (low, high), (least, most) = exact[middle[0] + at], near[middle[1] + at]
        worst = max(worst, abs(math.log(Fraction(high, least))), abs(math.log(Fraction(low, most))))
    assert worst <= distance
    assert worst > (distance / 10 if parts == 2 else 0)  # so that exactness would be noticed


def test_one_part_is_the_noise_itself() -> None:
    assert DiscreteGaussian(Fraction(1, 8)).summed(1) == (DiscreteGaussian(Fraction(1, 8)), 0)
    assert Skellam(5).summed(1) == (Skellam(5), 0)


def test_the_distance_is_the_published_sum_and_no_less() -> None:
    for variance, parts in ((Fraction(1, 2), 3), (Fraction(1), 64), (Fraction(2), 65)):
        published = 10 * sum(
            math.exp(-2 * math.pi**2 * variance * k / (k + 1)) for k in range(1, parts)
        )
        assert published * (1 - 1e-12) <= DiscreteGaussian(variance).summed(parts)[1]
        assert DiscreteGaussian(variance).summed(parts)[1] <= published * (1 + 1e-6)


def test_many_parts_are_charged_at_no_less_than_their_sum() -> None:
    parts = 10_000
    published = 10 * sum(math.exp(-2 * math.pi**2 * 4 * k / (k + 1)) for k in range(1, parts))
    assert published <= DiscreteGaussian(4).summed(parts)[1] <= 4 * published


def test_sums_without_a_law_are_refused() -> None:
    assert DiscreteGaussian(Fraction(1, 2)).summed(2)[1] > 0
    with pytest.raises(ParameterError, match="sigma_squared >= 1/2"):
        DiscreteGaussian(Fraction(1, 3)).summed(2)
    for noise in (DiscreteGaussian(4), Skellam(4)):
        for parts in (0, -1, True, 2.0):
            with pytest.raises(ParameterError, match="parts >= 1"):
                noise.summed(parts)
        with pytest.raises(ParameterError, match=r"2\*\*60"):
            noise.summed(1 << 60)
