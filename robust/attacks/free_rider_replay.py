"""Free-riders that send back what the server has published.

[Lin19]      Lin, Du, Liu: Free-riders in Federated Learning: Attacks and Defenses,
             arXiv 1911.12560.
[Fraboni21]  Fraboni, Vidal, Lorenzi: Free-rider Attacks on Model Aggregation in Federated Learning,
             AISTATS 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robust.attacks.attack import Access, Attack, Goal, Knowledge
from robust.attacks.vectors import stretched
from robust.errors import require
from robust.observe import Array

__all__ = ["AdvancedDelta", "Delta", "Plain", "Sign"]


@dataclass(frozen=True, kw_only=True)
class Plain(Attack):
    """Returns the global model: an update of zeros [Fraboni21, plain]. Knows nothing."""

    name = "plain"
    goal = Goal.FREE_RIDE

    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        return np.zeros(knowledge.shape)


@dataclass(frozen=True, kw_only=True)
class Delta(Attack):
    """Replays the last global update [Lin19, delta weights]. Round 0: zeros. Public state only."""

    name = "delta"
    goal = Goal.FREE_RIDE

    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        return np.tile(knowledge.last, (knowledge.malicious, 1))


@dataclass(frozen=True, kw_only=True)
class AdvancedDelta(Delta):
    """The last global update, and N(0, deviation^2) on each parameter [Lin19, advanced delta].

    Round 0: the noise alone. Public state only.

    Raises `ParameterError` unless deviation > 0 (in units of a parameter; the paper has 1e-3).
    """

    name = "advanced delta"
    deviation: float = 1e-3

    def __post_init__(self) -> None:
        require(0 < self.deviation < np.inf, "0 < deviation < inf")

    def craft(self, knowledge: Knowledge, rng: np.random.Generator, /) -> Array:
        return super().craft(knowledge, rng) + rng.normal(0, self.deviation, knowledge.shape)


@dataclass(frozen=True, kw_only=True)
class Sign(Attack):
    """The signs of the last global update, at the norm of an honest one. Round 0: zeros.

    Knows the public state and an honest norm. Ours: it is far from the last update in every
    coordinate, and still points its way.
    """

    name = "sign"
    goal = Goal.FREE_RIDE
    needs = frozenset({Access.NORM})

    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        signs = np.tile(np.sign(knowledge.last), (knowledge.malicious, 1))
        return stretched(signs, knowledge[Access.NORM])
