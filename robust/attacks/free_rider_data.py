"""Free-riders that train on less than they should."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robust.attacks.attack import Access, Attack, Examples, Goal, Knowledge
from robust.attacks.vectors import directions, lengths, stretched
from robust.errors import require
from robust.observe import Array

__all__ = ["Copycat", "Lazy", "SyntheticData"]


@dataclass(frozen=True, kw_only=True)
class SyntheticData(Attack):
    """Trains on normal inputs with uniform labels, as many as it claims to have. Ours.

    It has no data, and its update was still found by training; inputs are taken to be standardized.
    Labels that nothing explains make long updates, so they get the norm of an honest one, which is
    all that it knows.
    """

    name = "synthetic data"
    goal = Goal.FREE_RIDE
    needs = frozenset({Access.POISONED, Access.NORM})

    def poison(self, cohort: Sequence[Examples], rng: np.random.Generator, /) -> Sequence[Examples]:
        return [
            Examples(
                rng.standard_normal(one.inputs.shape),
                rng.integers(one.classes, size=len(one)),
                one.classes,
            )
            for one in cohort
        ]

    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        return stretched(knowledge[Access.POISONED], knowledge[Access.NORM])


@dataclass(frozen=True, kw_only=True)
class Lazy(Attack):
    """Trains on a few of its examples, drawn anew each round, and claims to have trained on all.

    Ours. Raises `ParameterError` unless examples >= 1; who has fewer uses what it has.
    """

    name = "lazy"
    goal = Goal.FREE_RIDE
    needs = frozenset({Access.POISONED})
    examples: int = 4

    def __post_init__(self) -> None:
        require(self.examples >= 1, "examples >= 1")

    def poison(self, cohort: Sequence[Examples], rng: np.random.Generator, /) -> Sequence[Examples]:
        counts = [min(self.examples, len(one)) for one in cohort]
        return [
            one.take(rng.choice(len(one), count, replace=False))
            for one, count in zip(cohort, counts, strict=True)
        ]

    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        return knowledge[Access.POISONED]


@dataclass(frozen=True, kw_only=True)
class Copycat(Attack):
    """The first malicious client trains; the others send its update and noise of their own. Ours.

    The noise has `noise` times the norm of the update, so that two copies have cosine about
    1 / (1 + noise^2). Knows its own honest update (row 0 of CLEAN), from data of one client.

    Raises `ParameterError` unless noise >= 0.
    """

    name = "copycat"
    goal = Goal.FREE_RIDE
    needs = frozenset({Access.CLEAN})
    noise: float = 1.0

    def __post_init__(self) -> None:
        require(0 <= self.noise < np.inf, "0 <= noise < inf")

    def craft(self, knowledge: Knowledge, rng: np.random.Generator, /) -> Array:
        trained = knowledge[Access.CLEAN][:1]
        noise = directions(knowledge.shape, rng) * (self.noise * lengths(trained))
        noise[0] = 0
        return trained + noise
