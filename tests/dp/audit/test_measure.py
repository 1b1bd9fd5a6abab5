"""Figures of attacks: against independent computations, and the bounds of Gaussian privacy."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dp.audit.attack import Access, Array, Attack, Coin, Goal, Guess, Trial, View
from dp.audit.bounds import most_auc, most_success
from dp.audit.measure import Figure, Interval, area, around, compare, measure, true_positives
from dp.audit.tails_scipy import at_least, rate_above, rate_below
from dp.errors import ParameterError


class Norm(Attack):
    """The norm is the score."""

    name = "norm"
    goal = Goal.MEMBERSHIP
    needs = frozenset({Access.LOSS})

    @property
    def control(self) -> Attack:
        return Coin()

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        return view[Access.LOSS]


class Shares(Norm):
    goal = Goal.CHOICE
    needs = frozenset({Access.LOSS, Access.SHARES})

    @property
    def control(self) -> Attack:
        return Guess()

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        shares: Array = view[Access.SHARES] * view[Access.LOSS]
        return shares


class Direction(Shares):
    goal = Goal.UPDATE
    needs = frozenset({Access.SUM})

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        return view[Access.SUM]


@cache
def gaussian_trials(mu: float, count: int = 1000) -> list[Trial]:
    rng = np.random.default_rng(1)
    return [
        Trial(View({Access.LOSS: np.array(rng.normal(mu * (at % 2)))}), np.array(at % 2))
        for at in range(count)
    ]


def test_area_is_that_of_mann_whitney_and_its_interval_has_the_variance_of_delong() -> None:
    rng = np.random.default_rng(2)
    inside, outside = np.round(rng.normal(1, 1, 60), 1), np.round(rng.normal(0, 1, 80), 1)
    found = area(inside, outside)
    wins = inside[:, None] > outside[None]
    ties = inside[:, None] == outside[None]
    psi = wins + 0.5 * ties
    spread = math.sqrt(psi.mean(1).var(ddof=1) / 60 + psi.mean(0).var(ddof=1) / 80)
    assert ties.any()
    assert found.value == pytest.approx(psi.mean())
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(2 * 1.959964 * spread, rel=0.1)


@pytest.mark.parametrize("truth", [0.5, 0.76, 0.97, 0.999])
@pytest.mark.parametrize("size", [1, 5, 100])
def test_either_end_of_an_area_is_wrong_once_in_forty_times_at_most(
    truth: float, size: int
) -> None:
    rng, shift = np.random.default_rng(3), math.sqrt(2) * stats.norm.ppf(truth)
    found = [area(rng.normal(shift, 1, size), rng.normal(0, 1, size)) for _ in range(600)]
    assert sum(each.low > truth for each in found) <= 0.04 * 600
    assert sum(each.high < truth for each in found) <= 0.04 * 600


def test_all_scores_apart_are_no_certainty() -> None:
    """So are those of an area below 1, sometimes: as often as that many pairs are in order."""
    found = area(np.ones(20), np.zeros(20))
    assert found == Interval(value=1.0, low=pytest.approx(0.025 ** (1 / 20)), high=1.0)
    assert area(np.zeros(20), np.ones(20)).high == pytest.approx(1 - found.low)
    with pytest.raises(ParameterError, match="scores of members and of others"):
        area(np.ones(3), np.ones(0))


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_true_positives_are_counted_above_a_threshold_that_few_others_reach(rate: float) -> None:
    outside = np.arange(200.0)
    threshold = 199 - math.floor(200 * rate)
    found = true_positives(np.array([threshold, threshold + 0.5, 1e9]), outside, rate)
    assert found.value == pytest.approx(2 / 3)
    assert (outside > threshold).mean() <= rate
    assert found.low < found.value < found.high


@pytest.mark.parametrize("mu", [0.0, 1.0, 4.0])
def test_the_interval_of_true_positives_goes_by_the_threshold_too(mu: float) -> None:
    """Of 500 others, that of 1 % is among the first ten, and some of these are far apart."""
    rng, truth = np.random.default_rng(4), most_success(mu, 0.01)
    draws = [(rng.normal(mu, 1, 500), rng.normal(0, 1, 500)) for _ in range(200)]
    found = [true_positives(*each, 0.01) for each in draws]
    assert sum(each.low > truth for each in found) <= 0.04 * 200
    assert sum(each.high < truth for each in found) <= 0.04 * 200
    assert all(each.low <= each.value <= each.high for each in found)


def test_few_others_say_nothing_of_a_threshold() -> None:
    assert true_positives(np.ones(99), np.zeros(9), 0.01) == Interval(value=1.0, low=0.0, high=1.0)
    assert true_positives(np.ones(99), np.zeros(900), 0.01).low > 0.9


def test_equal_scores_are_no_true_positives() -> None:
    assert true_positives(np.zeros(50), np.zeros(50), 0.5).value == 0


@pytest.mark.parametrize("mu", [0.5, 1.0])
def test_the_best_test_of_a_gaussian_reaches_the_bounds_and_does_not_exceed_them(
    mu: float,
) -> None:
    figures = measure(Norm(), gaussian_trials(mu, 9000), np.random.default_rng(4), mu=mu)
    assert [figure.metric for figure in figures] == [
        "area", "true positives at 0.1%", "true positives at 1.0%",
    ]  # fmt: skip
    assert [figure.bound for figure in figures] == [
        most_auc(mu), most_success(mu, 0.001), most_success(mu, 0.01),
    ]  # fmt: skip
    for figure in figures:
        assert figure.bound is not None
        assert not figure.exceeds
    assert figures[0].leaks
    assert figures[0].found.value == pytest.approx(most_auc(mu), abs=0.03)
    assert figures[0].control.value == pytest.approx(0.5, abs=0.03)


def test_a_rate_that_too_few_others_stand_for_is_left_out() -> None:
    names = [
        [
            each.metric
            for each in measure(Norm(), gaussian_trials(1.0, count), np.random.default_rng(4))
        ]
        for count in (800, 1000, 9000)
    ]
    assert [len(each) for each in names] == [1, 2, 3]


def test_more_than_was_promised_is_noticed() -> None:
    figure = measure(Norm(), gaussian_trials(2.0), np.random.default_rng(5), mu=1.0)[0]
    assert figure.exceeds
    unbounded = measure(Norm(), gaussian_trials(2.0), np.random.default_rng(5))[0]
    assert unbounded.bound is None
    assert not unbounded.exceeds


def test_nothing_to_find_does_not_leak() -> None:
    figure = measure(Norm(), gaussian_trials(0.0), np.random.default_rng(6))[0]
    assert not figure.leaks


def choice_trials(right: int, wrong: int) -> list[Trial]:
    shares = np.array([0.2, 0.5, 0.3])
    view = View({Access.LOSS: np.array(1.0), Access.SHARES: shares})
    return [Trial(view, np.array(1))] * right + [Trial(view, np.array(0))] * wrong


def test_success_is_a_rate_with_the_exact_interval() -> None:
    (figure,) = measure(Shares(), choice_trials(30, 70), np.random.default_rng(7), mu=1.0)
    exact = stats.binomtest(30, 100).proportion_ci(0.95)
    assert figure.found == Interval(
        value=0.3, low=pytest.approx(exact.low), high=pytest.approx(exact.high)
    )
    assert figure.control.value == 0.3  # the prior's favorite is the attack's
    assert figure.bound == pytest.approx(most_success(1.0, figure.control.high))
    assert not figure.leaks


def test_cosines_have_a_sign() -> None:
    rows = np.eye(2)
    trials = [
        Trial(View({Access.SUM: rows[0], Access.SHARES: np.ones(2)}), rows[0]),
        Trial(View({Access.SUM: rows[0], Access.SHARES: np.ones(2)}), -rows[0]),
        Trial(View({Access.SUM: np.zeros(2), Access.SHARES: np.ones(2)}), rows[0]),
    ]

    class Both(Direction):
        @property
        def control(self) -> Attack:
            return self

    (figure,) = measure(Both(), trials, np.random.default_rng(8))
    assert figure.found.value == 0
    assert figure.bound is None


def test_bounds_are_those_of_two_gaussians() -> None:
    assert most_auc(1.0) == pytest.approx(0.7602, abs=1e-4)
    assert most_auc(0.0) == 0.5
    assert most_success(1.0, 0.5) == pytest.approx(0.8413, abs=1e-4)
    assert (most_success(3.0, 0.0), most_success(3.0, 1.0)) == (0.0, 1.0)
    assert most_success(0.0, 0.37) == pytest.approx(0.37)


@pytest.mark.parametrize("mu", [-1.0, math.inf, math.nan])
def test_a_mu_that_is_none_is_refused(mu: float) -> None:
    with pytest.raises(ParameterError, match="0 <= mu < infinity"):
        most_auc(mu)
    with pytest.raises(ParameterError, match="0 <= mu < infinity"):
        most_success(mu, 0.1)


def test_a_rate_that_is_none_is_refused() -> None:
    with pytest.raises(ParameterError, match="0 <= rate <= 1"):
        most_success(1.0, 1.5)
    with pytest.raises(ParameterError, match="0 < rate < 1"):
        true_positives(np.ones(3), np.ones(3), 0.0)


def test_trials_of_one_kind_only_are_refused() -> None:
    only = [trial for trial in gaussian_trials(1.0, 10) if trial.truth == 1]
    with pytest.raises(ParameterError, match="trials with the target and trials without it"):
        measure(Norm(), only, np.random.default_rng(9))
    with pytest.raises(ParameterError, match="trials >= 1"):
        compare(Norm(), [], np.random.default_rng(9), [])


@pytest.mark.parametrize(
    ("attack", "truth", "says"),
    [
        (Norm(), 2, "truth: 1 or 0 must hold"),
        (Norm(), math.nan, "truth: 1 or 0 must hold"),
        (Norm(), [1], "truth: 1 or 0 must hold"),
        (Shares(), 3, "truth: the position"),
        (Shares(), 0.5, "truth: the position"),
        (Shares(), [1], "truth: the position"),
        (Direction(), [1.0], "truth: a finite update"),
        (Direction(), [1.0, math.inf], "truth: a finite update"),
    ],
)
def test_a_truth_that_cannot_be_is_no_failure_of_the_attack(
    attack: Attack, truth: Any, says: str
) -> None:
    view = View({Access.LOSS: np.array(1.0), Access.SHARES: np.ones(3), Access.SUM: np.ones(2)})
    trials = [Trial(view, np.array(truth)), *gaussian_trials(1.0, 10)]
    with pytest.raises(ParameterError, match=says):
        compare(attack, trials[:1], np.random.default_rng(9), [])
    assert compare(Norm(), trials[1:], np.random.default_rng(9), []) == ()


def test_records_are_measured_elsewhere() -> None:
    class Records(Norm):
        goal = Goal.RECORDS

    with pytest.raises(ParameterError, match="images_skimage"):
        measure(Records(), [], np.random.default_rng(10))


def test_means_have_the_interval_of_student_and_one_value_has_none() -> None:
    values = np.array([0.2, 0.5, 0.6])
    due = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    found = around(values, -9.0, 9.0)
    assert (found.low, found.high) == (pytest.approx(due.low), pytest.approx(due.high))
    assert around(values, 0.0, 0.7) == Interval(value=found.value, low=0.0, high=0.7)
    assert around(values[:1], 0.0, 0.7) == Interval(value=0.2, low=0.0, high=0.7)


def test_a_figure_leaks_only_where_intervals_are_apart() -> None:
    def figure(low: float, high: float) -> Figure:
        found = Interval(value=0.7, low=low, high=0.9)
        control = Interval(value=0.5, low=0.4, high=high)
        return Figure(attack="a", metric="m", found=found, control=control, bound=None, trials=1)

    assert figure(0.61, 0.6).leaks
    assert not figure(0.6, 0.6).leaks


@pytest.mark.parametrize("trials", [1, 7, 300])
@pytest.mark.parametrize("rate", [0.0, 0.02, 0.5, 1.0])
def test_tails_are_those_of_the_binomial_law(trials: int, rate: float) -> None:
    counts = np.arange(-2, trials + 3)
    expected = stats.binom.sf(counts - 1, trials, rate)
    np.testing.assert_allclose(at_least(counts, trials, rate), expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize(("successes", "trials"), [(0, 9), (3, 9), (9, 9), (40, 1000)])
def test_rates_are_bounded_exactly(successes: int, trials: int) -> None:
    interval = stats.binomtest(successes, trials).proportion_ci(0.9)
    assert rate_above(successes, trials, 0.05) == pytest.approx(interval.low)
    assert rate_below(successes, trials, 0.05) == pytest.approx(interval.high)


@pytest.mark.parametrize("arguments", [(-1, 3, 0.1), (4, 3, 0.1), (0, 0, 0.1), (1, 3, 0.0)])
def test_rates_of_nothing_are_refused(arguments: Any) -> None:
    with pytest.raises(ParameterError):
        rate_above(*arguments)
