"""Poisoners that change labels and then train as everybody does.

[Tolpegin20]  Tolpegin, Truex, Gursoy, Liu: Data Poisoning Attacks Against Federated Learning
              Systems, ESORICS 2020.
[Fang20]      Fang, Cao, Jia, Gong: Local Model Poisoning Attacks to Byzantine-Robust Federated
              Learning, USENIX Security 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robust.attacks.attack import Access, Attack, Examples, Goal, Knowledge
from robust.errors import ObservationError, require
from robust.observe import Array

__all__ = ["LabelFlip", "TargetedLabelFlip"]


@dataclass(frozen=True, kw_only=True)
class LabelFlip(Attack):
    """Label y becomes classes - 1 - y [Fang20, label flipping]. Knows its own data."""

    name = "label flip"
    goal = Goal.POISON
    needs = frozenset({Access.POISONED})

    def poison(self, cohort: Sequence[Examples], _: np.random.Generator, /) -> Sequence[Examples]:
        return [one.relabeled(one.classes - 1 - one.labels) for one in cohort]

    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        return knowledge[Access.POISONED]


@dataclass(frozen=True, kw_only=True)
class TargetedLabelFlip(LabelFlip):
    """Label `source` becomes `target`, every other stays [Tolpegin20]. Knows its own data.

    A client without examples of `source` trains honestly.

    Raises `ParameterError` unless source and target are >= 0 and differ, and when it poisons
    `ObservationError` unless target < classes.
    """

    name = "targeted label flip"
    source: int
    target: int

    def __post_init__(self) -> None:
        require(min(self.source, self.target) >= 0, "source >= 0 and target >= 0")
        require(self.source != self.target, "source != target")

    def poison(self, cohort: Sequence[Examples], _: np.random.Generator, /) -> Sequence[Examples]:
        if any(max(self.source, self.target) >= one.classes for one in cohort):
            raise ObservationError("source < classes and target < classes must hold")
        return [
            one.relabeled(np.where(one.labels == self.source, self.target, one.labels))
            for one in cohort
        ]
