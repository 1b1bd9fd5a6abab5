"""Tail bounds are above exact probabilities, and not far above."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.noise import IntegerNoise
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam
from dp.sample_law import Enclosure
from dp.testing import SeededRand
from dp.wrap import Stray, either, energy

NOISES = [
    kind(value)
    for kind in (Skellam, DiscreteGaussian)
    for value in (Fraction(1, 100), Fraction(1, 2), 1, 9, 400)
]
every_noise = pytest.mark.parametrize("noise", NOISES, ids=repr)


@every_noise
def test_tails_of_noise_are_bounds_and_near(noise: IntegerNoise) -> None:
    stray = Stray(fixed=0.0, spread=0.0, noise=float(noise.sigma_squared))
    law, sigma = noise.enclosure(120), math.sqrt(noise.sigma_squared)
    for deviations in (1, 2, 4, 8):
        bound = math.ceil(deviations * sigma) + 1
        exact = math.log2(law.tail(bound - 1))
        assert exact <= stray.log2_tail(bound)
        if isinstance(noise, Skellam) and exact > -100:
            assert stray.log2_tail(bound) <= 0.9 * exact + 4


@given(
    st.lists(st.floats(-20, 20), min_size=1, max_size=6).filter(any),
    st.sampled_from([Fraction(1, 10), 1, 30]),
    st.floats(0, 10),
    st.floats(1, 80),
)
def test_signs_noise_and_a_fixed_part_by_brute_force(
    vector: list[float], variance: Fraction, fixed: float, bound: float
) -> None:
    """Exactly: every pattern of signs, and the enclosed law of the noise."""
    law, patterns = Skellam(variance).enclosure(), itertools.product((1, -1), repeat=len(vector))
    sums = [sum(x * sign for x, sign in zip(vector, signs, strict=True)) for signs in patterns]
    exact = sum(_beyond(law, bound - fixed - each) for each in sums) / len(sums)
    spread = sum(x * x for x in vector)
    stray = Stray(fixed=fixed, spread=spread, noise=float(variance))
    # sums are symmetric: P(sum + fixed >= bound) is half of what is bounded
    assert min(1.0, 2 * exact) <= 2.0 ** stray.log2_tail(bound) * (1 + 1e-9) + 2.0**-90


def _beyond(law: Enclosure, at: float) -> float:
    """P(X >= at)."""
    whole = math.ceil(at)
    if whole <= 0:
        return 1 - _beyond(law, 1 - whole)
    return float(law.tail(whole - 1)) / 2


def test_nothing_random_strays_not_at_all() -> None:
    still = Stray(fixed=5.0, spread=0.0, noise=0.0)
    assert still.log2_tail(5.0) == 0
    assert still.log2_tail(5.5) == -math.inf


def test_without_noise_it_is_the_bound_of_hoeffding() -> None:
    found = Stray(fixed=1.0, spread=4.0, noise=0.0).log2_tail(21.0)
    assert found == pytest.approx(1 - 400 / 8 / math.log(2), rel=1e-8)
    nearly = Stray(fixed=1.0, spread=4.0, noise=1e-300).log2_tail(21.0)
    assert nearly == pytest.approx(found, rel=1e-6)


def test_the_union_of_events() -> None:
    assert either(-3.0, -3.0) == -2.0
    assert either(-1.0, -1.0, -1.0) == 0
    assert either(-math.inf, -math.inf) < -1000


@every_noise
@pytest.mark.parametrize("size", [1, 10, 3000])
def test_energies_are_bounds(noise: IntegerNoise, size: int) -> None:
    limit = energy(size, float(noise.sigma_squared), 40)
    for seed in range(30):
        drawn = noise.sample(size, SeededRand(("energy", seed)))
        assert int(drawn @ drawn) <= limit
    assert limit > size * noise.variance


def test_energies_are_near_the_mean_for_many_coordinates() -> None:
    assert energy(10**6, 1e4, 40) < 1.05 * 1e10
    assert energy(10**5, 1.0, 40) < 1.15 * 1e5
    assert energy(10, 0.0, 40) == 0
    for noise in (0.1, 1.0, 1e4):
        assert energy(10**7, noise, 40) > noise * 10**7


def test_an_energy_of_one_coordinate_against_the_law() -> None:
    """P(X**2 > energy) <= 2**-bits, exactly."""
    for bits in (5, 10, 20, 40):
        limit = math.isqrt(math.floor(energy(1, 9.0, bits)))
        assert Skellam(9).tail(limit) <= Fraction(1, 1 << bits)
        assert Skellam(9).tail(limit // 8) > Fraction(1, 1 << bits)


def test_energies_fail_no_more_often_than_they_may() -> None:
    """At 1 bit, so that failures can be counted: fewer than half of 400, by far."""
    limit, values = energy(20, 4.0, 1), Skellam(4).sample((400, 20), SeededRand("energies"))
    assert np.count_nonzero(np.sum(values**2, axis=1) > limit) <= 100
