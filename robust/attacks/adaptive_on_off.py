"""An attacker that knows that clients are judged over several rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robust.attacks.attack import Access, Attack, Examples, Goal, Knowledge
from robust.errors import require
from robust.observe import Array

__all__ = ["OnOff"]


@dataclass(frozen=True, kw_only=True)
class OnOff(Attack):
    """Honest for some rounds, then an attack for some, and so on: against reputation [Sun06].

    With `on=None` it never stops: a free-rider that trains until it is trusted, say.
    Knows what `attack` knows, and trains as an honest client would.

    [Sun06]  Sun, Han, Yu, Liu: Attacks on Trust Evaluation in Distributed Networks, CISS 2006.

    Attributes
    ----------
    attack: what it does when it attacks.
    off: honest rounds, >= 1; round 0 is the first of them.
    on: rounds of attack after those, >= 1, or None for all.

    Raises `ParameterError` for other numbers.
    """

    attack: Attack
    off: int = 5
    on: int | None = 5

    def __post_init__(self) -> None:
        require(self.off >= 1, "off >= 1")
        require(self.on is None or self.on >= 1, "on >= 1")

    @property
    def name(self) -> str:
        """That of the attack, and that it is not always on."""
        return f"{self.attack.name}, on and off"

    @property
    def goal(self) -> Goal:
        """That of the attack."""
        return self.attack.goal

    @property
    def needs(self) -> frozenset[Access]:
        """Those of the attack, and an honest update."""
        return self.attack.needs | {Access.CLEAN}

    def attacks(self, number: int) -> bool:
        """Whether round `number` is one of attack."""
        if self.on is None:
            return number >= self.off
        return number % (self.off + self.on) >= self.off

    def poison(self, cohort: Sequence[Examples], rng: np.random.Generator, /) -> Sequence[Examples]:
        return self.attack.poison(cohort, rng)

    def craft(self, knowledge: Knowledge, rng: np.random.Generator, /) -> Array:
        if self.attacks(knowledge.number):
            return self.attack.updates(knowledge, rng)
        return knowledge[Access.CLEAN]
