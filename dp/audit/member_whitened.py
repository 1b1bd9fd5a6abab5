"""Whether a target is in a sum, against what the sum would be without it.

Sums of other clients are nearly normal, with a mean and a covariance that somebody learns who has
data like theirs. Against N(m, S) the best test of a shift by u is u' S^-1 (x - m - u/2): it looks
for the target where the others vary little. Over u' S^-1 u the same says which share of the target
is in the sum, which is 0 or 1 for targets of any length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dp.audit.attack import Access, Array, Attack, Coin, Goal, View
from dp.audit.remembered import Remembered
from dp.errors import require

__all__ = ["Whitened"]


@dataclass(frozen=True, kw_only=True)
class Whitened(Attack):
    """The likelihood ratio of sums with and without the target, by imitated sums without.

    share: whether the score is the share of the target. Where other clients hide it, that finds
    more at low rates of false positives, for no law of theirs holds so far out; where noise does,
    less.
    floor: variance, in each direction, that is added to that of the imitated sums, as a share of
    their mean variance. Directions in which they do not vary, or were not sampled, have it alone.

    Raises `ParameterError` unless 0 < floor < infinity.
    """

    goal = Goal.MEMBERSHIP
    needs = frozenset({Access.TARGET, Access.SHADOWS, Access.SUM})
    share: bool = False
    floor: float = 0.1

    def __post_init__(self) -> None:
        require(0 < self.floor < np.inf, f"0 < floor < infinity, not {self.floor!r},")

    @property
    def name(self) -> str:
        return "whitened, share" if self.share else "whitened"

    @property
    def control(self) -> Attack:
        return Coin()

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        shadows, target = view[Access.SHADOWS], view[Access.TARGET]
        law = _law(shadows, self.floor)
        looked, rest = law.times_inverse(target), view[Access.SUM] - law.mean
        if self.share:
            return np.asarray(looked @ rest / max(float(looked @ target), np.finfo(float).tiny))
        return np.asarray(looked @ (rest - target / 2))


class _Law(NamedTuple):
    """A mean (d,) and a covariance: variance + floor along the rows of basis (r, d), else floor."""

    mean: Array
    basis: Array
    variance: Array
    floor: float

    def times_inverse(self, vector: Array) -> Array:
        """The inverse of the covariance times vector (d,)."""
        along = self.basis @ vector
        share = self.variance / (self.variance + self.floor)
        found: Array = (vector - (along * share) @ self.basis) / self.floor
        return found


def _fitted(shadows: Array, floor: float) -> _Law:
    mean = shadows.mean(axis=0)
    _, lengths, basis = np.linalg.svd(shadows - mean, full_matrices=False)
    variance = lengths**2 / max(len(shadows) - 1, 1)
    typical = float(variance.sum()) / shadows.shape[1]
    # sums that do not vary at all have no scale, and any will do
    return _Law(mean, basis, variance, floor * typical or 1.0)


_law = Remembered(_fitted)
