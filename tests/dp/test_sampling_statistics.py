"""Long statistics of the samplers: law, variance, tails and independence, ties included.

The seeds are fixed. A right sampler would have failed one of the checks with probability 2**-30 at
most if they were random; `FAILURE` is the share of each that has an explicit one.
"""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest

from dp import DiscreteGaussian, IntegerNoise, Skellam
from dp.sample import KeyStream
from dp.sample_table import Table
from dp.testing import SeededRand, chi_square, chi_square_bound

pytestmark = pytest.mark.slow

FAILURE = 2.0**-40
COUNT = 20_000_000
NOISES = [kind(sigma**2) for sigma in (3, 800, 12_000) for kind in (Skellam, DiscreteGaussian)]
every_noise = pytest.mark.parametrize("noise", NOISES, ids=repr)


def deviation(mean: float, failure: float) -> float:
    """Bernstein: a sum of independent indicators strays further with probability 2 failure."""
    t = log(1 / failure)
    return sqrt(2 * mean * t) + t / 3


@every_noise
def test_the_law(noise: IntegerNoise) -> None:
    statistic, freedom = chi_square(noise, noise.sample(COUNT, SeededRand(("law", noise))))
    assert freedom > 15
    assert statistic < chi_square_bound(freedom, FAILURE)


@every_noise
def test_mean_and_variance(noise: IntegerNoise) -> None:
    sample = noise.sample(COUNT, SeededRand(("variance", noise))).astype(np.float64)
    scale = float(noise.variance)
    assert abs(sample.mean()) < 8 * sqrt(scale / COUNT)
    assert abs(np.mean(sample**2) / scale - 1) < 8 * sqrt((2 + 1 / scale) / COUNT)


@every_noise
def test_tails(noise: IntegerNoise) -> None:
    sample = noise.sample(COUNT, SeededRand(("tails", noise)))
    law, sigma = noise.enclosure(), sqrt(noise.sigma_squared)
    for deviations in (2, 3, 4, 5):
        bound = round(deviations * sigma)
        mean = COUNT * float(law.tail(bound))
        for side in (sample, -sample):
            found = np.count_nonzero(side > bound)
            assert abs(found - mean / 2) < deviation(mean / 2, FAILURE)


@every_noise
def test_neighbours_and_halves_are_uncorrelated(noise: IntegerNoise) -> None:
    sample = noise.sample(COUNT, SeededRand(("pairs", noise))).astype(np.float64)
    sample /= sqrt(noise.variance)
    for lag in (1, 2, 1 << 16, COUNT // 2):
        assert abs(np.mean(sample[lag:] * sample[:-lag])) < 8 / sqrt(COUNT - lag)


@pytest.mark.parametrize("noise", [Skellam(2), DiscreteGaussian(2)], ids=repr)
def test_the_law_where_most_samples_are_ties(noise: IntegerNoise) -> None:
    small = Table(noise, 4)
    sample = small.sample(300_000, KeyStream(SeededRand(("ties", noise))))
    statistic, freedom = chi_square(noise, sample)
    assert statistic < chi_square_bound(freedom, FAILURE)


@pytest.mark.parametrize("kind", [Skellam, DiscreteGaussian])
def test_a_wrong_variance_would_be_seen(kind: type[IntegerNoise]) -> None:
    """The power of the checks: one per cent more variance fails both of them."""
    sample = kind(808 * 800).sample(COUNT, SeededRand("power"))
    statistic, freedom = chi_square(kind(800 * 800), sample)
    assert statistic > chi_square_bound(freedom, FAILURE)
    assert abs(np.mean(sample.astype(np.float64) ** 2) / 800**2 - 1) > 8 * sqrt(2 / COUNT)
