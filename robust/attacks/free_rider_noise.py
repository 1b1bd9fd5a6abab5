"""Free-riders that send noise and nothing else.

[Lin19]      Lin, Du, Liu: Free-riders in Federated Learning: Attacks and Defenses,
             arXiv 1911.12560.
[Fraboni21]  Fraboni, Vidal, Lorenzi: Free-rider Attacks on Model Aggregation in Federated Learning,
             AISTATS 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robust.attacks.attack import Access, Attack, Goal, Knowledge
from robust.attacks.vectors import directions
from robust.errors import require
from robust.observe import Array

__all__ = ["Disguised", "Noise", "RandomWeights"]


@dataclass(frozen=True, kw_only=True)
class Noise(Attack):
    """A Gaussian direction of its own for each client, at the norm of an honest update.

    Knows an honest norm: the least that gets past a check of norms.
    """

    name = "noise"
    goal = Goal.FREE_RIDE
    needs = frozenset({Access.NORM})

    def craft(self, knowledge: Knowledge, rng: np.random.Generator, /) -> Array:
        return directions(knowledge.shape, rng) * knowledge[Access.NORM]


@dataclass(frozen=True, kw_only=True)
class RandomWeights(Attack):
    """An update uniform on [-radius, radius]^d [Lin19, random weights]. Knows nothing.

    Raises `ParameterError` unless radius > 0 (in units of a parameter; the paper has 1e-3).
    """

    name = "random weights"
    goal = Goal.FREE_RIDE
    radius: float = 1e-3

    def __post_init__(self) -> None:
        require(0 < self.radius < np.inf, "0 < radius < inf")

    def craft(self, knowledge: Knowledge, rng: np.random.Generator, /) -> Array:
        return rng.uniform(-self.radius, self.radius, knowledge.shape)


@dataclass(frozen=True, kw_only=True)
class Disguised(Attack):
    """sigma (t + 1)^-gamma N(0, 1) on each parameter [Fraboni21, disguised]. Public state only.

    Attributes
    ----------
    sigma: in units of a parameter; None for the standard deviation of the first global update, as
        the paper estimates it, and then round 0 is zeros.
    gamma: how fast the noise decays, as honest updates do when training converges.

    Raises `ParameterError` unless sigma > 0 and gamma >= 0.
    """

    name = "disguised"
    goal = Goal.FREE_RIDE
    sigma: float | None = None
    gamma: float = 1.0

    def __post_init__(self) -> None:
        require(self.sigma is None or 0 < self.sigma < np.inf, "0 < sigma < inf")
        require(0 <= self.gamma < np.inf, "0 <= gamma < inf")

    def craft(self, knowledge: Knowledge, rng: np.random.Generator, /) -> Array:
        decay = float((knowledge.number + 1) ** -self.gamma)
        return rng.standard_normal(knowledge.shape) * (decay * self._sigma(knowledge.history))

    def _sigma(self, history: Array) -> float:
        if self.sigma is not None:
            return self.sigma
        return float(history[0].std()) if len(history) else 0.0
