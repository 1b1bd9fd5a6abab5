"""Whether a target is in a sum, against what the sum would be without it.

Sums of other clients are nearly normal, with a mean and a covariance that somebody learns who has
data like theirs. Against N(m, S) the best test of a shift by u is u' S^-1 (x - m - u/2): it looks
for the target where the others vary little.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dp.audit.attack import Access, Array, Attack, Coin, Goal, View
from dp.errors import require

__all__ = ["Whitened"]


@dataclass(frozen=True, kw_only=True)
class Whitened(Attack):
    """The likelihood ratio of sums with and without the target, by imitated sums without.

    floor: variance, in each direction, that is added to that of the imitated sums, as a share of
    their mean variance. Directions in which they do not vary, or were not sampled, have it alone.

    Raises `ParameterError` unless 0 < floor < infinity.
    """

    name = "whitened"
    goal = Goal.MEMBERSHIP
    needs = frozenset({Access.TARGET, Access.SHADOWS, Access.SUM})
    floor: float = 0.1

    def __post_init__(self) -> None:
        require(0 < self.floor < np.inf, f"0 < floor < infinity, not {self.floor!r},")

    @property
    def control(self) -> Attack:
        return Coin()

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        shadows, target = view[Access.SHADOWS], view[Access.TARGET]
        law = _law(shadows.tobytes(), shadows.shape, self.floor)
        return np.asarray(law.times_inverse(target) @ (view[Access.SUM] - law.mean - target / 2))


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


@lru_cache(maxsize=2)  # all trials of an experiment have the same shadows
def _law(data: bytes, shape: tuple[int, int], floor: float) -> _Law:
    shadows = np.frombuffer(data).reshape(shape)
    mean = shadows.mean(axis=0)
    _, lengths, basis = np.linalg.svd(shadows - mean, full_matrices=False)
    variance = lengths**2 / max(len(shadows) - 1, 1)
    typical = float(variance.sum()) / shape[1]
    return _Law(mean, basis, variance, floor * typical or np.finfo(float).tiny)
