"""Backdoors: training on data of which a part has the trigger and the label that it commands.

[Bagdasaryan20]  Bagdasaryan, Veit, Hua, Estrin, Shmatikov: How To Backdoor Federated Learning,
                 AISTATS 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robust.attacks.attack import Access, Attack, Examples, Goal, Knowledge
from robust.attacks.trigger import Trigger
from robust.attacks.vectors import stretched
from robust.errors import require
from robust.observe import Array

__all__ = ["Backdoor", "ModelReplacement", "NormMatched", "Sybil"]


@dataclass(frozen=True, kw_only=True)
class Backdoor(Attack):
    """Trains on its own data with the trigger planted in a share of it, anew each round.

    Attributes
    ----------
    trigger: what the backdoor answers to.
    share: of the examples that get the trigger, 0 < share <= 1.

    Raises `ParameterError` for another share.
    """

    goal = Goal.BACKDOOR
    needs = frozenset({Access.POISONED})
    trigger: Trigger
    share: float = 0.5

    def __post_init__(self) -> None:
        require(0 < self.share <= 1, "0 < share <= 1")

    def poison(self, cohort: Sequence[Examples], rng: np.random.Generator, /) -> Sequence[Examples]:
        return [self.trigger.planted(one, self.share, rng) for one in cohort]


@dataclass(frozen=True, kw_only=True)
class ModelReplacement(Backdoor):
    """The backdoored update, scaled up until the mean is the attackers' [Bagdasaryan20, §4].

    Knows its own data. `factor` is the scale; None for n / m, which survives a mean of n updates.

    Raises `ParameterError` unless factor > 0.
    """

    name = "model replacement"
    factor: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.factor is None or 0 < self.factor < np.inf, "0 < factor < inf")

    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        factor = self.factor or knowledge.clients / knowledge.malicious
        return factor * knowledge[Access.POISONED]


@dataclass(frozen=True, kw_only=True)
class NormMatched(Backdoor):
    """The backdoored update at the norm of an honest one. Knows its own data and that norm.

    What [Bagdasaryan20] call constrain-and-scale, with the norm as the whole constraint.
    """

    name = "norm-matched"
    needs = frozenset({Access.POISONED, Access.NORM})

    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        return stretched(knowledge[Access.POISONED], knowledge[Access.NORM])


@dataclass(frozen=True, kw_only=True)
class Sybil(NormMatched):
    """All send the mean of their backdoored updates, at the norm of an honest one: clones. Ours.

    With one mind behind all malicious clients the mean has less of the noise of training than any
    of them, so it is the strongest of given norm, and the easiest to find by its copies.
    """

    name = "sybil"

    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        mean = knowledge[Access.POISONED].mean(axis=0, keepdims=True)
        return np.tile(stretched(mean, knowledge[Access.NORM]), (knowledge.malicious, 1))
