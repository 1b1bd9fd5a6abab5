"""Calibration: what it returns passes, a hair less does not."""

from __future__ import annotations

import math
from typing import Any

import pytest
from dp_accounting import get_sigma_gaussian

from dp import DiscreteGaussian, ParameterError, Skellam
from dp.account_reduction import ReductionAccountant
from dp.calibrate import choose_within, noise_multiplier
from dp.events import Composed, Gaussian, Sampled


def spent(z: float, delta: float, rounds: int, sampling: float) -> float:
    event = Composed(((Sampled(sampling, Gaussian(z)), rounds),))
    return ReductionAccountant().epsilon(event, delta)


@pytest.mark.parametrize("epsilon", [1e-6, 0.1, 1.0, 8.0, 100.0, 1e4])
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-12])
def test_one_round_takes_the_least_noise(epsilon: float, delta: float) -> None:
    found = noise_multiplier(epsilon, delta)
    assert spent(found, delta, 1, 1.0) <= epsilon
    assert spent(found * (1 - 1e-9), delta, 1, 1.0) > epsilon
    assert found == pytest.approx(get_sigma_gaussian(epsilon, delta), rel=1e-6)


def test_rounds_without_sampling_take_their_root() -> None:
    assert noise_multiplier(1.0, 1e-5) == pytest.approx(3.730632, abs=1e-6)
    many = noise_multiplier(1.0, 1e-5, rounds=100)
    assert many == pytest.approx(37.30632, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("rounds", "sampling"), [(1, 0.5), (20, 0.05)])
def test_sampled_rounds_take_less(rounds: int, sampling: float) -> None:
    found = noise_multiplier(2.0, 1e-5, rounds=rounds, sampling=sampling)
    assert spent(found, 1e-5, rounds, sampling) <= 2.0
    assert spent(found * (1 - 3e-5), 1e-5, rounds, sampling) > 2.0
    assert found < noise_multiplier(2.0, 1e-5, rounds=rounds)


def test_an_epsilon_that_any_noise_keeps() -> None:
    assert noise_multiplier(1e8, 1e-5) == 2.0**-10


def test_an_epsilon_that_no_noise_keeps() -> None:
    assert noise_multiplier(1e-6, 1e-7) < 2.0**30
    with pytest.raises(ParameterError, match=r"noise_multiplier <= 2\*\*30"):
        noise_multiplier(1e-12, 1e-12)


@pytest.mark.parametrize("epsilon", [0, -1, math.nan, math.inf, True])
def test_epsilons_that_are_none(epsilon: Any) -> None:
    with pytest.raises(ParameterError, match="0 < epsilon < infinity"):
        noise_multiplier(epsilon, 1e-5)


@pytest.mark.parametrize("delta", [0, 1, 1.5, -1e-5, math.nan, math.inf, True])
def test_deltas_that_are_none(delta: Any) -> None:
    with pytest.raises(ParameterError, match="0 < delta < 1"):
        noise_multiplier(1.0, delta)


@pytest.mark.parametrize("rounds", [0, -1, 1.5, True, None])
def test_rounds_that_are_none(rounds: Any) -> None:
    with pytest.raises(ParameterError, match="rounds >= 1"):
        noise_multiplier(1.0, 1e-5, rounds=rounds)


@pytest.mark.parametrize("sampling", [0, -0.1, 1.1, math.nan, True, None])
def test_probabilities_that_are_none(sampling: Any) -> None:
    with pytest.raises(ParameterError, match="probability"):
        noise_multiplier(1.0, 1e-5, sampling=sampling)


@pytest.mark.parametrize("parts", [50, None])
@pytest.mark.parametrize("width", [None, 16])
def test_a_budget_leads_to_a_mechanism_that_keeps_it(parts: int | None, width: int | None) -> None:
    noise = DiscreteGaussian if parts is None else Skellam
    choice = choose_within(
        8.0,
        1e-5,
        rounds=15,
        size=1000,
        clients=100,
        parts=parts,
        clip=1.0,
        width=width,
        noise=noise,
    )
    spent = ReductionAccountant().epsilon(Composed(((choice.mechanism.event, 15),)), 1e-5)
    assert 8.0 * (1 - 1e-4) < spent <= 8.0
    assert "bytes a parameter" in choice.explained()
    with pytest.raises(ParameterError, match="epsilon"):
        choose_within(0.0, 1e-5, size=1000, clients=100, parts=parts, clip=1.0)
    with pytest.raises(ParameterError, match=r"bits|width"):
        choose_within(8.0, 1e-5, size=1000, clients=100, parts=50, clip=1.0, width=4)
