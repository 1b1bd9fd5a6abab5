"""A property of a client, by a classifier that was taught on clients that the attacker imitates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dp.audit.attack import Access, Array, Attack, Goal, Guess, View
from dp.audit.remembered import Remembered
from dp.errors import require

__all__ = ["Learned"]


@dataclass(frozen=True, kw_only=True)
class Learned(Attack):
    """Bayes' rule with a normal law for each candidate, fitted to the imitated clients.

    shared: whether one covariance serves all candidates, which many numbers need and few do not.
    floor: what is added to the variance of each number, as a share of their mean variance.

    Raises `ParameterError` unless 0 < floor < infinity.
    """

    goal = Goal.CHOICE
    needs = frozenset({Access.STATISTIC, Access.EXAMPLES, Access.ANSWERS, Access.SHARES})
    shared: bool = True
    floor: float = 0.3

    def __post_init__(self) -> None:
        require(0 < self.floor < np.inf, f"0 < floor < infinity, not {self.floor!r},")

    @property
    def name(self) -> str:
        return "learned, one covariance" if self.shared else "learned, a covariance for each"

    @property
    def control(self) -> Attack:
        return Guess()

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        examples, answers, shares = (
            view[each] for each in (Access.EXAMPLES, Access.ANSWERS, Access.SHARES)
        )
        laws = _laws(examples, answers, len(shares), self.shared, self.floor)
        # a candidate that nobody imitated is ruled out, by a finite number
        prior = np.log(np.maximum(shares, 1e-300))
        return np.array([law.log_density(view[Access.STATISTIC]) for law in laws]) + prior


class _Law(NamedTuple):
    """A normal law: mean (k,), and a matrix (k, k) that makes its covariance the identity."""

    mean: Array
    whiten: Array
    log_scale: float

    def log_density(self, value: Array) -> float:
        """Up to a constant that all laws share."""
        apart = self.whiten @ (value - self.mean)
        return self.log_scale - float(apart @ apart) / 2


_NOWHERE = -1e30


def _fitted(
    rows: Array, truth: Array, candidates: int, shared: bool, floor: float
) -> tuple[_Law, ...]:
    groups = [rows[truth == candidate] for candidate in range(candidates)]
    inner = np.concatenate([group - group.mean(axis=0) for group in groups if len(group)])
    least = floor * float(inner.var(axis=0).mean()) + 1e-30
    pooled = _whitening(inner, least)
    return tuple(_law(group, pooled, shared, least) for group in groups)


def _law(group: Array, pooled: tuple[Array, float], shared: bool, least: float) -> _Law:
    size = group.shape[1]
    if not len(group):
        return _Law(np.zeros(size), np.zeros((size, size)), _NOWHERE)
    mean = group.mean(axis=0)
    own = not shared and len(group) > 2 * size
    return _Law(mean, *(_whitening(group - mean, least) if own else pooled))


def _whitening(centered: Array, least: float) -> tuple[Array, float]:
    """A root of the inverse covariance (k, k), and half the logarithm of its determinant."""
    covariance = centered.T @ centered / max(len(centered), 1)
    values, vectors = np.linalg.eigh(covariance)
    variance = np.maximum(values, 0) + least
    return (vectors / np.sqrt(variance)).T, float(-np.log(variance).sum() / 2)


_laws = Remembered(_fitted)
