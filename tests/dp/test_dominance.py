"""Domination of integer noise by a Gaussian: the theorems, on exact laws, and their limits."""

from __future__ import annotations

import math
import re
import sys
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import pytest
from dp_accounting import get_epsilon_gaussian
from dp_accounting.pld import privacy_loss_distribution as pld
from flint import arb, ctx
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from dp import DiscreteGaussian, IntegerNoise, Skellam
from dp.dominance import Dominance, gaussian_delta, gaussian_epsilon, gaussian_parameter
from dp.errors import ParameterError, UnknownEvent

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "dominance.md"
LAWS = (Skellam, DiscreteGaussian)
VARIANCES = (Fraction(1, 20), Fraction(1, 7), Fraction(1, 2), 1, 2, 9, 25, 100, 2500)
NOISES = [law(variance) for law in LAWS for variance in VARIANCES]
every_noise = pytest.mark.parametrize("noise", NOISES, ids=repr)


class Foreign(Skellam):
    """A law that no theorem speaks of."""


def quantiles(noise: IntegerNoise, bits: int = 600) -> list[arb]:
    """z(s) = Phi^-1(P(X <= s)) for s = 0, 1, ..., as balls, out to where bounds are wide."""
    law = noise.enclosure(bits)
    beyond = math.ceil(law.tail(len(law.lower) - 1) * law.total[1])
    lows = list(accumulate(low for low, _ in reversed(law.weights)))[::-1]
    highs = list(accumulate((high for _, high in reversed(law.weights)), initial=beyond))[:0:-1]
    found = []
    for low, high in zip(lows[1:], highs[1:], strict=True):
        if (high - low) << 200 > low or high << 3 * bits // 4 < law.total[0]:
            break
        least, most = 2 * arb(low) / law.total[1], 2 * arb(high) / law.total[0]
        found.append(arb(2).sqrt() * least.union(most).erfcinv())
    return found


def steps(noise: IntegerNoise) -> list[arb]:
    """z(s) - z(s - 1) for s = 0, 1, ...; z(-1) = -z(0) by symmetry."""
    z = quantiles(noise)
    return [2 * z[0], *(above - below for below, above in pairwise(z))]


@every_noise
def test_no_step_is_beyond_mu_and_the_middle_one_is_tight(noise: IntegerNoise) -> None:
    with ctx.workprec(192):
        found = steps(noise)
        bound = gaussian_parameter(noise)
        assert len(found) > 3 + 8 * float(noise.sigma_squared) ** 0.5
        most = max(float(step.upper()) for step in found[1:])
        assert most <= bound.mu
        assert abs(found[0] - arb(bound.least.numerator) / bound.least.denominator) < 2.0**-120
        assert bound.least <= bound.mu


@pytest.mark.parametrize("variance", VARIANCES)
def test_steps_of_skellam_noise_fall(variance: Fraction) -> None:
    """Theorem 3: z is concave from -1 on, so that the middle step is the largest."""
    with ctx.workprec(192):
        for inner, outer in pairwise(steps(Skellam(variance))):
            assert outer < inner
    bound = gaussian_parameter(Skellam(variance))
    assert 0 < bound.mu - bound.least <= Fraction(1, 1 << 127)


@pytest.mark.parametrize("variance", VARIANCES)
def test_quantiles_of_the_discrete_gaussian_are_beyond_those_of_its_cells(
    variance: Fraction,
) -> None:
    """The lemma under Theorem 4: P(X > s) <= P(N > (s + 1/2) / sigma)."""
    sigma = math.sqrt(variance)
    with ctx.workprec(192):
        for s, z in enumerate(quantiles(DiscreteGaussian(variance))):
            assert float(z) >= (s + 0.5) / sigma * (1 - 1e-12)


def test_the_outer_steps_of_the_discrete_gaussian_do_exceed_a_gaussian_s_own() -> None:
    """Why Theorem 4 needs its factor: mu = 1 / sigma would be wrong in every one of these steps."""
    with ctx.workprec(192):
        found = steps(DiscreteGaussian(25))
        assert all(float(step) > 0.2 for step in found)


@pytest.mark.parametrize(
    ("noise", "above"),
    [
        (Skellam(9), 0.019769),
        (Skellam(25), 0.0068159),
        (Skellam(100), 0.0016757),
        (DiscreteGaussian(9), 0.0046752),
        (DiscreteGaussian(25), 0.0016725),
        (DiscreteGaussian(100), 0.00041703),
    ],
    ids=repr,
)
def test_the_price_of_integers_at_small_deviations(noise: IntegerNoise, above: float) -> None:
    bound, sigma = gaussian_parameter(noise), math.sqrt(noise.sigma_squared)
    assert float(bound.least) * sigma - 1 == pytest.approx(above, rel=5e-5)
    worst = above if isinstance(noise, Skellam) else 1 / (12 * sigma**2 - 1)
    assert float(bound.mu) * sigma - 1 == pytest.approx(worst, rel=5e-5)


@every_noise
def test_the_total_variation_of_a_step_is_met_exactly(noise: IntegerNoise) -> None:
    """X against X + 1 has total variation P(X = 0), which the sampler's own bounds hold."""
    low, high = noise.enclosure(96).probability(0)
    least = gaussian_parameter(noise).least
    assert low / 2**96 * (1 - 1e-14) <= gaussian_delta(least**2, 0.0)
    assert gaussian_delta(least**2, 0.0) <= high / 2**96 * (1 + 1e-14)


def exact_delta(noise: IntegerNoise, shift: int, epsilon: float) -> float:
    """A lower bound, but for float64, on H_exp(epsilon)(X + shift || X)."""
    law = noise.enclosure(160)
    reach = len(law.weights) - 1
    half = np.array([law.probability(k)[0] / 2**160 for k in range(reach + 1)])
    p = np.concatenate([np.zeros(shift), half[:0:-1], half, np.zeros(shift)])
    inside = slice(shift, len(p) - shift)  # where P(X = x) is not cut off
    return float(np.maximum(np.roll(p, shift)[inside] - math.exp(epsilon) * p[inside], 0).sum())


@settings(max_examples=60, deadline=None)
@given(
    law=st.sampled_from(LAWS),
    variance=st.fractions(Fraction(1, 10), 400, max_denominator=50),
    shift=st.integers(1, 60),
    epsilon=st.floats(0, 8),
)
def test_one_coordinate_costs_no_more_than_its_gaussian(
    law: type[IntegerNoise], variance: Fraction, shift: int, epsilon: float
) -> None:
    noise = law(variance)
    bound = gaussian_delta((shift * gaussian_parameter(noise).mu) ** 2, epsilon)
    assert exact_delta(noise, shift, epsilon) <= bound * (1 + 1e-12) + 1e-15


@pytest.mark.parametrize("law", LAWS)
def test_half_a_percent_less_would_be_refuted(law: type[IntegerNoise]) -> None:
    """The exact check above notices a mu that is too small."""
    noise = law(9)
    least = gaussian_parameter(noise).least
    assert exact_delta(noise, 1, 0.0) > gaussian_delta((least * Fraction(995, 1000)) ** 2, 0.0)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("coordinates", [1, 4, 9, 25])
def test_many_coordinates_cost_no_more_than_their_gaussian(
    law: type[IntegerNoise], coordinates: int
) -> None:
    """sigma = 5 and shifts of 1: losses composed by dp-accounting, from below."""
    noise = law(25)
    table = noise.enclosure(160)
    half = [table.probability(k)[0] / 2**160 for k in range(len(table.weights))]
    reach = len([value for value in half if value > 0]) - 1
    lower = {k: math.log(half[abs(k)]) for k in range(-reach, reach + 1)}
    upper = {k + 1: value for k, value in lower.items()}
    one = pld.from_two_probability_mass_functions(
        lower, upper, pessimistic_estimate=False, value_discretization_interval=1e-4
    )
    all_of_them = one.self_compose(coordinates)
    bound = gaussian_parameter(noise).mu ** 2 * coordinates
    for epsilon in (0.1, 0.5, 1.0, 2.0, 4.0):
        exact = all_of_them.get_delta_for_epsilon(epsilon)
        assert exact <= gaussian_delta(bound, epsilon) + 1e-12
        if epsilon <= math.sqrt(coordinates) / 5:
            assert exact >= 0.9 * gaussian_delta(bound, epsilon)


def test_the_closed_form_agrees_with_others() -> None:
    for mu in (0.01, 0.3, 1.0, 5.0):
        square = Fraction(mu) ** 2
        for epsilon in (0.0, 0.1, 1.0, 10.0):
            plain = norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(
                -mu / 2 - epsilon / mu
            )
            assert gaussian_delta(square, epsilon) == pytest.approx(plain, rel=1e-7, abs=1e-14)
        for delta in (1e-3, 1e-9):
            theirs = get_epsilon_gaussian(1 / mu, delta)
            assert gaussian_epsilon(square, delta) == pytest.approx(theirs, rel=1e-9, abs=1e-9)
    assert gaussian_epsilon(Fraction(1), 1e-5) == pytest.approx(4.377178, abs=1e-6)


def test_the_closed_form_errs_upwards_and_by_a_hair() -> None:
    for mu in (Fraction(1, 100), Fraction(1), Fraction(30)):
        epsilon = gaussian_epsilon(mu**2, 1e-6)
        assert gaussian_delta(mu**2, epsilon) <= 1e-6
        assert gaussian_delta(mu**2, epsilon * (1 - 1e-11)) > 1e-6


def test_figures_without_bound_are_called_so() -> None:
    assert gaussian_epsilon(Fraction(10) ** 30, 1e-5) == math.inf
    assert gaussian_delta(Fraction(10) ** 300, 1.0) == 1
    assert gaussian_epsilon(Fraction(1, 10**30), 1e-5) == 0
    assert 0 < gaussian_delta(Fraction(1, 10**30), 0.0) < 1e-15


def test_the_widest_and_the_narrowest_noise() -> None:
    for law in LAWS:
        widest = gaussian_parameter(law(1 << 36))
        assert 1 < float(widest.mu) * 2**18 < 1 + 1e-11
    assert isinstance(gaussian_parameter(Skellam(Fraction(1, 1 << 32))), Dominance)
    narrow = gaussian_parameter(DiscreteGaussian(Fraction(1, 64)))
    assert 0 < narrow.mu - narrow.least < 2.0**-120
    with pytest.raises(ParameterError, match="sigma_squared >= 1/64"):
        gaussian_parameter(DiscreteGaussian(Fraction(1, 65)))


def test_noise_that_no_theorem_speaks_of_is_refused() -> None:
    assert gaussian_parameter(Skellam(4)).mu > 0
    with pytest.raises(UnknownEvent, match="Foreign"):
        gaussian_parameter(Foreign(4))


def test_the_precision_of_the_caller_is_kept() -> None:
    with ctx.workprec(77):
        gaussian_parameter.__wrapped__(Skellam(5))
        gaussian_delta(Fraction(1), 1.0)
        assert ctx.prec == 77


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gaussian_delta(Fraction(1), 1.0) > 0
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(ImportError, match=r"secagg\[dp\]"):
        gaussian_delta(Fraction(1), 1.0)


def test_the_table_of_the_page_is_what_the_code_says() -> None:
    rows = re.findall(r"^\| (\d+) \| (\S+) \| (\S+) \| (\S+) \|$", PAGE.read_text("utf-8"), re.M)
    assert len(rows) >= 6
    for sigma, skellam, least, most in rows:
        variance = int(sigma) ** 2
        found = (
            gaussian_parameter(Skellam(variance)),
            gaussian_parameter(DiscreteGaussian(variance)),
        )
        figures = found[0].mu, found[1].least, found[1].mu
        for figure, printed in zip(figures, (skellam, least, most), strict=True):
            assert f"{float(figure * int(sigma) - 1):.3e}" == printed
