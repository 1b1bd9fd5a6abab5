"""The accountant prices every mechanism that can be chosen, and proves what it says it proves."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import flint
import numpy as np
import pytest

from dp import Skellam
from dp.account_reduction import ReductionAccountant, gaussian_multiplier
from dp.choose import choose
from dp.dominance import gaussian_delta, gaussian_parameter
from dp.events import Composed, Gaussian, Release, Sampled
from dp.sensitivity import Sensitivity

RELEASE = Release(Skellam(10**6), 1, Sensitivity(squared=10**6, coordinates=10, integral=True))


@pytest.mark.parametrize(("clients", "parts", "width"), [(20, 10, 32), (200, 100, 32)])
def test_whatever_choose_returns_has_a_price(clients: int, parts: int, width: int) -> None:
    choice = choose(
        size=100, clients=clients, parts=parts, clip=1.0, noise_multiplier=1.0, width=width
    )
    assert 4.3 < ReductionAccountant().epsilon(choice.mechanism.event, 1e-5) < 4.5
    assert gaussian_multiplier(choice.mechanism.event) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("kind", [float, np.float64, np.float32, np.float16])
def test_epsilon_is_proved_for_the_delta_that_was_given(kind: type[float]) -> None:
    delta = kind(1e-5)
    mu_squared = gaussian_parameter(RELEASE.noise).mu ** 2 * RELEASE.sensitivity.squared
    epsilon = ReductionAccountant().epsilon(RELEASE, delta)
    assert gaussian_delta(mu_squared, epsilon) <= float(delta)


def test_threads_get_the_same_figures_and_leave_the_precision_alone() -> None:
    noises = [Skellam(Fraction(i + 1, 3)) for i in range(40)]
    compute = gaussian_parameter.__wrapped__
    before, alone = flint.ctx.prec, [compute(noise) for noise in noises]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda i: compute(noises[i % 40]), range(1200)))
        assert flint.ctx.prec == before
        assert found == [alone[i % 40] for i in range(1200)]
    finally:
        sys.setswitchinterval(interval)
        flint.ctx.prec = before


def test_so_many_sampled_rounds_that_no_grid_holds_them_are_priced_without_sampling() -> None:
    few = Composed(((Sampled(0.01, Gaussian(1.0)), 10),))
    assert 0 < ReductionAccountant().epsilon(few, 1e-5) < 4.4
    many, every = (
        ReductionAccountant().epsilon(Composed(((event, 2**40),)), 1e-5)
        for event in (Sampled(0.01, Gaussian(1.0)), Gaussian(1.0))
    )
    assert 1e6 < many == every
