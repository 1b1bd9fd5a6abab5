"""The default accountant: against exact laws, the central Gaussian, and other accountants."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.pld import privacy_loss_distribution as pld

from dp import DiscreteGaussian, ParameterError, Skellam
from dp.account_reduction import ReductionAccountant
from dp.dominance import gaussian_parameter
from dp.events import Composed, Event, Gaussian, Release, Sampled
from dp.sensitivity import Sensitivity

REDUCTION = ReductionAccountant()
DELTA = 1e-5
LAWS = (Skellam, DiscreteGaussian)


def single(law: type[Skellam | DiscreteGaussian], sigma: int, shift: int) -> Release:
    one = Sensitivity(squared=Fraction(shift) ** 2, coordinates=1, integral=True)
    return Release(law(sigma**2), 1, one)


def of_sixteen_bits(multiplier: float, sigma: int) -> Release:
    """100 clients, 10**5 coordinates padded to 2**17, Skellam noise of deviation `sigma`."""
    norm = Fraction(sigma) / Fraction(multiplier)
    reals = Sensitivity(squared=norm**2, coordinates=1 << 17, integral=False)
    return Release(Skellam(Fraction(sigma**2, 100)), 100, reals.rounded(math.exp(-0.5)))


def repeated(event: Event, probability: float, count: int) -> Composed:
    return Composed(((Sampled(probability, event), count),))


def test_a_central_gaussian() -> None:
    assert REDUCTION.epsilon(Gaussian(1.0), DELTA) == pytest.approx(4.377178, abs=1e-6)
    assert REDUCTION.epsilon(Gaussian(0.5), DELTA) == pytest.approx(9.9973, abs=1e-4)
    assert REDUCTION.epsilon(Gaussian(4.0), DELTA) == pytest.approx(0.9263, abs=1e-4)


@pytest.mark.parametrize(
    ("law", "sigma", "expected"),
    [
        (DiscreteGaussian, 5, (4.3832, 4.3942)),
        (Skellam, 5, (4.0229, 4.4118)),
        (DiscreteGaussian, 10, (4.3777, 4.3815)),
        (Skellam, 10, (4.2696, 4.3857)),
    ],
)
def test_one_coordinate_of_shift_sigma(
    law: type[Skellam | DiscreteGaussian], sigma: int, expected: tuple[float, float]
) -> None:
    """Between the exact epsilon, from a convolution made elsewhere, and a figure near by."""
    found = REDUCTION.epsilon(single(law, sigma, sigma), DELTA)
    assert expected[0] <= found <= expected[1]


@pytest.mark.parametrize("sigma", [5, 10, 30])
@pytest.mark.parametrize("sensitivity", [1, 3])
def test_another_account_of_the_discrete_gaussian(sigma: int, sensitivity: int) -> None:
    theirs = pld.from_discrete_gaussian_mechanism(
        sigma, sensitivity, value_discretization_interval=1e-4, pessimistic_estimate=False
    )
    event = single(DiscreteGaussian, sigma, sensitivity)
    for epsilon in (0.0, 0.5 * sensitivity / sigma, 2 * sensitivity / sigma):
        exact = theirs.get_delta_for_epsilon(epsilon)
        found = REDUCTION.delta(event, epsilon)
        assert found >= exact * (1 - 1e-9)
        if epsilon == 0:
            assert found <= 1.01 * exact


@pytest.mark.parametrize("law", LAWS)
def test_rounds_compose_as_gaussians_do(law: type[Skellam | DiscreteGaussian]) -> None:
    """mu is a root of a sum of squares: nine rounds of shift 1 are one round of shift 3."""
    nine = Composed(((single(law, 5, 1), 9),))
    for delta in (1e-3, 1e-9):
        one = REDUCTION.epsilon(single(law, 5, 3), delta)
        assert REDUCTION.epsilon(nine, delta) == pytest.approx(one, rel=1e-10)
    mixed = Composed.of(Gaussian(0.5), Gaussian(1.0), Gaussian(2.0))
    whole = Gaussian(1 / math.sqrt(4 + 1 + 0.25))
    assert REDUCTION.epsilon(mixed, DELTA) == pytest.approx(REDUCTION.epsilon(whole, DELTA))


@pytest.mark.parametrize("sigma", [3500, 7896])
def test_sixteen_bits_cost_what_a_central_gaussian_does(sigma: int) -> None:
    """The target: within 1 %, at a deviation that a 16-bit ring holds.

    Noise of deviation 3500 stays in a ring of 16 bits but for 2**-40; 7896 is for four deviations.
    """
    if sigma == 3500:
        assert Skellam(sigma**2).tail((1 << 15) - 1) * (1 << 17) < 2.0**-40
    event = of_sixteen_bits(1.0, sigma)
    central = REDUCTION.epsilon(Gaussian(1.0), DELTA)
    assert central <= REDUCTION.epsilon(event, DELTA) <= 1.01 * central
    sampled = REDUCTION.epsilon(repeated(event, 0.01, 1000), DELTA)
    accountant = PLDAccountant()
    accountant.compose(PoissonSampledDpEvent(0.01, GaussianDpEvent(1.0)), 1000)
    assert accountant.get_epsilon(DELTA) <= sampled <= 1.01 * accountant.get_epsilon(DELTA)


@pytest.mark.parametrize(
    ("multiplier", "sigma", "expected", "central"),
    [(1.0, 7896, 1.829, 1.828), (0.6, 7380, 7.437, 7.434), (2.0, 8115, 0.623, 0.622)],
)
def test_a_thousand_sampled_rounds(
    multiplier: float, sigma: int, expected: float, central: float
) -> None:
    event = repeated(of_sixteen_bits(multiplier, sigma), 0.01, 1000)
    assert REDUCTION.epsilon(event, DELTA) == pytest.approx(expected, abs=6e-4)
    gaussian = repeated(Gaussian(multiplier), 0.01, 1000)
    assert REDUCTION.epsilon(gaussian, DELTA) == pytest.approx(central, abs=6e-4)


def test_one_round_of_sixteen_bits() -> None:
    found = REDUCTION.epsilon(of_sixteen_bits(1.0, 7896), DELTA)
    assert found == pytest.approx(4.379, abs=5e-4)


def test_dimension_costs_nothing() -> None:
    small = Sensitivity(squared=Fraction(100), coordinates=1, integral=True)
    large = small.padded(1 << 30)
    found = [REDUCTION.epsilon(Release(Skellam(25), 4, each), DELTA) for each in (small, large)]
    assert found[0] == found[1]


def test_a_sum_of_discrete_gaussians_is_charged_for_its_distance() -> None:
    """H <= exp(tau N) H', at epsilon - 2 tau N; a round N = 100, tau = 10 exp(-pi**2)."""
    sensitivity = Sensitivity(squared=Fraction(4), coordinates=100, integral=True)
    summed = Release(DiscreteGaussian(1), 2, sensitivity)
    alone = Release(DiscreteGaussian(2), 1, sensitivity)
    distance = float(DiscreteGaussian(1).summed(2)[1]) * 100
    assert distance == pytest.approx(1000 * math.exp(-(math.pi**2)), rel=1e-6)
    expected = REDUCTION.epsilon(alone, DELTA * math.exp(-distance)) + 2 * distance
    assert REDUCTION.epsilon(summed, DELTA) == pytest.approx(expected, rel=1e-9)
    assert REDUCTION.epsilon(summed, DELTA) >= expected
    for epsilon in (0.0, distance, 5.0):
        shifted = max(0.0, epsilon - 2 * distance)
        most = math.exp(distance) * (
            REDUCTION.delta(alone, shifted) + max(0.0, 2 * distance - epsilon)
        )
        found = REDUCTION.delta(summed, epsilon)
        assert min(most, 1.0) <= found <= min(most * (1 + 1e-9), 1.0)


def test_a_distance_beyond_reason_costs_everything() -> None:
    sensitivity = Sensitivity(squared=Fraction(4), coordinates=10**9, integral=True)
    far = Release(DiscreteGaussian(Fraction(1, 2)), 2, sensitivity)
    assert REDUCTION.epsilon(far, DELTA) == math.inf
    assert REDUCTION.delta(far, 1.0) == 1


def test_sampling_needs_a_delta_that_float64_can_tell() -> None:
    event = repeated(Gaussian(2.0), 0.01, 10)
    assert REDUCTION.epsilon(event, 1e-10) > 0
    with pytest.raises(ParameterError, match="delta >= 1e-10 where rounds are sampled"):
        REDUCTION.epsilon(event, 0.99e-10)
    assert REDUCTION.epsilon(Gaussian(2.0), 1e-200) > 0


def test_next_to_no_noise_is_accounted_without_sampling() -> None:
    """A price that is known to be too high, as the grid of the other would be huge."""
    tiny = repeated(Gaussian(1e-4), 0.01, 3)
    unsampled = Composed(((Gaussian(1e-4), 3),))
    assert REDUCTION.epsilon(tiny, DELTA) == REDUCTION.epsilon(unsampled, DELTA)
    assert REDUCTION.delta(tiny, 1.0) == 1
    nothing = repeated(Gaussian(2.0**-500), 0.5, 3)
    assert REDUCTION.epsilon(nothing, DELTA) == math.inf


def test_next_to_all_noise_is_accounted_too() -> None:
    for event in (Gaussian(2.0**500), repeated(Gaussian(2.0**500), 0.5, 3)):
        assert REDUCTION.epsilon(event, DELTA) == 0
        assert REDUCTION.delta(event, 0.0) < 2e-6


def test_the_price_is_that_of_the_theorem() -> None:
    event = single(Skellam, 5, 4)
    mu = 4 * gaussian_parameter(Skellam(25)).mu
    expected = REDUCTION.epsilon(Gaussian(float(1 / mu)), DELTA)
    assert REDUCTION.epsilon(event, DELTA) == pytest.approx(expected, rel=1e-10)
