"""How well an attack does: a figure with its interval, beside its control and its bound.

    area          membership: the area under the curve of true against false positives [DeLong88]
    at a rate     membership: true positives at a rate of false ones [Carlini22], [Clopper34]
    success       a choice: how often the first candidate is the true one [Clopper34]
    cosine        an update: with the true one, sign and all [Student08]
    PSNR, SSIM    records: see `dp.audit.images_skimage`

The control is measured on the same trials as the attack. A bound is what no attack can exceed,
where the release is mu-GDP. An interval is of one figure by itself: of many, some miss.

[DeLong88]   DeLong, DeLong, Clarke-Pearson: Comparing the Areas under Two or More Correlated
             Receiver Operating Characteristic Curves, Biometrics 44, 1988.
[Carlini22]  Carlini, Chien, Nasr, Song, Terzis, Tramer: Membership Inference Attacks From First
             Principles, S&P 2022.
[Clopper34], [Korn98], [Student08]  `dp.audit.tails_scipy`
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dp.audit.attack import Array, Attack, Goal, Trial
from dp.audit.bounds import most_auc, most_success
from dp.audit.tails_scipy import at_least, rate_above, rate_below, student
from dp.errors import ParameterError, require

__all__ = [
    "FALSE_POSITIVES",
    "Figure",
    "Interval",
    "Metric",
    "area",
    "around",
    "compare",
    "counted",
    "measure",
    "true_positives",
]

FALSE_POSITIVES = (0.001, 0.01)
_ERROR = 0.05
_PART = _ERROR / 4  # of a threshold, and of a rate beyond it, on either side


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate, and a 95 % confidence interval around it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of one attack.

    Attributes
    ----------
    attack, metric: what was measured, of what.
    found: the attack's.
    control: that of an attack that saw nothing of any round.
    bound: no attack does better against the release in the long run, or None if none is known.
    trials: how many there were.
    """

    attack: str
    metric: str
    found: Interval
    control: Interval
    bound: float | None
    trials: int

    @property
    def leaks(self) -> bool:
        """Whether the attack is certainly better than its control."""
        return self.found.low > self.control.high

    @property
    def exceeds(self) -> bool:
        """Whether it is certainly better than what was promised allows."""
        return self.bound is not None and self.found.low > self.bound


class Metric(NamedTuple):
    """A name; an estimate from conclusions and truths; a bound, or None, from the most that the
    control may do.
    """

    name: str
    of: Callable[[Sequence[Array], Sequence[Array]], Interval]
    bound: Callable[[float], float | None]


def measure(
    attack: Attack, trials: Sequence[Trial], rng: np.random.Generator, *, mu: float | None = None
) -> tuple[Figure, ...]:
    """The figures of an attack over some trials of one kind.

    mu: that of the Gaussian differential privacy of what is observed, or None without any.

    Raises `ParameterError` where an attack cannot run, without trials, for a truth that is none of
    the goal's, for membership without both answers, and for `Goal.RECORDS`, which is measured by
    `dp.audit.images_skimage`.
    """
    others = sum(int(trial.truth == 0) for trial in trials if trial.truth.ndim == 0)
    return compare(attack, trials, rng, _metrics(attack.goal, mu, others))


def compare(
    attack: Attack, trials: Sequence[Trial], rng: np.random.Generator, metrics: Sequence[Metric]
) -> tuple[Figure, ...]:
    """The figures that these metrics give. Raises `ParameterError` without trials, and for a truth
    that is none of the goal's: it would count as an attack that fails.
    """
    require(len(trials) > 0, "trials >= 1")
    found = [attack.run(trial.view, rng) for trial in trials]
    control = [attack.control.run(trial.view, rng) for trial in trials]
    truths = [trial.truth for trial in trials]
    for pair in zip(found, truths, strict=True):
        require(_possible(attack.goal, *pair), f"truth: {_TRUTHS[attack.goal]}")
    return tuple(
        Figure(
            attack=attack.name,
            metric=metric.name,
            found=metric.of(found, truths),
            control=(nothing := metric.of(control, truths)),
            # what the control does in truth is not known: at most this much, and so is the bound
            bound=metric.bound(nothing.high),
            trials=len(trials),
        )
        for metric in metrics
    )


def area(inside: Array, outside: Array) -> Interval:
    """The area under the curve from scores of members (p,) and others (q,), ties at one half.

    The interval is that of a rate, of as many trials as have the variance of [DeLong88], at most
    2 min(p, q) [Korn98]. A normal law would leave none where members and others are all apart,
    which min(p, q) pairs say less of. Raises `ParameterError` unless p, q >= 1.
    """
    require(min(inside.size, outside.size) >= 1, "scores of members and of others")
    above, below = _placed(inside, outside), _placed(outside, inside)
    value, spread = float(above.mean()), _variance(above) + _variance(below)
    pairs = min(inside.size, outside.size)
    many = min(value * (1 - value) / spread, 2.0 * pairs) if spread else pairs
    return _rate(value, max(many, 1.0), _ERROR / 2)


def true_positives(inside: Array, outside: Array, rate: float) -> Interval:
    """Members above a threshold that at most this rate of the others reach [Carlini22].

    These others are a sample of their kind. The interval is from the rate of members beyond a
    threshold that surely no more of the kind reach, to that beyond one that surely no fewer do.
    """
    require(0 < rate < 1, f"0 < rate < 1, not {rate!r},")
    ordered, many = -np.sort(-outside), outside.size
    # of a kind of which this rate is beyond a threshold, so many or more are, for each number
    likely = at_least(np.arange(1, many + 1), many, rate)
    fewer, more = int((1 - likely <= _PART).sum()), int((likely > _PART).sum())
    value = float((inside > ordered[math.floor(rate * many)]).mean())
    low, high = 0.0, 1.0
    if fewer:
        low = _rate(float((inside > ordered[fewer - 1]).mean()), inside.size, _PART).low
    if more < many:
        high = _rate(float((inside >= ordered[more]).mean()), inside.size, _PART).high
    return Interval(value=value, low=low, high=high)


def around(values: Array, least: float, most: float) -> Interval:
    """The mean of values (n,) in least … most, with the interval of [Student08]: of one, all."""
    value = float(values.mean())
    spread = math.sqrt(_variance(values))
    if values.size == 1:
        return Interval(value=value, low=least, high=most)
    reach = student(values.size, _ERROR / 2) * spread
    return Interval(value=value, low=max(least, value - reach), high=min(most, value + reach))


def _possible(goal: Goal, found: Array, truth: Array) -> bool:
    if goal is Goal.MEMBERSHIP:
        return truth.shape == () and truth in (0, 1)
    if goal is Goal.CHOICE:
        return truth.shape == () and truth in range(found.size)
    return truth.shape == found.shape and bool(np.isfinite(truth).all())


_TRUTHS = {
    Goal.MEMBERSHIP: "1 or 0",
    Goal.CHOICE: "the position () of a candidate",
    Goal.RECORDS: "finite records, of the shape of what is found",
    Goal.UPDATE: "a finite update, of the shape of what is found",
}


def counted(right: NDArray[np.bool_]) -> Interval:
    """The share of trials (n,) that went right, with the interval of [Clopper34]."""
    return _rate(float(right.mean()), right.size, _ERROR / 2)


def _metrics(goal: Goal, mu: float | None, others: int) -> list[Metric]:
    if goal is Goal.MEMBERSHIP:
        rates = [
            Metric(f"true positives at {rate:.1%}", _at(rate), _fixed(_limited(mu, rate)))
            for rate in FALSE_POSITIVES
            if (1 - rate) ** others <= _PART
        ]
        auc = None if mu is None else most_auc(mu)
        return [Metric("area", _area, _fixed(auc)), *rates]
    if goal is Goal.CHOICE:
        return [Metric("success", _success, lambda control: _limited(mu, control))]
    if goal is Goal.UPDATE:
        return [Metric("cosine", _cosine, _fixed(None))]
    raise ParameterError("records are measured by dp.audit.images_skimage")


def _fixed(bound: float | None) -> Callable[[float], float | None]:
    return lambda _: bound


def _limited(mu: float | None, rate: float) -> float | None:
    return None if mu is None else most_success(mu, rate)


def _at(rate: float) -> Callable[[Sequence[Array], Sequence[Array]], Interval]:
    return lambda found, truths: true_positives(*_sides(found, truths), rate)


def _area(found: Sequence[Array], truths: Sequence[Array]) -> Interval:
    return area(*_sides(found, truths))


def _sides(found: Sequence[Array], truths: Sequence[Array]) -> tuple[Array, Array]:
    scores, member = np.array(found), np.array(truths) == 1
    require(0 < member.sum() < member.size, "trials with the target and trials without it")
    return scores[member], scores[~member]


def _success(found: Sequence[Array], truths: Sequence[Array]) -> Interval:
    pairs = zip(found, truths, strict=True)
    return counted(np.array([scores.argmax() == truth for scores, truth in pairs]))


def _cosine(found: Sequence[Array], truths: Sequence[Array]) -> Interval:
    cosines = np.array([_cosine_of(*pair) for pair in zip(found, truths, strict=True)])
    return around(cosines, -1.0, 1.0)


def _cosine_of(one: Array, other: Array) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 0.0


def _rate(value: float, trials: float, error: float) -> Interval:
    """A rate that was found in so many trials, each end wrong with probability `error`."""
    found = value * trials
    return Interval(
        value=value, low=rate_above(found, trials, error), high=rate_below(found, trials, error)
    )


def _placed(scores: Array, others: Array) -> Array:
    """For each score, the share of the others that it exceeds, ties counted by half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, scores, "left")
    below_or_equal = np.searchsorted(ordered, scores, "right")
    places: Array = (below + below_or_equal) / (2 * others.size)
    return places


def _variance(values: Array) -> float:
    """Of the mean of these values; 0 for a single one."""
    return float(values.var(ddof=1)) / values.size if values.size > 1 else 0.0
