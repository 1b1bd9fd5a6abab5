"""Bounds on laws: ratios do not increase, widths keep their promise, precision only narrows."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest

from dp import DiscreteGaussian, IntegerNoise, ParameterError, Skellam
from dp.sample_interval import Interval
from dp.sample_law import Enclosure, enclose, reach

NOISES = [
    kind(value) for kind in (Skellam, DiscreteGaussian) for value in (Fraction(1, 50), 1, 9, 10**4)
]
every_noise = pytest.mark.parametrize("noise", NOISES, ids=repr)


@every_noise
def test_ratios_are_narrow_below_one_and_do_not_increase(noise: IntegerNoise) -> None:
    bits = 160
    ratios = noise.ratios(reach(noise.sigma_squared, 96), bits)
    assert len(ratios) == reach(noise.sigma_squared, 96)
    assert all(0 <= low <= high <= low + (1 << 10) for low, high in ratios)
    assert all(high < 1 << bits for _, high in ratios)
    assert all(low <= high for (low, _), (_, high) in zip(ratios[1:], ratios, strict=False))


@pytest.mark.parametrize("kind", [Skellam, DiscreteGaussian])
def test_ratios_at_few_bits_hold_those_at_many(kind: type[IntegerNoise]) -> None:
    """Ends of few bits are near the truth, so that one rounded to the wrong side shows."""
    for value in (Fraction(3, 7), 3, 7, 10, Fraction(23, 3), 61, Fraction(101, 7), 997):
        fine = kind(value).ratios(40, 300)
        for bits in range(40, 60):
            for (low, high), (least, most) in zip(kind(value).ratios(40, bits), fine, strict=True):
                assert low << (300 - bits) <= most
                assert least <= high << (300 - bits)


@every_noise
def test_ratios_at_more_bits_lie_within_those_at_fewer(noise: IntegerNoise) -> None:
    for (low, high), (least, most) in zip(
        noise.ratios(50, 100), noise.ratios(50, 300), strict=True
    ):
        assert low << 200 <= most
        assert least <= high << 200


@every_noise
def test_enclosures_are_narrow_monotone_and_nested(noise: IntegerNoise) -> None:
    coarse, fine = enclose(noise, 96), enclose(noise, 300)
    assert coarse.upper[-1] == 1 << 96
    assert coarse.lower == sorted(coarse.lower)
    assert coarse.upper == sorted(coarse.upper)
    size = len(coarse.lower) - 1
    assert max(high - low for low, high in zip(coarse.lower, coarse.upper, strict=True)) <= 2
    assert len(fine.lower) > size
    for at in range(size):
        assert coarse.lower[at] << 204 <= fine.upper[at]
        assert fine.lower[at] <= coarse.upper[at] << 204


def test_locate_answers_only_what_is_certain() -> None:
    law = Enclosure(4, [3, 10, 14], [4, 10, 16], 0, [], (0, 0))
    found = [law.locate(prefix) for prefix in range(16)]
    # 3 may lie on either side of P(X = 0); 14 and 15 may lie beyond the table
    assert found == [0, 0, 0, None, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, None, None]


@dataclass(frozen=True)
class HeavyTail:
    """Ratios are `ratio` but for the last that is asked for, which holds for all beyond.

    The reach is far too short for it: nine tenths of the mass may lie beyond.
    """

    ratio: Fraction
    beyond: Fraction
    sigma_squared: Fraction = Fraction(1)

    def ratios(self, count: int, bits: int) -> list[Interval]:
        exact = [self.ratio * (1 << bits)] * (count - 1) + [self.beyond * (1 << bits)]
        return [(ratio.__floor__(), ratio.__ceil__()) for ratio in exact]

    def sums(self, count: int) -> tuple[list[Fraction], Fraction]:
        """Over |k| <= m for m < count, and over all k, where `beyond` holds from `count` on."""
        weights = [self.ratio**k for k in range(count + 1)]
        sums = [2 * sum(weights[: m + 1]) - 1 for m in range(count + 1)]
        return sums[:-1], sums[-1] + 2 * weights[-1] * self.beyond / (1 - self.beyond)


@pytest.mark.parametrize("beyond", [Fraction(1999, 2000), Fraction(1, 2)])
def test_a_tail_beyond_the_table_is_accounted_for(beyond: Fraction) -> None:
    law = HeavyTail(Fraction(1999, 2000), beyond)
    found = enclose(law, 96)
    sums, total = law.sums(len(found.lower))
    assert 1 - sums[-1] / total <= found.tail(10**9)
    for low, high, within in zip(found.lower, found.upper, sums, strict=True):
        # the bound on the tail is sharp for this law, so only rounding separates the lower end
        assert low <= within / total * 2**96 <= min(low + 2, high)


def test_bits_are_bounded() -> None:
    assert Skellam(9).enclosure(1).bits == 1
    for bits in (0, -1, (1 << 16) + 1):
        with pytest.raises(ParameterError, match=r"1 <= bits <= 2\*\*16"):
            Skellam(9).enclosure(bits)


def test_tail_bounds_are_refused_below_zero() -> None:
    assert Skellam(9).tail(0) < 1
    with pytest.raises(ParameterError, match="bound >= 0"):
        Skellam(9).tail(-1)
