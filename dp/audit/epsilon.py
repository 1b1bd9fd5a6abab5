"""A lower bound on epsilon, from how well canaries that were put in can be told from the others.

A canary is an update that a fair coin puts into a mechanism, or zeros in its place: the neighbors
of `dp.account`. Somebody who sees what was released gives each a score. The higher the score, the
surer the guess that the canary is in; the best guesses are made, and the rest is left open.

    one_run       sound for every (epsilon, delta)-DP mechanism, all canaries in one run [Steinke23]
    gaussian_run  sound for every mechanism that is mu-GDP, all in one run [Mahloujifar24]
    separate      two binomial bounds [Clopper34]; sound where canaries do not influence each other
    estimate      no bound: two normal laws through the scores [Andrew24]

What is sound is wrong with probability `error` at most, whatever the scores are made of. A low
bound is no praise of a mechanism: the canaries, or the scores, may be weak.

The best number of guesses is not known in advance. `lower_bounds` tries a few that are fixed in
advance and divides `error` among them: jax_privacy, whose figures the tests reproduce, divides it
among the hundreds of corners of the curve, and finds less.

[Steinke23]      Steinke, Nasr, Jagielski: Privacy Auditing with One (1) Training Run, NeurIPS 2023.
[Mahloujifar24]  Mahloujifar, Melis, Chaudhuri: Auditing f-Differential Privacy in One Run, 2024.
[Andrew24]       Andrew, Kairouz, Oh, Oprea, McMahan, Suriyakumar: One-shot Empirical Privacy
                 Estimation for Federated Learning, ICLR 2024.
[Clopper34]      `dp.audit.tails_scipy`
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist

import numpy as np

from dp.account import check_delta
from dp.audit.attack import Array
from dp.audit.tails_scipy import at_least, rate_above, rate_below
from dp.dominance import gaussian_epsilon
from dp.errors import InputRefused, require

__all__ = [
    "Guesses",
    "LowerBounds",
    "Scores",
    "chance",
    "estimate",
    "explained",
    "gaussian_run",
    "lower_bounds",
    "one_run",
    "reach",
    "separate",
]

_NORMAL = NormalDist()
_HALVINGS = 6
_MOST = 64.0  # of an epsilon or a mu; canaries that show more would have to be more than 2**90
_STEPS = 50


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """How an attacker did.

    Attributes
    ----------
    canaries: how many coins were tossed.
    made: guesses that a canary is in.
    correct: those of them that were right.

    Raises `ParameterError` unless 0 <= correct <= made <= canaries and canaries >= 1.
    """

    canaries: int
    made: int
    correct: int

    def __post_init__(self) -> None:
        ordered = 0 <= self.correct <= self.made <= self.canaries and self.canaries >= 1
        require(ordered, f"0 <= correct <= made <= canaries >= 1, not {self}")


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of the canaries that are in, float64 (p,), and of those left out, (q,); p, q >= 1.

    Raises `InputRefused` for another array, or a value that is not finite.
    """

    inside: Array
    outside: Array

    def __post_init__(self) -> None:
        for name, array in (("inside", self.inside), ("outside", self.outside)):
            if array.ndim != 1 or not array.size or not bool(np.isfinite(array).all()):
                raise InputRefused(f"{name}: finite scores (n,), n >= 1, must be given")

    @property
    def canaries(self) -> int:
        """How many there are, p + q."""
        return self.inside.size + self.outside.size

    def guesses(self, made: int) -> Guesses:
        """Of the `made` highest scores. Among equal ones, those of canaries left out go first."""
        scores = np.concatenate([self.outside, self.inside])
        order = np.argsort(-scores, kind="stable")[:made]
        correct = int((order >= self.outside.size).sum())
        return Guesses(canaries=self.canaries, made=len(order), correct=correct)

    def above(self, threshold: float) -> tuple[int, int]:
        """How many inside and outside score at least the threshold."""
        return int((self.inside >= threshold).sum()), int((self.outside >= threshold).sum())


@dataclass(frozen=True, kw_only=True)
class LowerBounds:
    """What scores say of the epsilon at `delta`. Each bound is wrong with probability `error`."""

    delta: float
    error: float
    one_run: float
    gaussian_run: float
    separate: float
    estimate: float


def lower_bounds(scores: Scores, delta: float, *, error: float = 0.05) -> LowerBounds:
    """All of them, the sound ones with the best of seven numbers of guesses.

    Raises `ParameterError` unless 0 < delta < 1 and 0 < error < 1.
    """
    numbers = _numbers(scores.canaries)
    part = _checked_error(error) / len(numbers)
    tried = [scores.guesses(made) for made in numbers]
    return LowerBounds(
        delta=check_delta(delta),
        error=error,
        one_run=max(one_run(each, delta, error=part) for each in tried),
        gaussian_run=max(gaussian_run(each, delta, error=part) for each in tried),
        separate=separate(scores, delta, error=error),
        estimate=estimate(scores, delta),
    )


def reach(canaries: int, delta: float, *, error: float = 0.05) -> float:
    """The greatest sound bound that `lower_bounds` gives if every guess is right: no audit of so
    many canaries refutes more, whatever it audits. Raises as `lower_bounds`, and unless
    canaries >= 1.
    """
    numbers = _numbers(canaries)
    part = _checked_error(error) / len(numbers)
    perfect = [Guesses(canaries=canaries, made=made, correct=made) for made in numbers]
    return max(
        bound(each, delta, error=part) for each in perfect for bound in (one_run, gaussian_run)
    )


def _numbers(canaries: int) -> list[int]:
    """Of guesses that are tried: one canary of two, of four, and so on."""
    return sorted({max(canaries // 2 >> halved, 1) for halved in range(_HALVINGS + 1)})


def one_run(guesses: Guesses, delta: float, *, error: float) -> float:
    """The greatest epsilon that such guesses refute, at that delta [Steinke23, Theorem 5.2].

    Raises `ParameterError` unless 0 < delta < 1 and 0 < error < 1.
    """
    delta, error = check_delta(delta), _checked_error(error)
    return _greatest(lambda epsilon: chance(guesses, epsilon, delta) < error)


def chance(guesses: Guesses, epsilon: float, delta: float) -> float:
    """At most so likely are so many correct guesses against an (epsilon, delta)-DP mechanism."""
    rate = 1 / (1 + math.exp(-epsilon))
    likely = float(at_least(guesses.correct, guesses.made, rate))
    fewer = np.arange(1, guesses.correct + 1)
    more = at_least(guesses.correct - fewer, guesses.made, rate) - likely
    worst = float(np.max(more / fewer, initial=0.0))
    return min(likely + 2 * guesses.canaries * delta * worst, 1.0)


def gaussian_run(guesses: Guesses, delta: float, *, error: float) -> float:
    """The epsilon at `delta` of the greatest mu of which such guesses refute mu-GDP.

    [Mahloujifar24, Algorithm 3]. Raises as `one_run`.
    """
    delta, error = check_delta(delta), _checked_error(error)
    mu = _greatest(lambda each: not explained(guesses, each, error))
    return _epsilon(mu, delta)


def separate(scores: Scores, delta: float, *, error: float) -> float:
    """The epsilon of the greatest mu that two rates refute, mu = Phi^-1(TPR) - Phi^-1(FPR).

    Thresholds are some scores of canaries left out; `error` is divided among them and the two
    sides. Sound where scores are independent, as they are in as many runs as there are canaries,
    or of orthogonal canaries in spherical noise. Raises as `one_run`.
    """
    delta, error = check_delta(delta), _checked_error(error)
    thresholds = list(_thresholds(scores))
    part = error / (2 * len(thresholds))
    return _epsilon(max(0.0, *(_mu(scores, each, part) for each in thresholds)), delta)


def estimate(scores: Scores, delta: float) -> float:
    """The epsilon at `delta` of the distance of two normal laws with one deviation. No bound.

    After [Andrew24], which has one more canary left out for each coordinate and so knows that law.
    Infinite where scores are constant on each side and differ. Raises as `one_run`.
    """
    gap = float(scores.inside.mean() - scores.outside.mean())
    sizes = scores.inside.size, scores.outside.size
    squares = [size * array.var() for size, array in zip(sizes, _sides(scores), strict=True)]
    deviation = math.sqrt(sum(squares) / max(sum(sizes) - 2, 1))
    if gap <= 0:
        return 0.0
    return _epsilon(gap / deviation, check_delta(delta)) if deviation else math.inf


def _sides(scores: Scores) -> tuple[Array, Array]:
    return scores.inside, scores.outside


def explained(guesses: Guesses, mu: float, error: float) -> bool:
    """Whether a mu-GDP mechanism lets so many guesses be right, but with probability `error`.

    right and wrong: lower bounds on the probability that exactly so many, or more, are; each
    step goes one correct guess down, and depends on the step before.
    """
    right = error * guesses.correct / guesses.canaries
    wrong = error * (guesses.made - guesses.correct) / guesses.canaries
    for fewer in range(guesses.correct - 1, -1, -1):
        least = _other_side(right, mu)
        if least <= wrong:
            break
        right = min(right + fewer / (guesses.made - fewer) * (least - wrong), 1.0)
        wrong = least
    return right + wrong <= guesses.made / guesses.canaries


def _other_side(rate: float, mu: float) -> float:
    """The least rate of an event with one neighbor that has this rate with the other."""
    if rate <= 0.0 or rate >= 1.0:
        return float(rate >= 1.0)
    return _NORMAL.cdf(_NORMAL.inv_cdf(rate) - mu)


def _thresholds(scores: Scores) -> Iterator[float]:
    """Scores below which are 1/2, 3/4, 7/8, ... of the canaries left out."""
    ordered = np.sort(scores.outside)
    for halved in range(1, _HALVINGS + 2):
        yield float(ordered[min(ordered.size - 1, int(ordered.size * (1 - 0.5**halved)))])


def _mu(scores: Scores, threshold: float, error: float) -> float:
    inside, outside = scores.above(threshold)
    least = rate_above(inside, scores.inside.size, error)
    most = rate_below(outside, scores.outside.size, error)
    if not (0 < least < 1 and 0 < most < 1):
        return 0.0
    return _NORMAL.inv_cdf(least) - _NORMAL.inv_cdf(most)


def _epsilon(mu: float, delta: float) -> float:
    return gaussian_epsilon(Fraction(mu) ** 2, delta) if mu > 0 else 0.0


def _greatest(refuted: Callable[[float], bool]) -> float:
    """The greatest value that is refuted, where all below it are; 0 if none is."""
    if not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while high < _MOST and refuted(high):
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def _checked_error(error: float) -> float:
    require(0 < error < 1, f"0 < error < 1, not {error!r},")
    return error
