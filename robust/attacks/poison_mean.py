"""Poisoners that send a function of the mean of honest updates.

Each of them takes `omniscient`: whether it sees the updates of the honest clients, or only what its
own clients would have sent, from which it estimates them.

[Baruch19]  Baruch, Baruch, Goldberg: A Little Is Enough, NeurIPS 2019.
[Li19]      Li, Xu, Chen, Giannakis, Ling: RSA: Byzantine-Robust Stochastic Aggregation, AAAI 2019.
[Xie20]     Xie, Koyejo, Gupta: Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product
            Manipulation, UAI 2019 (PMLR 115, 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from robust.attacks.attack import Access, Attack, Goal, Knowledge
from robust.errors import require
from robust.observe import Array

__all__ = ["InnerProduct", "LittleIsEnough", "Referenced", "SignFlip"]


@dataclass(frozen=True, kw_only=True)
class SignFlip(Attack):
    """-scale times the update that each client would have sent [Li19, sign flipping].

    Raises `ParameterError` unless scale > 0.
    """

    name = "sign flip"
    goal = Goal.POISON
    needs = frozenset({Access.CLEAN})
    scale: float = 1.0

    def __post_init__(self) -> None:
        require(0 < self.scale < np.inf, "0 < scale < inf")

    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        return -self.scale * knowledge[Access.CLEAN]


@dataclass(frozen=True, kw_only=True)
class Referenced(Attack):
    """A poisoner that works from a sample of honest updates."""

    goal = Goal.POISON
    omniscient: bool = False

    @property
    def needs(self) -> frozenset[Access]:
        """The honest updates, or those of its own clients if they were honest."""
        return frozenset({self._source})

    def reference(self, knowledge: Knowledge) -> Array:
        """Honest updates, (b, d), b >= 1."""
        return knowledge[self._source]

    @property
    def _source(self) -> Access:
        return Access.BENIGN if self.omniscient else Access.CLEAN


@dataclass(frozen=True, kw_only=True)
class LittleIsEnough(Referenced):
    """mean - z * standard deviation of honest updates, the same for all [Baruch19, algorithm 3].

    The paper's adversary sees its own clients only, which is the default. Without `z` it takes the
    paper's: with s = floor(n/2 + 1) - m, the quantile of the normal law at (n - m - s) / (n - m),
    so that s honest clients are farther from the mean than the attackers; at least 0.

    Raises `ParameterError` unless z >= 0.
    """

    name = "little is enough"
    z: float | None = None

    def __post_init__(self) -> None:
        require(self.z is None or 0 <= self.z < np.inf, "0 <= z < inf")

    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        honest = self.reference(knowledge)
        z = self.deviations(knowledge.clients, knowledge.malicious)
        row = honest.mean(axis=0) - z * honest.std(axis=0)
        return np.tile(row, (knowledge.malicious, 1))

    def deviations(self, clients: int, malicious: int) -> float:
        """z, for so many clients of whom so many are malicious."""
        if self.z is not None:
            return self.z
        honest = clients - malicious
        supporters = clients // 2 + 1 - malicious
        share = (honest - supporters) / honest if honest > 0 else 0.0
        # a majority of attackers needs no supporters, and the quantile at 1 would be infinite
        return max(NormalDist().inv_cdf(min(share, 0.999)), 0.0) if share > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class InnerProduct(Referenced):
    """-epsilon times the mean of honest updates, the same for all [Xie20].

    The paper's adversary is omniscient, which is the default.

    Raises `ParameterError` unless epsilon > 0.
    """

    name = "inner product"
    omniscient: bool = True
    epsilon: float = 1.0

    def __post_init__(self) -> None:
        require(0 < self.epsilon < np.inf, "0 < epsilon < inf")

    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        row = -self.epsilon * self.reference(knowledge).mean(axis=0)
        return np.tile(row, (knowledge.malicious, 1))
