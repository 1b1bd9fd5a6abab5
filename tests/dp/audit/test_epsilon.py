"""Lower bounds from canaries: the figures of a peer, soundness, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from dp.audit.epsilon import (
    Guesses,
    LowerBounds,
    Scores,
    chance,
    estimate,
    explained,
    gaussian_run,
    lower_bounds,
    one_run,
    reach,
    separate,
)
from dp.dominance import gaussian_epsilon
from dp.errors import InputRefused, ParameterError

DELTA = 1e-6


def quantiles(shift: float, count: int = 10_000) -> Any:
    """The midpoints of `count` slices of a normal law, of equal probability."""
    return special.ndtri((np.arange(count) + 0.5) / count) + shift


def corners(scores: Scores) -> list[tuple[int, int]]:
    """(false, true) positives at the corners of the concave curve over all thresholds."""
    found: list[tuple[int, int]] = []
    values = np.unique(np.concatenate([scores.inside, scores.outside]))
    thresholds = np.append(values, np.inf)[::-1]
    counts = [
        side.size - np.searchsorted(np.sort(side), thresholds)
        for side in (scores.outside, scores.inside)
    ]
    for false, true in zip(*(each.tolist() for each in counts), strict=True):
        while len(found) > 1 and _below(found[-2], found[-1], (false, true)):
            found.pop()
        found.append((false, true))
    return found


def _below(first: tuple[int, int], middle: tuple[int, int], last: tuple[int, int]) -> bool:
    rise = (middle[0] - first[0]) * (last[1] - middle[1])
    return bool(rise >= (middle[1] - first[1]) * (last[0] - middle[0]))


def at_all_corners(shift: float) -> Iterator[tuple[Guesses, float]]:
    """Guesses, and a part of the error, as jax_privacy 2.0 has them by default."""
    scores = Scores(quantiles(shift), quantiles(0))
    found = corners(scores)
    for false, true in found:
        if true > false:
            guesses = Guesses(canaries=scores.canaries, made=false + true, correct=true)
            yield guesses, 0.05 / len(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shift", "expected"), [(0, 0.0), (1, 1.13346), (2, 2.311945), (4, 4.395568)]
)
def test_one_run_gives_the_figures_of_jax_privacy(shift: float, expected: float) -> None:
    best = 0.0
    for guesses, error in at_all_corners(shift):
        if chance(guesses, best, DELTA) < error:
            best = one_run(guesses, DELTA, error=error)
    assert best == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("shift", "expected"), [(0, 0.0), (1, 2.164749), (2, 4.7218075), (4, 9.133752)]
)
def test_a_gaussian_run_gives_the_figures_of_jax_privacy(shift: float, expected: float) -> None:
    best, mu = 0.0, 0.0
    for guesses, error in at_all_corners(shift):
        if not explained(guesses, mu, error):
            best = gaussian_run(guesses, DELTA, error=error)
            mu = _mu_of(best)
    assert best == pytest.approx(expected, rel=1e-5)


def _mu_of(epsilon: float) -> float:
    """Of which `gaussian_epsilon` makes that epsilon, to 2**-40, from below."""
    low, high = 0.0, 32.0
    for _ in range(45):
        middle = (low + high) / 2
        exceeds = middle > 0 and gaussian_epsilon(Fraction(middle) ** 2, DELTA) > epsilon
        low, high = (low, middle) if exceeds else (middle, high)
    return low


def test_a_few_numbers_of_guesses_find_more_than_all_corners() -> None:
    found = lower_bounds(Scores(quantiles(1), quantiles(0)), DELTA)
    assert found.one_run > 2.1
    assert found.gaussian_run > 2.7
    assert found.estimate == pytest.approx(gaussian_epsilon(Fraction(1), DELTA), rel=1e-3)


@pytest.mark.parametrize("made", [1, 10, 100])
@pytest.mark.parametrize("wrong", [0, 1, 10])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("delta", [1e-6, 1e-3, 0.1])
def test_chance_is_the_sum_that_the_theorem_states(
    made: int, wrong: int, epsilon: float, delta: float
) -> None:
    correct = max(made - wrong, 0)
    law = stats.binom(made, 1 / (1 + math.exp(-epsilon)))
    means = [sum(law.pmf(range(correct - i, correct))) / i for i in range(1, correct + 1)]
    expected = law.sf(correct - 1) + 2 * 200 * delta * max(means, default=0.0)
    found = chance(Guesses(canaries=200, made=made, correct=correct), epsilon, delta)
    assert found == pytest.approx(min(expected, 1.0), abs=1e-12)


def test_the_less_sound_the_more_it_finds() -> None:
    """The order of the table in the design notes, on one set of scores of a mu-GDP mechanism."""
    rng = np.random.default_rng(1)
    found = lower_bounds(Scores(rng.normal(2, 1, 4000), rng.normal(0, 1, 4000)), DELTA)
    truth = gaussian_epsilon(Fraction(4), DELTA)
    assert 2 < found.one_run < found.gaussian_run < found.separate < truth
    assert found.estimate == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 2.0])
def test_bounds_of_honest_noise_stay_below_the_truth(mu: float) -> None:
    truth = gaussian_epsilon(Fraction(mu) ** 2, 1e-5)
    rng = np.random.default_rng(2)
    for _ in range(20):
        inside = rng.random(400) < 0.5
        scores = rng.normal(mu * inside, 1)
        found = lower_bounds(Scores(scores[inside], scores[~inside]), 1e-5)
        assert max(found.one_run, found.gaussian_run, found.separate) <= truth


@pytest.mark.slow
@pytest.mark.parametrize("mu", [0.25, 1.0, 3.0])
def test_bounds_are_wrong_as_seldom_as_they_say(mu: float) -> None:
    """With one number of guesses, fixed in advance; wrong 400 * 0.05 = 20 times at most, and by
    chance 35 times with probability 0.001."""
    truth = gaussian_epsilon(Fraction(mu) ** 2, 1e-5)
    rng = np.random.default_rng(3)
    wrong = dict.fromkeys(("one", "gaussian", "separate"), 0)
    for _ in range(400):
        inside = rng.random(500) < 0.5
        scores = rng.normal(mu * inside, 1)
        both = Scores(scores[inside], scores[~inside])
        wrong["one"] += one_run(both.guesses(100), 1e-5, error=0.05) > truth
        wrong["gaussian"] += gaussian_run(both.guesses(100), 1e-5, error=0.05) > truth
        wrong["separate"] += separate(both, 1e-5, error=0.05) > truth
    assert max(wrong.values()) < 35


@given(
    made=st.integers(0, 60), correct=st.integers(0, 60), canaries=st.integers(61, 300),
    error=st.floats(1e-6, 0.3),
)  # fmt: skip
def test_a_further_correct_guess_never_lowers_a_bound(
    made: int, correct: int, canaries: int, error: float
) -> None:
    correct = min(correct, made)
    less = Guesses(canaries=canaries, made=made + 1, correct=correct)
    more = Guesses(canaries=canaries, made=made + 1, correct=correct + 1)
    for bound in (one_run, gaussian_run):
        assert bound(less, 1e-5, error=error) <= bound(more, 1e-5, error=error) + 1e-9


def test_perfect_guesses_of_few_canaries_bound_little() -> None:
    """r right of r has probability q**r: epsilon = ln(q / (1 - q)), q = error**(1 / r)."""
    guesses = Guesses(canaries=20, made=10, correct=10)
    rate = 0.05**0.1
    assert one_run(guesses, 1e-12, error=0.05) == pytest.approx(
        math.log(rate / (1 - rate)), rel=1e-6
    )


def test_equal_scores_are_guessed_wrong_first() -> None:
    scores = Scores(np.zeros(5), np.zeros(5))
    assert scores.guesses(5) == Guesses(canaries=10, made=5, correct=0)
    found = lower_bounds(scores, DELTA)
    assert (found.one_run, found.gaussian_run, found.separate, found.estimate) == (0, 0, 0, 0)


def test_scores_without_noise_have_no_finite_estimate() -> None:
    apart = Scores(np.ones(500), np.zeros(500))
    assert estimate(apart, DELTA) == math.inf
    assert 4 < lower_bounds(apart, DELTA).gaussian_run < math.inf
    assert estimate(Scores(np.zeros(500), np.ones(500)), DELTA) == 0


def test_swapped_sides_show_nothing() -> None:
    found = lower_bounds(Scores(quantiles(0, 500), quantiles(1, 500)), DELTA)
    expected = LowerBounds(
        delta=DELTA, error=0.05, one_run=0, gaussian_run=0, separate=0, estimate=0
    )
    assert found == expected


def test_the_half_way_threshold_alone_gives_two_clopper_pearson_rates() -> None:
    """Against an independent computation at the threshold that decides here."""
    scores = Scores(quantiles(1.5, 300), quantiles(0, 300))
    part = 0.05 / 14
    best = 0.0
    for halved in range(1, 8):
        threshold = np.sort(scores.outside)[min(299, int(300 * (1 - 0.5**halved)))]
        true, false = scores.above(float(threshold))
        low = stats.binomtest(true, 300, alternative="greater").proportion_ci(1 - part).low
        high = stats.binomtest(false, 300, alternative="less").proportion_ci(1 - part).high
        best = max(best, NormalDist().inv_cdf(low) - NormalDist().inv_cdf(high))
    expected = gaussian_epsilon(Fraction(best) ** 2, DELTA)
    assert separate(scores, DELTA, error=0.05) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("counts", [(0, 0, 0), (10, 11, 5), (10, 5, 6), (10, -1, -1)])
def test_impossible_guesses_are_refused(counts: tuple[int, int, int]) -> None:
    canaries, made, correct = counts
    with pytest.raises(ParameterError, match="0 <= correct <= made <= canaries"):
        Guesses(canaries=canaries, made=made, correct=correct)


@pytest.mark.parametrize(
    "bad", [np.zeros(0), np.zeros((2, 2)), np.array([np.nan]), np.array([np.inf])]
)
def test_scores_that_are_none_are_refused(bad: Any) -> None:
    Scores(np.zeros(1), np.zeros(1))
    with pytest.raises(InputRefused, match="inside: finite scores"):
        Scores(bad, np.zeros(3))
    with pytest.raises(InputRefused, match="outside: finite scores"):
        Scores(np.zeros(3), bad)


@pytest.mark.parametrize("error", [0.0, 1.0, -0.1, math.nan])
def test_an_error_that_is_no_probability_is_refused(error: float) -> None:
    scores = Scores(np.ones(4), np.zeros(4))
    for call in (lower_bounds, separate):
        with pytest.raises(ParameterError, match="0 < error < 1"):
            call(scores, DELTA, error=error)
    for bound in (one_run, gaussian_run):
        with pytest.raises(ParameterError, match="0 < error < 1"):
            bound(scores.guesses(2), DELTA, error=error)


@pytest.mark.parametrize("delta", [0.0, 1.0, math.nan])
def test_a_delta_that_is_no_probability_is_refused(delta: float) -> None:
    scores = Scores(np.ones(4), np.zeros(4) + np.arange(4))
    for call in (lower_bounds, separate):
        with pytest.raises(ParameterError, match="0 < delta < 1"):
            call(scores, delta, error=0.05)
    for bound in (one_run, gaussian_run):
        with pytest.raises(ParameterError, match="0 < delta < 1"):
            bound(scores.guesses(2), delta, error=0.05)


@pytest.mark.parametrize("inside", [50, 60])
def test_no_scores_refute_more_than_the_reach_of_their_number(inside: int) -> None:
    perfect = Scores(np.ones(inside), np.zeros(100 - inside))
    found = lower_bounds(perfect, 1e-5)
    assert max(found.one_run, found.gaussian_run) == pytest.approx(reach(100, 1e-5))
    wrong = lower_bounds(Scores(np.arange(99.0), np.array([50.5])), 1e-5)
    assert 0 < max(wrong.one_run, wrong.gaussian_run) < reach(100, 1e-5)
    assert reach(1, 1e-5) == 0
    with pytest.raises(ParameterError, match="canaries >= 1"):
        reach(0, 1e-5)
