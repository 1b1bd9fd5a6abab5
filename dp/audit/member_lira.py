"""Whether a record was trained on, from the final model alone.

[Carlini22]  Carlini, Chien, Nasr, Song, Terzis, Tramer: Membership Inference Attacks From First
             Principles, S&P 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp.audit.attack import Access, Array, Attack, Coin, Goal, View
from dp.errors import require

__all__ = ["LikelihoodRatio", "LowLoss"]


@dataclass(frozen=True, kw_only=True)
class LowLoss(Attack):
    """A low loss means yes: the weak attack to compare with [Carlini22, §II-C]."""

    name = "low loss"
    goal = Goal.MEMBERSHIP
    needs = frozenset({Access.LOSS})

    @property
    def control(self) -> Attack:
        return Coin()

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        return -view[Access.LOSS]


@dataclass(frozen=True, kw_only=True)
class LikelihoodRatio(Attack):
    """The ratio of two normal laws, fitted to models with and without the record [Carlini22, §V].

    Laws are fitted to the logit of the confidence, log(p / (1 - p)) with p = exp(-loss), which is
    nearer to normal than the loss. Losses are >= 0; below `least`, and as far from infinity, they
    are cut, for float64 has no logit of 1.

    Raises `ParameterError` unless 0 < least <= 0.1.
    """

    name = "likelihood ratio"
    goal = Goal.MEMBERSHIP
    needs = frozenset({Access.LOSS, Access.LOSSES_WITH, Access.LOSSES_WITHOUT})
    least: float = 1e-9

    def __post_init__(self) -> None:
        require(0 < self.least <= 0.1, f"0 < least <= 0.1, not {self.least!r},")

    @property
    def control(self) -> Attack:
        return Coin()

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        found, present, absent = (
            self._logit(view[access])
            for access in (Access.LOSS, Access.LOSSES_WITH, Access.LOSSES_WITHOUT)
        )
        return np.asarray(_log_density(found, present) - _log_density(found, absent))

    def _logit(self, losses: Array) -> Array:
        cut = np.clip(losses, self.least, -np.log(self.least))
        logit: Array = -cut - np.log(-np.expm1(-cut))
        return logit


def _log_density(value: Array, sample: Array) -> Array:
    """Of a normal law with the sample's mean and variance, up to a constant."""
    variance = sample.var() + 1e-3  # a handful of models may agree by chance
    density: Array = -((value - sample.mean()) ** 2) / (2 * variance) - np.log(variance) / 2
    return density
