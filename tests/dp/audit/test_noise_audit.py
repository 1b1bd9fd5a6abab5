"""`check_noise`: what it finds, what it lets pass, and what it refuses."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from dp.audit import check_noise
from dp.errors import InputRefused, ParameterError
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam
from dp.testing import SeededRand

SIZE = 1 << 17


@pytest.mark.parametrize("noise", [Skellam(Fraction(1, 2)), Skellam(10**6), DiscreteGaussian(9)])
def test_the_law_itself_passes(noise: Any) -> None:
    verdict = check_noise(noise.sample(SIZE, SeededRand(1)), noise.variance)
    assert verdict.passed
    assert verdict.size == SIZE
    assert verdict.ratio == pytest.approx(1, abs=verdict.tolerance)


@pytest.mark.parametrize("share", [0.95, 1.05])
def test_five_percent_less_or_more_do_not(share: float) -> None:
    noise = Skellam(Fraction(share) * 10_000)
    verdict = check_noise(noise.sample(SIZE, SeededRand(2)), 10_000)
    assert not verdict.variance_fits
    assert verdict.mean_fits
    assert not verdict.passed


def test_noise_that_is_not_centered_does_not_pass() -> None:
    values = Skellam(10_000).sample(SIZE, SeededRand(3)) + 3
    verdict = check_noise(values, 10_000)
    assert verdict.variance_fits
    assert not verdict.mean_fits
    assert not verdict.passed


def test_no_noise_at_all_does_not_pass() -> None:
    assert check_noise(np.zeros(1000, np.int64), 1.0).ratio == 0.0
    assert not check_noise(np.zeros(1000, np.int64), 1.0).passed


def test_the_tolerance_follows_the_false_alarm_rate() -> None:
    values = np.zeros(SIZE, np.int64)
    loose, tight = (check_noise(values, 100.0, false_alarm=rate) for rate in (1e-2, 1e-9))
    assert loose.tolerance < tight.tolerance
    assert tight.tolerance == pytest.approx(6.1094 * math.sqrt(2.01 / SIZE), rel=1e-4)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros(999, np.int64),
        np.zeros((1000, 2), np.int64),
        np.zeros(2000, np.int32),
        np.zeros(2000),
        np.int64(3),
        [0] * 2000,
        None,
    ],
)
def test_bad_arrays_are_refused(bad: Any) -> None:
    with pytest.raises(InputRefused):
        check_noise(bad, 1.0)


@pytest.mark.parametrize("variance", [0, -1.0, math.nan, math.inf, True, "1", 2.0**61])
def test_bad_variances_are_refused(variance: Any) -> None:
    with pytest.raises(ParameterError, match="variance"):
        check_noise(np.zeros(1000, np.int64), variance)


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0, -0.1, math.nan, 1, "x", 5e-324])
def test_bad_rates_are_refused(rate: Any) -> None:
    with pytest.raises(ParameterError, match="false_alarm"):
        check_noise(np.zeros(1000, np.int64), 1.0, false_alarm=rate)


@pytest.mark.slow
def test_the_false_alarm_rate_is_what_it_says() -> None:
    """2,000 trials at 1 %: more than 37 alarms have p < 2e-4 by the binomial law."""
    rand = SeededRand(4)
    noise = Skellam(50)
    verdicts = [check_noise(noise.sample(2000, rand), 50, false_alarm=0.01) for _ in range(2000)]
    assert sum(not v.variance_fits for v in verdicts) <= 37
    assert sum(not v.mean_fits for v in verdicts) <= 37
    assert sum(not v.passed for v in verdicts) >= 10, "a test that never fails tests nothing"
